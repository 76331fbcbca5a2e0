"""How much disk a Roomful server uses for a room, read from its data folder while it runs."""

from pathlib import Path


def folded_bytes(data: Path, room: str) -> int:  # noqa: ARG001
    """All files of the folder together: it holds the one room."""
    return sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
