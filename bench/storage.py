"""How much disk a Roomful server uses for a room, read from its database while it runs."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stored:
    """Bytes as they are stored: the folded document, the updates after it, the files that hold all rooms."""

    snapshot: int
    entries: int
    files: int


def stored(data: Path, room: str) -> Stored:
    """What crdt/sqlite_store.py holds of a room; its tables are described there."""
    with closing(sqlite3.connect(f"file:{data / 'log.sqlite'}?mode=ro", uri=True)) as database:
        sizes = [
            database.execute(
                f"SELECT coalesce(sum(length(payload)), 0) FROM {table} "
                "WHERE room = (SELECT id FROM rooms WHERE name = ?)",
                (room,),
            ).fetchone()[0]
            for table in ("snapshots", "entries")
        ]
    files = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
    return Stored(sizes[0], sizes[1], files)
