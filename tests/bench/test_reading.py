"""The benchmark's own reading of what arrives: were it wrong, every figure would be."""

import random
import sys

import pytest
from pycrdt import Doc, Text, merge_updates

from bench.documents import typed_updates
from bench.measurement import percentile
from bench.websocket_client import Recorder, frame, whole_frames
from bench.wire import Dialect, written


def _clocks(update: bytes) -> set[tuple[int, int]]:
    return {(client, clock + offset) for client, clock, length in written(update) for offset in range(length)}


def test_a_merged_update_is_read_as_all_its_parts() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    updates = [update for client in (7, 2**32 - 1, 2**53 - 1) for update in typed_updates(client, 80, seed)]
    chosen = [update for update in updates if dice.random() < 0.7]
    dice.shuffle(chosen)
    assert _clocks(merge_updates(*chosen)) == set().union(*map(_clocks, chosen))


def test_a_hole_in_a_merged_update_does_not_count_as_delivered() -> None:
    updates = typed_updates(5, 10, seed=1)
    assert _clocks(merge_updates(*updates[:3], *updates[6:])) == {
        (5, clock) for clock in (0, 1, 2, 6, 7, 8, 9)
    }


def test_text_beyond_the_basic_plane_is_counted_as_yjs_counts_it() -> None:
    doc: Doc[Text] = Doc(client_id=3)
    doc.get("text", type=Text).insert(0, "aé😀")
    assert written(doc.get_update()) == [(3, 0, 4)]


def test_what_typing_does_not_make_is_refused() -> None:
    doc: Doc[Text] = Doc(client_id=3)
    doc.get("text", type=Text).insert_embed(0, {"image": 1})
    with pytest.raises(ValueError, match="not what typing makes"):
        written(doc.get_update())


async def test_messages_are_whole_and_in_order_however_the_bytes_are_cut() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    payloads = [dice.randbytes(dice.choice((0, 1, 125, 126, 127, 70_000))) for _ in range(60)]
    stream = b"".join(_from_server(payload) for payload in payloads)
    recorder = Recorder()
    recorder.opened.set_result(None)
    recorder.recording = True
    at = 0
    while at < len(stream):
        size = dice.choice((1, 2, 3, 9, 400, 50_000))
        piece = stream[at : at + size]
        recorder.get_buffer(-1)[: len(piece)] = piece
        recorder.buffer_updated(len(piece))
        at += size
    assert [message for _, message in recorder.messages()] == payloads
    assert recorder.frames == len(payloads)
    assert recorder.received == len(stream)


def _from_server(payload: bytes) -> bytes:
    """A server's frame: a client's without its mask bit and key, of which the key here is four zeros."""
    masked = frame(payload)
    head = masked[: len(masked) - len(payload) - 4]
    return bytes((head[0], head[1] & 0x7F)) + head[2:] + payload


def test_a_fragment_is_an_error_and_not_a_message() -> None:
    with pytest.raises(ValueError, match="fragmented"):
        whole_frames(b"\x02\x01a")


def test_a_sync_message_is_known_by_its_room_and_step() -> None:
    keyed = Dialect("hocuspocus", "/", keyed=True)
    message = keyed.update("room", b"\x00\x00")
    assert keyed.sync_step(keyed.key("room"), message) == 2
    assert keyed.sync_body(keyed.key("room"), message) == b"\x00\x00"
    assert keyed.sync_step(keyed.key("other"), message) is None


def test_percentiles_are_nearest_ranks() -> None:
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 0.5) == 51
    assert percentile(values, 0.99) == 100
    assert percentile([], 0.5) == 0
    assert percentile([sys.float_info.max], 0.99) == sys.float_info.max
