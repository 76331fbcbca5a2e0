"""Where log lines go and how they look. Called once, by cli.

Everything that logs with structlog or with the standard library's `logging` ends in the same stream: one JSON
object a line, or readable lines when the stream is a terminal. Keys: ``event``, ``level``, ``timestamp`` (ISO
8601, UTC), for foreign lines ``logger``, for errors ``exception`` (the traceback as text), and what the event
itself carries.
"""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TextIO

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import Processor


def configure(level: str, stream: TextIO, always: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Send all log lines of at least `level` ("debug", "info", "warning", "error") to `stream`.

    Each line carries what `always` holds.

    A line below the level costs one empty method call. A stream that refuses a line loses it: a reader that
    went away must not take the server with it.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    lines = _Lines(stream)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        lambda _, __, event: {**always, **event},
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    shape: list[Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if stream.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *shape],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(lines),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    foreign = logging.StreamHandler(lines)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shape],
        )
    )
    if threshold > logging.DEBUG:
        foreign.addFilter(_not_of_bad_requests)
    logging.basicConfig(level=threshold, handlers=[foreign], force=True)
    logging.captureWarnings(True)


def _not_of_bad_requests(record: logging.LogRecord) -> bool:
    """A port that the world can reach gets bytes that are no HTTP; aiohttp logs a traceback for each."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


class _Lines:
    """A text stream whose writes may fail without anybody noticing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # a broken pipe; a closed file
            return 0

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return
