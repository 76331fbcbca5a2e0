"""Old rooms in a bucket, with a gate before it: it goes away, answers nothing, and servers die on the way."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from roomful.server.close_codes import CloseCode
from tests.gate import Gate
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET
from tests.redis_process import RedisProcess
from tests.s3_process import CREDENTIALS, shared_s3
from tests.server.old_rooms import Place
from tests.waiting import until, until_equal


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    async with Gate.standing(shared_s3().port) as gate:
        yield gate


@pytest.fixture
async def place(redis: RedisProcess, gate: Gate, tmp_path: Path) -> AsyncIterator[Place]:
    address = f"s3://bucket{tmp_path}?region=nowhere-1&endpoint=http://127.0.0.1:{gate.port}"
    async with AsyncExitStack() as stack:
        yield Place(redis, tmp_path, stack, address, **CREDENTIALS)


def objects(folder: Path) -> list[str]:
    """Return the keys of the objects in the bucket, whatever stands before the gate."""
    start = f"{str(folder).lstrip('/')}/"
    return [key.removeprefix(start) for key in shared_s3().keys(start)]


async def test_while_the_bucket_is_away_its_rooms_are_refused_and_the_others_are_not(
    place: Place, gate: Gate
) -> None:
    server = await place.server("here")
    await place.write(server, "old ")
    marker = await place.archived()
    await gate.shut()
    for dialect in DIALECTS:
        assert await place.refusal(server, dialect) == CloseCode.STORAGE
    await server.wait_for_log("room can't be loaded")
    other = await place.person(server, HOCUSPOCUS, "other")
    other.type("new ")
    await other.answered()
    await other.drop()
    # Neither does it leave Redis now, nor is it lost.
    await server.wait_for_log("old rooms can't be archived now")
    assert (await place.person(server, Y_WEBSOCKET, "other")).text == "new "
    assert (await server.get("/readyz")).startswith(b"ready")
    gate.open()
    assert (await place.person(server)).text == "old "
    assert await place.marker() == marker
    secrets = [line for line in server.output if CREDENTIALS["AWS_SECRET_ACCESS_KEY"] in line]
    assert secrets == []


async def test_a_server_killed_between_object_and_marker_leaves_the_room_whole_and_nothing_else(
    place: Place, gate: Gate, tmp_path: Path
) -> None:
    server = await place.server("here")
    gate.hold_answers()
    await place.write(server, "text ")
    await until(lambda: len(objects(tmp_path)) == 1, "the put")
    await server.kill()
    (left,) = objects(tmp_path)
    assert (await place.marker())["storing"] == left
    assert await place.left() == {"entries"}
    gate.open()
    await server.restart()
    reader = await place.person(server, Y_WEBSOCKET)
    assert reader.text == "text "
    await reader.drop()
    stored = (await place.archived())["stored"]
    assert stored != left
    await until(lambda: objects(tmp_path) == [stored], "deleting what was left")
    await until_equal(place.fields, {"epoch", "last", "folded", "stored"})
    assert (await place.person(server)).text == "text "
