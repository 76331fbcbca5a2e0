"""A real balancer in front of real nodes, with the configuration that is shipped in deploy/."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.ports import free_port

DEPLOY: Final = Path(__file__).parent.parent / "deploy"
START_SECONDS: Final = 10.0
SHIPPED_NODES: Final = ("10.0.0.11:8080", "10.0.0.12:8080")
BALANCERS: Final = ("nginx", "haproxy")

# What surrounds a file of conf.d, and keeps everything in one folder.
_NGINX: Final = """
worker_processes 2;
pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    include {shipped};
}}
"""


class BalancerProcess:
    """nginx or haproxy on a free port of 127.0.0.1. Of the shipped file only addresses are changed.

    :param ports: of the two nodes
    """

    def __init__(self, name: str, folder: Path, ports: Sequence[int]) -> None:
        self.name = name
        self.port = free_port()
        self._folder = folder
        self._ports = ports
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it takes connections."""
        program = shutil.which(self.name, path=os.environ["PATH"] + ":/usr/sbin")
        assert program, f"{self.name} is missing. On Debian: apt-get install {self.name}"
        self._folder.mkdir(parents=True)
        with open(self._folder / "output", "wb") as output:
            self._process = subprocess.Popen([program, *self._arguments()], stdout=output, stderr=output)
        end = time.monotonic() + START_SECONDS
        while not self._takes_connections():
            said = (self._folder / "output").read_text()
            assert self._process.poll() is None, said
            assert time.monotonic() < end, f"{self.name} does not listen\n{said}"
            time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def _arguments(self) -> list[str]:
        if self.name == "haproxy":
            shipped = self._written("haproxy.cfg", {"bind :80": f"bind 127.0.0.1:{self.port}"})
            return ["-db", "-f", str(shipped)]
        shipped = self._written("nginx.conf", {"listen 80;": f"listen 127.0.0.1:{self.port};"})
        main = self._folder / "main.conf"
        main.write_text(_NGINX.format(shipped=shipped))
        return ["-e", "stderr", "-p", str(self._folder), "-c", str(main), "-g", "daemon off;"]

    def _written(self, name: str, changes: dict[str, str]) -> Path:
        text = (DEPLOY / name).read_text("utf-8")
        nodes = {old: f"127.0.0.1:{port}" for old, port in zip(SHIPPED_NODES, self._ports, strict=True)}
        for old, new in (changes | nodes).items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = self._folder / name
        path.write_text(text, "utf-8")
        return path

    def _takes_connections(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False
