"""Before and around the login: who says nothing, too much, too often, or a name that is none."""

import asyncio
from pathlib import Path

import pytest

from roomful.crdt.varint import write_varbytes
from roomful.server.close_codes import CloseCode
from tests.attacks import item, update
from tests.hostile.siege import ATTACKED, MIB, Siege, lay_siege
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET, Dialect, RawClient, upgrade

pytestmark = pytest.mark.asyncio(loop_scope="session")

AUTHORIZE = "tests.hostile.guard:authorize"
KEY = HOCUSPOCUS.key

by_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


async def test_who_sends_no_token_in_time_is_closed(tmp_path: Path) -> None:
    options = ("--pre-auth-seconds", "1")
    async with lay_siege(tmp_path, options=options, authorize=AUTHORIZE) as siege, siege.undisturbed():
        room = "silent"
        silent = await RawClient.open(siege.port, "/hocuspocus")
        pinging = await RawClient.open(siege.port, "/hocuspocus")
        early = await RawClient.open(siege.port, "/hocuspocus")
        async with silent, pinging, early:
            pinging.send(b"\x09", b"\x0a", b"\x09")
            early.send(
                HOCUSPOCUS.update(room, update(item(4, b"\x01a"))), HOCUSPOCUS.awareness(room, b"\x00")
            )
            for client in (silent, pinging, early):
                await siege.closes_with(client, CloseCode.LOGIN_TIMEOUT, within=3)
        await siege.logs(CloseCode.LOGIN_TIMEOUT, 3)


@by_dialect
async def test_a_login_that_is_never_judged_ends_as_one_that_failed(tmp_path: Path, dialect: Dialect) -> None:
    options = ("--pre-auth-seconds", "1")
    async with (
        lay_siege(tmp_path, options=options, authorize=AUTHORIZE) as siege,
        siege.undisturbed(errors=["authorizer failed"]),
        await RawClient.open(siege.port, dialect.path("room", "never")) as client,
    ):
        client.send(*dialect.login("room", "never"), dialect.step_1("room"))
        await siege.closes_with(client, CloseCode.UNAVAILABLE, within=3)


async def test_what_is_sent_before_the_login_is_kept_within_bounds(siege: Siege, room: str) -> None:
    update_of = HOCUSPOCUS.update(room, update(item(4, b"\x01a")))
    floods = {
        "100 messages and one": [update_of] * 101,
        "a megabyte and some": [HOCUSPOCUS.update(room, bytes(MIB // 4))] * 5,
        "a megabyte at once": [HOCUSPOCUS.update(room, bytes(MIB + 1))],
        "101 documents": [HOCUSPOCUS.update(f"{room}-{at}", b"\x00\x00") for at in range(101)],
        "101 sessions of one document": [
            HOCUSPOCUS.update(f"{room}\x00{at}", b"\x00\x00") for at in range(101)
        ],
        "101 documents denied": [
            login for at in range(101) for login in HOCUSPOCUS.login(f"{room}{at}", "denied")
        ],
    }
    logged = siege.logged(CloseCode.TOO_MANY_DOCUMENTS)
    for name, messages in floods.items():
        async with await RawClient.open(siege.port, "/hocuspocus") as client:
            client.send(*messages)
            code = await client.closed(within=2)
            assert code == CloseCode.TOO_MANY_DOCUMENTS, f"{name}: closed with {code} {client.close_reason!r}"
    await siege.logs(CloseCode.TOO_MANY_DOCUMENTS, logged + len(floods))


async def test_tokens_can_be_guessed_a_hundred_times_a_connection(siege: Siege, room: str) -> None:
    async with await RawClient.open(siege.port, "/hocuspocus") as client:
        for guesses in range(1, 200):
            client.send(*HOCUSPOCUS.login(room, "denied"))
            await client.until(lambda: len(client.messages) == guesses or not client.is_open)  # noqa: B023
            if client.close_code is not None:
                break
        assert client.close_code == CloseCode.FORBIDDEN
        assert guesses <= 110  # the close may cross with a few more


async def test_y_websocket_messages_before_the_judgement_wait_on_the_senders_side(
    siege: Siege, room: str
) -> None:
    async with await RawClient.open(siege.port, Y_WEBSOCKET.path(room, "late")) as client:
        client.send(*[Y_WEBSOCKET.update(room, bytes(MIB))] * 40)
        await siege.more_edits()


NO_ROOMS = {
    "empty": "",
    "too long": "r" * 513,
    "too long in UTF-8": "é" * 257,
}


async def test_a_y_websocket_room_name_that_is_none_is_a_bad_room(siege: Siege) -> None:
    for name, room in NO_ROOMS.items():
        async with await RawClient.open(siege.port, Y_WEBSOCKET.path(room)) as client:
            code = await client.closed(within=2)
            assert code == CloseCode.BAD_ROOM, f"{name}: {code}"


async def test_a_room_name_of_strange_bytes_is_a_name_or_refused_and_holds_nothing(siege: Siege) -> None:
    paths = [
        "/sync/%FF%FE",
        "/sync/%C3",
        "/sync/%ED%A0%80",
        "/sync/%00",
        "/sync/..%2F..%2Fa",
        "/sync/%25%46%46",
    ]
    paths += [
        "/sync/a?token=%FF",
        "/sync/a?token=%ED%A0%80",
        "/sync/\xff\xfe",
        "/sync/a?token=\xff",
        "/sync/%ZZ",
    ]
    for path in paths:
        async with await RawClient.connect(siege.port) as client:
            client.write(upgrade(path))
            await client.until(lambda: client.status is not None or not client.is_open)
            assert client.status in (101, 400, 404), f"{path}: {client.status}"
            if client.status == 101:
                client.send(Y_WEBSOCKET.step_1(""))
                await client.until(lambda: bool(client.messages) or client.close_code is not None)
                assert client.close_code in (None, CloseCode.BAD_ROOM, CloseCode.FORBIDDEN), path


async def test_a_hocuspocus_document_name_that_is_none_is_denied(siege: Siege, room: str) -> None:
    names = [*NO_ROOMS.values(), "\x00", "\x00session", "\x00\x00"]
    async with await RawClient.open(siege.port, "/hocuspocus") as client:
        for name in names:
            client.send(*HOCUSPOCUS.login(name))
        reasons = [KEY(name) + b"\x02\x01" for name in names]
        await client.until(
            lambda: all(any(each.startswith(reason) for each in client.messages) for reason in reasons)
        )
        client.send(*HOCUSPOCUS.login(room), HOCUSPOCUS.step_1(room))
        await client.wait_for(lambda message: message.startswith(KEY(room) + b"\x00\x01"))


async def test_the_session_after_a_zero_byte_is_part_of_the_key_and_not_of_the_room(
    siege: Siege, room: str
) -> None:
    sessions = [
        f"{room}\x00",
        f"{room}\x00a",
        f"{room}\x00a\x00b",
        f"{room}\x00\x00",
        f"{room}\x00" + "s" * 254,
    ]
    async with (
        await RawClient.open(siege.port, "/hocuspocus") as client,
        await RawClient.join(siege.port, Y_WEBSOCKET, room) as writer,
    ):
        for session in sessions:
            client.send(*HOCUSPOCUS.login(session), HOCUSPOCUS.step_1(session))
            await client.wait_for(lambda message: message.startswith(KEY(session) + b"\x00\x01"))  # noqa: B023
        client.messages.clear()
        sent = update(item(4, b"\x01a"))
        writer.send(Y_WEBSOCKET.update(room, sent))
        await client.until(lambda: len(client.messages) >= len(sessions))
        assert client.messages == [HOCUSPOCUS.update(session, sent) for session in sessions]

        client.send(KEY(sessions[0]) + b"\x07", *HOCUSPOCUS.login(f"{room}\x00" + "s" * 800))
        await siege.closes_with(client, CloseCode.MALFORMED)


async def test_documents_opened_and_left_in_a_tight_loop_leave_nothing_behind(
    siege: Siege, room: str
) -> None:
    async with await RawClient.open(siege.port, "/hocuspocus", keeps=False) as client:
        for at in range(5_000):
            key = f"{room}\x00{at}"
            client.send(*HOCUSPOCUS.login(key), HOCUSPOCUS.step_1(key), KEY(key) + b"\x07")
        last: list[bytes] = []
        client.on_message = last.append
        client.send(*HOCUSPOCUS.login(room), HOCUSPOCUS.step_1(room))
        await client.until(lambda: any(each.startswith(KEY(room) + b"\x00\x01") for each in last), within=20)
        for at in range(5_000):
            key = f"{room}-{at}"
            client.send(*HOCUSPOCUS.login(key, "denied"), KEY(key) + b"\x07")
        await client.until(lambda: client.unsent == 0)
        await siege.more_edits()


async def test_a_socket_that_leaves_while_it_logs_in_leaves_nothing_behind(siege: Siege, room: str) -> None:
    joins = await siege.server.metric("roomful_connections")
    for dialect in DIALECTS:
        for _ in range(100):
            client = await RawClient.connect(siege.port)
            client.write(upgrade(dialect.path(room, "late")))
            client.send(*dialect.login(room, "late"), dialect.awareness(ATTACKED, write_varbytes(b"")))
            await client.until(lambda: client.status is not None)  # noqa: B023
            client.abort()
    async with asyncio.timeout(5):
        while await siege.server.metric("roomful_connections") != joins:
            await siege.more_edits()
