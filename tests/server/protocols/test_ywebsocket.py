import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roomful.crdt.sync import (
    AUTH,
    AWARENESS,
    QUERY_AWARENESS,
    STEP_1,
    SYNC,
    UPDATE,
    awareness_head,
    read_payload,
    read_sync,
    sync_head,
)
from roomful.crdt.varint import Malformed, read_varstring, write_varuint
from roomful.presence.awareness import decode_entries, encode_entries
from roomful.server.protocols.ywebsocket import permission_denied, read_head
from tests.vectors.messages import VECTORS, frames

MESSAGES = VECTORS["messages"]


def of_type(kind: int) -> list[dict[str, Any]]:
    found = [vector for vector in MESSAGES if vector["type"] == kind]
    assert found
    return found


def ids(vector: dict[str, Any]) -> str:
    return str(vector["name"])


@pytest.mark.parametrize("vector", MESSAGES, ids=ids)
def test_the_head_of_each_message_of_y_protocols_is_read(vector: dict[str, Any]) -> None:
    assert read_head(bytes.fromhex(vector["bytes"])) == (vector["type"], 1)


@pytest.mark.parametrize("vector", of_type(SYNC), ids=ids)
def test_sync_messages_of_y_protocols_are_read_and_written_byte_for_byte(vector: dict[str, Any]) -> None:
    message, payload = bytes.fromhex(vector["bytes"]), bytes.fromhex(vector["payload"])
    assert read_sync(message, 1) == (vector["step"], payload)
    assert sync_head(vector["step"], len(payload)) + payload == message


@pytest.mark.parametrize("vector", of_type(AUTH), ids=ids)
def test_a_denial_is_written_byte_for_byte_as_y_protocols_writes_it(vector: dict[str, Any]) -> None:
    assert permission_denied(vector["reason"]) == bytes.fromhex(vector["bytes"])


@pytest.mark.parametrize("vector", VECTORS["awareness"], ids=ids)
def test_awareness_of_y_protocols_is_read_and_written_byte_for_byte(vector: dict[str, Any]) -> None:
    message = bytes.fromhex(vector["bytes"])
    assert read_head(message) == (AWARENESS, 1)
    payload = read_payload(message, 1)
    entries = decode_entries(payload, most=5, largest=1_000)
    read = [
        {"client": entry.client, "clock": entry.clock, "state": json.loads(state_text(entry.state))}
        for entry in entries
    ]
    assert read == vector["entries"]
    assert [entry.gone for entry in entries] == [entry["state"] is None for entry in vector["entries"]]
    encoded = encode_entries(entries)
    assert awareness_head(len(encoded)) + encoded == message


def state_text(state: bytes) -> str:
    return read_varstring(state, 0, len(state))[0]


@pytest.mark.parametrize(
    ("client", "does", "frame"), frames("yWebsocket"), ids=lambda value: getattr(value, "get", str)("library")
)
def test_every_frame_of_every_client_is_understood(client: dict[str, Any], does: str, frame: bytes) -> None:
    kind, at = read_head(frame)
    if does == "opens":
        assert kind in (SYNC, AWARENESS)
    else:
        assert kind == {"writes": SYNC, "leaves": AWARENESS}[does]
    if kind == SYNC:
        assert read_sync(frame, at)[0] == (UPDATE if does == "writes" else STEP_1)
    else:
        (entry,) = decode_entries(read_payload(frame, at), most=1, largest=100)
        assert (entry.client, entry.gone) == (77, does == "leaves")


@given(st.integers(QUERY_AWARENESS + 1, 2**53 - 1))
@example(4)
@example(128)
def test_an_unknown_type_is_refused(kind: int) -> None:
    with pytest.raises(Malformed) as caught:
        read_head(write_varuint(kind))
    assert caught.value.reason == "type"


def test_an_empty_message_is_refused() -> None:
    with pytest.raises(Malformed) as caught:
        read_head(b"")
    assert caught.value.reason == "truncated"


@given(st.text())
def test_a_denial_of_any_words_reads_back(reason: str) -> None:
    message = permission_denied(reason)
    assert message[:2] == bytes([AUTH, 0])
    assert read_varstring(message, 2, len(message)) == (reason, len(message))


def test_a_type_may_be_written_in_more_bytes_than_it_needs() -> None:
    assert read_head(b"\x83\x00rest") == (3, 2)


@pytest.mark.parametrize("message", [b"", b"\x04", b"\x80", b"\x84\x00"])
def test_what_is_no_type_of_a_clients_is_refused(message: bytes) -> None:
    with pytest.raises(Malformed):
        read_head(message)
