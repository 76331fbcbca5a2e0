"""A process that writes to a SQLite log as fast as it can, until it is killed.

    python log_writer.py FOLDER DURABILITY SEED

prints "room offset" when an entry is durable, each line in one write. ``entry`` says what it writes.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

from roomful.crdt.log import Position
from roomful.crdt.log_sqlite import SqliteLog

ROOMS = ("a", "b", "c", "d")


def entry(room: str, offset: int) -> bytes:
    """Entry number ``offset`` of a room: of 8 bytes to 20 kB, some of them compressible."""
    rng = random.Random(f"{room} {offset}")
    size = rng.choice((0, 20, 200, 300, 2_000, 20_000))
    return b"%s %6d" % (room.encode(), offset) + (rng.randbytes(size) if rng.random() < 0.7 else bytes(size))


def snapshot(room: str, offset: int) -> bytes:
    """A snapshot that stands for the entries up to ``offset``."""
    return b"%s %d " % (room.encode(), offset) + bytes(offset % 3_000)


class _Room:
    def __init__(self, name: str, last: Position) -> None:
        self.name = name
        self.next = last.offset + 1
        self.durable = last

    def append(self, log: SqliteLog) -> None:
        log.append(self.name, entry(self.name, self.next), self.report)
        self.next += 1

    def report(self, position: Position) -> None:
        self.durable = position
        os.write(1, b"%s %d\n" % (self.name.encode(), position.offset))


async def main(folder: Path, durability: str, rng: random.Random) -> None:
    async with SqliteLog(folder, durability=durability, commit_interval=0.001) as log:
        rooms = [_Room(name, (await log.load(name)).position) for name in ROOMS]
        while True:
            for _ in range(rng.randrange(40)):
                rng.choice(rooms).append(log)
            await asyncio.sleep(rng.choice((0, 0, 0.001, 0.003)))
            if rng.random() < 0.05:
                room = rng.choice(rooms)
                if room.durable.offset:
                    await log.fold(room.name, room.durable, snapshot(room.name, room.durable.offset))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], random.Random(sys.argv[3])))
