"""A server whose worker is at a long job, and which says what process that is; a test kills the server.

python orphan.py SECONDS UPDATES
"""

import asyncio
import sys

from roomful.crdt.varint import write_varuint
from roomful.crdt.worker import WorkerPool


def tar_pit(authors: int) -> list[bytes]:
    """Updates of as many authors who all write a letter at the same place without knowing of each other.

    The library compares each with all others: of 5,000 it is full for seconds, of 20,000 for half a minute.
    """
    head, tail = b"\x01\x01", b"\x00\x04\x01\x01t\x01a\x00"
    return [head + write_varuint(author) + tail for author in range(1, authors + 1)]


async def _main(seconds: float, authors: int) -> None:
    pool = WorkerPool(1, memory=1 << 30, seconds=seconds)
    await pool.start()
    print(pool._idle[0].pid, flush=True)
    await pool.fold([], tar_pit(authors), merge_only=False)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(float(sys.argv[1]), int(sys.argv[2])))
