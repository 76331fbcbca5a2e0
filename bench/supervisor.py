"""Starts a server again when it is killed, as service managers do: python -m bench.supervisor COMMAND...

SIGTERM ends the server and then this; a server that ends by itself ends this too. There is no pause: what
counts is how long the server itself takes.
"""

import signal
import subprocess
import sys
from types import FrameType


class _Terminated(Exception):
    """SIGTERM has come."""


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise _Terminated


def main() -> int:
    server: subprocess.Popen[bytes] | None = None
    signal.signal(signal.SIGTERM, _terminate)
    try:
        while True:
            server = subprocess.Popen(sys.argv[1:])
            code = server.wait()
            if code >= 0:
                return code
    except _Terminated:
        if server is not None:
            server.terminate()
            server.wait()
        return 0


if __name__ == "__main__":
    sys.exit(main())
