"""Who sees whom in a room of a real server: Roomful, y-websocket and Hocuspocus clients."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.awareness_client import AwarenessClient
from tests.presence_client import PresenceClient
from tests.raw_client import HOCUSPOCUS, Y_WEBSOCKET, Dialect
from tests.server_process import ServerProcess
from tests.waiting import until


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    options = ["--presence-interval=0.2", "--grace-seconds=1"]
    authorize = "tests.hostile.guard:authorize"
    async with ServerProcess(tmp_path / "data", options=options, authorize=authorize) as server:
        yield server


async def test_people_see_each_other_come_change_and_go(server: ServerProcess) -> None:
    ann = await PresenceClient.connect(server.port, "room", token="ann", status="busy")
    bob = await PresenceClient.connect(server.port, "room", token="bob", device="phone")
    for each in (ann, bob):
        await each.sees("u:ann", "u:bob")
        await each.sees_that("u:ann", status="busy")
    bob.say(typing="title", cursor={"line": 3})
    await ann.sees_that("u:bob", typing="title", cursor={"line": 3})
    await bob.leave()
    await ann.sees("u:ann")
    ann.lose()


async def test_one_who_comes_back_within_the_grace_has_not_flickered(server: ServerProcess) -> None:
    ann = await PresenceClient.connect(server.port, "room", token="ann")
    bob = await PresenceClient.connect(server.port, "room", token="bob", instance="tab", hand=True)
    await ann.sees("u:ann", "u:bob")
    bob.lose()
    again = await PresenceClient.connect(server.port, "room", token="bob", instance="tab", hand=True)
    await ann.sees_that("u:bob", sessions={again.room.facts["session"]: None}, hand=True)
    again.lose()
    await ann.sees("u:ann", within=5)
    assert ann.left == ["u:bob"], "once, when the second grace was over"
    ann.lose()


@pytest.mark.parametrize("dialect", [Y_WEBSOCKET, HOCUSPOCUS], ids=["y-websocket", "hocuspocus"])
async def test_stock_clients_and_roomful_clients_see_each_other(
    server: ServerProcess, dialect: Dialect
) -> None:
    ann = await PresenceClient.connect(server.port, "room", token="ann")
    bob = AwarenessClient(7, "room", dialect)
    await bob.connect(server.port, token="bob", user={"name": "Bob"}, cursor={"anchor": 1})
    await ann.sees("u:ann", "u:bob")
    await ann.sees_that("u:bob", state={"user": {"name": "Bob"}}, cursor={"anchor": 1})
    await until(lambda: len(bob.seen) == 1, "one being seen")
    (stand_in,) = bob.seen
    assert json.loads(bob.state(stand_in) or "") == {"user": {"name": "ann"}}

    ann.say(state={"user": {"name": "Ann", "color": "#f00"}}, cursor={"anchor": 2})
    wanted = {"user": {"name": "Ann", "color": "#f00"}, "cursor": {"anchor": 2}}
    await until(lambda: json.loads(bob.state(stand_in) or "{}") == wanted, "a cursor")
    bob.say(user={"name": "Robert"})
    await ann.sees_that("u:bob", state={"user": {"name": "Robert"}}, cursor=None)

    await bob.leave()
    await ann.sees("u:ann")
    eve = await AwarenessClient(8, "room", dialect).connect(server.port, token="eve")
    await eve.sees(stand_in)
    await ann.leave()
    await eve.sees()
    await eve.leave()
