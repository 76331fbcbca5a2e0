"""The first page in a real browser, against the real server."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.interop.driver import YjsDriver
from tests.page.browser import PHONE, Browser
from tests.server_process import ServerProcess

STYLES_OF_PEOPLE = "[...document.querySelectorAll('#people button')].map((person) => person.style.cssText)"

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    data = tmp_path_factory.mktemp("page") / "data"
    async with ServerProcess(data, authorize="tests.interop.tokens:authorize") as server:
        yield server


@pytest.fixture
def url(server: ServerProcess, room: str) -> str:
    return f"{server.http_url}/?room={room}"


async def test_two_people_write_into_one_text(browser: Browser, url: str) -> None:
    ada = await browser.open(url, "Ada")
    ben = await browser.open(url, "Ben")

    await ada.write("Good morning, Ben.\n")
    await ben.reads_lines("Good morning, Ben.", "")
    await ben.write("Good morning, Ada.")

    await ada.reads_lines("Good morning, Ben.", "Good morning, Ada.")
    await ben.reads_lines("Good morning, Ben.", "Good morning, Ada.")
    await ada.reads("#status", ["Connected, all changes sent"])


async def test_people_see_each_others_named_cursors(browser: Browser, url: str) -> None:
    ada = await browser.open(url, "Ada")
    ben = await browser.open(url, "Ben")

    await ada.write("here ")
    await ben.write("and here")

    await ada.reads(".cm-ySelectionInfo", ["Ben"])
    await ben.reads(".cm-ySelectionInfo", ["Ada"])


async def test_the_list_shows_who_comes_who_is_renamed_and_who_leaves(browser: Browser, url: str) -> None:
    ada = await browser.open(url, "Ada")
    await ada.reads("#people .person-name", ["Ada"])
    await ada.sees("#alone")

    ben = await browser.open(url, "Ben")
    await ada.reads("#people .person-name", ["Ada", "Ben"])
    await ben.reads("#people .person-name", ["Ben", "Ada"])

    await ben.call("fill", selector="#my-name", text="Benjamin")
    await ben.call("press", key="Enter")
    await ada.reads("#people .person-name", ["Ada", "Benjamin"])

    await ben.close()
    await ada.reads("#people .person-name", ["Ada"])
    await ada.reads(".cm-ySelectionInfo", [])


async def test_what_strangers_say_of_themselves_is_shown_harmlessly(
    browser: Browser, server: ServerProcess, url: str, room: str
) -> None:
    ada = await browser.open(url, "Ada")
    async with YjsDriver() as driver:
        stranger = await driver.client("y-websocket@3.1.0", server.ws_url, room)
        await stranger.set_awareness_state(
            {"user": {"name": "<b>Eve</b>" + " " * 9 + "x" * 99, "color": "red;position:fixed;inset:0"}}
        )
        await ada.reads("#people .person-name", ["Ada", "<b>Eve</b> " + "x" * 29])
        assert await ada.call("evaluate", expression=STYLES_OF_PEOPLE) == ["--colour: #5d6d78;"]


async def test_what_is_written_offline_merges_when_the_server_is_back(
    browser: Browser, room: str, tmp_path: Path
) -> None:
    async with ServerProcess(tmp_path / "data") as server:
        url = f"{server.http_url}/?room={room}"
        ada = await browser.open(url, "Ada")
        ben = await browser.open(url, "Ben")
        await ada.write("Before. ")
        await ben.reads_lines("Before.")

        await server.stop()
        await ada.sees("#status[data-state=offline]")
        await ben.sees("#status[data-state=offline]")
        await ada.write("Ada alone. ")
        await ben.write("Ben alone. ")
        await server.restart()

        await ada.reads("#status", ["Connected, all changes sent"])
        await ben.reads("#people .person-name", ["Ben", "Ada"])
        await ben.sees(".cm-line:has-text('Ada alone.')")
        await ada.sees(".cm-line:has-text('Ben alone.')")
        assert await ada.lines() in (["Before. Ada alone. Ben alone."], ["Before. Ben alone. Ada alone."])
        assert await ben.lines() == await ada.lines()


async def test_the_way_to_another_room_keeps_the_token(browser: Browser, url: str, room: str) -> None:
    ada = await browser.open(f"{url}&token=ada", "Ada")
    await ada.write("first room")

    await ada.call("click", selector="#room-button")
    await ada.call("write", text=f"{room}/next door?")
    await ada.call("press", key="Enter")

    await ada.sees(f"#room-name:text-is('{room}/next door?')")
    await ada.sees("#status[data-state=connected]")
    await ada.reads_lines("")
    await ada.reads("#status", ["Connected, all changes sent"])
    assert await ada.call("evaluate", expression="new URL(location).searchParams.get('token')") == "ada"


async def test_a_refusal_is_told_and_costs_no_words(browser: Browser, url: str) -> None:
    ada = await browser.open(f"{url}&token=denied", "Ada")

    await ada.reads("#notice p", ["The server refused: this token is no good."])
    await ada.write("Still here.")

    await ada.reads_lines("Still here.")
    await ada.reads("#status", ["Not connected"])


async def test_somebody_who_may_only_read_is_told_and_cannot_write(browser: Browser, url: str) -> None:
    ada = await browser.open(url, "Ada")
    await ada.write("The lesson.")
    reader = await browser.open(f"{url}&token=readonly", "Reader")

    await reader.reads("#notice p", ["You are reading along: you may only read."])
    await reader.sees(".cm-content[contenteditable=false]")
    await ada.write(" Part two.")
    await reader.reads_lines("The lesson. Part two.")


async def test_each_undoes_only_what_is_their_own(browser: Browser, url: str) -> None:
    ada = await browser.open(url, "Ada")
    ben = await browser.open(url, "Ben")
    await ada.write("one\n")
    await ben.reads_lines("one", "")
    await ben.write("two")
    await ada.reads_lines("one", "two")

    await ada.call("click", selector="#undo")

    await ben.reads_lines("two")
    await ada.call("click", selector="#redo")
    await ben.reads_lines("one", "two")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        pytest.param("light", {"colorScheme": "light"}, id="light"),
        pytest.param("dark", {"colorScheme": "dark"}, id="dark"),
        pytest.param("phone", {"colorScheme": "light", **PHONE}, id="phone"),
    ],
)
async def test_the_page_fits_its_window(
    browser: Browser, url: str, tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    """Set PAGE_PICTURES to a folder to keep what it looks like."""
    ben = await browser.open(url, "Ben")
    await ben.write("# Notes from Tuesday\n\nWe tried the **new seating plan**, and *nobody* asked to move.")
    ada = await browser.open(url, "Ada", **settings)
    await ada.reads(".cm-ySelectionInfo", ["Ben"])

    folder = Path(os.environ.get("PAGE_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    await ada.picture(folder / f"{name}.png")

    assert await ada.call("evaluate", expression="document.documentElement.scrollWidth <= innerWidth")
    assert await ada.call("evaluate", expression="document.documentElement.scrollHeight <= innerHeight")
