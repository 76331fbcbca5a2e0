import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt.sync import AWARENESS, STEP_1, STEP_2, SYNC, UPDATE, read_payload, read_sync
from roomful.server.protocols.envelope import YjsEnvelope
from tests.server.wire import unframe

prefixes = st.binary(max_size=200)
steps = st.sampled_from((STEP_1, STEP_2, UPDATE))


@given(prefixes, steps, st.binary(max_size=300))
def test_a_sync_frame_is_head_prefix_and_message(prefix: bytes, step: int, payload: bytes) -> None:
    message = unframe(YjsEnvelope(prefix).sync(step, payload))
    assert message.startswith(prefix)
    assert message[len(prefix)] == SYNC
    assert read_sync(message, len(prefix) + 1) == (step, payload)


@pytest.mark.parametrize("length", [0, 100, 125, 126, 127, 128, 65_520, 65_535, 65_536, 300_000])
def test_a_frame_may_be_written_in_two_parts(length: int) -> None:
    envelope, payload = YjsEnvelope(b"key"), bytes(length)
    assert envelope.sync_start(UPDATE, length) + payload == envelope.sync(UPDATE, payload)
    assert unframe(envelope.sync(UPDATE, payload)).endswith(payload)


@given(prefixes, st.binary(max_size=300))
def test_an_awareness_frame_is_head_prefix_and_message(prefix: bytes, entries: bytes) -> None:
    message = unframe(YjsEnvelope(prefix).awareness(entries))
    assert message[: len(prefix) + 1] == prefix + bytes([AWARENESS])
    assert read_payload(message, len(prefix) + 1) == entries


@given(prefixes, st.binary(max_size=300))
def test_any_message_is_framed_behind_the_prefix(prefix: bytes, body: bytes) -> None:
    assert unframe(YjsEnvelope(prefix).message(body)) == prefix + body


def test_without_a_prefix_there_is_nothing_before_the_message() -> None:
    assert YjsEnvelope().message(b"\x03") == b"\x82\x01\x03"
