"""The command line. The only place that reads arguments, environment and configuration file."""

import argparse
import errno
import importlib.metadata
import os
import platform
import socket
import sqlite3
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import structlog

from . import logs
from .config import OPTIONS
from .effective import ConfigError, Effective, load, render
from .options import Option, spoken

FAILED, REFUSED = 1, 2
"""Exit codes: the server could not start or died of an error; command line or configuration is wrong."""

_OPERATORS = {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EROFS}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. `arguments` defaults to the process's own."""
    given = vars(_parser().parse_args(arguments))
    command = given.pop("command")
    if command == "version":
        return _version()
    if command == "worker":
        return _work(Path(given["folder"]), given["number"], given["settings"], given["channel"])
    try:
        effective = _effective(given, os.environ)
    except ConfigError as error:
        return _refuse(error.problems)
    return _check(effective) if command == "check-config" else _serve(effective)


def _serve(effective: Effective) -> int:
    # The other commands answer without loading the server.
    from .app import run

    return _run(effective, partial(run, effective.config), {})


def _work(folder: Path, number: int, settings: int, channel: int) -> int:
    """Be a worker of the process that has started this one."""
    from .app import run_worker

    with open(settings, "rb") as file:
        effective = load({}, {}, tomllib.load(file), "the parent")
    return _run(effective, partial(run_worker, effective.config, number, folder, channel), {"worker": number})


def _run(effective: Effective, run: Callable[[], int], always: Mapping[str, object]) -> int:
    from roomful.crdt.log import LogBusy, LogUnusable

    from .auth import load_authorizer

    config = effective.config
    # The module may lie where the server is started; last, so that it can't stand in for an installed one.
    sys.path.append(os.getcwd())
    try:
        load_authorizer(config.auth.authorize)
    except ValueError as error:
        return _refuse([f"auth.authorize from {effective.origins['auth.authorize']}: {error}"])
    logs.configure(config.logging.log_level, sys.stderr, always)
    log = structlog.get_logger()
    try:
        return run()
    except (LogBusy, LogUnusable) as error:
        log.error("can't start", reason=str(error))
    except OSError as error:
        # Where to listen and where to write is the operator's choice; other errors are a fault of ours.
        expected = isinstance(error, socket.gaierror) or error.errno in _OPERATORS
        log.error("can't start", reason=str(error), exc_info=not expected)
    except Exception:
        log.exception("crashed")
    return FAILED


def _refuse(problems: Sequence[str]) -> int:
    print("roomful: the configuration is refused", file=sys.stderr)
    for problem in problems:
        print(f"  {problem}", file=sys.stderr)
    return REFUSED


def _check(effective: Effective) -> int:
    print("\n".join(render(effective)).rstrip())
    return 0


def _version() -> int:
    print(f"roomful {importlib.metadata.version('roomful')}")
    print(f"python {platform.python_version()}")
    for package in ("aiohttp", "pycrdt"):
        print(f"{package} {importlib.metadata.version(package)}")
    print(f"sqlite {sqlite3.sqlite_version}")
    return 0


def _effective(given: dict[str, object], environment: Mapping[str, str]) -> Effective:
    path = given.pop("config", None) or environment.get("ROOMFUL_CONFIG")
    if not path:
        return load(given, environment)
    return load(given, environment, _document(str(path)), str(path))


def _document(path: str) -> dict[str, object]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError([f"file {path}: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"file {path}: not valid TOML: {error}"]) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="roomful", description="Rooms where people write at the same time.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="start the server", allow_abbrev=False)
    check = commands.add_parser(
        "check-config",
        help="print the effective configuration and where each value is from",
        allow_abbrev=False,
    )
    commands.add_parser("version", help="print the versions of Roomful and what it stands on")
    # Without help it is not listed: only a parent starts workers (parent.py).
    worker = commands.add_parser("worker")
    worker.add_argument("folder")
    for name in ("number", "settings", "channel"):
        worker.add_argument(name, type=int)
    for command in (serve, check):
        command.add_argument(
            "--config",
            default=argparse.SUPPRESS,
            metavar="FILE",
            help="TOML file with options (ROOMFUL_CONFIG)",
        )
        groups = {option.group: command.add_argument_group(option.group) for option in OPTIONS}
        for option in OPTIONS:
            _add(groups[option.group], option)
    return parser


def _add(group: "argparse._ArgumentGroup", option: Option) -> None:
    """The flag of `option`. Its value stays as given: config.py judges flag, variable and key alike."""
    words = f"{option.summary} ({spoken(option, option.default)}; {option.variable})".replace("%", "%%")
    if option.is_switch:
        group.add_argument(
            option.flag, default=argparse.SUPPRESS, help=words, action=argparse.BooleanOptionalAction
        )
    else:
        group.add_argument(option.flag, default=argparse.SUPPRESS, help=words, metavar=option.unit.upper())
