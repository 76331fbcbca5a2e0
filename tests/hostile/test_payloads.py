"""Payloads that no check may let through, and those that break whoever builds a document of them."""

import asyncio

import pytest

from roomful.server.close_codes import CloseCode
from tests.attacks import ATTACKS, Attack
from tests.hostile.siege import ATTACKED, Siege
from tests.raw_client import DIALECTS, Dialect, RawClient, sync_payload

pytestmark = pytest.mark.asyncio(loop_scope="session")

AT_ONCE = 8


def messages(attack: Attack, dialect: Dialect, room: str) -> list[bytes]:
    """Every message in which a payload can arrive."""
    if attack.kind == "state vector":
        return [dialect.step_1(room, attack.payload)]
    if attack.kind == "awareness":
        return [dialect.awareness(room, attack.payload)]
    return [dialect.update(room, attack.payload), dialect.step_2(room, attack.payload)]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("kind", ["update", "state vector", "awareness"])
async def test_each_malformed_payload_costs_its_sender_the_connection_and_nobody_else_anything(
    siege: Siege, dialect: Dialect, kind: str
) -> None:
    attacks = [attack for attack in ATTACKS if attack.kind == kind and attack.outcome == "rejected"]
    refused, logged = await siege.refused(), siege.logged(CloseCode.MALFORMED)
    gate = asyncio.Semaphore(AT_ONCE)
    faults: list[str] = []

    async def attack_with(attack: Attack, message: bytes) -> None:
        async with gate, await RawClient.join(siege.port, dialect, ATTACKED) as client:
            client.send(message)
            code = await client.closed(within=2)
            if code != CloseCode.MALFORMED:
                faults.append(f"{attack.name}: closed with {code} {client.close_reason!r}")

    assaults = [(attack, each) for attack in attacks for each in messages(attack, dialect, ATTACKED)]
    async with asyncio.TaskGroup() as group:
        for attack, message in assaults:
            group.create_task(attack_with(attack, message))

    assert not faults
    assert await siege.refused() - refused == len(assaults)
    await siege.logs(CloseCode.MALFORMED, logged + len(assaults))


async def document(siege: Siege, dialect: Dialect, room: str) -> bytes:
    """Everything that somebody who comes now is sent of a room's document."""
    async with await RawClient.join(siege.port, dialect, room) as late:
        return b"".join(filter(None, (sync_payload(dialect, room, message) for message in late.messages)))
