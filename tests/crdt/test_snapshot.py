import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt.compression import Unreadable
from roomful.crdt.snapshot import Snapshot, decode_snapshot, encode_snapshot

snapshots = st.builds(Snapshot, st.lists(st.binary()), st.binary())


@given(snapshots)
def test_a_snapshot_reads_back(snapshot: Snapshot) -> None:
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot


def test_the_layout_is_what_the_module_says() -> None:
    stored = encode_snapshot(Snapshot([b"ab", b"c"], b"\x00"))
    assert msgpack.unpackb(stored) == [1, b"\x00", [b"ab", b"c"]]


@pytest.mark.parametrize("fields", [[2, b"\x00", []], [2], [2, b"\x00", [], "more"], ["new", {}]])
def test_another_version_is_named_whatever_it_holds(fields: list[object]) -> None:
    with pytest.raises(Unreadable, match=f"snapshot version {fields[0]!r}; this release reads 1"):
        decode_snapshot(msgpack.packb(fields))


@pytest.mark.parametrize(
    "fields", [[], 7, None, [1], [1, b""], [1, "text", []], [1, b"", 5], [1, b"", ["text"]], [1, b"", [], 0]]
)
def test_fields_of_another_form_are_no_snapshot(fields: object) -> None:
    with pytest.raises(Unreadable, match="not a snapshot"):
        decode_snapshot(msgpack.packb(fields))


@given(snapshots, st.data())
def test_a_damaged_snapshot_is_unreadable_or_a_snapshot(snapshot: Snapshot, data: st.DataObject) -> None:
    stored = bytearray(encode_snapshot(snapshot))
    stored[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))
    try:
        pieces, state_vector = decode_snapshot(bytes(stored))
    except Unreadable:
        return
    assert type(state_vector) is bytes
    assert all(type(piece) is bytes for piece in pieces)


@pytest.mark.parametrize("cut", [0, 1, 3, -1])
def test_a_cut_snapshot_is_unreadable(cut: int) -> None:
    with pytest.raises(Unreadable, match="not a snapshot"):
        decode_snapshot(encode_snapshot(Snapshot([b"piece"], b"\x00"))[:cut])


def test_nothing_may_follow_a_snapshot() -> None:
    with pytest.raises(Unreadable, match="not a snapshot"):
        decode_snapshot(encode_snapshot(Snapshot([], b"\x00")) + b"x")
