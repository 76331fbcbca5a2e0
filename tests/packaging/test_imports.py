"""The shape of the code: what may import what, how files are called, how long they are."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("server", "crdt", "presence")
SOURCES = (".py", ".js", ".mjs", ".ts", ".css", ".html", ".lua")
BUILT = Path("server", "page")
LONGEST = 400
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}

ALONE = """
import importlib, json, os, sys, traceback

for name in ("aiohttp.web", "asyncio", "lz4.block", "msgpack", "prometheus_client", "pycrdt", "structlog"):
    importlib.import_module(name)

def import_alone(name):
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

print(json.dumps([name for name in json.loads(sys.argv[1]) if not import_alone(name)]))
"""
"""Forks one process for each module from a parent that has loaded the libraries and none of ours."""


def written() -> list[Path]:
    """Files under version control or about to be, as git sees them."""
    listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [Path(name) for name in names if (ROOT / name).exists()]


def modules() -> list[Path]:
    return [path for path in written() if path.suffix == ".py" and path.parts[0] in FOLDERS]


def dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(("roomful", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def test_each_module_can_be_imported_alone_without_a_warning() -> None:
    names = [dotted(path) for path in modules() if path.name != "__main__.py"]
    assert "roomful.server.cli" in names
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, json.dumps(names)],
        cwd=ROOT / "docs",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (json.loads(done.stdout or "null"), done.stderr) == ([], "")


def test_imports_point_downwards() -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from importlinter.cli import lint_imports_command as run; run()",
    ]
    done = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_imports_are_relative_inside_a_package_and_absolute_across() -> None:
    """Two spellings of one module would be two modules to a type checker."""
    for path in modules():
        own = f"roomful.{path.parts[0]}"
        for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = ["." * node.level + (node.module or "")]
            else:
                continue
            for name in names:
                assert not f"{name}.".startswith(f"{own}."), (
                    f"{path} imports {name} from inside by its full name"
                )
                assert name.split(".")[0] not in FOLDERS, f"{path} imports {name} without roomful."
                assert len(name) - len(name.lstrip(".")) < len(path.parts), f"{path} climbs out with {name}"


@pytest.mark.parametrize("path", [p for p in written() if p.suffix == ".py"], ids=str)
def test_a_module_is_named_after_what_it_holds(path: Path) -> None:
    assert path.stem not in EMPTY_NAMES


def test_no_source_file_is_longer_than_can_be_read_at_once() -> None:
    sources = [path for path in written() if path.suffix in SOURCES and not path.is_relative_to(BUILT)]
    lengths = {str(path): _lines(ROOT / path) for path in sources}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


def _lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())
