"""What a session is sent of its document, over a socket that congests and drains on command."""

import asyncio
import random

import pytest

from roomful.crdt.merge import merge
from roomful.crdt.sync import EMPTY_STATE_VECTOR, EMPTY_UPDATE, STEP_1, STEP_2, UPDATE
from tests.crdt.writers import document
from tests.server.fakes import OUTBOX
from tests.server.listeners import PIECE, Document, Listener

pytestmark = pytest.mark.virtual_time

NOTHING = EMPTY_STATE_VECTOR


async def settle() -> None:
    """Let the loop go on until nothing is left to do at once."""
    for _ in range(1_000):
        await asyncio.sleep(0)


async def test_a_newcomer_to_an_empty_document_is_answered_and_live() -> None:
    document = Document()
    ann = document.listener()
    ann.feed.start(NOTHING)
    assert ann.received_steps() == [(STEP_1, NOTHING), (STEP_2, EMPTY_UPDATE)]
    (update,) = document.write()
    assert ann.received_steps() == [(UPDATE, update)]


async def test_a_newcomer_is_sent_the_pieces_and_then_what_followed_as_a_step_2() -> None:
    document = Document(edits=60, folded=40)
    ann = document.listener()
    ann.feed.start(NOTHING)
    steps = ann.received_steps()
    assert steps[0] == (STEP_1, document.state.state_vector)
    assert steps[1:-1] == [(UPDATE, piece) for piece in document.state.pieces]
    assert steps[-1] == (STEP_2, merge(document.said[40:]))
    assert document.is_held_by(ann)


async def test_all_newcomers_are_written_the_same_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large document there is one copy in memory, however many are sent it."""
    monkeypatch.setattr("roomful.server.feed._COPIED", 0)
    document = Document(edits=60, folded=40)
    ann, bob = document.listener(), document.listener()
    for listener in (ann, bob):
        listener.client.transport.stall()
        listener.feed.start(NOTHING)
        while listener.client.socket.is_congested:
            listener.client.transport.take(OUTBOX)
    payloads = [*document.state.pieces, document.state.since(0)]
    for listener in (ann, bob):
        written = {id(data) for data in listener.client.transport.writes}
        assert {id(payload) for payload in payloads} <= written


async def test_a_diff_is_made_one_piece_in_a_turn_of_the_loop() -> None:
    document = Document(edits=200, folded=200)
    assert len(document.state.pieces) > 5
    ann = document.listener()
    ann.feed.start(b"\x01\x01\x01")
    sent = [len(ann.kinds())]
    while not document.live.feeds:
        await asyncio.sleep(0)
        sent.append(len(ann.kinds()))
    assert sent[0] == 2, "our step 1 and one piece"
    assert max(sent[1:-1]) == 1
    assert document.is_held_by(ann, document.said[0])


async def test_what_others_have_made_of_a_diff_is_sent_at_once() -> None:
    document = Document(edits=200, folded=200)
    vector = b"\x01\x01\x01"
    ann, bob = document.listener(), document.listener()
    ann.feed.start(vector)
    await settle()
    bob.feed.start(vector)
    assert ann.received_steps() == bob.received_steps()
    assert document.live.feeds == {ann.feed, bob.feed}


async def test_a_slow_newcomer_is_sent_as_much_as_its_socket_takes() -> None:
    document = Document(edits=800, folded=750)
    ann = document.listener()
    ann.client.transport.stall()
    ann.feed.start(NOTHING)
    waited = []
    while not document.live.feeds:
        assert ann.client.socket.is_congested
        waited.append(ann.client.socket.buffered)
        ann.client.transport.take(OUTBOX)
    assert len(waited) > 3
    assert max(waited[:-1]) < OUTBOX + PIECE + 20
    kinds = ann.kinds()
    assert kinds.count(STEP_2) == 1
    assert kinds[-1] == STEP_2
    assert document.is_held_by(ann)


async def test_what_is_written_while_the_answer_is_under_way_is_in_its_step_2() -> None:
    document = Document(edits=200, folded=150)
    ann = document.listener()
    ann.client.transport.stall()
    ann.feed.start(NOTHING)
    document.write(5)
    ann.client.transport.drain()
    assert document.live.feeds == {ann.feed}
    assert ann.kinds()[-1] == STEP_2
    document.write(5)
    assert ann.kinds() == [UPDATE] * 5
    assert document.is_held_by(ann)


async def test_who_falls_behind_is_sent_all_it_missed_as_one_update() -> None:
    document = Document(edits=10)
    ann = document.listener()
    ann.feed.start(NOTHING)
    ann.received_steps()
    ann.client.transport.stall()
    written = []
    while not ann.client.socket.is_congested:
        written += document.write()
    missed = document.write(20)
    assert (ann.fell_behind, document.live.feeds) == (1, set())
    ann.client.transport.drain()
    assert ann.received_steps() == [*((UPDATE, update) for update in written), (UPDATE, merge(missed))]
    assert document.live.feeds == {ann.feed}
    assert document.is_held_by(ann)


async def test_who_was_congested_and_missed_nothing_is_sent_nothing() -> None:
    document = Document(edits=10)
    ann = document.listener()
    ann.feed.start(NOTHING)
    ann.received_steps()
    ann.client.transport.stall()
    ann.client.socket.write(bytes(OUTBOX + 1))
    assert document.live.feeds == set()
    ann.client.transport.writes.pop()
    ann.client.transport.drain()
    assert ann.received_steps() == []
    assert document.live.feeds == {ann.feed}


async def test_who_is_overtaken_by_a_fold_is_sent_what_it_lacks_and_not_the_whole_document() -> None:
    document = Document(edits=400, folded=400)
    ann = document.listener()
    ann.feed.start(NOTHING)
    ann.received_steps()
    document.write(3)
    ann.received_steps()
    ann.client.transport.stall()
    ann.client.socket.write(ann.envelope.message(b"\x00\x02\x02\x00\x00") * 200)
    document.write(10)
    document.fold()
    document.write(10)
    assert ann.fell_behind == 1
    ann.client.transport.drain()
    await settle()
    steps = [payload for _, payload in ann.received_steps() if payload != EMPTY_UPDATE]
    assert sum(map(len, steps)) < document.state.size / 3
    assert document.live.feeds == {ann.feed}
    assert document.is_held_by(ann)


async def test_an_answer_that_is_overtaken_by_a_fold_goes_on_from_the_newer_snapshot() -> None:
    document = Document(edits=400, folded=350)
    ann = document.listener()
    ann.client.transport.stall()
    ann.feed.start(NOTHING)
    document.write(10)
    document.fold()
    document.write(10)
    ann.client.transport.take(OUTBOX)
    document.fold()
    document.write(10)
    ann.client.transport.drain()
    await settle()
    assert document.live.feeds == {ann.feed}
    kinds = ann.kinds()
    assert (kinds.count(STEP_1), kinds.count(STEP_2), kinds[-1]) == (1, 1, STEP_2)
    assert document.is_held_by(ann)


async def test_a_long_tail_is_sent_in_parts_with_a_turn_of_the_loop_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("roomful.crdt.state._MERGED_BYTES", 300)
    document = Document(edits=100)
    ann = document.listener()
    ann.feed.start(NOTHING)
    sent = [ann.kinds()]
    while not document.live.feeds:
        await asyncio.sleep(0)
        sent.append(ann.kinds())
    assert sent[0] == [STEP_1, UPDATE]
    assert [len(kinds) for kinds in sent[1:]] == [1] * (len(sent) - 1)
    assert sent[-1] == [STEP_2]
    assert len(sent) > 3
    assert document.is_held_by(ann)


async def test_asked_again_and_again_it_answers_once_more_and_to_the_latest_question() -> None:
    document = Document(edits=200, folded=150)
    ann = document.listener()
    ann.client.transport.stall()
    ann.feed.start(NOTHING)
    for clock in range(1, 50):
        ann.feed.start(bytes((1, 1, clock)))
    ann.feed.start(document.state.state_vector)
    ann.client.transport.drain()
    await settle()
    steps = ann.received_steps()
    assert [step for step, _ in steps if step != UPDATE] == [STEP_1, STEP_2] * 2
    second = steps[[step for step, _ in steps].index(STEP_2) + 1 :]
    assert sum(len(payload) for step, payload in second if step == UPDATE) < document.state.size / 2
    assert document.live.feeds == {ann.feed}
    assert document.is_held_by(ann)


async def test_one_who_is_live_may_ask_again() -> None:
    document = Document(edits=20)
    ann = document.listener()
    ann.feed.start(NOTHING)
    ann.feed.start(document.state.state_vector)
    assert ann.kinds() == [STEP_1, STEP_2] * 2
    (update,) = document.write()
    assert ann.received_steps() == [(UPDATE, update)]


async def test_one_who_is_behind_may_ask_again_and_is_answered_instead() -> None:
    document = Document(edits=20)
    ann = document.listener()
    ann.feed.start(NOTHING)
    ann.received_steps()
    ann.client.transport.stall()
    ann.client.socket.write(ann.envelope.message(b"\x00\x02\x02\x00\x00") * 200)
    document.write(5)
    ann.feed.start(NOTHING)
    ann.client.transport.drain()
    assert [kind for kind in ann.kinds()[200:] if kind != UPDATE] == [STEP_1, STEP_2]
    assert document.live.feeds == {ann.feed}
    assert document.is_held_by(ann)


async def test_a_step_2_that_congests_the_socket_is_whole_and_makes_nobody_live_yet() -> None:
    document = Document(edits=200)
    assert document.state.size > 2 * OUTBOX
    ann = document.listener()
    ann.client.transport.stall()
    ann.feed.start(NOTHING)
    assert document.live.feeds == set()
    missed = document.write(5)
    assert ann.received_steps()[-1] == (STEP_2, merge(document.said[:200]))
    ann.client.transport.drain()
    assert ann.received_steps() == [(UPDATE, merge(missed))]
    assert document.live.feeds == {ann.feed}


async def test_a_head_that_congests_the_socket_is_followed_by_its_payload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("roomful.server.feed._COPIED", 0)
    document = Document(edits=10)
    ann = document.listener()
    ann.client.transport.stall()
    head = len(ann.feed.envelope.sync(STEP_1, document.state.state_vector)) + 1
    ann.client.socket.write(ann.envelope.message(bytes(OUTBOX - head - 7)))
    assert not ann.client.socket.is_congested
    ann.client.frames()
    ann.feed.start(NOTHING)
    assert ann.kinds() == [STEP_1, STEP_2]
    assert document.live.feeds == set()


async def test_only_one_who_was_live_falls_behind() -> None:
    document = Document(edits=100, folded=50)
    ann = document.listener()
    assert not ann.feed.fall_behind()
    ann.client.transport.stall()
    ann.feed.start(NOTHING)
    assert (ann.client.socket.is_congested, ann.fell_behind) == (True, 0)


async def test_one_who_never_asked_is_sent_nothing() -> None:
    document = Document(edits=10)
    ann = document.listener()
    ann.feed.pump()
    document.write()
    ann.client.transport.stall()
    ann.client.socket.write(bytes(OUTBOX + 1))
    ann.client.transport.writes.clear()
    ann.client.transport.drain()
    assert ann.client.transport.writes == []


@pytest.mark.parametrize("when", ["live", "answering", "between two pieces", "behind"])
async def test_after_the_stop_nothing_more_is_sent(when: str) -> None:
    document = Document(edits=200, folded=200 if when == "between two pieces" else 150)
    ann = document.listener()
    if when == "answering":
        ann.client.transport.stall()
    ann.feed.start(b"\x01\x01\x01" if when == "between two pieces" else NOTHING)
    if when == "behind":
        await settle()
        ann.client.transport.stall()
        ann.client.socket.write(ann.envelope.message(b"\x00\x02\x02\x00\x00") * 200)
        document.write()
    ann.received_steps()
    ann.feed.stop()
    assert document.live.feeds == set()
    document.write()
    ann.client.transport.drain()
    await settle()
    assert ann.received_steps() == []


async def test_a_socket_that_is_lost_between_two_pieces_is_written_no_more() -> None:
    document = Document(edits=200, folded=200)
    ann = document.listener()
    ann.feed.start(b"\x01\x01\x01")
    ann.client.socket.abort()
    await settle()
    assert ann.client.transport.written_late == []


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_happens_everybody_ends_up_with_the_same_document(seed: int) -> None:
    """Slow and fast listeners, who ask again now and then, while people write and the document is folded."""
    chance = random.Random(seed)
    document = Document(edits=60, folded=chance.choice((0, 40)), seed=1_000 * (seed + 1))
    listeners = [document.listener() for _ in range(4)]
    for _ in range(80):
        listener = chance.choice(listeners)
        match chance.randrange(8):
            case 0:
                listener.feed.start(same_or_nothing(chance, listener))
            case 1:
                listener.client.transport.stall()
            case 2:
                listener.client.transport.take(chance.randrange(2 * OUTBOX))
            case 3:
                listener.client.transport.drain()
            case 4 | 5:
                document.write(chance.randrange(1, 12))
            case 6:
                document.fold(chance.randint(0, len(document.state.tail)))
            case 7:
                await asyncio.sleep(0)
    for listener in listeners:
        listener.client.transport.drain()
        listener.feed.start(same_or_nothing(chance, listener))
    await settle()
    document.write()
    assert len(document.live.feeds) == len(listeners)
    assert all(document.is_held_by(listener) for listener in listeners)


def same_or_nothing(chance: random.Random, listener: Listener) -> bytes:
    """Ask with what the client holds, or as one that has lost it all."""
    if chance.random() < 0.3:
        listener.replica.clear()
        return NOTHING
    listener.received_steps()
    return document(listener.replica).get_state()
