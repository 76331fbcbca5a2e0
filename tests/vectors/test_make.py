"""The committed vectors are what the published libraries say today."""

import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def test_the_vectors_are_what_the_libraries_make() -> None:
    made = subprocess.run(
        ["node", "make.mjs"], cwd=HERE, capture_output=True, check=True, encoding="utf-8", timeout=60
    )
    assert made.stderr == ""
    assert made.stdout == (HERE / "messages.json").read_text("utf-8")
