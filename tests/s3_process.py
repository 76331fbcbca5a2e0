"""A service that speaks like S3, as tests start and question it."""

from __future__ import annotations

import atexit
import functools
import socket
import subprocess
import sys
import time
from typing import Final

from obstore.store import S3Store as Bucket

from tests.ports import free_port

START_SECONDS: Final = 30.0
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "ann", "AWS_SECRET_ACCESS_KEY": "secret"}
"""Of which it asks only that there are some."""


class S3Process:
    """moto's server on a free port of 127.0.0.1, with one bucket, ``bucket``, in memory."""

    def __init__(self) -> None:
        self.port = free_port()
        argv = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + START_SECONDS
        while not self._make_bucket():
            assert self._process.poll() is None, "moto's server has ended"
            assert time.monotonic() < end, "moto's server does not answer"
            time.sleep(0.05)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of all objects under a prefix."""
        pages = self._bucket().list(prefix)
        return sorted(found["path"] for page in pages for found in page)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def _bucket(self) -> Bucket:
        return Bucket(
            "bucket",
            endpoint=self.endpoint,
            client_options={"allow_http": True},
            access_key_id="ann",
            secret_access_key="secret",
        )

    def _make_bucket(self) -> bool:
        request = b"PUT /bucket HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(request)
                return b" 200 " in connection.recv(100)
        except OSError:
            return False


@functools.cache
def shared_s3() -> S3Process:
    """One for all tests that take a prefix of their own in it; it ends with them."""
    s3 = S3Process()
    atexit.register(s3.end)
    return s3
