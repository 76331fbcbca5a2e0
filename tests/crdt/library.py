"""The CRDT library in a process of its own, which may die: a JSON object a line in, an answer a line out.

{"apply": [hex, ...]}   a document of these updates -> {"state": hex, "update": hex}
{"bytes": [hex, hex]}   merge both, and ask the first for its state and a diff -> {"error": text or null}
"""

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pycrdt import Doc, get_state, get_update, merge_updates

_MEMORY = 3 << 30


def ask(questions: Sequence[dict[str, Any]], seconds: float = 60) -> list[dict[str, Any]]:
    """Return the answers up to the one that the library died of, if it did."""
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    command = [sys.executable, str(Path(__file__).resolve())]
    answered = subprocess.run(command, input=lines, text=True, stdout=subprocess.PIPE, timeout=seconds)
    return [json.loads(line) for line in answered.stdout.splitlines()]


def _apply(updates: list[str]) -> dict[str, str]:
    doc: Doc[Any] = Doc()
    for update in updates:
        doc.apply_update(bytes.fromhex(update))
    return {"state": doc.get_state().hex(), "update": doc.get_update().hex()}


def _bytes(one: str, other: str) -> dict[str, str | None]:
    update = bytes.fromhex(one)
    try:
        get_update(update, get_state(update))
        get_update(update, b"\x00")
        merge_updates(update, bytes.fromhex(other), update)
    except ValueError as error:
        return {"error": str(error)}
    return {"error": None}


def _answer() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    for line in sys.stdin:
        question = json.loads(line)
        answer = _apply(question["apply"]) if "apply" in question else _bytes(*question["bytes"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _answer()
