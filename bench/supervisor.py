"""Starts a server again whenever it ends, as service managers do: python -m bench.supervisor COMMAND...

SIGTERM ends the server and then this. There is no pause: what counts is how long the server itself takes.
"""

import signal
import subprocess
import sys
from types import FrameType


class _Terminated(Exception):
    """SIGTERM has come."""


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise _Terminated


def main() -> None:
    signal.signal(signal.SIGTERM, _terminate)
    while True:
        server = subprocess.Popen(sys.argv[1:])
        try:
            server.wait()
        except _Terminated:
            server.terminate()
            server.wait()
            return


if __name__ == "__main__":
    main()
