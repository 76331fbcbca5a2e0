"""Documents: whatever the clients do, they end with the same one."""

import random

import pytest

from tests.interop.client import LIBRARIES
from tests.interop.driver import YjsDriver
from tests.server_process import ServerProcess

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("library", LIBRARIES),
]


async def test_two_clients_and_a_late_joiner_hold_the_same_document(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    ann = await driver.client(library, server.ws_url, room)
    bob = await driver.client(library, server.ws_url, room)

    await ann.append("Hello ")
    await bob.wait_for(text="Hello ")
    await bob.append("wörld 🌍")
    await bob.delete(0, 1)
    await bob.insert(0, "J")
    await ann.set("colour", {"name": "red", "shade": [1, 2.5, None]})
    await bob.set("size", 3)
    await driver.converge(ann, bob)
    late = await driver.client(library, server.ws_url, room)
    await driver.converge(ann, bob, late)

    assert await late.text() == "Jello wörld 🌍"
    assert await late.map() == {"colour": {"name": "red", "shade": [1, 2.5, None]}, "size": 3}


async def test_edits_of_both_sides_made_apart_merge_on_return(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    ann = await driver.client(library, server.ws_url, room)
    bob = await driver.client(library, server.ws_url, room)
    await ann.append("one two three")
    await bob.wait_for(text="one two three")

    await bob.disconnect()
    await bob.append(" from bob")
    await bob.delete(0, 4)
    await ann.append(" from ann")
    await ann.delete(4, 4)
    await bob.connect()
    await driver.converge(ann, bob)
    late = await driver.client(library, server.ws_url, room)
    await driver.converge(ann, late)

    text = await late.text()
    assert text.startswith("three")
    assert sorted([text.removeprefix("three")]) in ([" from bob from ann"], [" from ann from bob"])


async def test_a_deletion_alone_made_offline_arrives(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    # Deletions do not show in a state vector: a server that compares those alone loses this one.
    ann = await driver.client(library, server.ws_url, room)
    bob = await driver.client(library, server.ws_url, room)
    await ann.append("keep drop")
    await bob.wait_for(text="keep drop")

    await bob.disconnect()
    await bob.delete(4, 5)
    await bob.connect()

    await ann.wait_for(text="keep")
    late = await driver.client(library, server.ws_url, room)
    await late.wait_for(text="keep", synced=True)


async def test_a_socket_that_breaks_while_typing_costs_nothing(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    ann = await driver.client(library, server.ws_url, room)
    bob = await driver.client(library, server.ws_url, room)
    await ann.wait_for(synced=True)
    await bob.wait_for(synced=True)

    await ann.edit(*[("append", f"a{number} ") for number in range(50)])
    await ann.drop()
    await ann.edit(*[("append", f"A{number} ") for number in range(50)])
    await bob.edit(*[("append", f"b{number} ") for number in range(50)])
    await ann.wait_for(opens=2, synced=True)

    await driver.converge(ann, bob)
    words = (await bob.text()).split()
    assert sorted(words) == sorted(f"{who}{number}" for who in "aAb" for number in range(50))


async def test_many_people_typing_at_once_end_with_one_text(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    people = [await driver.client(library, server.ws_url, room) for _ in range(5)]

    for _ in range(40):
        person = chance.choice(people)
        length = len((await person.text()).encode("utf-16-le")) // 2
        position = chance.randint(0, length)
        if chance.random() < 0.3:
            await person.delete(position, min(length - position, chance.randint(1, 5)))
        else:
            await person.insert(position, chance.choice(["x", "yz", "é", "line\n"]))

    await driver.converge(*people)


async def test_a_document_of_megabytes_reaches_a_late_joiner(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    ann = await driver.client(library, server.ws_url, room)
    page = "".join(chr(97 + number % 26) for number in range(10_000))
    await ann.edit(*[("append", page) for _ in range(200)])
    await ann.edit(*[("insert", position * 50, "é") for position in range(2_000)])

    late = await driver.client(library, server.ws_url, room)

    await late.wait_for(length=2_002_000, within=20)
    await driver.converge(ann, late)
    assert (await late.status())["opens"] == 1
