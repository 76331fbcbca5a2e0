"""Log lines: shape, level, foreign loggers, a reader that went away."""

import io
import json
import logging
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from roomful.server import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Refusing(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_level_and_utc_time() -> None:
    stream = io.StringIO()
    logs.configure("info", stream)
    structlog.get_logger().info("listening", port=8080)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "listening", "port": 8080, "level": "info"}


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    logs.configure("warning", stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("aiohttp").info("quiet")
    structlog.get_logger().warning("loud")
    logging.getLogger("aiohttp").warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud", "loud"]


def test_an_exception_is_text_inside_its_line() -> None:
    stream = io.StringIO()
    logs.configure("info", stream)
    try:
        raise ValueError("bad\nbytes")
    except ValueError:
        structlog.get_logger().exception("refused", room="a")
        logging.getLogger("asyncio").exception("refused")
    for line in lines(stream):
        assert line["level"] == "error"
        assert line["exception"].startswith("Traceback")
        assert line["exception"].endswith("ValueError: bad\nbytes")


def test_lines_of_the_standard_library_name_their_logger() -> None:
    stream = io.StringIO()
    logs.configure("info", stream)
    logging.getLogger("aiohttp.server").warning("slow %s", "client")
    (line,) = lines(stream)
    assert (line["logger"], line["event"], line["level"]) == ("aiohttp.server", "slow client", "warning")


def test_warnings_are_lines_too() -> None:
    stream = io.StringIO()
    logs.configure("info", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
    (line,) = lines(stream)
    assert line["logger"] == "py.warnings"
    assert "old ways" in line["event"]


def test_values_bound_to_the_context_appear_on_every_line() -> None:
    stream = io.StringIO()
    logs.configure("info", stream)
    with structlog.contextvars.bound_contextvars(connection=7):
        structlog.get_logger().info("opened")
        logging.getLogger("aiohttp").warning("odd")
    assert [line["connection"] for line in lines(stream)] == [7, 7]


def test_a_value_that_is_not_json_is_spelled_out() -> None:
    stream = io.StringIO()
    logs.configure("info", stream)
    structlog.get_logger().info("odd", value=object)
    assert lines(stream)[0]["value"] == repr(object)


def test_a_terminal_gets_readable_lines() -> None:
    stream = Terminal()
    logs.configure("info", stream)
    structlog.get_logger().info("listening", port=8080)
    logging.getLogger("aiohttp").warning("slow")
    assert "listening" in stream.getvalue()
    assert "slow" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_a_reader_that_went_away_costs_the_lines_and_nothing_else() -> None:
    logs.configure("info", Refusing())
    structlog.get_logger().info("unread")
    logging.getLogger("aiohttp").warning("unread")


def test_a_process_that_dies_leaves_json_on_stderr() -> None:
    script = textwrap.dedent(
        """
        import sys, types
        from roomful.server import cli
        application = types.ModuleType("roomful.server.app")
        def run(config):
            raise RuntimeError("no rooms left")
        application.run = run
        sys.modules["roomful.server.app"] = application
        sys.exit(cli.main(["serve"]))
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert line["event"] == "crashed"
    assert "no rooms left" in line["exception"]
