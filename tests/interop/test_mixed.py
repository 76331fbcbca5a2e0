"""Both kinds of client in one room."""

import pytest

from tests.interop.client import LIBRARIES
from tests.interop.driver import YjsDriver
from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAIRS = [("y-websocket@3.1.0", "hocuspocus@4.8.0"), ("y-websocket@1.5.4", "hocuspocus@2.15.3")]


@pytest.mark.parametrize(("one", "other"), [*PAIRS, *[(b, a) for a, b in PAIRS]])
async def test_each_kind_sees_what_the_other_writes_and_that_it_is_there(
    driver: YjsDriver, server: ServerProcess, room: str, one: str, other: str
) -> None:
    ann = await driver.client(one, server.ws_url, room)
    await ann.append("written first ")
    await ann.set_awareness(user={"name": "Ann"}, cursor=1)
    bob = await driver.client(other, server.ws_url, room)

    await bob.wait_for(text="written first ", peer={"user": {"name": "Ann"}, "cursor": 1})
    await bob.append("written second ")
    await bob.set_awareness(user={"name": "Bob"})
    await ann.wait_for(text="written first written second ", peer={"user": {"name": "Bob"}})
    await ann.delete(0, 8)
    await bob.wait_for(text="first written second ")
    await driver.converge(ann, bob)

    await ann.destroy()
    await bob.wait_for(peers=0)


async def test_every_library_at_once(driver: YjsDriver, server: ServerProcess, room: str) -> None:
    people = [await driver.client(library, server.ws_url, room) for library in LIBRARIES]
    for person in people:
        await person.set_awareness(library=person.library)
        await person.edit(*[("insert", 0, f"{person.library} ") for _ in range(20)])
        await person.set(person.library, True)

    await driver.converge(*people)
    for person in people:
        await person.wait_for(peers=len(LIBRARIES) - 1)
        for library in LIBRARIES:
            if library != person.library:
                await person.wait_for(peer={"library": library})
    assert sorted((await people[0].text()).split()) == sorted(LIBRARIES * 20)
    assert [(await person.status())["opens"] for person in people] == [1] * len(people)
