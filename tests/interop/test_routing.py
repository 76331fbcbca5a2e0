"""The snippet of docs/SCALING.md, run as it stands there: a real client that asks where to connect."""

import asyncio
import re
import secrets
from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from tests.redis_process import shared_redis
from tests.router_client import route
from tests.server_process import ROOT, ServerProcess
from tests.waiting import until_equal

HERE = Path(__file__).parent
BEFORE = """
import { WebSocket } from 'ws'
globalThis.WebSocket = WebSocket
const token = '', user = 'ann'
"""
AFTER = """
provider.on('sync', synced => { if (synced) console.log(provider.serverUrl) })
"""


async def test_a_client_that_asks_comes_to_its_node_and_when_that_dies_to_the_next(tmp_path: Path) -> None:
    options = (f"--redis={shared_redis().url}", f"--redis-prefix={secrets.token_hex(4)}")
    async with AsyncExitStack() as stack:
        nodes = [ServerProcess(tmp_path / name, options=options) for name in ("one", "two")]
        await asyncio.gather(*map(stack.enter_async_context, nodes))
        for node in nodes:
            await until_equal(partial(node.metric, "roomful_nodes"), 2)
        owner = (await route(nodes[0], "ann"))["node"]
        nodes.sort(key=lambda node: node.http_url != owner)
        (script,) = re.findall(
            r"```js\n(.*?)```", (ROOT / "docs" / "SCALING.md").read_text("utf-8"), re.DOTALL
        )
        for port, node in zip(("8080", "8081"), nodes, strict=True):
            assert f"'http://127.0.0.1:{port}'" in script
            script = script.replace(f"http://127.0.0.1:{port}", node.http_url)
        script = BEFORE + script.replace("from 'y-websocket'", "from 'y-websocket-3.1'") + AFTER
        command = ("node", "--input-type=module", "--eval", script)
        client = await asyncio.create_subprocess_exec(*command, cwd=HERE, stdout=PIPE)
        try:
            assert client.stdout is not None
            async with asyncio.timeout(20):
                assert (await client.stdout.readline()).decode().strip() == f"{nodes[0].ws_url}/sync"
                # It is still named first until its lease has lapsed.
                await nodes[0].kill()
                assert (await client.stdout.readline()).decode().strip() == f"{nodes[1].ws_url}/sync"
        finally:
            client.kill()
            await client.communicate()
