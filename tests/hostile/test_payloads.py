"""Payloads that no check may let through, and those that break whoever builds a document of them."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from roomful.crdt.check import check_update
from roomful.crdt.varint import write_varstring
from roomful.server.close_codes import CloseCode
from tests.attacks import ATTACKS, Attack, item, update
from tests.hostile.siege import ATTACKED, Siege, lay_siege
from tests.raw_client import DIALECTS, Dialect, RawClient, sync_payload
from tests.server_process import ServerProcess

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


async def test_updates_that_halve_each_others_characters_spoil_nothing_that_is_sent_or_kept(
    tmp_path: Path,
) -> None:
    async with lay_siege(tmp_path) as siege, siege.undisturbed(), AsyncExitStack() as stack:
        attackers = [
            await stack.enter_async_context(await RawClient.join(siege.port, dialect, ATTACKED))
            for dialect in DIALECTS
        ]
        for client in range(1, 201):
            # Both in one window: which of them is the first half of the character the library can't say.
            for text in ("a", "\U0001f600"):
                halving = update(item(4, write_varstring(text)), client=client)
                for dialect, attacker in zip(DIALECTS, attackers, strict=True):
                    attacker.send(dialect.update(ATTACKED, halving))
            await attackers[0].drained()
        await siege.more_edits()
    async with ServerProcess(tmp_path) as server:
        for dialect in DIALECTS:
            async with await RawClient.join(server.port, dialect, ATTACKED) as late:
                for message in late.messages:
                    payload = sync_payload(dialect, ATTACKED, message)
                    assert payload is None or check_update(payload)
