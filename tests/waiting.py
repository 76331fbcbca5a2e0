"""Waiting for what nobody announces."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(true: Callable[[], bool], what: str = "it", *, within: float = 10.0) -> None:
    """Look again and again, and fail when it has not become true in time."""
    try:
        async with asyncio.timeout(within):
            while not true():  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what} did not happen in {within} s") from None


async def until_equal(read: Callable[[], Awaitable[object]], wanted: object, *, within: float = 10.0) -> None:
    """Ask again and again, and fail when the answer has not become what is wanted in time."""
    seen: object = None
    try:
        async with asyncio.timeout(within):
            while (seen := await read()) != wanted:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"still {seen!r} after {within} s, and not {wanted!r}") from None
