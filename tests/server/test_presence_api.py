"""``GET /v1/rooms/{room}/presence``: who is told what of a room's people."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from roomful.server.auth import Access, AccessRequest
from roomful.server.gateway import Gateway
from roomful.server.room import PRESENCE
from tests.presence.entries import entry
from tests.server.guests import Guest, greeted
from tests.server.nodes import FakeNode, awareness, settle
from tests.server.test_presence_neighbours import Other

Http = TestClient[Any, Any]


@pytest.fixture
async def node() -> FakeNode:
    return FakeNode(presence_interval=0.05)


@pytest.fixture
async def http(node: FakeNode) -> AsyncIterator[Http]:
    async with TestClient(TestServer(Gateway(node.node).application())) as client:
        yield client
    node.heartbeat.stop()


async def entered(node: FakeNode, room: str, *users: str, **fields: Any) -> list[Guest]:
    people = node.rooms.people()
    guests = [greeted(node, user) for user in users]
    for guest in guests:
        await guest.join(room, vector=None, presence=fields)
    async with asyncio.timeout(5):
        while node.rooms.people() < people + len(users):  # noqa: ASYNC110 - a tick announces itself to nobody
            await asyncio.sleep(0.005)
    return guests


async def ask(http: Http, room: str, **query: str) -> tuple[int, dict[str, Any]]:
    response = await http.get(f"/v1/rooms/{room}/presence", params={"token": "ann", **query})
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    return response.status, await response.json()


async def test_people_are_told_with_what_they_do(node: FakeNode, http: Http) -> None:
    (guest,) = await entered(node, "a/room", "ann", device="phone", cursor=b"\x00\xff", state={"text": "é"})
    status, body = await ask(http, "a/room")
    (session,) = body["page"][0]["sessions"]
    assert status == 200
    assert body == {
        "people": 1,
        "sessions": 1,
        "page": [{"id": "u:ann", "sessions": {session: "phone"}, "cursor": "AP8=", "state": {"text": "é"}}],
        "next": None,
    }
    assert guest.socket.is_open


async def test_many_people_come_in_pages(node: FakeNode, http: Http) -> None:
    await entered(node, "room", *(f"user {number}" for number in range(5)))
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        _, body = await ask(http, "room", limit="2", after=after)
        assert (body["people"], body["sessions"]) == (5, 5)
        seen += [person["id"] for person in body["page"]]
        after = body["next"]
    assert seen == [f"u:user {number}" for number in range(5)]


async def test_what_stock_clients_do_is_known_though_nobody_else_listens(node: FakeNode, http: Http) -> None:
    editor = node.editor("room")
    await settle()
    for clock in (1, 2):
        editor.send(awareness(entry(7, clock, {"user": {"name": "Bob"}, "cursor": {"at": clock}})))
    _, body = await ask(http, "room")
    (person,) = body["page"]
    assert (body["people"], person["cursor"], person["state"]) == (1, {"at": 2}, {"user": {"name": "Bob"}})


async def test_a_room_that_nobody_has_opened_is_empty_and_stays_closed(node: FakeNode, http: Http) -> None:
    assert await ask(http, "room") == (200, {"people": 0, "sessions": 0, "page": [], "next": None})
    assert "room" not in node.rooms


async def test_the_authorizer_judges_the_token_of_the_header_or_the_address(
    node: FakeNode, http: Http
) -> None:
    assert (await ask(http, "room", token="denied"))[0] == 403
    assert (await ask(http, "room", token="broken"))[0] == 503
    await http.get("/v1/rooms/room/presence", headers={"Authorization": "Bearer secret"})
    assert [(each.token, each.room) for each in node.door.asked] == [
        ("denied", "room"), ("broken", "room"), ("secret", "room"),
    ]  # fmt: skip


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "9" * 5_000, "00000000099999", "\u0661"])
async def test_a_page_has_a_size(http: Http, limit: str) -> None:
    status, body = await ask(http, "room", limit=limit)
    assert (status, body["error"]) == (400, "limit is not 1 to 1000")


async def test_a_name_that_is_too_long_is_none(http: Http) -> None:
    assert (await ask(http, "x" * 513))[0] == 400


async def test_a_user_with_many_tokens_is_bounded_and_others_are_not(node: FakeNode, http: Http) -> None:
    statuses = [(await ask(http, "room", token="ann"))[0] for _ in range(15)]
    assert statuses == [200] * 10 + [429] * 5
    assert len(node.door.asked) == 10, "the login service is not asked"
    assert (await ask(http, "room", token="bob"))[0] == 200

    async def named_cid(_: AccessRequest) -> Access:
        return Access(user="cid")

    node.node.authorize = named_cid
    statuses = [(await ask(http, "room", token=f"of cid {number}"))[0] for number in range(12)]
    assert statuses == [200] * 10 + [429] * 2
    assert node.metrics.refused["too-many-requests"] == 7


async def test_who_has_neither_name_nor_token_is_bounded_by_address(node: FakeNode, http: Http) -> None:
    assert [(await ask(http, "room", token=""))[0] for _ in range(11)] == [200] * 10 + [429]


async def test_who_asks_too_often_is_told_when_to_ask_again_and_the_log_has_one_line(
    node: FakeNode, http: Http
) -> None:
    with capture_logs() as lines:
        for _ in range(20):
            response = await http.get("/v1/rooms/room/presence", params={"token": "ann"})
    assert (response.status, response.headers["Retry-After"]) == (429, "1")
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("presence is asked for too often", "warning")
    ]


async def test_only_so_many_requests_wait_for_rooms_to_be_opened() -> None:
    node = FakeNode(redis="redis://nowhere", max_presence_lookups=2)
    async with TestClient(TestServer(Gateway(node.node).application())) as http:
        first, second = (asyncio.create_task(ask(http, room, token=room)) for room in ("one", "two"))
        await settle()
        async with asyncio.timeout(5):
            while "two" not in node.rooms or "one" not in node.rooms:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.005)
        response = await http.get("/v1/rooms/three/presence", params={"token": "ann"})
        assert (response.status, response.headers["Retry-After"]) == (503, "2")
        assert "three" not in node.rooms
        # Who knocks while a room is being opened waits as well, and does not get half an answer.
        assert (await ask(http, "one", token="eve"))[0] == 503
        assert [status for status, _ in await asyncio.gather(first, second)] == [200, 200]
        assert [(await ask(http, room, token="ann"))[0] for room in ("one", "two")] == [200, 200]
        assert node.metrics.refused["too-many-lookups"] == 2
    node.rooms.close()
    node.heartbeat.stop()


async def test_whoever_asks_while_a_room_is_opened_hears_of_the_people_elsewhere_too() -> None:
    node, other = FakeNode(redis="redis://nowhere"), Other("other")
    other.join("bob")
    async with TestClient(TestServer(Gateway(node.node).application())) as http:
        first = asyncio.create_task(ask(http, "room"))
        async with asyncio.timeout(5):
            while (room := node.rooms.loaded("room")) is None:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.005)
        second = asyncio.create_task(ask(http, "room"))
        for message in other.tells():
            room.told(PRESENCE + message)
        for status, body in await asyncio.gather(first, second):
            assert (status, [person["id"] for person in body["page"]]) == (200, ["u:bob"])
    node.rooms.close()
    node.heartbeat.stop()


async def test_a_room_that_is_full_is_answered_for_all_the_same() -> None:
    node = FakeNode(max_connections_per_room=1, presence_interval=0.05)
    async with TestClient(TestServer(Gateway(node.node).application())) as http:
        await entered(node, "room", "ann")
        status, body = await ask(http, "room")
        assert (status, body["people"]) == (200, 1)
    node.heartbeat.stop()


async def test_a_room_that_was_opened_to_be_looked_into_makes_place_for_the_next() -> None:
    node = FakeNode(redis="redis://nowhere", max_presence_lookups=1)
    async with TestClient(TestServer(Gateway(node.node).application())) as http:
        assert [(await ask(http, room))[0] for room in ("one", "two")] == [200, 200]
    node.rooms.close()
    node.heartbeat.stop()


async def test_a_login_that_takes_too_long_is_not_waited_for() -> None:
    node = FakeNode(pre_auth_seconds=0.05)
    node.door.open.clear()
    async with TestClient(TestServer(Gateway(node.node).application())) as http, asyncio.timeout(5):
        assert (await ask(http, "room"))[0] == 503
    node.heartbeat.stop()


async def test_who_is_denied_is_counted_and_bearer_may_be_written_small(node: FakeNode, http: Http) -> None:
    await ask(http, "room", token="denied")
    assert node.metrics.refused["denied"] == 1
    await http.get("/v1/rooms/room/presence", headers={"Authorization": "bearer secret"})
    assert node.door.asked[-1].token == "secret"


async def test_a_page_may_be_larger_than_what_members_are_told_at_once(node: FakeNode, http: Http) -> None:
    await entered(node, "room", *(f"user {number}" for number in range(10)), state={"text": "x" * 3_000})
    _, body = await ask(http, "room")
    assert (len(body["page"]), body["next"]) == (10, None)


async def test_a_handshake_is_over_with_the_login_however_long_the_room_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node, ended = FakeNode(redis="redis://nowhere"), list[Any]()
    monkeypatch.setattr(node.node.handshakes, "end", ended.append)
    async with TestClient(TestServer(Gateway(node.node).application())) as http:
        asked = asyncio.create_task(ask(http, "room"))
        async with asyncio.timeout(5):
            while "room" not in node.rooms:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.005)
        assert len(ended) == 1
        await asked
    node.rooms.close()
    node.heartbeat.stop()
