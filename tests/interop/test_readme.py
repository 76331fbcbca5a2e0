"""The snippets of the README, run as they stand there."""

import asyncio
import re
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.server_process import ROOT, ServerProcess

HERE = Path(__file__).parent

# Node 20 has no WebSocket of its own, and here each published version has a name of its own.
BEFORE = """
import { WebSocket } from 'ws'
globalThis.WebSocket = WebSocket
const token = ''
"""
INSTALLED_AS = {"y-websocket": "y-websocket-3.1", "@hocuspocus/provider": "hocuspocus-provider-4"}

ASK = """
const text = doc.getText('chat')
provider.once('sync', () => text.insert(0, 'anybody here?'))
text.observe(() => { if (text.toString().includes('yes')) process.exit(0) })
"""
ANSWER = """
const text = provider.document.getText('chat')
text.observe(() => { if (text.toString() === 'anybody here?') text.insert(text.length, ' yes') })
provider.on('unsyncedChanges', ({ number }) => {
  if (number === 0 && text.toString().includes('yes')) process.exit(0)
})
"""


def snippets() -> list[str]:
    return re.findall(r"```js\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


async def test_the_two_snippets_meet_in_one_room(tmp_path: Path) -> None:
    with_y_websocket, with_hocuspocus = snippets()
    async with ServerProcess(tmp_path) as server, asyncio.TaskGroup() as both:
        both.create_task(run(with_y_websocket + ASK, server))
        both.create_task(run(with_hocuspocus + ANSWER, server))


async def run(script: str, server: ServerProcess) -> None:
    """Run a module in Node to its end; it must end well within the time."""
    assert "ws://127.0.0.1:8080" in script
    script = BEFORE + script.replace("ws://127.0.0.1:8080", server.ws_url)
    for name, alias in INSTALLED_AS.items():
        script = script.replace(f"from '{name}'", f"from '{alias}'")
    command = ("node", "--input-type=module", "--eval", script)
    process = await asyncio.create_subprocess_exec(*command, cwd=HERE, stdout=PIPE, stderr=PIPE)
    try:
        async with asyncio.timeout(20):
            said = b"".join(await process.communicate()).decode()
        assert process.returncode == 0, said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
