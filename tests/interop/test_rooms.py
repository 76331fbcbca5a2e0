"""Room names and query parameters, as clients put them into URLs."""

import pytest

from tests.interop.client import Y_WEBSOCKET
from tests.interop.driver import YjsDriver
from tests.server_process import ServerProcess

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("library", Y_WEBSOCKET),
]

NAMES = ["class/5b/maths", "räume-日本-🎨", "100%", "with space", "a+b&c=d", "~dots..and-_()'!*", "tab\there"]


@pytest.mark.parametrize("name", NAMES)
async def test_a_room_has_the_same_name_for_both_kinds_of_client(
    driver: YjsDriver, server: ServerProcess, room: str, library: str, name: str
) -> None:
    # y-websocket puts the name into the URL, where it may be escaped; Hocuspocus sends it as text.
    name = f"{room} {name}"
    # The URL parser drops tabs, as the browsers' do.
    ann = await driver.client(library, server.ws_url, name, token=None)
    bob = await driver.client("hocuspocus@4.8.0", server.ws_url, name.replace("\t", ""))

    await ann.append("here")

    await bob.wait_for(text="here")


async def test_an_escaped_name_is_the_name_it_stands_for(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    # What an application does that is careful with names like "a?b#c" and "50%/x".
    ann = await driver.client(library, server.ws_url, f"{room}%20a%3Fb%23c%2050%25%2Fx%C3%A9")
    bob = await driver.client("hocuspocus@4.8.0", server.ws_url, f"{room} a?b#c 50%/xé")

    await ann.append("here")

    await bob.wait_for(text="here")


async def test_rooms_whose_names_look_alike_are_different_rooms(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    # The last two look the same: one é is a letter, the other an e and an accent.
    endings = ["", "/", "/a", "//a", ".", "\u00e9", "e\u0301"]
    names = [room.upper(), *(room + ending for ending in endings)]
    clients = [await driver.client(library, server.ws_url, name) for name in names]

    for name, client in zip(names, clients, strict=True):
        await client.append(name)
    for name in names:
        late = await driver.client(library, server.ws_url, name)
        await late.wait_for(synced=True, text=name)


async def test_the_token_comes_through_beside_other_parameters(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    name = f"{room}/é & 100%"
    params = {"lang": "de", "empty": "", "token": f"only {name}", "x": "a&b=c#d"}

    client = await driver.client(library, server.ws_url, name, token=None, params=params)
    await client.wait_for(synced=True)
    other = await driver.client(library, server.ws_url, room, token=None, params=params)

    await other.wait_for(closed=4403)


async def test_a_client_without_a_token_is_let_in_where_that_is_allowed(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    client = await driver.client(library, server.ws_url, room, token=None)

    await client.wait_for(synced=True)
