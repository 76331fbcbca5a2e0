"""People whose machines lose their power: no FIN and no RST comes from there, and nothing else either."""

import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roomful.server.close_codes import CloseCode
from tests.awareness_client import AwarenessClient
from tests.documents import new_document
from tests.presence_client import PresenceClient
from tests.raw_client import PING, Y_WEBSOCKET, RawClient
from tests.server_process import ServerProcess
from tests.tcp_proxy import TcpProxy, Weather
from tests.waiting import until

TURN, GRACE, TICK = 2.0, 1.0, 0.1
ELSEWHERE = 0.2
"""Added to a tick for what others may say before it."""
LONGEST = 2 * TURN + GRACE + TICK + ELSEWHERE + 1.0
"""With a second for a busy machine. A server that waited for a turn more would need longer."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    options = [f"--keepalive-seconds={TURN}", f"--grace-seconds={GRACE}", f"--presence-interval={TICK}"]
    authorize = "tests.hostile.guard:authorize"
    async with ServerProcess(tmp_path / "data", options=options, authorize=authorize) as server:
        yield server


async def test_people_behind_a_black_hole_are_gone_for_the_others_after_two_turns_and_the_grace(
    server: ServerProcess,
) -> None:
    ann = await PresenceClient.connect(server.port, "room", token="ann")
    bob = await AwarenessClient(1, "room").connect(server.port, token="bob", user={"name": "Bob"})
    async with TcpProxy(server.port, random.Random(1)) as proxy:
        cid = await AwarenessClient(2, "room").connect(proxy.port, token="cid", user={"name": "Cid"})
        dan = await PresenceClient.connect(proxy.port, "room", token="dan")
        await ann.sees("u:ann", "u:bob", "u:cid", "u:dan")
        await until(lambda: len(bob.seen) == 3 and 2 in bob.seen, "everybody in awareness")

        # Their last words come right after their turns, so that two whole turns pass until they are missed.
        told: list[int] = []
        dan.client.socket.on_control = lambda opcode, _: told.append(opcode)
        await until(lambda: PING in told, "a ping")
        cid.say(user={"name": "Cid"}, cursor={"anchor": 1})
        dan.say(hand=True)
        await ann.sees_that("u:cid", cursor={"anchor": 1})
        await ann.sees_that("u:dan", hand=True)
        proxy.weather = Weather(swallows=True)
        since = time.monotonic()

        await until(lambda: len(ann.people) < 4 or len(bob.seen) < 3, "somebody gone", within=LONGEST)
        first = time.monotonic() - since
        assert first > TURN + GRACE
        await until(lambda: len(ann.people) == 2 and len(bob.seen) == 1, "both gone", within=LONGEST - first)
        assert (set(ann.people), sorted(ann.left)) == ({"u:ann", "u:bob"}, ["u:cid", "u:dan"])
        assert 2 not in bob.seen and len(bob.vanished) == 2
        cut_off = [line for line in server.logs if line["event"] == "connection cut off"]
        assert [(line["code"], line["reason"]) for line in cut_off] == [(int(CloseCode.NORMAL), "silent")] * 2
        await cid.lose()
        dan.lose()
    await bob.lose()
    ann.lose()


async def test_one_for_whom_much_waits_is_gone_as_soon(server: ServerProcess) -> None:
    ann = await PresenceClient.connect(server.port, "room", token="ann")
    cid = await AwarenessClient(2, "room").connect(server.port, token="cid", user={"name": "Cid"})
    async with await RawClient.join(server.port, Y_WEBSOCKET, "room", token="bob") as bob:
        await ann.sees("u:ann", "u:cid")
        updates = [Y_WEBSOCKET.update("room", update) for update in long_updates(100)]
        told: list[int] = []
        cid.socket.on_control = lambda opcode, _: told.append(opcode)
        await until(lambda: PING in told, "a ping")
        cid.socket.lose_power()
        since = time.monotonic()
        # More than a kernel takes for somebody who takes nothing.
        bob.send(*updates)
        await until(lambda: "u:cid" not in ann.people, "Cid gone", within=LONGEST)
        assert time.monotonic() - since > TURN + GRACE
        cut_off = [line for line in server.logs if line["event"] == "connection cut off"]
        assert [(line["code"], line["reason"]) for line in cut_off] == [(int(CloseCode.NORMAL), "silent")]
        assert await server.metric("roomful_fell_behind_total") == 1, "much waited for it"
    await cid.lose()
    ann.lose()


def long_updates(count: int) -> list[bytes]:
    """Updates of some 50 kB each, of one writer."""
    doc, updates = new_document(), []
    for number in range(count):
        before = doc.get_state()
        doc["text"].insert(0, f"{number} " * 20_000)
        updates.append(doc.get_update(before))
    return updates
