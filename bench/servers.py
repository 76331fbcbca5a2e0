"""The servers, how each is started as its users start it, and how it is pinned to its core.

The peers run as they come, without any persistence, which is what costs them least. Roomful runs with its
store and its checks.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .environment import HERE, NODE, NODE_MODULES, PEER_PYTHON
from .measurement import Target
from .wire import Dialect

SERVER_CORE, GENERATOR_CORE = 0, 1
START_SECONDS = 30.0
STOP_SECONDS = 60.0

PLAIN, KEYED = "y-websocket", "hocuspocus"


class ServerError(Exception):
    """A server that did not start or did not stop; the text ends with what it last wrote."""


@dataclass(frozen=True)
class Server:
    """``argv`` may name ``{data}``, the folder of one that keeps documents. Peers are told their PORT."""

    name: str
    argv: tuple[str, ...]
    dialects: tuple[Dialect, ...]
    keeps: bool = False

    def dialect(self, name: str | None) -> Dialect:
        """The dialect of that name, or this server's first when it does not speak it or none is named."""
        return next((dialect for dialect in self.dialects if dialect.name == name), self.dialects[0])


SERVERS = {
    server.name: server
    for server in (
        Server(
            "roomful",
            (
                sys.executable,
                "-m",
                "roomful.server",
                "serve",
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--data",
                "{data}",
            ),
            (Dialect(PLAIN, "/sync/", keyed=False), Dialect(KEYED, "/hocuspocus", keyed=True)),
            keeps=True,
        ),
        Server(
            "y-websocket-server",
            (str(NODE), str(NODE_MODULES / "@y" / "websocket-server" / "src" / "server.js")),
            (Dialect(PLAIN, "/", keyed=False),),
        ),
        Server(
            "hocuspocus",
            (str(NODE), str(HERE / "peers" / "hocuspocus.mjs")),
            (Dialect(KEYED, "/", keyed=True),),
        ),
        Server(
            "pycrdt-websocket",
            (str(PEER_PYTHON), str(HERE / "peers" / "pycrdt_server.py")),
            (Dialect(PLAIN, "/", keyed=False),),
        ),
    )
}
NODE_SERVERS = ("y-websocket-server", "hocuspocus")


@contextmanager
def running(server: Server, folder: Path, protocol: str | None) -> Iterator[Target]:
    """The server, alone on its core with everything it starts, until the block ends."""
    log = folder / f"{server.name}.log"
    data = folder / "data"
    data.mkdir(exist_ok=True)
    port = 0 if server.keeps else _free_port()
    with log.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), *(part.format(data=data) for part in server.argv)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=HERE.parent,
            env=os.environ | {"PORT": str(port), "HOST": "127.0.0.1"},
            start_new_session=True,
        )
    try:
        port = _await_port(process, log, begin, port)
        yield Target(port, process.pid, server.dialect(protocol), data if server.keeps else None)
        if process.poll() is not None:
            raise ServerError(f"{server.name} ended by itself with {process.returncode}:\n{_tail(log)}")
    finally:
        _stop(process, log, server.keeps)


def _await_port(process: "subprocess.Popen[bytes]", log: Path, begin: int, port: int) -> int:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if port:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return port
        elif announced := _announced_port(log.read_bytes()[begin:]):
            return announced
        time.sleep(0.05)
    raise ServerError(f"the server did not come up:\n{_tail(log)}")


def _announced_port(log: bytes) -> int:
    for line in log.splitlines():
        if b'"listening"' in line:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event.get("event") == "listening":
                return int(event["port"])
    return 0


def _stop(process: "subprocess.Popen[bytes]", log: Path, keeps: bool) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM if keeps else signal.SIGKILL)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(f"  ! it did not end within {STOP_SECONDS:.0f} s of SIGTERM:\n{_tail(log)}", flush=True)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
