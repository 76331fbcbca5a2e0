"""One room on a clock that jumps: windows, audiences, acknowledgements and limits."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from roomful.crdt.check import check_update
from roomful.crdt.log import Position
from roomful.crdt.merge import merge
from roomful.crdt.state import DocumentState
from roomful.crdt.sync import UPDATE
from roomful.server.close_codes import CloseCode, Refused
from roomful.server.flusher import Flusher
from roomful.server.metrics import Metrics
from roomful.server.room import Room
from tests.crdt.writers import document, same
from tests.presence.entries import entry
from tests.server.members import Member, awareness_of, presence_of, written
from tests.server.memory_log import MemoryLog

pytestmark = pytest.mark.virtual_time

WINDOW = 0.01
MOST_BYTES = 10_000


@pytest.fixture
async def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def metrics() -> Metrics:
    return Metrics()


Make = Callable[[], Room]


@pytest.fixture
async def make(log: MemoryLog, metrics: Metrics) -> Make:
    flusher = Flusher(WINDOW)

    def make() -> Room:
        awareness = awareness_of(metrics)
        state = DocumentState(None)
        return Room(
            "room", state, Position("", 0), awareness, presence_of(metrics), log, flusher, metrics, MOST_BYTES
        )

    return make


@pytest.fixture
async def room(make: Make) -> Room:
    return make()


async def test_the_first_update_after_a_pause_goes_out_at_once(room: Room, log: MemoryLog) -> None:
    ann, bob = Member(room), Member(room)
    (update,) = written(1)
    ann.write_to_room(update)
    assert bob.updates() == [update]
    assert [appended.update for appended in log.queued] == [update]
    assert room.state.tail == [update]


async def test_what_comes_within_a_window_goes_out_as_one_at_its_end(room: Room, log: MemoryLog) -> None:
    ann, bob = Member(room), Member(room)
    first, second, *others = written(5)
    ann.write_to_room(first)
    await asyncio.sleep(WINDOW / 2)
    ann.write_to_room(second)
    assert bob.updates() == [first]
    await asyncio.sleep(WINDOW * 0.9)
    ann.write_to_room(*others)
    assert bob.updates() == []
    await asyncio.sleep(WINDOW * 0.2)
    assert bob.updates() == [merge([second, *others])]
    assert [appended.update for appended in log.queued] == [first, merge([second, *others])]
    assert room.state.tail == [first, merge([second, *others])]


async def test_a_busy_room_sends_one_frame_a_window(room: Room) -> None:
    ann, bob = Member(room), Member(room)
    updates = written(100)
    for update in updates:
        ann.write_to_room(update)
        await asyncio.sleep(WINDOW / 10)
    await asyncio.sleep(WINDOW)
    received = bob.updates()
    assert 10 <= len(received) <= 12
    assert same(document(received), document(updates))


async def test_after_a_pause_of_a_window_an_update_waits_for_nothing(room: Room) -> None:
    ann, bob = Member(room), Member(room)
    for update in written(3):
        ann.write_to_room(update)
        assert bob.updates() == [update]
        await asyncio.sleep(WINDOW * 1.01)


async def test_rooms_that_are_busy_at_once_share_one_timer(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    timers: list[float] = []
    call_later = loop.call_later

    def count(delay: float, *rest: Any) -> asyncio.TimerHandle:
        timers.append(delay)
        return call_later(delay, *rest)

    monkeypatch.setattr(loop, "call_later", count)
    members = [(Member(room), Member(room)) for room in (make(), make(), make())]
    for ann, _ in members:
        ann.write_to_room(*written(3))
    assert timers == [WINDOW]
    await asyncio.sleep(WINDOW)
    assert [len(bob.updates()) for _, bob in members] == [2, 2, 2]


async def test_a_large_update_shares_a_frame_with_no_other(room: Room, log: MemoryLog) -> None:
    room._max_document_bytes = 1 << 20
    ann, bob = Member(room), Member(room)
    first, second, *rest, last = written(30)
    large = large_update()
    ann.write_to_room(first, second, large, *rest, last)
    assert bob.updates() == [first, second, large]
    await asyncio.sleep(WINDOW)
    assert bob.updates() == [merge([*rest, last])]
    assert len(log.queued) == 4


def large_update() -> bytes:
    doc = document(client=77)
    doc["text"].insert(0, "x" * 20_000)
    return doc.get_update()


async def test_who_wrote_all_of_a_frame_is_not_sent_it(room: Room) -> None:
    ann, bob, eve = Member(room), Member(room), Member(room)
    updates = written(4)
    ann.write_to_room(*updates)
    await asyncio.sleep(WINDOW)
    assert ann.updates() == []
    assert bob.updates() == eve.updates() == [updates[0], merge(updates[1:])]


async def test_who_wrote_some_of_a_frame_is_sent_all_of_it(room: Room) -> None:
    ann, bob = Member(room), Member(room)
    first, second = written(2, client=1)
    (third,) = written(1, client=2)
    ann.write_to_room(first)
    bob.updates()
    ann.write_to_room(second)
    bob.write_to_room(third)
    await asyncio.sleep(WINDOW)
    assert ann.updates() == bob.updates() == [merge([second, third])]


async def test_what_one_who_has_left_wrote_reaches_the_others(room: Room) -> None:
    ann, bob = Member(room), Member(room)
    first, second = written(2)
    ann.write_to_room(first, second)
    ann.leave()
    await asyncio.sleep(WINDOW)
    assert bob.updates() == [first, second]
    assert ann.updates() == []


async def test_two_sessions_on_one_socket_hear_each_other(room: Room) -> None:
    """A socket carries one document twice under two keys; both are written to it."""
    one = Member(room, b"\x03one")
    two = Member(room, b"\x03two", socket=one)
    (update,) = written(1)
    one.write_to_room(update)
    assert one.frames == [two.envelope.sync(UPDATE, update)]


async def test_all_with_one_prefix_are_written_the_same_object(room: Room) -> None:
    plain = [Member(room) for _ in range(3)]
    keyed = [Member(room, b"\x03doc") for _ in range(3)]
    ann = Member(room, b"\x03ann")
    (update,) = written(1)
    ann.write_to_room(update)
    for members in (plain, keyed):
        assert len({id(frame) for member in members for frame in member.frames}) == 1
        assert [member.updates() for member in members] == [[update]] * 3


async def test_no_audience_outlasts_its_last_member(room: Room) -> None:
    ann = Member(room)
    for number in range(100):
        visitor = Member(room, b"\x03%d" % number)
        twin = Member(room, b"\x03%d" % number)
        visitor.leave()
        assert len(room._audiences) == 2
        twin.leave()
    assert len(room._audiences) == 1
    ann.leave()
    assert len(room._audiences) == 0


async def test_an_update_is_acknowledged_when_it_is_durable(room: Room, log: MemoryLog) -> None:
    ann, bob = Member(room), Member(room)
    ann.write_to_room(*written(1))
    assert ann.acknowledged == []
    log.commit()
    assert (ann.acknowledged, bob.acknowledged) == ([1], [])


async def test_each_update_of_a_frame_is_acknowledged_to_its_sender(room: Room, log: MemoryLog) -> None:
    ann, bob = Member(room), Member(room)
    first, *others = written(4, client=1)
    ann.write_to_room(first, *others)
    bob.write_to_room(*written(2, client=2))
    await asyncio.sleep(WINDOW)
    log.commit(1)
    assert (ann.acknowledged, bob.acknowledged) == ([1], [])
    log.commit(1)
    assert (ann.acknowledged, bob.acknowledged) == ([1, 3], [2])


async def test_what_repeats_the_window_under_way_is_acknowledged_with_it(room: Room, log: MemoryLog) -> None:
    ann, bob = Member(room), Member(room)
    ann.write_to_room(*written(2))
    room.confirm(bob)
    await asyncio.sleep(WINDOW)
    log.commit(1)
    assert bob.acknowledged == []
    log.commit(1)
    assert (ann.acknowledged, bob.acknowledged) == ([1, 1], [1])


async def test_one_who_has_left_is_not_acknowledged(room: Room, log: MemoryLog) -> None:
    """Its key may be another session's by now, which would count the answer as its own."""
    ann = Member(room, b"\x03doc")
    ann.write_to_room(*written(1))
    ann.leave()
    again = Member(room, b"\x03doc")
    log.commit()
    assert (ann.acknowledged, again.acknowledged) == ([], [])


async def test_the_newest_durable_update_and_its_position_are_known(room: Room, log: MemoryLog) -> None:
    seen: list[Position] = []
    room.on_saved = lambda saved: seen.append(saved.position)
    ann = Member(room)
    for update in written(2):
        ann.write_to_room(update)
        await asyncio.sleep(WINDOW)
    assert room.position == Position("", 0)
    log.commit()
    assert seen == [Position("life", 1), Position("life", 2)]


async def test_what_another_process_appended_goes_to_everybody_at_once_and_to_the_log_no_more(
    room: Room, log: MemoryLog
) -> None:
    ann, bob = Member(room), Member(room)
    first, second, third = written(3)
    room.heard(Position("life", 1), (first, check_update(first)))
    room.heard(Position("life", 2), (second, check_update(second)))
    assert ann.updates() == bob.updates() == [first, second]
    assert log.queued == []
    assert room.state.tail == [first, second]
    assert room.position == Position("life", 2)
    ann.write_to_room(third)
    assert bob.updates() == [third]
    assert len(log.queued) == 1


async def test_the_position_waits_for_what_is_yet_to_be_heard(room: Room) -> None:
    """Our entry is known to be the second before the first, another's, has come."""
    ann = Member(room)
    first, second = written(2)
    ann.write_to_room(first)
    room._durable(Position("life", 2))
    assert room.position == Position("", 0)
    room.heard(Position("life", 1), (second, check_update(second)))
    room.heard(Position("life", 2), None)
    assert room.position == Position("life", 2)
    ann.write_to_room(*written(1, client=3))
    room.flush()
    room._durable(Position("life", 3))
    assert room.position == Position("life", 3)
    room.heard(Position("life", 2), None)
    assert room.position == Position("life", 3)


async def test_a_room_is_idle_when_nobody_listens_and_nothing_waits(room: Room, log: MemoryLog) -> None:
    assert room.idle
    ann = Member(room)
    first, second = written(2)
    ann.write_to_room(first, second)
    ann.leave()
    log.commit()
    waiting = [room.idle]
    await asyncio.sleep(WINDOW)
    waiting.append(room.idle)
    log.commit()
    assert (waiting, room.idle) == ([False, False], True), "for the window, and to be durable"


async def test_a_flush_sends_everything_now_and_the_window_nothing_again(room: Room, log: MemoryLog) -> None:
    ann, bob = Member(room), Member(room)
    first, second = written(2)
    ann.write_to_room(first, second)
    room.awareness.speak(ann, [entry(1, 1, {})])
    room.flush()
    assert (bob.updates(), bob.clients()) == ([first, second], [{1: True}])
    await asyncio.sleep(5 * WINDOW)
    assert (bob.updates(), bob.clients(), len(log.queued)) == ([], [], 2)


async def test_a_flush_of_a_quiet_room_sends_nothing(room: Room, log: MemoryLog) -> None:
    ann = Member(room)
    room.flush()
    assert (ann.frames, ann.awareness_frames, log.queued) == ([], [], [])


async def test_a_document_is_refused_to_outgrow_its_largest_size(room: Room) -> None:
    ann = Member(room)
    update = large_update()
    assert len(update) > MOST_BYTES
    with pytest.raises(Refused) as caught:
        ann.write_to_room(update)
    assert caught.value.code == CloseCode.DOCUMENT_FULL
    small = written(1)
    ann.write_to_room(*small)
    room._max_document_bytes = room.state.size + len(small[0]) - 1
    with pytest.raises(Refused):
        ann.write_to_room(small[0])
    room._max_document_bytes += 1
    ann.write_to_room(small[0])


async def test_a_document_is_refused_to_be_torn_into_too_many_runs(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roomful.server.room.MOST_RUNS", 2)
    ann = Member(room)
    for client in (1, 2, 3):
        ann.write_to_room(*written(1, client=client))
        room.flush()
    with pytest.raises(Refused) as caught:
        ann.write_to_room(*written(1, client=4))
    assert caught.value.code == CloseCode.DOCUMENT_FULL


async def test_an_update_is_refused_when_nothing_more_can_be_stored(room: Room, log: MemoryLog) -> None:
    ann, bob = Member(room), Member(room)
    log.full = True
    with pytest.raises(Refused) as caught:
        ann.write_to_room(*written(1))
    assert caught.value.code == CloseCode.STORAGE
    assert (bob.frames, log.queued, room.idle) == ([], [], False)
    log.full = False
    ann.write_to_room(*written(1))
    assert len(bob.frames) == 1


async def test_updates_and_deliveries_are_counted(room: Room, metrics: Metrics) -> None:
    ann, *_ = (Member(room), Member(room), Member(room, b"\x03doc"))
    updates = written(3)
    ann.write_to_room(*updates)
    await asyncio.sleep(WINDOW)
    assert (metrics.updates, metrics.update_bytes) == (3, sum(map(len, updates)))
    assert metrics.deliveries == 3 * 2
    assert sum(metrics.fan_out_seconds.counts) == 2
    assert metrics.fan_out_seconds.sum > 0


async def test_a_stateless_message_reaches_all_others(room: Room, metrics: Metrics) -> None:
    ann, bob, eve = Member(room), Member(room), Member(room)
    room.relay(ann, b"hello")
    assert (ann.heard, bob.heard, eve.heard, metrics.stateless) == ([], [b"hello"], [b"hello"], 1)


async def test_a_crowd_is_flushed_once_in_its_own_window(make: Make) -> None:
    room = make()
    room._flusher = Flusher(WINDOW, 10 * WINDOW)
    ann, *others = (Member(room) for _ in range(128))
    first, *rest = written(4)
    ann.write_to_room(first)
    for update in rest:
        ann.write_to_room(update)
    await asyncio.sleep(WINDOW * 1.5)
    assert [others[0].updates()] == [[first]]
    await asyncio.sleep(WINDOW)
    assert all(other.updates()[-1] == merge(rest) for other in others)
