"""The harness itself: what the other tests take for granted about the clients they drive."""

import re
from pathlib import Path

import pytest

from tests.interop.client import LIBRARIES
from tests.interop.driver import DriverError, YjsDriver

HERE = Path(__file__).parent


async def test_all_libraries_share_one_copy_of_yjs() -> None:
    async with YjsDriver() as driver:
        copies = await driver.call("copies_of_yjs")

        assert len(copies) == 1
        assert driver.printed == []


async def test_a_wait_that_ends_says_what_the_client_has_seen() -> None:
    async with YjsDriver() as driver:
        client = await driver.client(LIBRARIES[0], "ws://127.0.0.1:1", "nowhere", connect=False)
        await client.append("written")

        with pytest.raises(DriverError, match='"text":"written"'):
            await client.wait_for(text="never", within=0.01)


async def test_a_fault_inside_a_client_fails_the_test() -> None:
    async def meet_a_fault() -> None:
        async with YjsDriver() as driver:
            await driver.call("fail_later")
            # Answered in a later turn than the one that fails.
            await driver.call("copies_of_yjs")

    with pytest.raises(DriverError, match="escaped"):
        await meet_a_fault()


def test_the_lock_file_names_no_registry() -> None:
    assert re.search(r'"resolved"', (HERE / "package-lock.json").read_text()) is None
