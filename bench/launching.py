"""Starts what a scenario wants: one server or several, their Redis, each on its cores; and stops it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .environment import HERE
from .measurement import Launch, Node, Target
from .servers import Server

GENERATOR_CORE = 1
START_SECONDS = 30.0
STOP_SECONDS = 60.0
REDIS = (
    "redis-server --bind 127.0.0.1 --port {port} --dir {data} --appendonly yes --appendfsync everysec --save"
)


class ServerError(Exception):
    """A server that did not start or did not stop; the text ends with what it last wrote."""


@contextmanager
def running(server: Server, launch: Launch, folder: Path, protocol: str | None) -> Iterator[Target]:
    """All of it, alone on its cores with everything it starts, until the block ends."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    with ExitStack() as stack:

        def start(name: str, argv: Sequence[str], *, redis: str = "", drains: bool = False) -> Node:
            port = _free_port()
            command = [part.format(port=port, data=data, redis=redis) for part in argv]
            command = ["taskset", "-c", launch.cores, *command]
            return stack.enter_context(_process(name, command, port, folder / f"{name}.log", drains))

        redis = start("redis", [*REDIS.split(), ""]) if launch.redis else None
        url = f"redis://127.0.0.1:{redis.port}" if redis else ""
        watched = [sys.executable, "-m", "bench.supervisor"] if launch.again else []
        storage = server.shared if redis else server.alone
        nodes = tuple(
            start(
                f"{server.name}-{number}",
                [*watched, *server.argv, *storage, *options],
                redis=url,
                drains=server.keeps,
            )
            for number, options in enumerate(launch.nodes)
        )
        kept = data if server.keeps and not redis else None
        yield Target(nodes, server.dialect(protocol), kept, redis.pid if redis else None)


@contextmanager
def _process(name: str, command: list[str], port: int, log: Path, drains: bool) -> Iterator[Node]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=HERE.parent,
            env=os.environ | {"PORT": str(port), "HOST": "127.0.0.1"},
            start_new_session=True,
        )
    try:
        _await_port(process, log, port)
        yield Node(port, process.pid)
        if process.poll() is not None:
            raise ServerError(f"{name} ended by itself with {process.returncode}:\n{_tail(log)}")
    finally:
        _stop(process, log, drains)


def _await_port(process: "subprocess.Popen[bytes]", log: Path, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise ServerError(f"the server did not come up:\n{_tail(log)}")


def _stop(process: "subprocess.Popen[bytes]", log: Path, drains: bool) -> None:
    try:
        if drains and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"  ! it did not end within {STOP_SECONDS:.0f} s of SIGTERM:\n{_tail(log)}", flush=True)
    finally:
        # And whatever it started.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
