"""A headless Chromium for tests: people open the page, write in it, and say what they see.

``browser.mjs`` drives it and waits by the page's own events, so that a test never polls and never sleeps.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

HERE: Final = Path(__file__).parent
CHROMIUM: Final = Path(os.environ.get("CHROMIUM") or shutil.which("chromium") or "chromium")
START_SECONDS: Final = 60.0
WAIT_SECONDS: Final = 15.0
ANSWER_SECONDS: Final = 30.0
NOT_TEXT: Final = ".cm-ySelectionCaret, .cm-placeholder"
PHONE: Final[Mapping[str, Any]] = {
    "viewport": {"width": 390, "height": 780},
    "deviceScaleFactor": 2,
    "hasTouch": True,
    "isMobile": True,
}


class BrowserError(AssertionError):
    """The browser could not do what it was told; for a wait, the message says what was seen instead."""


class Browser:
    """One Chromium with any number of tabs, each as separate from the others as another person's browser.

    ``async with Browser() as browser`` starts it; leaving ends it.
    """

    def __init__(self) -> None:
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._names = count(1)

    async def __aenter__(self) -> Self:
        if not CHROMIUM.exists():
            raise BrowserError(f"there is no {CHROMIUM}. On Debian: apt-get install chromium")
        if not (HERE / "node_modules").is_dir():
            raise BrowserError(f"run: npm ci --prefix {HERE}")
        self._process = await asyncio.create_subprocess_exec(
            "node", str(HERE / "browser.mjs"), str(CHROMIUM), stdin=PIPE, stdout=PIPE
        )
        async with asyncio.timeout(START_SECONDS):
            await self._answer()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def open(self, url: str, name: str, **settings: Any) -> Tab:
        """Open the page as ``name`` and wait until it is connected, or has been refused.

        :param settings: what Playwright calls the options of a context, such as ``colorScheme`` or ``PHONE``
        """
        tab = Tab(self, f"{name}#{next(self._names)}")
        await tab.call("open", url=url, settings=settings)
        await tab.sees("#status:is([data-state=connected], [data-state=refused])")
        await tab.call("evaluate", expression=_call_myself(name))
        return tab

    async def faults(self) -> list[str]:
        """Exceptions in pages, and what their Content-Security-Policy stopped, since the last call."""
        found: list[str] = await self.call("faults")
        return found

    async def close_all(self) -> None:
        await self.call("close_all")

    async def call(self, op: str, **arguments: Any) -> Any:
        """Send one command and return its result; commands are carried out one after the other."""
        assert self._process is not None and self._process.stdin is not None
        async with self._turn, asyncio.timeout(ANSWER_SECONDS):
            self._process.stdin.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
            await self._process.stdin.drain()
            return await self._answer()

    async def _answer(self) -> Any:
        assert self._process is not None and self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise BrowserError("the browser has ended")
        message = json.loads(line)
        if "error" in message:
            raise BrowserError(message["error"])
        return message["result"]


class Tab:
    """The page, open before one person."""

    def __init__(self, browser: Browser, name: str) -> None:
        self._browser = browser
        self._name = name

    async def call(self, op: str, **arguments: Any) -> Any:
        return await self._browser.call(op, tab=self._name, **arguments)

    async def close(self) -> None:
        await self.call("close")

    async def write(self, text: str) -> None:
        """Click into the text, go to its end, and type."""
        await self.call("click", selector=".cm-content")
        await self.call("press", key="Control+End")
        await self.call("write", text=text)

    async def sees(self, selector: str) -> None:
        """Wait until such an element is visible."""
        await self.call("sees", selector=selector, timeout=WAIT_SECONDS * 1000)

    async def reads(self, selector: str, texts: Sequence[str], *, without: str = "") -> None:
        """Wait until the elements, in order, have exactly these texts, parts ``without`` left out."""
        await self.call(
            "reads", selector=selector, expected=texts, without=without, timeout=WAIT_SECONDS * 1000
        )

    async def reads_lines(self, *lines: str) -> None:
        """Wait until the shared text is exactly these lines."""
        await self.reads(".cm-line", lines, without=NOT_TEXT)

    async def lines(self) -> list[str]:
        """The lines of the shared text as they are now."""
        found: list[str] = await self.call("reads", selector=".cm-line", without=NOT_TEXT)
        return found

    async def picture(self, path: Path) -> None:
        await self.call("picture", path=str(path))


def _call_myself(name: str) -> str:
    return f"""
        const field = document.getElementById("my-name");
        field.value = {json.dumps(name)};
        field.dispatchEvent(new Event("change"));
    """
