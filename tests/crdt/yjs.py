"""The real Yjs, in Node.js."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from typing import TypedDict

from tests.crdt.genuine import VECTORS


class Document(TypedDict):
    """What Yjs has: the whole as an update in hex, and the text of the root named ``text``."""

    update: str
    text: str


def install() -> None:
    """Fetch Yjs, unless it is there."""
    npm = shutil.which("npm")
    assert npm is not None, "these tests need Node.js and npm"
    if not (VECTORS / "node_modules").exists():
        subprocess.run([npm, "ci"], cwd=VECTORS, check=True, timeout=120)


def apply(pieces: Sequence[bytes], orders: Sequence[Sequence[int]]) -> list[Document]:
    """Return the document that Yjs has after applying the pieces, for each order of them."""
    asked = json.dumps({"pieces": [piece.hex() for piece in pieces], "orders": orders})
    node = subprocess.run(
        ["node", "apply.mjs"], cwd=VECTORS, input=asked, text=True, capture_output=True, timeout=60
    )
    assert node.returncode == 0, node.stderr
    documents: list[Document] = json.loads(node.stdout)
    return documents
