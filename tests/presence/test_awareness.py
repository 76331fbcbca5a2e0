import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt.varint import Malformed, write_varbytes, write_varuint
from roomful.presence.awareness import (
    Entry,
    check_state,
    decode_entries,
    encode_entries,
    gone_entry,
)
from tests.presence.entries import entry, raw_entry

entry_lists = st.lists(
    st.builds(raw_entry, st.integers(0, 2**53 - 1), st.integers(0, 2**32 - 1), st.text(max_size=40)),
    max_size=5,
)


def decode(data: bytes, most: int = 10, largest: int = 1_000) -> list[Entry]:
    return decode_entries(data, most=most, largest=largest)


def reason(data: bytes, most: int = 10, largest: int = 1_000) -> str:
    with pytest.raises(Malformed) as caught:
        decode(data, most, largest)
    return caught.value.reason


def fault(state: bytes) -> str:
    """Why a state is refused."""
    with pytest.raises(Malformed) as caught:
        check_state(raw_state(state))
    return caught.value.reason


def raw_state(state: bytes) -> Entry:
    (decoded,) = decode(b"\x01\x05\x02" + write_varbytes(state), largest=100_000)
    return decoded


@given(entry_lists)
def test_entries_read_back_as_the_bytes_they_came_in(entries: list[Entry]) -> None:
    assert decode(encode_entries(entries)) == entries


def test_bytes_in_an_unusual_form_are_kept_as_they_are() -> None:
    unusual = b"\x01" + b"\x81\x00" + b"\x82\x00" + b"\x82\x00{}"
    (decoded,) = decode(unusual)
    assert (decoded.client, decoded.clock, decoded.raw) == (1, 2, unusual[1:])
    assert encode_entries([decoded]) == unusual


@given(entry_lists.filter(bool), st.data())
def test_no_proper_beginning_of_a_message_is_one(entries: list[Entry], data: st.DataObject) -> None:
    encoded = encode_entries(entries)
    assert reason(encoded[: data.draw(st.integers(0, len(encoded) - 1))]) == "truncated"


def test_nothing_may_follow_the_entries() -> None:
    assert reason(encode_entries([entry(1, 1, {})]) + b"\x00") == "trailing"


def test_more_entries_than_are_taken_are_refused_before_they_are_read() -> None:
    assert len(decode(encode_entries([entry(1, 1, {})] * 3), most=3)) == 3
    assert reason(b"\x04", most=3) == "count"


def test_a_state_has_a_largest_size() -> None:
    state = {"a": "x" * 10}
    size = len(entry(1, 1, state).state) - 1
    assert decode(encode_entries([entry(1, 1, state)]), largest=size)
    assert reason(encode_entries([entry(1, 1, state)]), largest=size - 1) == "limit"


def test_a_clock_fits_32_bits() -> None:
    assert decode(encode_entries([entry(1, 2**53 - 1, {})]))


def test_a_client_id_fits_53_bits() -> None:
    assert reason(b"\x01" + b"\xff" * 7 + b"\x1f" + b"\x01\x02{}") == "varint"


def test_gone_is_said_with_null() -> None:
    gone = gone_entry(300, 7)
    assert gone == entry(300, 7, None)
    assert gone.gone
    assert not entry(300, 7, {}).gone


@pytest.mark.parametrize(
    "state",
    [
        b"null",
        b"{}",
        b' {"a": [1, -0, 2.5e-3, true, false, null, "\\u00e9\\ud800"]}\n',
        '{"é": "漢字 😀"}'.encode(),
        b'{"a":' * 64 + b"1" + b"}" * 64,
        b'{"open": "' + b"[" * 500 + b'", "closed": "' + b"]" * 500 + b'"}',
        b'{"a": 1, "a": 2}',
    ],
)
def test_a_state_is_an_object_or_null(state: bytes) -> None:
    check_state(raw_state(state))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (b"", "json"),
        (b"nul", "json"),
        (b" null", "json"),
        (b"{} {}", "json"),
        (b"{'a': 1}", "json"),
        (b'{"a": 01}', "json"),
        (b'{"a": NaN}', "json"),
        (b'{"a": -Infinity}', "json"),
        (b'{"a": "\t"}', "json"),
        (b"[]", "json"),
        (b'"text"', "json"),
        (b"5", "json"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "json"),
        ("{}".encode("utf-16-le"), "json"),
        ("{}".encode("utf-32-be"), "json"),
        (b"\xef\xbb\xbf{}", "json"),
        (b'{"a": "\xed\xa0\x80"}', "json"),
        (b'{"a": "\xff"}', "json"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "depth"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "depth"),
        (b'{"a": "' + b"]" * 900 + b'", "b": ' + b"[" * 900 + b"]" * 900 + b"}", "depth"),
        (b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "depth"),
    ],
)
def test_a_state_that_some_parser_does_not_take_is_refused(state: bytes, expected: str) -> None:
    assert fault(state) == expected


def test_the_length_of_a_client_id_is_its_own_matter() -> None:
    assert (
        gone_entry(2**53 - 1, 2**32 - 1).raw
        == write_varuint(2**53 - 1) + write_varuint(2**32 - 1) + b"\x04null"
    )
