"""Whatever a room goes through, each update reaches everybody and is acknowledged once."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.crdt.log import Position
from roomful.crdt.state import DocumentState
from roomful.server.flusher import Flusher
from roomful.server.metrics import Metrics
from roomful.server.room import Room
from tests.crdt.writers import document, same
from tests.server.members import Member, awareness_of, presence_of, written
from tests.server.memory_log import MemoryLog

pytestmark = pytest.mark.virtual_time

WINDOW = 0.01

events = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 2)),
        st.tuples(st.just("wait"), st.integers(1, 20)),
        st.tuples(st.just("commit"), st.integers(1, 3)),
        st.tuples(st.just("repeat"), st.integers(0, 2)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(events)
async def test_every_update_reaches_everybody_and_is_acknowledged_once_and_not_before_it_is_durable(
    happened: list[tuple[str, int]],
) -> None:
    log, awareness = MemoryLog(), awareness_of(Metrics(), each=1)
    room = Room(
        "room",
        DocumentState(None),
        Position("", 0),
        awareness,
        presence_of(Metrics()),
        log,
        Flusher(WINDOW),
        Metrics(),
        1 << 20,
    )
    members = [Member(room) for _ in range(3)]
    said: list[list[bytes]] = [written(60, client=number + 1) for number in range(3)]
    sent: list[list[bytes]] = [[], [], []]
    repeated = [0, 0, 0]
    for event, number in happened:
        match event:
            case "write":
                update = said[number][len(sent[number])]
                sent[number].append(update)
                members[number].write_to_room(update)
            case "wait":
                await asyncio.sleep(number * WINDOW / 5)
            case "commit":
                log.commit(number)
            case "repeat":
                repeated[number] += 1
                room.confirm(members[number])
        saved = document([appended.update for appended in log.durable])
        for member, updates, repeats in zip(members, sent, repeated, strict=True):
            acknowledged = sum(member.acknowledged)
            assert acknowledged <= len(updates) + repeats
            if not repeats:
                assert same(document([saved.get_update(), *updates[:acknowledged]]), saved)
    await asyncio.sleep(2 * WINDOW)
    log.commit()
    everything = document([update for updates in sent for update in updates])
    for member, updates, repeats in zip(members, sent, repeated, strict=True):
        assert sum(member.acknowledged) == len(updates) + repeats
        assert same(document([*member.updates(), *updates]), everything)
    assert same(document(room.state.tail), everything)
