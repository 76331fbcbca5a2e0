"""The committed page is what its source builds: nobody needs Node to run it, nobody edits it by hand."""

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "client-demo"


async def test_the_committed_page_is_what_its_source_builds() -> None:
    assert (SOURCE / "node_modules").is_dir(), f"run: npm ci --ignore-scripts --prefix {SOURCE}"
    check = await asyncio.create_subprocess_exec(
        "npm", "run", "--silent", "check", cwd=SOURCE, stdout=PIPE, stderr=STDOUT
    )
    async with asyncio.timeout(120):
        output, _ = await check.communicate()

    assert check.returncode == 0, output.decode()
