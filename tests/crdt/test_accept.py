"""The last word on an update: the walk, a bound on runs, and the library's own opinion."""

import pytest

from roomful.crdt import accept
from roomful.crdt.accept import accept_update
from roomful.crdt.check import check_update
from roomful.crdt.merge import merge
from roomful.crdt.varint import Malformed
from tests.attacks import item, update
from tests.crdt.writers import Writers


def test_what_is_good_is_what_the_walk_found() -> None:
    writers = Writers(1)
    writers.write(50)
    for each in writers.updates:
        assert accept_update(each) == check_update(each)


def test_what_the_walk_refuses_is_refused() -> None:
    with pytest.raises(Malformed) as caught:
        accept_update(b"\x00")
    assert caught.value.reason == "truncated"


def test_more_runs_than_are_taken_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    writers = Writers(2)
    writers.write(50)
    merged = merge(writers.updates)
    monkeypatch.setattr(accept, "MOST_RUNS", len(check_update(merged).ranges) - 1)
    with pytest.raises(Malformed) as caught:
        accept_update(merged)
    assert caught.value.reason == "count"


def test_what_only_the_library_cannot_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is known that passes the walk, so the library is made to refuse one."""

    def refuse(_: bytes) -> bytes:
        raise ValueError("while trying to read more data")

    monkeypatch.setattr(accept, "get_state", refuse)
    with pytest.raises(Malformed) as caught:
        accept_update(update(item(4, b"\x01a")))
    assert caught.value.reason == "unmergeable"
