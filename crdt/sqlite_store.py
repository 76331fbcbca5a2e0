"""The tables of the embedded log, and every statement on them. Synchronous; one thread at a time.

    rooms      id, name, epoch
    entries    room, offset, payload      one row an update; offset counts from 1 in each epoch
    snapshots  room, folded, payload      stands for the entries 1..folded, which are gone

Payloads are packed (compression.py).
"""

import contextlib
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from .compression import pack, unpack
from .log import Gap, History, LogBusy, LogUnusable, Position, Stale

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rooms (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, epoch TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entries (
    room INTEGER NOT NULL, offset INTEGER NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (room, offset)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshots (
    room INTEGER PRIMARY KEY, folded INTEGER NOT NULL, payload BLOB NOT NULL
);
"""
_VERSION = 1
_LARGEST_PAYLOAD = 1 << 30
_REMEMBERED_ROOMS = 50_000


class SqliteStore:
    """One SQLite file under a folder, open for writing, locked against other processes.

    ``synchronous`` is SQLite's own: FULL survives loss of power, NORMAL survives the end of the process.
    Raises LogBusy when another process holds the folder, LogUnusable when what is in it can't be used.
    Methods raise sqlite3.Error for what the disk says.
    """

    def __init__(self, folder: Path, synchronous: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise LogBusy(f"another server is using {folder}") from error
        self.path = folder / "log.sqlite"
        # name -> [id, epoch, last offset]; what the last committed transaction left.
        self._rooms: dict[str, list[int | str]] = {}
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(synchronous)
            except BaseException:
                self._db.close()
                raise
        except sqlite3.Error as error:
            os.close(self._lock)
            raise LogUnusable(f"{self.path}: {error}") from error

    def _prepare(self, synchronous: str) -> None:
        # Asked first: a file of another release must stay as it is.
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"format {version}; this release reads {_VERSION}")
        # Must precede the first table. Folding frees most of what a busy room wrote; this gives it back.
        self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {synchronous}")
        self._db.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        self._db.executescript(_SCHEMA)
        self._db.execute(f"PRAGMA user_version = {_VERSION}")

    def append(self, batch: Iterable[tuple[str, bytes]]) -> list[Position]:
        """Write entries in one transaction; when this returns they are durable. All or none."""
        rows: list[tuple[int, int, bytes]] = []
        positions: list[Position] = []
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for name, update in batch:
                room = self._rooms.get(name) or self._remember(name)
                offset = room[2] = int(room[2]) + 1
                rows.append((int(room[0]), offset, pack(update)))
                positions.append(Position(str(room[1]), offset))
            self._db.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
            self._db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        return positions

    def fold(self, name: str, upto: Position, snapshot: bytes) -> None:
        """Replace the entries up to a position by a snapshot. Raises Stale."""
        found = self._db.execute("SELECT id, epoch FROM rooms WHERE name = ?", (name,)).fetchone()
        if found is None or found[1] != upto.epoch:
            raise Stale(f"{name!r} is not in epoch {upto.epoch!r}")
        room = found[0]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if self._folded(self._db, room) > upto.offset or self._last(room) < upto.offset:
                raise Stale(f"{name!r} has moved past {upto.offset}")
            row = (room, upto.offset, pack(snapshot))
            self._db.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)", row)
            self._db.execute("DELETE FROM entries WHERE room = ? AND offset <= ?", (room, upto.offset))
            self._db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        # A bounded step: the freed pages of a large room are given back over several folds, and what the disk
        # refuses now, another time. As a script, because execute() ends the statement after its first page.
        with contextlib.suppress(sqlite3.Error):
            self._db.executescript("PRAGMA incremental_vacuum(256)")

    def reset(self, name: str) -> Position:
        """Forget all of a room and give it a new epoch."""
        epoch = secrets.token_hex(8)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            found = self._db.execute("SELECT id FROM rooms WHERE name = ?", (name,)).fetchone()
            if found is not None:
                self._db.execute("DELETE FROM entries WHERE room = ?", found)
                self._db.execute("DELETE FROM snapshots WHERE room = ?", found)
            self._db.execute(
                "INSERT INTO rooms (name, epoch) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch",
                (name, epoch),
            )
            self._db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self._rooms.pop(name, None)
        return Position(epoch, 0)

    def close(self) -> None:
        """Let go of the file and the lock."""
        self._db.close()
        os.close(self._lock)

    def _roll_back(self) -> None:
        # The offsets counted up in memory belong to a transaction that never was.
        self._rooms.clear()
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _remember(self, name: str) -> list[int | str]:
        if len(self._rooms) >= _REMEMBERED_ROOMS:
            self._rooms.clear()
        found = self._db.execute("SELECT id, epoch FROM rooms WHERE name = ?", (name,)).fetchone()
        if found is None:
            epoch = secrets.token_hex(8)
            inserted = self._db.execute("INSERT INTO rooms (name, epoch) VALUES (?, ?)", (name, epoch))
            assert inserted.lastrowid is not None
            found = (inserted.lastrowid, epoch)
        room = self._rooms[name] = [found[0], found[1], self._last(found[0])]
        return room

    def _last(self, room: int) -> int:
        (last,) = self._db.execute("SELECT max(offset) FROM entries WHERE room = ?", (room,)).fetchone()
        return int(last) if last is not None else self._folded(self._db, room)

    @staticmethod
    def _folded(db: sqlite3.Connection, room: int) -> int:
        found = db.execute("SELECT folded FROM snapshots WHERE room = ?", (room,)).fetchone()
        return int(found[0]) if found else 0


class SqliteReader:
    """Reads beside the writer: WAL gives each transaction a consistent view and blocks nobody."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(
            f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )

    def load(self, name: str) -> History:
        """Return all of a room."""
        epoch, folded, snapshot, rows = self._rows(name, 0)
        if snapshot is not None:
            snapshot = unpack(snapshot, _LARGEST_PAYLOAD)
        return History(epoch, folded, snapshot, [unpack(payload, _LARGEST_PAYLOAD) for _, payload in rows])

    def read(self, name: str, after: Position) -> list[bytes]:
        """Return the entries after a position. Raises Gap."""
        # The entry just before the position is asked for too: it tells the end of the log from beyond it.
        epoch, folded, _, rows = self._rows(name, after.offset)
        known = after.offset == folded or (rows and rows[0][0] == after.offset)
        if epoch != after.epoch or not known:
            raise Gap(f"{name!r} can't be read on from {after}")
        return [unpack(payload, _LARGEST_PAYLOAD) for offset, payload in rows if offset > after.offset]

    def close(self) -> None:
        self._db.close()

    def _rows(self, name: str, first: int) -> tuple[str, int, bytes | None, list[tuple[int, bytes]]]:
        """Return epoch, folded, packed snapshot, and the (offset, packed payload) from an offset on."""
        self._db.execute("BEGIN")
        try:
            found = self._db.execute("SELECT id, epoch FROM rooms WHERE name = ?", (name,)).fetchone()
            if found is None:
                return "", 0, None, []
            room, epoch = found
            query = "SELECT folded, payload FROM snapshots WHERE room = ?"
            folded, snapshot = self._db.execute(query, (room,)).fetchone() or (0, None)
            query = "SELECT offset, payload FROM entries WHERE room = ? AND offset >= ? ORDER BY offset"
            return epoch, folded, snapshot, self._db.execute(query, (room, first)).fetchall()
        finally:
            self._db.execute("COMMIT")
