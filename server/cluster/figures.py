"""The figures of all processes behind one port: each shows its own on a private socket, and any gathers them.

The sockets are in a folder that only this user may enter, each named after its process: a worker's number,
or ``parent``.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector, web
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

PARENT = "parent"

_SECONDS = 2.0


@contextlib.asynccontextmanager
async def shown(folder: Path, name: str, render: Callable[[], bytes]) -> AsyncIterator[None]:
    """Show figures to those who gather. A younger process of the same name takes the older one's place."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(body=render())

    runner = web.ServerRunner(web.Server(answer), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        private = folder / f"{name}.{os.getpid()}"
        await web.UnixSite(runner, private).start()
        private.rename(_address(folder, name))
        yield
    finally:
        await runner.cleanup()


async def gather(folder: Path, names: Iterable[str]) -> bytes:
    """Return the figures of all processes that answer, each but the parent's with a label ``worker``."""
    names = list(names)
    texts = await asyncio.gather(*(_ask(folder, name) for name in names))
    return generate_latest(_Merged(dict(zip(names, texts, strict=True))))


async def _ask(folder: Path, name: str) -> str:
    connector = UnixConnector(str(_address(folder, name)))
    try:
        async with (
            ClientSession(connector=connector, timeout=ClientTimeout(_SECONDS)) as http,
            http.get("http://figures/") as response,
        ):
            return await response.text()
    except (ClientError, OSError, TimeoutError):
        # It is dead, or not yet there; `roomful_worker_ready` says so.
        return ""


def _address(folder: Path, name: str) -> Path:
    return folder / f"{name}.socket"


class _Merged(Collector):
    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for name, text in self._texts.items():
            label = {} if name == PARENT else {"worker": name}
            for family in text_string_to_metric_families(text):
                merged = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    merged.add_sample(sample.name, {**sample.labels, **label}, sample.value)
        return families.values()
