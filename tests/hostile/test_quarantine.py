"""Good updates that break whoever builds a document of them: the room is served on, and merged only."""

import asyncio
from pathlib import Path

import pytest

from roomful.crdt.check import check_update
from roomful.crdt.varint import write_varuint
from tests.attacks import ATTACKS, Attack, item, update
from tests.hostile.siege import ATTACKED, MIB, lay_siege
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET, Dialect, RawClient, sync_payload
from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

KILLERS = [attack for attack in ATTACKS if attack.outcome == "quarantined"]
FOLD_ENTRIES = 20
FOLD_OFTEN = ("--fold-entries", str(FOLD_ENTRIES), "--idle-room-seconds", "0", "--log-level", "debug")

by_killer = pytest.mark.parametrize("killer", KILLERS, ids=lambda attack: attack.name)


def runs(updates: list[bytes]) -> set[tuple[int, int]]:
    """Each client's clocks that updates hold."""
    ranges = [each for one in updates for each in check_update(one).ranges]
    return {(client, clock) for client, start, end in ranges for clock in range(start, end)}


async def document(port: int, dialect: Dialect, room: str) -> set[tuple[int, int]]:
    """What somebody who comes now gets of a room."""
    async with await RawClient.join(port, dialect, room) as late:
        payloads = [sync_payload(dialect, room, message) for message in late.messages]
        return runs([payload for payload in payloads if payload is not None])


def crowd(first: int, end: int) -> bytes:
    """A letter of each of many clients, all at the start of the same text."""
    letters = (
        b"\x01" + write_varuint(client) + b"\x00\x04\x01\x01t\x01a"
        for client in range(end - 1, first - 1, -1)
    )
    return write_varuint(end - first) + b"".join(letters) + b"\x00"


async def release(server: ServerProcess, room: str, killer: Attack) -> None:
    """Bring a killer into a room, each of its updates after the one before has been folded."""
    async with await RawClient.join(server.port, HOCUSPOCUS, room) as attacker:
        for client, sent in enumerate((*killer.before, killer.payload), start=71):
            seen = len(server.logs)
            attacker.send(HOCUSPOCUS.update(room, sent))
            for clock in range(FOLD_ENTRIES):
                struct = (
                    b"\x84" + write_varuint(client) + write_varuint(clock - 1) if clock else b"\x04\x01\x01t"
                )
                edit = update(struct + b"\x01a", client=client, clock=clock)
                attacker.messages.clear()
                attacker.send(HOCUSPOCUS.update(room, edit))
                # One at a time: what shares a window is one entry.
                await attacker.wait_for(lambda message: message == HOCUSPOCUS.key(room) + b"\x08\x01")
            if sent is killer.payload and killer.outcome == "quarantined":
                await server.wait_for_log("room quarantined", since=seen, room=room)
            await server.wait_for_log("folded", since=seen, room=room)


@by_killer
async def test_a_document_that_kills_its_worker_is_served_on(tmp_path: Path, killer: Attack) -> None:
    async with lay_siege(tmp_path, options=FOLD_OFTEN) as siege:
        async with siege.undisturbed(errors=["room quarantined"]):
            await release(siege.server, ATTACKED, killer)
            quarantined = await siege.server.wait_for_log("room quarantined")
            folds = await siege.server.metric("roomful_folds_total")
            for dialect in DIALECTS:
                held = await document(siege.port, dialect, ATTACKED)
                assert runs([*killer.before, killer.payload]) <= held

        assert quarantined["room"] == ATTACKED and quarantined["reason"] == "crash"
        assert await siege.server.metric("roomful_quarantined_rooms") == 1
        assert await siege.server.metric("roomful_worker_failures_total", reason="crash") == 1
        assert await siege.server.metric("roomful_folds_total") > folds, "nothing is folded any more"


@by_killer
async def test_a_document_that_kills_its_worker_survives_a_restart_and_kill_9(
    tmp_path: Path, killer: Attack
) -> None:
    async with ServerProcess(tmp_path, options=FOLD_OFTEN) as server:
        await release(server, ATTACKED, killer)
        await server.wait_for_log("room quarantined")
        held = await document(server.port, Y_WEBSOCKET, ATTACKED)

        for end in (server.stop, server.kill):
            await end()
            await server.restart()
            for dialect in DIALECTS:
                assert await document(server.port, dialect, ATTACKED) == held


async def test_a_document_that_leads_its_worker_astray_is_served_whatever_becomes_of_the_worker(
    tmp_path: Path,
) -> None:
    (attack,) = (attack for attack in ATTACKS if attack.outcome == "astray")
    async with (
        lay_siege(tmp_path, options=FOLD_OFTEN) as siege,
        siege.undisturbed(tolerated=("room quarantined",)),
    ):
        await release(siege.server, ATTACKED, attack)
        for dialect in DIALECTS:
            held = await document(siege.port, dialect, ATTACKED)
            assert runs([*attack.before, attack.payload]) <= held


async def test_hostile_rooms_leave_time_to_fold_the_others(tmp_path: Path) -> None:
    (nested,) = KILLERS
    async with lay_siege(tmp_path, options=FOLD_OFTEN) as siege:
        rooms = [f"hostile-{at}" for at in range(4)]
        async with siege.undisturbed(errors=["room quarantined"] * len(rooms)):
            await asyncio.gather(*(release(siege.server, room, nested) for room in rooms))
            for room in rooms:
                await siege.server.wait_for_log("room quarantined", room=room)
            folds = await siege.server.metric("roomful_folds_total")
            # They have left memory; whoever loads them again must not pay for it again.
            held = [await document(siege.port, Y_WEBSOCKET, room) for room in rooms]
            assert all(runs([nested.payload]) <= each for each in held)
        assert await siege.server.metric("roomful_folds_total") > folds
        assert await siege.server.metric("roomful_worker_failures_total") == len(rooms)


async def test_a_room_is_loaded_while_hostile_documents_hold_the_folding_worker(tmp_path: Path) -> None:
    # Where all want to stand in one place the library compares each with each: that takes it many seconds.
    crowds = [crowd(first, first + 1_000) for first in range(1, 16_000, 1_000)]
    options = ("--fold-bytes", "128KiB", "--idle-room-seconds", "0", "--worker-seconds", "3")
    async with ServerProcess(tmp_path, options=options) as server:
        async with await RawClient.join(server.port, HOCUSPOCUS, "cold") as writer:
            text = write_varuint(MIB // 32) + b"a" * (MIB // 32)
            writer.send(HOCUSPOCUS.update("cold", update(item(4, text))))
            await writer.wait_for(lambda message: message == HOCUSPOCUS.key("cold") + b"\x08\x01")
        async with await RawClient.join(server.port, HOCUSPOCUS, "crowded") as attacker:
            saved = HOCUSPOCUS.key("crowded") + b"\x08\x01"
            for each in crowds:
                attacker.messages.clear()
                attacker.send(HOCUSPOCUS.update("crowded", each))
                # One at a time: merged in one window they would be put in order, and cost nothing.
                await attacker.wait_for(lambda message: message == saved)
            async with asyncio.timeout(2):
                assert await document(server.port, Y_WEBSOCKET, "cold")
            await server.wait_for_log("room quarantined", room="crowded", reason="timeout")
