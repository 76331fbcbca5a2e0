"""What of a request decides which process serves it."""

import base64
import json
import random

import pytest

from roomful.server.cluster.request_key import LONGEST_HEAD, is_enough, request_key

ADDRESS = "10.0.0.1 4711"


def head(target: str, *fields: str) -> bytes:
    return "\r\n".join((f"GET {target} HTTP/1.1", "Host: example.org", *fields, "", "")).encode("latin-1")


def jwt(payload: object) -> str:
    packed = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    return f"e30.{packed}.c2ln"


def key(request: bytes, shard_by: str = "user") -> str:
    return request_key(request, shard_by, ADDRESS)


@pytest.mark.parametrize(
    ("request_head", "expected"),
    [
        (head("/hocuspocus?user=ann"), "ann"),
        (head("/sync/room?token=secret&user=ann"), "ann"),
        (head(f"/sync/room?token={jwt({'sub': 'ann'})}"), "ann"),
        (head("/hocuspocus", f"Authorization: Bearer {jwt({'sub': 'ann'})}"), "ann"),
        (head("/hocuspocus", f"authorization:bearer  {jwt({'sub': 'ann'})} "), "ann"),
        (head(f"/sync/room?user=&token={jwt({'sub': 'ann'})}"), "ann"),
        (head("/sync/room?user=J%C3%BCrgen+M"), "Jürgen M"),
        (head("/sync/room?token=secret"), "secret"),
        (head("/sync/room?token=a.b.c"), "a.b.c"),
        (head("/sync/room?token="), ADDRESS),
        (head("/sync/room"), ADDRESS),
        (head("/hocuspocus", "X-Authorization: Bearer secret"), ADDRESS),
    ],
)
def test_the_user_is_named_or_in_the_token_or_is_the_token_or_the_address(
    request_head: bytes, expected: str
) -> None:
    assert key(request_head) == expected


@pytest.mark.parametrize(
    "payload",
    [{}, {"sub": 7}, {"sub": ""}, {"sub": None}, ["sub"], "sub", 7, None],
)
def test_a_token_without_a_subject_counts_as_it_is(payload: object) -> None:
    token = jwt(payload)
    assert key(head(f"/sync/room?token={token}")) == token


def test_one_users_key_is_the_same_in_both_protocols() -> None:
    token = jwt({"sub": "ann", "iat": 1})
    later = jwt({"sub": "ann", "iat": 2})
    assert key(head(f"/sync/room?token={token}")) == key(
        head("/hocuspocus", f"Authorization: Bearer {later}")
    )


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/sync/class/7%20b?user=ann", "class/7 b"),
        ("/hocuspocus?user=ann&room=class/7%20b", "class/7 b"),
        ("/hocuspocus?user=ann", "ann"),
        ("/sync/?user=ann", "ann"),
    ],
)
def test_the_room_is_in_the_path_or_named_or_else_the_user_decides(target: str, expected: str) -> None:
    assert key(head(target), "room") == expected


@pytest.mark.parametrize(
    ("target", "expected"), [("/sync/r?owner=eve&user=ann", "eve"), ("/sync/r?user=ann", "ann")]
)
def test_the_owner_is_named_or_else_the_user_decides(target: str, expected: str) -> None:
    assert key(head(target), "owner") == expected


@pytest.mark.parametrize(
    "request_head",
    [
        b"",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"\r\n\r\n",
        b"GET ?" + b"&a=1" * 3_000 + b" HTTP/1.1\r\n\r\n",
        head("/sync/r?token=" + "a." + base64.urlsafe_b64encode(b"[" * 9_000).decode() + ".c")[:LONGEST_HEAD],
        head("/sync/r?token=a.%ff%fe.c"),
        head("/sync/r?user=%ff"),
        head("//["),
        head("/sync/%ff%"),
    ],
)
@pytest.mark.parametrize("shard_by", ["user", "room", "owner"])
def test_what_can_t_be_read_has_a_key_too(request_head: bytes, shard_by: str) -> None:
    assert isinstance(key(request_head, shard_by), str)


def test_no_bytes_are_too_strange_for_a_key() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    genuine = head(f"/sync/room?token={jwt({'sub': 'ann'})}&user=", "Authorization: Bearer a.b.c")
    for _ in range(2_000):
        mutated = bytearray(genuine)
        for _ in range(rng.randint(1, 20)):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        assert isinstance(key(bytes(mutated), rng.choice(("user", "room", "owner"))), str)


def test_a_head_is_enough_when_it_is_whole_and_not_before() -> None:
    whole = head("/sync/room?user=ann", "X: y")
    assert [is_enough(whole[:at]) for at in range(1, len(whole))] == [False] * (len(whole) - 1)
    assert is_enough(whole)
    assert is_enough(whole + b"what follows it")


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01", b"get / http", b"\0", b"1", b"GET\r\n", b"A" * 21, b"GET /" + b"a" * LONGEST_HEAD],
)
def test_what_is_no_head_or_too_long_is_not_waited_for(garbage: bytes) -> None:
    assert is_enough(garbage)
