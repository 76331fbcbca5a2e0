import pickle
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roomful.crdt.varint import (
    MAX_UINT,
    Malformed,
    Reason,
    read_varbytes,
    read_varstring,
    read_varuint,
    write_varbytes,
    write_varstring,
    write_varuint,
)

numbers = st.one_of(st.integers(0, 300), st.integers(0, MAX_UINT))


def reason(error: pytest.ExceptionInfo[Malformed]) -> str:
    assert error.value.reason in get_args(Reason)
    return error.value.reason


@given(numbers, st.binary(max_size=9), st.binary(max_size=9))
@example(0, b"", b"")
@example(127, b"", b"")
@example(128, b"", b"")
@example(MAX_UINT, b"", b"")
def test_a_number_reads_back_wherever_it_stands(n: int, before: bytes, after: bytes) -> None:
    encoded = write_varuint(n)
    assert read_varuint(before + encoded + after, len(before)) == (n, len(before) + len(encoded))


@pytest.mark.parametrize(
    ("n", "encoded"),
    [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (MAX_UINT, "ffffffffffffff0f")],
)
def test_numbers_are_written_as_lib0_writes_them(n: int, encoded: str) -> None:
    assert write_varuint(n).hex() == encoded


@pytest.mark.parametrize("n", [-1, MAX_UINT + 1])
def test_a_number_out_of_range_is_not_written(n: int) -> None:
    with pytest.raises(ValueError, match="not in 0"):
        write_varuint(n)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("", "truncated"),
        ("80", "truncated"),
        ("ffffffffffffff", "truncated"),
        ("ffffffffffffff10", "varint"),  # 2^53
        ("ffffffffffffff7f", "varint"),
        ("ffffffffffffffff", "varint"),
        ("ffffffffffffffff00", "varint"),
        ("80" * 8 + "00", "varint"),
    ],
)
def test_a_number_that_is_cut_off_or_too_long_is_malformed(data: str, expected: str) -> None:
    with pytest.raises(Malformed) as error:
        read_varuint(bytes.fromhex("05" + data), 1)
    assert reason(error) == expected


def test_a_number_past_the_end_is_truncated() -> None:
    with pytest.raises(Malformed) as error:
        read_varuint(b"\x01", 9)
    assert reason(error) == "truncated"


@given(st.binary(max_size=300), st.binary(max_size=9))
def test_bytes_read_back(content: bytes, before: bytes) -> None:
    encoded = before + write_varbytes(content)
    assert read_varbytes(encoded + b"\x07", len(before)) == (content, len(encoded))


@given(st.text(max_size=300), st.binary(max_size=9))
def test_a_string_reads_back(content: str, before: bytes) -> None:
    encoded = before + write_varstring(content)
    limit = len(content.encode())
    assert read_varstring(encoded + b"\x07", len(before), limit) == (content, len(encoded))


def test_half_a_surrogate_pair_is_not_written() -> None:
    with pytest.raises(UnicodeEncodeError):
        write_varstring("\ud83d")


@pytest.mark.parametrize("claimed", ["03", "ffffffff0f", "ffffffffffffff0f"])
def test_bytes_and_strings_that_end_too_early_are_truncated(claimed: str) -> None:
    data = bytes.fromhex(claimed) + b"ab"
    with pytest.raises(Malformed) as error:
        read_varbytes(data, 0)
    assert reason(error) == "truncated"
    with pytest.raises(Malformed) as error:
        read_varstring(data, 0, MAX_UINT)
    assert reason(error) == "truncated"


@pytest.mark.parametrize("text", [b"\xff", b"\xed\xa0\xbd", b"\xc0\x80", b"\xf0\x9f\x98"])
def test_a_string_that_is_not_utf8_is_malformed(text: bytes) -> None:
    with pytest.raises(Malformed) as error:
        read_varstring(write_varbytes(text), 0, 100)
    assert reason(error) == "utf8"


def test_a_string_over_the_limit_is_malformed_and_at_the_limit_is_not() -> None:
    encoded = write_varstring("éé")
    assert read_varstring(encoded, 0, 4) == ("éé", 5)
    with pytest.raises(Malformed) as error:
        read_varstring(encoded, 0, 3)
    assert reason(error) == "limit"


def test_the_error_survives_the_way_from_another_process() -> None:
    error = pickle.loads(pickle.dumps(Malformed("depth", "too deep at byte 7")))
    assert (error.reason, str(error)) == ("depth", "too deep at byte 7")
    assert isinstance(error, ValueError)
