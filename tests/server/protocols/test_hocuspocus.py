from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt.sync import STEP_1, UPDATE, read_payload, read_sync
from roomful.crdt.varint import Malformed, read_varstring, write_varbytes, write_varstring, write_varuint
from roomful.presence.awareness import decode_entries
from roomful.server.protocols import hocuspocus
from roomful.server.protocols.hocuspocus import MessageType
from tests.vectors.messages import VECTORS, frames

NAME = "größe/1"
LONGEST = 200
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def reason(message: bytes) -> str:
    with pytest.raises(Malformed) as caught:
        hocuspocus.read_head(message, LONGEST)
    return caught.value.reason


@given(names, st.sampled_from(MessageType), st.binary(max_size=20))
def test_a_head_reads_back_with_its_raw_key(name: str, kind: MessageType, body: bytes) -> None:
    key = write_varstring(name)
    message = key + write_varuint(kind) + body
    assert hocuspocus.read_head(message, LONGEST) == (key, name, kind, len(message) - len(body))


@given(names, names)
def test_a_session_is_part_of_the_key_and_not_of_the_name(name: str, session: str) -> None:
    key = write_varstring(f"{name}\0{session}")
    assert hocuspocus.read_head(key + b"\x07", LONGEST) == (key, name, MessageType.CLOSE, len(key) + 1)


@pytest.mark.parametrize("kind", [11, 127, 128, 2**53 - 1])
def test_an_unknown_type_is_refused(kind: int) -> None:
    assert reason(write_varstring("a") + write_varuint(kind)) == "type"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"", "truncated"),
        (b"\x05ab", "truncated"),
        (b"\x01a", "truncated"),
        (write_varstring("a" * (LONGEST + 1)) + b"\x00", "limit"),
        (write_varbytes(b"\xff") + b"\x00", "utf8"),
    ],
)
def test_a_broken_head_is_refused(message: bytes, expected: str) -> None:
    assert reason(message) == expected


def test_the_longest_key_is_taken() -> None:
    key = write_varstring("a" * LONGEST)
    assert hocuspocus.read_head(key + b"\x03", LONGEST)[0] == key


@given(st.text(), st.none() | st.text())
def test_a_token_is_read_with_or_without_a_version_behind_it(token: str, version: str | None) -> None:
    body = b"\x00" + write_varstring(token) + (b"" if version is None else write_varstring(version))
    assert hocuspocus.read_token(b"key" + body, 3) == token


@pytest.mark.parametrize("kind", [1, 2, 3, 128])
def test_only_a_token_is_read_as_one(kind: int) -> None:
    with pytest.raises(Malformed) as caught:
        hocuspocus.read_token(write_varuint(kind) + write_varstring("token"), 0)
    assert caught.value.reason == "type"


def test_a_token_has_a_longest_length() -> None:
    longest = 16 << 10
    assert len(hocuspocus.read_token(b"\x00" + write_varstring("t" * longest), 0)) == longest
    with pytest.raises(Malformed) as caught:
        hocuspocus.read_token(b"\x00" + write_varstring("t" * (longest + 1)), 0)
    assert caught.value.reason == "limit"


@given(st.text())
def test_a_stateless_message_reads_back(text: str) -> None:
    message = hocuspocus.stateless(text)
    assert message[0] == MessageType.STATELESS
    assert hocuspocus.read_stateless(message, 1) == text


def test_nothing_may_follow_a_stateless_message() -> None:
    with pytest.raises(Malformed) as caught:
        hocuspocus.read_stateless(hocuspocus.stateless("a") + b"b", 1)
    assert caught.value.reason == "trailing"


def test_a_status_says_saved_or_refused() -> None:
    assert (hocuspocus.sync_status(True), hocuspocus.sync_status(False)) == (b"\x08\x01", b"\x08\x00")


@pytest.mark.parametrize("vector", VECTORS["logins"], ids=str)
def test_the_answer_to_a_login_is_written_byte_for_byte_as_the_library_writes_it(
    vector: dict[str, str],
) -> None:
    if "denied" in vector:
        written = hocuspocus.permission_denied(vector["denied"])
    else:
        written = hocuspocus.authenticated(read_only=vector["scope"] == "readonly")
    assert write_varstring(NAME) + written == bytes.fromhex(vector["bytes"])


@pytest.mark.parametrize(
    ("client", "does", "frame"), frames("hocuspocus"), ids=lambda value: getattr(value, "get", str)("library")
)
def test_every_frame_of_every_provider_is_understood(client: dict[str, Any], does: str, frame: bytes) -> None:
    if does == "answers":
        assert frame == hocuspocus.PONG
        return
    key, name, kind, at = hocuspocus.read_head(frame, LONGEST)
    assert name == client["room"] == NAME
    session = "" if client["session"] is None else f"\0{client['session']}"
    assert key == write_varstring(name + session)
    match does, kind:
        case "opens", MessageType.AUTH:
            assert hocuspocus.read_token(frame, at) == client["token"]
        case "opens" | "leaves", MessageType.AWARENESS:
            (entry,) = decode_entries(read_payload(frame, at), most=1, largest=100)
            assert (entry.client, entry.gone) == (78, does == "leaves")
        case "opens" | "writes", MessageType.SYNC:
            assert read_sync(frame, at)[0] == (UPDATE if does == "writes" else STEP_1)
        case "says", MessageType.STATELESS:
            assert hocuspocus.read_stateless(frame, at) == '{"a": "ß"}'
        case "detaches", MessageType.CLOSE:
            assert at == len(frame)
        case _:
            pytest.fail(f"a provider that {does} sends no {kind.name}")


@pytest.mark.parametrize("client", VECTORS["hocuspocus"], ids=lambda client: client["library"])
def test_a_provider_logs_in_before_it_asks_for_anything(client: dict[str, Any]) -> None:
    opening = [bytes.fromhex(frame["bytes"]) for frame in client["frames"] if frame["does"] == "opens"]
    kinds = [hocuspocus.read_head(frame, LONGEST)[2] for frame in opening]
    assert kinds == [MessageType.AUTH, MessageType.SYNC, MessageType.AWARENESS]


@pytest.mark.parametrize("text", ["", "ß", "a" * 300])
def test_a_refusal_of_any_words_reads_back(text: str) -> None:
    message = hocuspocus.permission_denied(text)
    assert read_varstring(message, 2, 1_000) == (text, len(message))
