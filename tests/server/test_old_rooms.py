"""Rooms that nobody has written to for long leave Redis, and come back when somebody opens them."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from roomful.server.close_codes import CloseCode
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET
from tests.redis_process import RedisProcess
from tests.server.old_rooms import NAME, Place
from tests.waiting import until


@pytest.fixture
async def place(redis: RedisProcess, tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        yield Place(redis, tmp_path, stack)


async def test_a_room_leaves_redis_and_comes_back_the_same_again_and_again(place: Place) -> None:
    here, there = await place.server("here"), await place.server("there")
    await place.write(here, "one ")
    first = await place.archived()
    assert first.keys() == {"epoch", "last", "folded", "stored"}
    assert first["last"] == first["folded"] == "1"
    assert place.objects() == {first["stored"]}

    # Appended to while it is away: the same life of the room goes on.
    await place.write(there, "two ")
    second = await place.archived()
    assert (second["epoch"], second["last"], second["before"]) == (first["epoch"], "2", first["stored"])
    assert place.objects() == {first["stored"], second["stored"]}

    await place.write(here, "three ")
    third = await place.archived()
    assert third["before"] == second["stored"]
    await until(lambda: place.objects() == {second["stored"], third["stored"]}, "deleting the first")
    reader = await place.person(there, Y_WEBSOCKET)
    assert sorted(reader.text.split()) == ["one", "three", "two"]
    assert sum([await each.metric("roomful_archived_rooms_total") for each in (here, there)]) == 3
    assert await there.metric("roomful_store_get_seconds_count") >= 2


async def test_who_has_a_room_open_while_another_server_archives_it_notices_nothing(place: Place) -> None:
    here, there = await place.server("here"), await place.server("there")
    ann = await place.person(there)
    ann.type("one ")
    await ann.answered()
    await place.archived()
    ann.type("two ")
    await ann.answered()
    bob = await place.person(here, Y_WEBSOCKET)
    assert bob.text == ann.text
    bob.type("three ")
    await until(lambda: ann.text == bob.text)
    assert ann.connected
    assert "room read again" not in [entry["event"] for entry in there.logs]


@pytest.mark.parametrize("damage", ["damaged", "gone"])
async def test_a_room_whose_snapshot_is_not_what_it_was_is_not_opened_and_the_others_are(
    place: Place, damage: str
) -> None:
    server = await place.server("here")
    await place.write(server, "text")
    path = place.store / (await place.archived())["stored"]
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + b"?")
    for dialect in DIALECTS:
        assert await place.refusal(server, dialect) == CloseCode.STORAGE
    refused = await server.wait_for_log("room can't be loaded", room=NAME)
    assert ("damaged" if damage == "damaged" else "No such file") in refused["error"]
    assert await server.metric("roomful_store_errors_total", operation="get") == 2
    other = await place.person(server, HOCUSPOCUS, "other")
    other.type("other")
    await other.answered()
    path.write_bytes(content)
    assert (await place.person(server)).text == "text"


async def test_a_redis_that_comes_back_as_it_was_before_the_last_move_finds_its_snapshot(
    place: Place, redis: RedisProcess, tmp_path: Path
) -> None:
    server = await place.server("here")
    await place.write(server, "one ")
    first = await place.archived()
    redis.kill()
    shutil.copytree(redis.folder, tmp_path / "copy")
    redis.start()
    await place.write(server, "two ")
    assert (await place.archived())["before"] == first["stored"]
    await server.kill()
    redis.kill()
    shutil.rmtree(redis.folder)
    shutil.move(tmp_path / "copy", redis.folder)
    redis.start()
    await server.restart()
    assert await place.archived() == first
    assert (await place.person(server)).text == "one "


async def test_rooms_leave_a_redis_that_is_full(place: Place) -> None:
    server = await place.server("here")
    await place.write(server, "text")
    await place.redis.config_set("maxmemory", 1)
    await place.archived()
    assert (await place.person(server, Y_WEBSOCKET)).text == "text"
