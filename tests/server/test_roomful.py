"""Roomful clients and a real server: documents, acknowledgements, events, and other clients beside them."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from roomful.crdt.sync import EMPTY_UPDATE
from roomful.crdt.varint import write_varbytes
from roomful.server.protocols.roomful import ClientFrame, ServerFrame
from tests import attacks
from tests.crdt.writers import document, same
from tests.documents import differences
from tests.pycrdt_client import PycrdtClient
from tests.raw_client import DEADLINE, NO_STATE
from tests.roomful_client import RefusedByServer, RoomfulClient, open_socket, packed, unpacked
from tests.server.members import written
from tests.server_process import ServerProcess
from tests.speech import PROTOCOLS, ROOMFUL
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTHORIZE = "tests.hostile.guard:authorize"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    data = tmp_path_factory.mktemp("roomful") / "data"
    async with ServerProcess(data, authorize=AUTHORIZE, options=["--keepalive-seconds", "1"]) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def guest(stack: AsyncExitStack, server: ServerProcess, token: str = "ann") -> RoomfulClient:
    return await stack.enter_async_context(await RoomfulClient.connect(server.port, token=token))


async def test_a_document_goes_both_ways_and_is_acknowledged(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    first, *rest = written(5)
    ann, bob = await guest(stack, server), await guest(stack, server)
    mine = await ann.join("both ways")
    mine.write(first)
    await mine.durable()
    theirs = await bob.join("both ways")
    assert theirs.number == mine.number
    ((answer,),) = theirs.of(ServerFrame.STEP_2)
    assert same(document([answer]), document([first]))
    for update in rest:
        theirs.write(update)
    await theirs.durable()
    assert theirs.of(ServerFrame.ACK)[-1] == [3, "machine"]

    def mine_is_whole() -> bool:
        heard = [update for (update,) in mine.of(ServerFrame.UPDATE)]
        return same(document([first, *heard]), document([first, *rest]))

    await until(mine_is_whole, "all that the other wrote")


async def test_people_of_all_protocols_write_one_document(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    rng = random.Random(7)
    people = [PycrdtClient(dialect, "one for all") for dialect in PROTOCOLS for _ in range(2)]
    for person in people:
        stack.push_async_callback(person.drop)
        await person.connect(server.port)
        await person.synchronised()
    for _ in range(50):
        rng.choice(people).edit(rng)
        await asyncio.sleep(0)
    await asyncio.gather(*(each.answered() for each in people if each.dialect is ROOMFUL))
    first, *others = people
    await until(lambda: all(first.replica.equals(each.replica) for each in others), "agreement")
    for each in others:
        assert differences(first.replica.document(), each.replica.document()) == []


async def test_what_was_written_while_away_is_brought_along(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    ann, bob = PycrdtClient(ROOMFUL, "away"), PycrdtClient(ROOMFUL, "away")
    for person in (ann, bob):
        stack.push_async_callback(person.drop)
        await person.connect(server.port)
        await person.synchronised()
    await ann.drop()
    ann.type("written away")
    bob.type("written here, ")
    await bob.answered()
    await ann.connect(server.port)
    await ann.synchronised()
    await ann.answered()
    await until(lambda: ann.text == bob.text and "away" in bob.text and "here" in ann.text)


async def test_what_is_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        async with await RoomfulClient.connect(server.port) as ann:
            room = await ann.join("room")
            updates = written(20)
            for update in updates:
                room.write(update)
            await room.durable()
            await server.kill()
        await server.restart()
        async with await RoomfulClient.connect(server.port) as bob:
            ((answer,),) = (await bob.join("room")).of(ServerFrame.STEP_2)
    assert same(document([answer]), document(updates))


async def test_a_crowd_hears_an_event_and_a_newcomer_has_the_last_value_first(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    speaker = await guest(stack, server)
    lectern = await speaker.join("lecture", vector=None)
    crowd = [
        await (await guest(stack, server, f"user {at}")).join("lecture", vector=None) for at in range(20)
    ]
    for slide in range(1, 4):
        lectern.tell("slide", {"number": slide}, keep=True)
    for seat in crowd:
        await seat.heard(ServerFrame.EVENT, 3)
        assert seat.events() == [("slide", {"number": slide}, False) for slide in range(1, 4)]
    late = await (await guest(stack, server)).join("lecture")
    assert [kind for kind, *_ in late.frames] == [ServerFrame.EVENT, ServerFrame.STEP_1, ServerFrame.STEP_2]
    assert late.events() == [("slide", {"number": 3}, True)]
    assert await server.metric("roomful_event_deliveries_total") >= 63


async def test_rooms_on_one_socket_have_logins_of_their_own(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    ann = await guest(stack, server)
    readable = await ann.join("readable", token="readonly")
    with pytest.raises(RefusedByServer, match="not you") as refused:
        await ann.join("forbidden", token="denied")
    assert refused.value.code == "denied"
    writable = await ann.join("writable")
    readable.write(written(1)[0])
    writable.write(written(1)[0])
    await writable.durable()
    assert (readable.facts["read_only"], ann.errors[-1][2:]) == (True, ["read-only", "you may only read", 0])


async def test_a_room_that_is_left_may_be_joined_again(server: ServerProcess, stack: AsyncExitStack) -> None:
    ann = await guest(stack, server)
    room = await ann.join("again")
    room.write(written(1)[0])
    await room.durable()
    room.send(ClientFrame.LEAVE)
    await ann.until(lambda: room.left is not None, "LEFT")
    assert room.left == (None, "")
    again = await ann.join("again")
    assert again.number == room.number
    assert again.write(EMPTY_UPDATE, ClientFrame.STEP_2) == 0
    await again.durable()


async def test_a_beat_comes_by_the_interval_that_was_announced(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    socket = await stack.enter_async_context(await open_socket(server.port))
    socket.send(packed(ClientFrame.HELLO, {}))
    _, facts = unpacked(await socket.wait_for(lambda message: unpacked(message)[0] == ServerFrame.WELCOME))
    beat = await socket.wait_for(lambda message: unpacked(message)[0] == ServerFrame.NOTICE)
    assert (facts["heartbeat"], unpacked(beat)) == (1.0, [27, {}])


async def test_a_slow_reader_gets_the_document_and_the_last_value_later(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    slow = await stack.enter_async_context(
        await RoomfulClient.connect(server.port, token="slow", receive_buffer=4_096)
    )
    seat = await slow.join("slow")
    ann = await guest(stack, server)
    room = await ann.join("slow")
    slow.socket.pause()
    pace = 0
    for update in written(100):
        room.write(update)
        for _ in range(2):
            pace += 1
            room.tell("number", {"now": pace, "filler": "x" * 8_000}, keep=True)
        await asyncio.sleep(0.011)
    await room.durable()
    slow.socket.resume()
    everything = document(written(100))
    await until(lambda: bool(seat.events()) and seat.events()[-1][1]["now"] == 200, "the last value")
    steps = (ServerFrame.STEP_2, ServerFrame.UPDATE)
    await until(
        lambda: same(document([each for step in steps for (each,) in seat.of(step)]), everything), "all"
    )
    assert len(seat.events()) < 200, "some were left out"


async def test_who_is_sent_a_large_document_gets_it_whole_whatever_events_come_meanwhile(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    text = attacks.update(attacks.item(4, write_varbytes(b"a" * (4 << 20))))
    crowd = [await (await guest(stack, server)).join("large", vector=None) for _ in range(10)]
    crowd[0].write(text)
    await crowd[0].durable()
    slow = await stack.enter_async_context(await RoomfulClient.connect(server.port, receive_buffer=4_096))
    late = await slow.answer(slow.ask("large", vector=NO_STATE, events=True))
    waves = 0
    async with asyncio.timeout(DEADLINE):
        while not late.of(ServerFrame.STEP_2):
            waves += 1
            for seat in crowd:
                seat.tell("wave", waves)
            await crowd[0].heard(ServerFrame.EVENT, len(crowd) * waves)
    assert late.of(ServerFrame.STEP_2) == [[text]]
    assert waves > 1, "it was to be slow"
