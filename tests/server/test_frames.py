import pytest
from aiohttp import WSMsgType
from hypothesis import given
from hypothesis import strategies as st

from roomful.server import frames
from tests.server.wire import frames as taken_apart
from tests.server.wire import unframe

LENGTHS = [0, 1, 125, 126, 127, 255, 256, 65_535, 65_536, 100_000]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_binary_frame_reads_back_at_every_form_of_the_length(length: int) -> None:
    payload = bytes(length)
    assert unframe(frames.binary(payload)) == payload


def test_a_length_takes_the_fewest_bytes_that_hold_it() -> None:
    assert frames.head(frames.BINARY, 125) == b"\x82\x7d"
    assert frames.head(frames.BINARY, 126) == b"\x82\x7e\x00\x7e"
    assert frames.head(frames.BINARY, 0xFFFF) == b"\x82\x7e\xff\xff"
    assert frames.head(frames.BINARY, 0x10000) == b"\x82\x7f" + (0x10000).to_bytes(8, "big")


def test_the_opcodes_are_those_of_rfc_6455_each_with_the_final_bit() -> None:
    opcodes = {
        frames.BINARY: WSMsgType.BINARY,
        frames.CLOSE: WSMsgType.CLOSE,
        frames.PING: WSMsgType.PING,
        frames.PONG: WSMsgType.PONG,
    }
    assert {opcode: kind | 0x80 for opcode, kind in opcodes.items()} == {opcode: opcode for opcode in opcodes}


@pytest.mark.parametrize("payload", [b"", b"echo", bytes(125)])
def test_a_control_frame_carries_its_payload(payload: bytes) -> None:
    assert frames.control(frames.PONG, payload) == bytes([0x8A, len(payload)]) + payload


def test_a_ping_is_empty_unless_told_otherwise() -> None:
    assert frames.control(frames.PING) == b"\x89\x00"


@given(st.integers(1000, 4999), st.text())
def test_a_close_frame_fits_a_control_frame_and_its_reason_is_cut_at_a_character(
    code: int, reason: str
) -> None:
    ((opcode, payload),) = taken_apart(frames.close(code, reason))
    assert (opcode, len(payload) <= 125) == (frames.CLOSE, True)
    assert int.from_bytes(payload[:2], "big") == code
    said = payload[2:].decode()
    assert reason.startswith(said)
    assert said == reason or len((said + reason[len(said)]).encode()) > 123


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("", ""),
        ("a" * 123, "a" * 123),
        ("a" * 124, "a" * 123),
        ("a" * 122 + "é", "a" * 122),
        ("😀" * 31, "😀" * 30),
    ],
)
def test_a_reason_has_at_most_123_bytes(reason: str, said: str) -> None:
    assert frames.close(1000, reason)[4:].decode() == said
