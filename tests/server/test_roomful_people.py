"""Who is in a room, asked for in pages by Roomful sessions, without a network."""

import asyncio
from typing import Any

import pytest

from roomful.presence import tiers
from roomful.server.protocols.roomful import ClientFrame, ServerFrame
from tests.server.guests import Guest, errors, greeted, kinds
from tests.server.nodes import FakeNode
from tests.server.test_roomful_presence import entered

pytestmark = pytest.mark.virtual_time

PEOPLE = ClientFrame.PEOPLE


@pytest.fixture
async def node() -> FakeNode:
    return FakeNode(presence_pages_per_second=3, keepalive_seconds=600.0)


async def filled(node: FakeNode, people: int, **fields: Any) -> None:
    """Let so many people into the room, and wait until they are seen."""
    for number in range(people):
        await greeted(node, f"user {number:03}").join("room", vector=None, presence=fields)
    await asyncio.sleep(2)


async def reader(node: FakeNode) -> tuple[Guest, int]:
    """Let somebody in who hears of nothing unasked."""
    guest = greeted(node, "reader")
    return guest, await guest.join("room", vector=None)


def page(guest: Guest) -> dict[str, Any]:
    """Return the only thing that a guest was told, a page."""
    (frame,) = guest.hears()
    assert frame[0] == ServerFrame.PEOPLE
    return dict(frame[3])


async def test_a_session_goes_through_everybody_though_members_are_told_of_few(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiers, "FULL_UP_TO", 2)
    monkeypatch.setattr(tiers, "MOST_ACTIVE", 1)
    await filled(node, 7, status="busy")
    guest, room = await reader(node)
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        guest.say(PEOPLE, room, 40, after, 3)
        ((kind, *answered, told),) = guest.hears()
        assert (kind, answered) == (ServerFrame.PEOPLE, [room, 40])
        assert (told["people"], told["sessions"]) == (7, 7)
        assert {person["status"] for person in told["page"]} == {"busy"}
        seen, after = [*seen, *(person["id"] for person in told["page"])], told["next"]
        await asyncio.sleep(1)
    assert seen == [f"u:user {number:03}" for number in range(7)]
    node.heartbeat.stop()


async def test_a_page_is_no_larger_than_what_members_are_told_at_once(node: FakeNode) -> None:
    await filled(node, 20, state={"text": "x" * 3_000})
    guest, room = await reader(node)
    guest.say(PEOPLE, room, 1, "", 2**53 - 1)
    (message,) = guest.received()
    assert len(message) <= node.config.limits.presence_frame_bytes
    guest.say(PEOPLE, room, 2, "", 2**53 - 1)
    told = page(guest)
    assert (len(told["page"]), told["next"]) == (5, "u:user 004")
    node.heartbeat.stop()


async def test_what_somebody_does_is_in_a_page_though_nobody_is_told_of_it(node: FakeNode) -> None:
    await filled(node, 1)
    guest, room = await reader(node)
    guest.say(ClientFrame.PRESENCE, room, {"hand": True})
    await asyncio.sleep(2)
    guest.hears()
    guest.say(PEOPLE, room, 1, "", 1)
    assert page(guest)["page"][0]["hand"]
    node.heartbeat.stop()


async def test_more_pages_than_the_limit_are_refused_by_their_numbers_and_cost_nothing_else(
    node: FakeNode,
) -> None:
    await filled(node, 1)
    guest, room = await reader(node)
    for request in range(1, 7):
        guest.say(PEOPLE, room, request, "", 1)
    told, refused = (frames := guest.hears())[:3], frames[3:]
    assert kinds(told) == ["PEOPLE"] * 3
    assert errors(refused) == [(request, room, "too-fast", None) for request in (4, 5, 6)]
    assert node.metrics.refused["too-fast"] == 3
    await asyncio.sleep(0.4)
    guest.say(PEOPLE, room, 7, "", 1)
    assert page(guest)["people"] == 1
    assert guest.closed_with() is None
    node.heartbeat.stop()


async def test_a_page_for_a_room_that_is_not_open_is_refused_by_its_number(node: FakeNode) -> None:
    guest, room = await reader(node)
    guest.say(PEOPLE, room + 1, 9, "", 1)
    assert errors(guest.hears()) == [(9, room + 1, "not-joined", None)]
    node.heartbeat.stop()


async def test_who_takes_nothing_is_owed_one_page_and_gets_it_as_people_are_then(node: FakeNode) -> None:
    await filled(node, 1)
    guest, room = await reader(node)
    guest.transport.stall()
    while not guest.socket.is_congested:
        guest.socket.write(b"\x82\x03\x92\x1b\x80")
    guest.hears()
    guest.say(PEOPLE, room, 1, "", 9)
    await asyncio.sleep(1)
    buffered = guest.socket.buffered
    guest.say(PEOPLE, room, 2, "", 9)
    assert guest.socket.buffered - buffered < 100
    await filled(node, 3)
    guest.transport.drain()
    refusal, answer = guest.hears()
    assert errors([refusal]) == [(2, room, "too-fast", None)]
    assert answer[:3] == [ServerFrame.PEOPLE, room, 1]
    assert answer[3]["sessions"] == 4
    guest.say(PEOPLE, room, 3, "", 9)
    assert page(guest)["people"] == 3
    node.heartbeat.stop()


@pytest.mark.parametrize(
    "question", [(1, "", 0), (1, "", 1.0), (1, "", -1), (1, "u:" + "n" * 513, 1), (1, None, 1), ("1", "", 1)]
)
async def test_what_is_no_question_ends_the_connection_and_nobody_elses(
    node: FakeNode, question: tuple[Any, ...]
) -> None:
    await filled(node, 1)
    (guest, room), (other, _) = await reader(node), await reader(node)
    guest.say(PEOPLE, room, *question)
    assert (guest.closed_with() or (0, ""))[0] == 4400
    other.say(PEOPLE, room, 1, "", 1)
    assert page(other)["people"] == 1
    node.heartbeat.stop()


async def test_a_page_is_of_those_who_are_here_by_now(node: FakeNode) -> None:
    await filled(node, 1)
    ann, of_ann = await entered(node, "ann")
    guest, room = await reader(node)
    await asyncio.sleep(4)
    guest.say(PEOPLE, room, 1, "", 9)
    assert [each["id"] for each in page(guest)["page"]] == ["u:ann", "u:user 000"]
    ann.say(ClientFrame.LEAVE, of_ann)
    await asyncio.sleep(4)
    guest.say(PEOPLE, room, 2, "", 9)
    assert [each["id"] for each in page(guest)["page"]] == ["u:user 000"]
    await entered(node, "bob")
    await asyncio.sleep(4)
    guest.say(PEOPLE, room, 3, "", 9)
    assert [each["id"] for each in page(guest)["page"]] == ["u:bob", "u:user 000"]
    node.heartbeat.stop()
