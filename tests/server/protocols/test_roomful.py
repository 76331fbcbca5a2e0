"""The published frames, read and written; and what is none of them."""

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt.sync import STEP_1, STEP_2, UPDATE
from roomful.crdt.varint import Malformed
from roomful.presence.pages import Page
from roomful.server.protocols import roomful
from roomful.server.protocols.envelope import Envelope
from roomful.server.protocols.roomful import ClientFrame, ErrorCode, Event, RoomfulEnvelope, ServerFrame
from roomful.server.protocols.strict_msgpack import read_uint
from tests.roomful_client import packed, unpacked
from tests.server.wire import unframe

DOCS = Path(__file__).parents[3] / "docs"
VECTORS: dict[str, list[dict[str, Any]]] = json.loads((DOCS / "protocol-vectors.json").read_text("utf-8"))
FRAMES = VECTORS["frames"]


def said(side: str) -> list[dict[str, Any]]:
    return [vector for vector in FRAMES if vector["from"] == side]


def name_of(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def plain(value: Any) -> Any:
    """A value of the file, with its bytes as bytes."""
    match value:
        case {"bin": str(text)}:
            return bytes.fromhex(text)
        case dict():
            return {key: plain(each) for key, each in value.items()}
        case list():
            return [plain(each) for each in value]
    return value


def read(message: bytes) -> list[Any]:
    """A client's frame as the server reads it, in the shape in which a library would."""
    kind, unknown, at = roomful.read_head(message)
    match kind:
        case ClientFrame.HELLO:
            hello = roomful.read_hello(message, at, unknown)
            return [kind, {name: getattr(hello, name) for name in ("token", "client", "instance")}]
        case ClientFrame.JOIN:
            join = roomful.read_join(message, at, unknown)
            wishes = ("token", "vector", "awareness", "presence", "events")
            return [kind, join.request, join.room, {name: getattr(join, name) for name in wishes}]
    room, at = read_uint(message, at)
    match kind:
        case ClientFrame.LEAVE:
            roomful.end(message, at, unknown)
            return [kind, room]
        case ClientFrame.STEP_1 | ClientFrame.AWARENESS:
            return [kind, room, roomful.read_payload(message, at, unknown)]
        case ClientFrame.STEP_2 | ClientFrame.UPDATE:
            return [kind, room, *roomful.read_update(message, at, unknown)]
        case ClientFrame.PRESENCE:
            return [kind, room, roomful.read_fields(message, at, unknown)]
        case ClientFrame.EVENT:
            event = roomful.read_event(message, at, unknown)
            return [kind, room, event.name, msgpack.unpackb(event.payload), event.keep]
        case ClientFrame.PEOPLE:
            asked = roomful.read_people(message, at, unknown)
            return [kind, room, asked.request, asked.after, asked.limit]
    raise AssertionError(f"no frame of a client: {kind}")


def without_defaults(frame: list[Any]) -> list[Any]:
    return [
        {key: value for key, value in each.items() if value not in (None, "", False)}
        if isinstance(each, dict) and at + 1 == len(frame) and frame[0] in (0, 1)
        else each
        for at, each in enumerate(frame)
    ]


def written(frame: list[Any]) -> bytes:
    """A frame of the server's, as it writes it."""
    kind, *rest = frame
    match kind, rest:
        case ServerFrame.WELCOME, [facts]:
            return roomful.welcome(facts)
        case ServerFrame.JOINED, [request, room, facts]:
            return roomful.joined(request, room, facts)
        case ServerFrame.LEFT, [room, code, reason]:
            return roomful.left(room, code and ErrorCode(code), reason)
        case ((ServerFrame.STEP_1 | ServerFrame.STEP_2 | ServerFrame.UPDATE), [room, payload]):
            return RoomfulEnvelope(room).sync(kind - ServerFrame.STEP_1, payload)
        case ServerFrame.ACK, [room, seq, level]:
            return RoomfulEnvelope(room).acknowledged(seq, level)
        case ServerFrame.AWARENESS, [room, entries]:
            return RoomfulEnvelope(room).awareness(entries)
        case ServerFrame.PRESENCE, [room, body]:
            return RoomfulEnvelope(room).presence(msgpack.packb(body))
        case ServerFrame.EVENT, [room, name, None, "", "", True]:
            return RoomfulEnvelope(room).forgotten(name)
        case ServerFrame.EVENT, [room, name, payload, session, user, kept]:
            event = Event(name, msgpack.packb(payload), kept)
            frame_ = RoomfulEnvelope(room).event(event, session, user)
            return roomful.kept(frame_) if kept else frame_
        case ServerFrame.ERROR, [request, room, code, reason, seq]:
            return roomful.error(ErrorCode(code), reason, request=request, room=room, seq=seq)
        case ServerFrame.NOTICE, [facts]:
            return roomful.notice(**facts)
        case ServerFrame.PEOPLE, [room, request, page]:
            page["page"] = [msgpack.packb(person) for person in page["page"]]
            return RoomfulEnvelope(room).people(request, Page(**page).encode())
    raise AssertionError(f"no frame of the server: {frame}")


@pytest.mark.parametrize("vector", FRAMES, ids=name_of)
def test_the_bytes_of_each_example_are_what_it_says(vector: dict[str, Any]) -> None:
    assert unpacked(bytes.fromhex(vector["bytes"])) == plain(vector["frame"])


@pytest.mark.parametrize("vector", said("client"), ids=name_of)
def test_a_frame_of_a_client_is_read(vector: dict[str, Any]) -> None:
    assert without_defaults(read(bytes.fromhex(vector["bytes"]))) == plain(vector["frame"])


@pytest.mark.parametrize("vector", said("server"), ids=name_of)
def test_a_frame_of_the_server_is_written_byte_for_byte(vector: dict[str, Any]) -> None:
    assert unframe(written(plain(vector["frame"]))) == bytes.fromhex(vector["bytes"])


@pytest.mark.parametrize("vector", VECTORS["tolerated"], ids=name_of)
def test_what_another_version_or_library_writes_is_read_alike(vector: dict[str, Any]) -> None:
    (like,) = (each for each in said("client") if each["name"] == vector["like"])
    assert without_defaults(read(bytes.fromhex(vector["bytes"]))) == plain(like["frame"])


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=name_of)
def test_what_is_no_frame_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(Malformed) as caught:
        read(bytes.fromhex(vector["bytes"]))
    assert caught.value.reason == vector["reason"]


def test_every_kind_of_frame_has_an_example() -> None:
    shown = {(vector["from"], vector["frame"][0]) for vector in FRAMES}
    assert {("client", int(kind)) for kind in ClientFrame} <= shown
    assert {("server", int(kind)) for kind in ServerFrame} <= shown


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_frame_that_is_cut_off_anywhere_is_refused(cut: int) -> None:
    join = packed(ClientFrame.JOIN, 300, "room", {"vector": bytes(20), "presence": {"a": [1.5, "b"]}})
    with pytest.raises(Malformed) as caught:
        read(join[:-cut])
    assert caught.value.reason == "truncated"


def test_a_type_that_is_not_known_is_left_to_the_caller() -> None:
    assert roomful.read_head(packed(10, "whatever")) == (10, 1, 2)


@given(st.integers(1, 2**53 - 1), st.sampled_from((STEP_1, STEP_2, UPDATE)), st.binary(max_size=300))
def test_a_sync_frame_is_what_a_library_writes(room: int, step: int, payload: bytes) -> None:
    envelope: Envelope = RoomfulEnvelope(room)
    assert unframe(envelope.sync(step, payload)) == packed(ServerFrame.STEP_1 + step, room, payload)


@pytest.mark.parametrize("length", [0, 100, 118, 119, 120, 255, 256, 65_500, 65_535, 65_536, 300_000])
def test_a_sync_frame_may_be_written_in_two_parts(length: int) -> None:
    envelope = RoomfulEnvelope(7)
    payload = bytes(length)
    assert unframe(envelope.sync_start(UPDATE, length) + payload) == packed(ServerFrame.UPDATE, 7, payload)


def test_the_page_lists_every_error_code() -> None:
    page = (DOCS / "PROTOCOL.md").read_text("utf-8")
    assert [f"| `{code}` |" in page for code in ErrorCode] == [True] * len(ErrorCode)
