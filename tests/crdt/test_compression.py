import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt.compression import Unreadable, pack, unpack

COMPRESSIBLE = b"to be or not to be " * 100
LIMIT = 1 << 20


@given(st.binary(max_size=2_000), st.integers(1, 50))
def test_what_was_packed_is_unpacked(payload: bytes, times: int) -> None:
    assert unpack(pack(payload * times), LIMIT) == payload * times


def test_a_compressible_payload_becomes_shorter() -> None:
    assert len(pack(COMPRESSIBLE)) < len(COMPRESSIBLE) / 10


@pytest.mark.parametrize("size", [0, 1, 255])
def test_a_short_payload_stays_as_it_is_behind_one_byte(size: int) -> None:
    assert pack(b"a" * size) == b"\x00" + b"a" * size


def test_the_shortest_payload_that_is_tried_has_256_bytes() -> None:
    assert pack(b"a" * 256)[0] == 1


def test_a_payload_that_compression_would_lengthen_stays_as_it_is() -> None:
    noise = random.Random(1).randbytes(4_096)
    assert pack(noise) == b"\x00" + noise


def test_a_claimed_size_over_the_limit_is_refused_before_anything_is_allocated() -> None:
    packed = pack(COMPRESSIBLE)
    assert unpack(packed, len(COMPRESSIBLE)) == COMPRESSIBLE
    with pytest.raises(Unreadable, match="more than the limit"):
        unpack(packed, len(COMPRESSIBLE) - 1)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\x02abc",
        b"\x01",
        b"\x01\x05\x00\x00",
        b"\x01\x05\x00\x00\x00",
        b"\x01\xff\xff\xff\xffabc",
        pack(COMPRESSIBLE)[:-1],
        pack(COMPRESSIBLE) + b"x",
    ],
)
def test_what_pack_did_not_write_is_unreadable(stored: bytes) -> None:
    with pytest.raises(Unreadable):
        unpack(stored, 1 << 40)


@given(st.binary(max_size=64))
def test_no_bytes_do_worse_than_unreadable(stored: bytes) -> None:
    with contextlib.suppress(Unreadable):
        unpack(b"\x01" + stored, LIMIT)
