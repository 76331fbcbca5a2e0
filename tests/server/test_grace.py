"""From the end of a connection to what the others see, and what other processes are told of it."""

import asyncio

import msgpack
import pytest

from roomful.presence.claims import Claim, client_key
from roomful.presence.gossip import STATE, Gossip
from roomful.server.close_codes import CloseCode
from roomful.server.room import AWARENESS
from tests.presence.entries import entry
from tests.server.fakes import client_frame
from tests.server.nodes import FakeNode, Visitor, awareness, settle, token

pytestmark = pytest.mark.virtual_time

GRACE = 5.0
ME = awareness(entry(1, 3, {}))
GONE = awareness(entry(1, 3, None))
CLOSE = b"\x07"


async def pair(node: FakeNode) -> tuple[Visitor, Visitor]:
    """Ann, who has said something, and Bob, who has heard it."""
    ann, bob = node.editor(token="ann"), node.editor(token="bob")
    await settle()
    ann.send(ME)
    assert bob.received() == [ME]
    return ann, bob


async def test_one_who_vanishes_is_shown_until_the_grace_is_over() -> None:
    node = FakeNode(grace_seconds=GRACE, idle_room_seconds=1.0)
    ann, bob = await pair(node)
    ann.transport.vanish()
    await asyncio.sleep(GRACE - 0.1)
    assert bob.received() == []
    await asyncio.sleep(0.2)
    assert bob.received() == [GONE]
    bob.transport.vanish()
    await asyncio.sleep(1.1)
    assert len(node.rooms) == 0


@pytest.mark.parametrize("code", [None, 1000, 1001])
async def test_one_who_closes_is_gone_at_once(code: int | None) -> None:
    ann, bob = await pair(FakeNode(grace_seconds=GRACE))
    ann.send_bytes(client_frame(b"" if code is None else code.to_bytes(2, "big"), 0x88))
    assert bob.received() == [GONE]


@pytest.mark.parametrize(
    ("code", "told"), [(CloseCode.RESTART, []), (CloseCode.MALFORMED, [GONE]), (CloseCode.FORBIDDEN, [GONE])]
)
async def test_one_who_is_sent_away_for_good_is_gone_at_once(code: CloseCode, told: list[bytes]) -> None:
    ann, bob = await pair(FakeNode(grace_seconds=GRACE))
    ann.connection.close(code, "")
    assert bob.received() == told
    await asyncio.sleep(GRACE)


async def test_one_who_lets_a_document_go_is_gone_at_once() -> None:
    node = FakeNode(grace_seconds=GRACE)
    ann, bob = node.provider(), node.editor("doc")
    ann.send_to("doc", token("ann"))
    await settle()
    ann.send_to("doc", ME)
    ann.send_to("doc", CLOSE)
    assert bob.received() == [ME, GONE]


async def test_a_room_stays_while_somebody_may_come_back_to_it() -> None:
    node = FakeNode(grace_seconds=GRACE, idle_room_seconds=1.0)
    ann, bob = await pair(node)
    for visitor in (ann, bob):
        visitor.transport.vanish()
    await asyncio.sleep(GRACE + 0.9)
    assert len(node.rooms) == 1
    await asyncio.sleep(0.2)
    assert len(node.rooms) == 0


async def test_one_who_comes_back_over_the_other_protocol_was_never_away() -> None:
    node = FakeNode(grace_seconds=GRACE)
    ann, bob = await pair(node)
    ann.transport.vanish()
    await settle()
    again = node.provider()
    again.send_to("room", token("ann"), ME)
    await asyncio.sleep(2 * GRACE)
    assert bob.received() == [ME]
    again.transport.vanish()
    await asyncio.sleep(GRACE)
    assert bob.received() == [GONE]


async def test_a_process_without_others_tells_nobody() -> None:
    node = FakeNode(grace_seconds=GRACE)
    await pair(node)
    assert node.log.told == []


def told(node: FakeNode) -> list[bytes]:
    """Return what other processes were told in the matter of awareness."""
    return [message[1:] for _, message in node.log.told if message.startswith(AWARENESS)]


async def test_a_process_tells_of_its_own_and_hears_of_others_until_they_are_gone() -> None:
    node = FakeNode(grace_seconds=GRACE, redis="redis://nowhere", idle_room_seconds=1.0)
    ann, bob = await pair(node)
    other = Gossip("other", 1)
    (change,) = [change for message in told(node) for change in other.hear(message, 1.0)]
    assert Claim.decode(change.process, change.key, change.value or b"").entry == entry(1, 3, {})
    other.put(client_key(7), Claim("other", entry(7, 1, {}), bytes(8), 1).encode())
    node.rooms.heard_processes(frozenset({"other"}))
    for message in other.due(1.0):
        node.log.followers["room"].told(AWARENESS + message)
    assert bob.received() == [awareness(entry(7, 1, {}))]
    node.rooms.heard_processes(frozenset({"other"}))
    await asyncio.sleep(2 * GRACE)
    assert bob.received() == []
    node.rooms.heard_processes(frozenset())
    await asyncio.sleep(GRACE + 0.1)
    assert bob.received() == [awareness(entry(7, 1, None))]
    ann.send(awareness(entry(1, 4, {})))
    assert bob.received() == [awareness(entry(1, 4, {}))], "its own name is not among those that are gone"
    node.rooms.close()
    assert node.log.told[-1] == ("room", AWARENESS + Gossip("", 1).bye())


async def test_what_may_have_been_missed_is_asked_for() -> None:
    node = FakeNode(redis="redis://nowhere")
    await pair(node)
    node.log.told.clear()
    node.log.followers["room"].relinked()
    other = Gossip("other", 1)
    other.put(b"x", b"1")
    other.due(1.0)
    for message in told(node):
        other.hear(message, 1.0)
    kinds = [msgpack.unpackb(message)[0] for message in other.due(1.0)]
    assert STATE in kinds, "it is asked for its whole map"
    node.rooms.close()
