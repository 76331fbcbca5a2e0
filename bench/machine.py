"""What the figures were measured on and with."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .environment import HERE, NODE, NODE_MODULES, PEER_PYTHON


@dataclass(frozen=True)
class Machine:
    commit: str
    hardware: str
    versions: str

    def __str__(self) -> str:
        return f"- Machine: {self.hardware}\n- Versions: {self.versions}"


def describe() -> Machine:
    return Machine(_commit(), _hardware(), ", ".join(_versions()))


def _output(*command: str | Path) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=HERE, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _commit() -> str:
    commit = _output("git", "rev-parse", "--short", "HEAD") or "unknown"
    changed = _output("git", "status", "--porcelain", "--", "..", ":!.")
    return f"{commit} with changes" if changed else commit


def _hardware() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {kernel}"


def _versions() -> list[str]:
    found = [f"Python {platform.python_version()}"]
    own = ("aiohttp", "uvloop", "pycrdt")
    found += [f"{package} {importlib.metadata.version(package)}" for package in own]
    if node := _output(NODE, "--version"):
        found.append(f"Node {node.removeprefix('v')}")
    packages = ("@y/websocket-server", "@hocuspocus/server", "@hocuspocus/extension-redis", "yjs", "ws")
    for package in packages:
        manifest = NODE_MODULES / package / "package.json"
        if manifest.exists():
            found.append(f"{package} {json.loads(manifest.read_text())['version']}")
    if redis := re.search(r"v=(\S+)", _output("redis-server", "--version")):
        found.append(f"Redis {redis[1]}")
    listed = _output(PEER_PYTHON, "-m", "pip", "list", "--format=json")
    theirs = ("pycrdt-websocket", "uvicorn", "websockets")
    for package in json.loads(listed) if listed else []:
        found += [f"{package['name']} {package['version']}"] if package["name"] in theirs else []
    return found
