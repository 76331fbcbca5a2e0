"""The worker process: reads jobs from standard input, does them, writes results to standard output.

    frame  := length (4 bytes, big endian) . msgpack
    job    := ["check", update] | ["merge", [update]] | ["fold", [piece], [update], merge_only]
    result := ["ok", ...] | ["malformed", reason, text] | ["failed", text]

It holds no state between jobs, so it may be killed at any moment. It ends when its input ends, which
is also how it notices that the server is gone; and by itself, in a job that takes too long, because a
server that is gone can't end it.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import msgpack

from .accept import accept_update
from .check import check_update
from .folding import fold
from .merge import merge
from .varint import Malformed


def _check(update: bytes) -> list[Any]:
    contents = accept_update(update)
    return ["ok", contents.ranges, contents.deletes_at]


def _merge(updates: list[bytes]) -> list[Any]:
    merged = merge(updates)
    contents = check_update(merged)
    return ["ok", merged, contents.ranges, contents.deletes_at]


def _fold(pieces: list[bytes], tail: list[bytes], merge_only: bool) -> list[Any]:
    folded = fold(pieces, tail, merge_only=merge_only)
    return ["ok", folded.pieces, folded.state_vector]


_JOBS: dict[str, Callable[..., list[Any]]] = {"check": _check, "merge": _merge, "fold": _fold}


def do(job: list[Any]) -> tuple[list[Any], bool]:
    """Do one job. Returns its result and whether this process may be trusted with another."""
    kind, *arguments = job
    try:
        return _JOBS[kind](*arguments), True
    except Malformed as error:
        return ["malformed", error.reason, str(error)], True
    except BaseException as error:  # noqa: BLE001 - a Rust panic is a BaseException, and it is data here
        # After a panic the library's state is unknown: answer, then end.
        return ["failed", f"{type(error).__name__}: {error}"[:500]], False


def serve(source: BinaryIO, sink: BinaryIO, seconds: float) -> None:
    """Do jobs until the source ends, or one takes longer than ``seconds``."""
    trusted = True
    while trusted and len(head := source.read(4)) == 4:
        # The kernel's own answer to the alarm: a Python handler would wait for the library to return.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        body = source.read(int.from_bytes(head, "big"))
        result, trusted = do(msgpack.unpackb(body))
        packed: bytes = msgpack.packb(result)
        sink.write(len(packed).to_bytes(4, "big") + packed)
        sink.flush()
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    """Take the limits, bytes of memory and seconds for a job, from the command line, and serve."""
    memory, seconds = int(sys.argv[1]), float(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A terminal sends Ctrl-C to all its processes; this one ends when the server has finished with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    serve(sys.stdin.buffer, sys.stdout.buffer, seconds)


if __name__ == "__main__":
    main()
