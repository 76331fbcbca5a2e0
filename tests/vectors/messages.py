"""The vectors that ``make.mjs`` makes, for tests to read."""

import json
from pathlib import Path
from typing import Any

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))


def frames(kind: str) -> list[tuple[dict[str, Any], str, bytes]]:
    """Return (who sent it, what it does, the frame) for each frame of these clients."""
    return [
        (client, frame["does"], bytes.fromhex(frame["bytes"]))
        for client in VECTORS[kind]
        for frame in client["frames"]
    ]
