"""Several workers behind one port, on a real Redis: who is served where, and how they show themselves."""

import asyncio
import base64
import json
import resource
import socket
from contextlib import AsyncExitStack
from itertools import cycle

import aiohttp
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.pycrdt_client import PycrdtClient
from tests.raw_client import DIALECTS, HOCUSPOCUS, NO_CLOSE_FRAME, Y_WEBSOCKET, RawClient, upgrade
from tests.server.cluster.conftest import Serving
from tests.server_process import ServerProcess
from tests.speech import PROTOCOLS, ROOMFUL
from tests.waiting import until

SILENT = 1_000


async def connections(server: ServerProcess) -> list[float]:
    """Return how many each worker has."""
    return [await server.metric("roomful_connections", worker=str(number)) for number in range(2)]


def token(user: str, **claims: int) -> str:
    payload = base64.urlsafe_b64encode(json.dumps({"sub": user, **claims}).encode()).decode()
    return f"e30.{payload.rstrip('=')}.c2ln"


async def test_a_users_tabs_meet_in_one_worker_and_users_are_spread(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    for number in range(8):
        user = f"ann{number}"
        before = await connections(server)
        for path in (
            f"/sync/one?user={user}",
            f"/sync/other?token={token(user, iat=1)}",
            f"/sync/one?token={token(user, iat=2)}",
            f"/hocuspocus?user={user}",
        ):
            await stack.enter_async_context(await RawClient.open(server.port, path))
        after = await connections(server)
        assert sorted(now - then for now, then in zip(after, before, strict=True)) == [0, 4]
    assert all(await connections(server))


async def test_a_room_with_people_in_both_workers_is_one_room(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    parent = psutil.Process(server.pid)
    files = parent.num_fds()
    people: list[PycrdtClient] = []
    kinds = cycle((*PROTOCOLS, ROOMFUL))
    # Chance places each of them.
    while len(people) < 8 or not all(await connections(server)):
        assert len(people) < 64
        each = PycrdtClient(next(kinds), "room")
        stack.push_async_callback(each.drop)
        await each.connect(server.port, token=f"ann{len(people)}")
        await each.synchronised()
        people.append(each)
    # What was passed on is open in a worker alone.
    await until(lambda: parent.num_fds() <= files)
    for number, each in enumerate(people):
        each.type(f"<{number}>")
    letters = sorted("".join(f"<{number}>" for number in range(len(people))))
    await until(lambda: all(sorted(each.text) == letters for each in people))


async def test_who_shares_rooms_by_room_meets_there_whoever_it_is(
    serving: Serving, stack: AsyncExitStack
) -> None:
    async with serving("--shard-by=room") as server:
        for number in range(8):
            await stack.enter_async_context(await RawClient.open(server.port, f"/sync/a/b?user={number}"))
            await stack.enter_async_context(await RawClient.open(server.port, "/hocuspocus?room=a/b"))
        assert sorted(await connections(server)) == [0, 16]


async def test_a_head_that_comes_in_pieces_is_read_to_its_end(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    for size in (1, 7, 60):
        client = await stack.enter_async_context(await RawClient.connect(server.port))
        # The key comes last.
        request = upgrade("/hocuspocus", Authorization=f"Bearer {token('ann', iat=size)}")
        for at in range(0, len(request), size):
            client.write(request[at : at + size])
            await asyncio.sleep(0)
        await client.until(lambda client=client: client.status == 101)  # type: ignore[misc]
    assert sorted(await connections(server)) == [0, 3]


async def test_what_is_no_request_is_answered_with_400_and_what_never_ends_is_dropped(
    serving: Serving,
) -> None:
    async with serving("--pre-auth-seconds=1") as server:
        for said in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"what?\r\n\r\n", b"GET /" + b"a" * 20_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(said)
            async with asyncio.timeout(10):
                assert (await reader.readline()).startswith(b"HTTP/1.0 400 ")
            writer.close()
        unfinished = await RawClient.connect(server.port)
        unfinished.write(upgrade("/hocuspocus")[:-2])
        assert await unfinished.closed() == NO_CLOSE_FRAME
        await server.wait_for_log("connections dropped before their request", reason="slow")
        assert await server.metric("roomful_dropped_connections_total", reason="slow") == 1


async def test_a_thousand_silent_connections_keep_nobody_out(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 2 * SILENT
    for _ in range(SILENT):
        silent = stack.enter_context(socket.socket())
        silent.setblocking(False)
        await asyncio.get_running_loop().sock_connect(silent, ("127.0.0.1", server.port))
    for dialect in DIALECTS:
        async with asyncio.timeout(2):
            await stack.enter_async_context(await RawClient.join(server.port, dialect, "room"))
    # They are still there.
    assert await server.metric("roomful_dropped_connections_total") == 0


async def test_ipv6_is_served(serving: Serving) -> None:
    async with serving("--host=::1") as server:
        (entry,) = (entry for entry in server.logs if entry["event"] == "listening")
        assert entry["url"] == f"http://[::1]:{server.port}/"
        server.host = "[::1]"
        assert await server.get("/healthz") == b"ok\n"
        async with aiohttp.ClientSession() as http:
            path = server.ws_url + "/sync/room?user=ann"
            async with http.ws_connect(path), http.ws_connect(path):
                assert sorted(await connections(server)) == [0, 2]


async def test_processes_show_themselves_as_one_and_say_which_is_which(server: ServerProcess) -> None:
    text = (await server.get("/metrics")).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name in ("roomful_connections", "roomful_updates", "process_resident_memory_bytes"):
        workers = [sample.labels.get("worker") for sample in families[name].samples]
        assert {"0", "1"} <= set(workers)
        assert len(workers) == len(set(workers))
    assert await server.metric("roomful_worker_ready") == 2
    accepted = await server.metric("roomful_accepted_connections_total")
    assert accepted > 0
    assert await server.metric("roomful_passed_connections_total") == accepted + 1
    assert await server.metric("roomful_worker_restarts_total") == 0
    assert await server.get("/readyz") == b"ready\n"
    for user in ("ann0", "ann1", "ann2"):
        async with await RawClient.open(server.port, f"/sync/room?user={user}") as client:
            client.send(b"\xff")
            assert await client.closed() == 4400
    closed = [entry for entry in server.logs if entry["event"] == "connection closed"]
    assert {entry["worker"] for entry in closed} == {0, 1}
    assert len([entry for entry in server.logs if entry["event"] == "listening"]) == 1


async def test_settings_of_the_parent_hold_in_its_workers(
    serving: Serving, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("settings") / "roomful.toml"
    file.write_text("[limits]\nmax_documents_per_connection = 1\n")
    server = serving(f"--config={file}", "--max-room-name-bytes=5")
    server._environment["ROOMFUL_MAX_AWARENESS_BYTES"] = "1KiB"
    async with server:
        workers = psutil.Process(server.pid).children()
        assert len(workers) == 2
        assert not [name for each in workers for name in each.environ() if name.startswith("ROOMFUL_")]
        async with await RawClient.open(server.port, Y_WEBSOCKET.path("long name")) as client:
            assert await client.closed() == 4404
        async with await RawClient.open(server.port, "/hocuspocus") as client:
            client.send(*HOCUSPOCUS.login("one"), *HOCUSPOCUS.login("two"))
            assert await client.closed() == 4429
