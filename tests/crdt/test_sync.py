import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roomful.crdt.sync import (
    AUTH,
    AWARENESS,
    EMPTY_UPDATE,
    QUERY_AWARENESS,
    STEP_1,
    STEP_2,
    SYNC,
    UPDATE,
    awareness_head,
    read_payload,
    read_sync,
    sync_head,
)
from roomful.crdt.varint import Malformed, write_varuint

payloads = st.binary(max_size=300)


def reason(message: bytes, at: int = 1) -> str:
    with pytest.raises(Malformed) as caught:
        read_sync(message, at)
    return caught.value.reason


def test_the_types_and_steps_have_the_numbers_of_y_protocols() -> None:
    assert (SYNC, AWARENESS, AUTH, QUERY_AWARENESS) == (0, 1, 2, 3)
    assert (STEP_1, STEP_2, UPDATE) == (0, 1, 2)


@given(st.sampled_from((STEP_1, STEP_2, UPDATE)), payloads, st.binary(max_size=5))
@example(UPDATE, b"", b"")
@example(UPDATE, bytes(128), b"")
def test_a_sync_message_reads_back_behind_any_prefix(step: int, payload: bytes, prefix: bytes) -> None:
    message = prefix + sync_head(step, len(payload)) + payload
    assert message[len(prefix)] == SYNC
    assert read_sync(message, len(prefix) + 1) == (step, payload)


@given(payloads)
def test_awareness_entries_read_back(entries: bytes) -> None:
    message = awareness_head(len(entries)) + entries
    assert message[0] == AWARENESS
    assert read_payload(message, 1) == entries


@given(payloads, st.data())
def test_no_proper_beginning_of_a_sync_message_is_one(payload: bytes, data: st.DataObject) -> None:
    message = sync_head(UPDATE, len(payload)) + payload
    cut = data.draw(st.integers(1, len(message) - 1))
    assert reason(message[:cut]) == "truncated"


def test_what_follows_a_payload_is_not_overlooked() -> None:
    assert reason(sync_head(STEP_1, 1) + b"ab") == "trailing"


def test_a_payload_cannot_be_longer_than_its_message() -> None:
    assert reason(sync_head(STEP_1, 2**53 - 1) + b"a") == "truncated"


@pytest.mark.parametrize("step", [3, 127, 128, 2**53 - 1])
def test_an_unknown_step_is_refused(step: int) -> None:
    assert reason(bytes([SYNC]) + write_varuint(step) + EMPTY_UPDATE) == "type"


def test_the_end_of_the_message_is_no_payload() -> None:
    with pytest.raises(Malformed, match="cut off"):
        read_payload(b"\x01", 1)
