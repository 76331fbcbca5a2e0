"""The command line: commands, exit codes, what is printed where."""

import errno
import os
import socket
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from roomful.crdt.log import LogBusy
from roomful.server import cli, logs
from roomful.server.config import OPTIONS, Config


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ROOMFUL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Configurations that `serve` handed to the application."""
    seen: list[Config] = []

    def run(config: Config) -> int:
        seen.append(config)
        return 0

    _application(monkeypatch, run)
    return seen


def _application(monkeypatch: pytest.MonkeyPatch, run: Callable[[Config], int]) -> None:
    application = types.ModuleType("roomful.server.app")
    application.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "roomful.server.app", application)
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    monkeypatch.setattr(sys, "path", sys.path.copy())


def test_serve_hands_the_configuration_to_the_application(served: list[Config]) -> None:
    assert cli.main(["serve", "--port", "0", "--max-rooms", "7"]) == 0
    assert [(config.listen.port, config.limits.max_rooms) for config in served] == [(0, 7)]


def test_serve_returns_what_the_application_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    _application(monkeypatch, lambda config: 3)
    assert cli.main(["serve"]) == 3


def test_an_application_that_dies_is_logged_and_exits_with_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(config: Config) -> int:
        raise RuntimeError("out of rooms")

    _application(monkeypatch, run)
    assert cli.main(["serve"]) == 1
    assert "out of rooms" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("error", "traceback"),
    [
        (LogBusy("another server is using rooms"), False),
        (OSError(errno.EADDRINUSE, "address already in use"), False),
        (socket.gaierror(-2, "name or service not known"), False),
        (OSError(errno.EIO, "input/output error"), True),
    ],
)
def test_what_the_operator_can_mend_is_told_without_a_traceback(
    error: Exception, traceback: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(config: Config) -> int:
        raise error

    _application(monkeypatch, run)
    assert cli.main(["serve"]) == 1
    said = "".join(capsys.readouterr())
    assert "can't start" in said
    assert str(error) in said
    assert ("Traceback" in said) == traceback


def test_an_authorizer_that_cannot_be_found_is_a_wrong_value(
    served: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", "--authorize", "no_such_module:authorize"]) == 2
    assert served == []
    assert (
        "auth.authorize from flag --authorize: can't load 'no_such_module:authorize'"
        in capsys.readouterr().err
    )


def test_an_authorizer_may_lie_where_the_server_is_started(
    served: list[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rooms_of_mine.py").write_text("async def authorize(request): ...\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["serve", "--host", "0.0.0.0", "--authorize", "rooms_of_mine:authorize"]) == 0
    assert [config.auth.authorize for config in served] == ["rooms_of_mine:authorize"]


def test_a_wrong_value_exits_with_two_and_serves_nothing(
    served: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", "--port", "x"]) == 2
    assert served == []
    assert capsys.readouterr().err == (
        "roomful: the configuration is refused\n"
        "  listen.port from flag --port: expected a whole number from 0 to 65535, got 'x'\n"
    )


def test_an_unknown_flag_and_a_shortened_flag_exit_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["serve", "--prot", "1"], ["serve", "--max-roo", "1"], ["sing"], []):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
    assert "--prot" in capsys.readouterr().err


def test_check_config_prints_values_with_origins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "room.toml"
    file.write_text("[limits]\nmax_rooms = 5\n")
    monkeypatch.setenv("ROOMFUL_PORT", "81")
    assert cli.main(["check-config", "--config", str(file), "--fold-workers", "2"]) == 0
    printed = {
        line.split(" ")[0]: line.split("# ")[1]
        for line in capsys.readouterr().out.splitlines()
        if "#" in line
    }
    assert printed["max_rooms"] == f"file {file}"
    assert printed["port"] == "environment variable ROOMFUL_PORT"
    assert printed["fold_workers"] == "flag --fold-workers"
    assert printed["host"] == "default"


def test_the_file_may_be_named_by_the_environment_and_the_flag_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.toml").write_text(f"[limits]\nmax_rooms = {number}\n")
    monkeypatch.setenv("ROOMFUL_CONFIG", str(tmp_path / "1.toml"))
    assert cli.main(["check-config"]) == 0
    assert "max_rooms = 1 " in capsys.readouterr().out
    assert cli.main(["check-config", "--config", str(tmp_path / "2.toml")]) == 0
    assert "max_rooms = 2 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file or directory"),
        (b"[limits\n", "not valid TOML"),
        (b"# \xff\n", "not valid TOML"),
        (b"[limits]\nmax_romms = 1\n", "did you mean limits.max_rooms?"),
    ],
)
def test_a_file_that_cannot_be_used_exits_with_two(
    content: bytes | None, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "room.toml"
    if content is not None:
        file.write_bytes(content)
    assert cli.main(["check-config", "--config", str(file)]) == 2
    errors = capsys.readouterr().err
    assert str(file) in errors
    assert complaint in errors


def test_a_switch_stands_alone_and_can_be_taken_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check-config", "--host", "0.0.0.0", "--allow-anonymous"]) == 0
    assert cli.main(["check-config", "--host", "0.0.0.0", "--allow-anonymous", "--no-allow-anonymous"]) == 2


def test_the_help_tells_every_option_with_default_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", "--help"])
    assert caught.value.code == 0
    words = capsys.readouterr().out
    for option in OPTIONS:
        assert option.flag in words
        assert option.variable in words


def test_version_names_what_the_server_stands_on() -> None:
    """In a process of its own, which also runs `python -m roomful.server`."""
    done = subprocess.run(
        [sys.executable, "-m", "roomful.server", "version"], capture_output=True, text=True, check=True
    )
    lines = [line.split(" ") for line in done.stdout.splitlines()]
    assert [name for name, _ in lines] == ["roomful", "python", "aiohttp", "pycrdt", "sqlite"]
    assert all(version[0].isdigit() for _, version in lines)
