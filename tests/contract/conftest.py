"""Every test here runs on every log."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roomful.crdt.log import Log
from tests.contract.backends import BACKENDS, Open, Writer


@pytest.fixture(params=list(BACKENDS.values()), ids=list(BACKENDS))
def open_log(request: pytest.FixtureRequest) -> Open:
    """Opens a log of the kind under test."""
    opener: Open = request.param
    return opener


@pytest.fixture
async def log(open_log: Open, tmp_path: Path) -> AsyncIterator[Log]:
    """An empty log."""
    async with open_log(tmp_path / "log") as log:
        yield log


@pytest.fixture
def writer(log: Log) -> Writer:
    """Writes to the empty log."""
    return Writer(log)
