"""Roomful clients and a real server: documents, acknowledgements, events, and other clients beside them."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from roomful.server.protocols.roomful import ServerFrame
from tests.crdt.writers import document, same
from tests.roomful_client import RoomfulClient
from tests.server.members import written
from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    async with ServerProcess(tmp_path_factory.mktemp("roomful") / "data") as server:
        yield server


async def test_a_document_goes_both_ways_and_is_acknowledged(server: ServerProcess) -> None:
    first, *rest = written(5)
    async with (
        await RoomfulClient.connect(server.port) as ann,
        await RoomfulClient.connect(server.port) as bob,
    ):
        mine = await ann.join("both ways")
        mine.write(first)
        await mine.durable()
        theirs = await bob.join("both ways")
        assert theirs.number == mine.number
        ((answer,),) = theirs.of(ServerFrame.STEP_2)
        assert same(document([answer]), document([first]))
        for update in rest:
            theirs.write(update)
        await theirs.durable()
        assert theirs.of(ServerFrame.ACK)[-1] == [3, "machine"]
        heard = await mine.heard(ServerFrame.UPDATE)
        assert same(document([first, *(update for (update,) in heard)]), document([first, *rest]))
