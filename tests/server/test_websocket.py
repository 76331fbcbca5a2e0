"""Frames in and out over a pretended transport, where a test decides when anything moves."""

import asyncio

import pytest

from roomful.server import frames
from roomful.server.close_codes import CloseCode
from roomful.server.websocket import WebSocket
from tests.server.fakes import OUTBOX, FakeClient, client_frame

pytestmark = pytest.mark.virtual_time

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x81, 0x82, 0x80, 0x88, 0x89, 0x8A
MORE = 0x7F
"""Takes the final bit off an opcode."""


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.turns: list[str] = []
        self.socket: WebSocket

    def listen(self, socket: WebSocket) -> "Listener":
        self.socket = socket
        return self

    def turn(self) -> None:
        self.turns.append("begins")

    def turn_over(self) -> None:
        self.turns.append("is over")

    def close(self, code: CloseCode, reason: str) -> None:
        self.socket.close(code, reason)

    def received(self, message: bytes) -> None:
        self.told.append(message)

    def congested(self) -> None:
        self.told.append("congested")

    def drained(self) -> None:
        self.told.append("drained")

    def lost(self) -> None:
        self.told.append("lost")


@pytest.fixture
async def listener() -> Listener:
    return Listener()


@pytest.fixture
async def client(listener: Listener) -> FakeClient:
    client = FakeClient(max_message=1_000)
    client.start(listener.listen)
    return client


async def test_a_message_is_handled_in_the_callback_that_read_it(
    client: FakeClient, listener: Listener
) -> None:
    client.send(b"one", b"two")
    assert listener.told == [b"one", b"two"]


async def test_a_message_may_arrive_in_any_pieces(client: FakeClient, listener: Listener) -> None:
    data = client_frame(b"a" * 200) + client_frame(b"b")
    for at in range(len(data)):
        client.send_bytes(data[at : at + 1])
    assert listener.told == [b"a" * 200, b"b"]


async def test_a_fragmented_message_is_put_together_and_is_bytes(
    client: FakeClient, listener: Listener
) -> None:
    client.send_bytes(client_frame(b"ab", BINARY & MORE))
    client.send_bytes(client_frame(b"", PING))
    client.send_bytes(client_frame(b"cd", CONTINUATION & MORE) + client_frame(b"ef", CONTINUATION))
    assert listener.told == [b"abcdef"]
    assert type(listener.told[0]) is bytes, "keys are cut from it, and a bytearray can't be one"


@pytest.mark.parametrize("size", [1_000, 1_001])
@pytest.mark.parametrize("parts", [1, 3])
async def test_a_message_has_a_largest_size_in_one_frame_or_several(
    client: FakeClient, listener: Listener, size: int, parts: int
) -> None:
    cut = size // parts
    for part in range(parts):
        last = part == parts - 1
        opcode = (BINARY if part == 0 else CONTINUATION) & (0xFF if last else MORE)
        client.send_bytes(client_frame(bytes(size - cut * part if last else cut), opcode))
    if size > 1_000:
        closed = client.closed_with()
        assert closed is not None
        assert closed[0] == CloseCode.TOO_BIG
        assert listener.told == ["lost"]
    else:
        assert listener.told == [bytes(size)]


async def test_a_size_is_refused_before_the_message_has_come(client: FakeClient) -> None:
    client.send_bytes(client_frame(bytes(70_000))[:20])
    assert client.closed_with() == (1009, "the message is larger than max_message_bytes")


async def test_an_empty_message_is_a_message(client: FakeClient, listener: Listener) -> None:
    client.send(b"")
    assert listener.told == [b""]


@pytest.mark.parametrize("payload", [b"", b"are you there?", bytes(125)])
async def test_a_ping_is_answered_with_what_it_says(client: FakeClient, payload: bytes) -> None:
    client.send_bytes(client_frame(payload, PING))
    assert client.frames() == [(PONG, payload)]


async def test_pings_of_a_client_that_takes_nothing_do_not_pile_up(client: FakeClient) -> None:
    client.transport.stall()
    client.socket.write(bytes(OUTBOX + 1))
    buffered = client.socket.buffered
    for _ in range(10):
        client.send_bytes(client_frame(b"?", PING))
    assert client.socket.buffered == buffered
    client.transport.drain()
    client.send_bytes(client_frame(b"!", PING))
    assert client.transport.writes[-1] == frames.control(frames.PONG, b"!")


@pytest.mark.parametrize("frame", [client_frame(b"", PONG), client_frame(b"", PING), client_frame(b"a")])
async def test_any_frame_is_a_sign_of_life(client: FakeClient, frame: bytes) -> None:
    client.socket.alive = False
    client.send_bytes(frame)
    assert client.socket.alive


async def test_a_text_message_is_refused(client: FakeClient, listener: Listener) -> None:
    client.send_bytes(client_frame("tëxt".encode(), TEXT) + client_frame(b"more"))
    assert client.closed_with() == (1003, "only binary messages are spoken here")
    assert listener.told == ["lost"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x92\x80" + bytes(4),
        client_frame(b"", 0x83),
        client_frame(b"no message has begun", CONTINUATION),
        client_frame(b"a", BINARY & MORE) + client_frame(b"b", BINARY),
        client_frame(b"", PING & MORE),
        client_frame(bytes(126), PING),
        client_frame(b"\x00", CLOSE),
        client_frame((999).to_bytes(2, "big"), CLOSE),
        client_frame(b"\x03\xe8\xff", CLOSE),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_websocket_is_a_protocol_error(
    client: FakeClient, listener: Listener, data: bytes
) -> None:
    client.send_bytes(data)
    closed = client.closed_with()
    assert closed is not None
    assert closed[0] == CloseCode.PROTOCOL_ERROR
    assert listener.told == ["lost"]
    assert not client.socket.is_open


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe9bye", b"\x11\x30later"])
async def test_a_close_is_answered_and_the_transport_let_go(
    client: FakeClient, listener: Listener, payload: bytes
) -> None:
    client.send_bytes(client_frame(payload, CLOSE) + client_frame(b"too late"))
    assert client.closed_with() == (1000, "")
    assert listener.told == ["lost"]
    assert client.transport.is_closing()
    await client.socket.closed


async def test_closing_says_why_once_and_hears_nothing_more(client: FakeClient, listener: Listener) -> None:
    client.socket.close(CloseCode.FORBIDDEN, "not for you")
    client.socket.close(CloseCode.INTERNAL, "again")
    assert client.closed_with() == (4403, "not for you")
    await client.socket.closed
    assert listener.told == ["lost"]
    assert client.http.lost, "aiohttp must count its connections"


async def test_the_client_is_lost_before_its_transport_closes(listener: Listener) -> None:
    """Between the two, nobody may think that what is written arrives."""
    client = FakeClient()
    states: list[bool] = []

    class Curious(Listener):
        def lost(self) -> None:
            states.extend((client.socket.is_open, client.transport.is_closing()))

    client.start(Curious().listen)
    client.socket.close(CloseCode.NORMAL, "")
    assert states == [False, False]


async def test_a_client_that_does_not_take_the_close_is_cut_off_after_a_while(
    client: FakeClient, listener: Listener
) -> None:
    client.transport.stall()
    client.socket.close(CloseCode.RESTART, "")
    await asyncio.sleep(1.9)
    assert not client.socket.closed.done()
    await asyncio.sleep(0.2)
    assert client.transport.aborted
    await client.socket.closed
    assert listener.told == ["lost"]


async def test_an_abort_is_without_a_word(client: FakeClient, listener: Listener) -> None:
    client.socket.abort()
    assert client.frames() == []
    await client.socket.closed
    assert listener.told == ["lost"]


async def test_a_client_that_vanishes_is_lost_once(client: FakeClient, listener: Listener) -> None:
    client.transport.vanish()
    await client.socket.closed
    client.socket.abort()
    client.socket.close(CloseCode.NORMAL, "")
    assert (listener.told, client.transport.written_late) == (["lost"], [])


async def test_the_listener_hears_of_congestion_while_the_client_is_there(
    client: FakeClient, listener: Listener
) -> None:
    loop = asyncio.get_running_loop()
    client.transport.stall()
    client.socket.write(bytes(OUTBOX))
    assert (listener.told, client.socket.is_congested) == ([], False)
    client.socket.write(bytes(OUTBOX))
    assert (listener.told, client.socket.is_congested) == (["congested"], True)
    assert (client.socket.buffered, client.socket.congested_since) == (OUTBOX, loop.time())
    client.transport.take(OUTBOX // 2)
    assert client.socket.is_congested
    await asyncio.sleep(0.01)
    client.transport.take(OUTBOX // 2)
    assert (listener.told, client.socket.is_congested) == (["congested", "drained"], False)
    assert client.socket.drained_at == loop.time()


async def test_a_client_that_is_lost_is_not_told_to_have_drained(
    client: FakeClient, listener: Listener
) -> None:
    client.transport.stall()
    client.socket.write(bytes(OUTBOX - 10))
    client.socket.close(CloseCode.NORMAL, "a reason that is long enough")
    client.transport.take(OUTBOX)
    assert listener.told[-1] == "lost"


async def test_reading_stops_and_goes_on(client: FakeClient) -> None:
    client.socket.pause_reading()
    assert (client.transport.reading, client.socket.is_reading) == (False, False)
    client.socket.alive = False
    client.socket.resume_reading()
    assert (client.transport.reading, client.socket.is_reading) == (True, True)
    assert client.socket.alive, "what it has sent meanwhile is not read yet"


async def test_a_closing_transport_is_not_asked_to_read_or_to_stop_reading(client: FakeClient) -> None:
    client.transport.stall()
    client.socket.close(CloseCode.NORMAL, "")
    client.socket.pause_reading()
    client.socket.resume_reading()
    client.socket.abort()
    await client.socket.closed


async def test_what_came_behind_the_upgrade_is_the_first_to_be_handled(listener: Listener) -> None:
    client = FakeClient(tail=client_frame(b"early") + client_frame(b"split")[:3])
    assert listener.told == []
    client.start(listener.listen)
    client.send_bytes(client_frame(b"split")[3:] + client_frame(b"late"))
    assert listener.told == [b"early", b"split", b"late"]


async def test_a_socket_that_nobody_listens_to_can_be_closed_and_ends() -> None:
    """A full server refuses so; the request must not be held for ever."""
    client = FakeClient()
    client.transport.stall()
    client.socket.close(CloseCode.FULL, "the server is full")
    client.transport.protocol.data_received(client_frame(b"too late"))
    client.transport.drain()
    assert client.closed_with() == (4503, "the server is full")
    await client.socket.closed


async def test_congestion_before_anybody_listens_is_noticed_all_the_same() -> None:
    client = FakeClient()
    client.transport.stall()
    client.socket.write(bytes(OUTBOX + 1))
    was_congested = client.socket.is_congested
    client.transport.drain()
    assert (was_congested, client.socket.is_congested) == (True, False)
    client.socket.abort()
    await client.socket.closed


async def test_the_end_is_reached_even_if_nobody_waits_for_it_any_more(client: FakeClient) -> None:
    client.socket.closed.cancel()
    client.transport.vanish()
    await asyncio.sleep(0)
    assert client.http.lost


async def test_a_read_with_much_in_it_is_a_turn_and_a_small_one_is_none(
    client: FakeClient, listener: Listener
) -> None:
    client.send(b"small")
    assert listener.turns == []
    client.send(b"large" * 20)
    assert listener.turns == ["begins", "is over"]
    assert listener.told == [b"small", b"large" * 20]


async def test_what_is_broken_after_the_close_is_thrown_away(client: FakeClient, listener: Listener) -> None:
    client.transport.stall()
    client.socket.close(CloseCode.FORBIDDEN, "")
    client.transport.protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert len(client.frames()) == 1
    client.socket.abort()
    await client.socket.closed


async def test_a_pong_that_could_not_be_sent_is_sent_when_there_is_room(client: FakeClient) -> None:
    client.transport.stall()
    client.socket.write(bytes(OUTBOX + 1))
    client.send_bytes(client_frame(b"first", PING) + client_frame(b"last", PING))
    client.transport.drain()
    assert client.transport.writes[1:] == [frames.control(frames.PONG, b"last")]


async def test_more_than_an_outbox_behind_a_full_one_is_a_flood(client: FakeClient) -> None:
    client.transport.stall()
    client.socket.write(bytes(5 * OUTBOX))
    flooded = [client.socket.is_flooded]
    client.socket.write(bytes(OUTBOX))
    flooded.append(client.socket.is_flooded)
    client.socket.write(b"!")
    flooded.append(client.socket.is_flooded)
    client.transport.drain()
    assert [*flooded, client.socket.is_flooded] == [False, False, True, False]


@pytest.mark.parametrize(
    ("payload", "has_left"),
    [
        (b"", True),
        ((1000).to_bytes(2, "big"), True),
        ((1001).to_bytes(2, "big") + b"a tab is closed", True),
        ((1011).to_bytes(2, "big"), False),
        ((4000).to_bytes(2, "big") + b"silent", False),
    ],
)
async def test_a_client_that_closes_says_whether_it_may_come_back(
    client: FakeClient, listener: Listener, payload: bytes, has_left: bool
) -> None:
    assert not client.socket.has_left
    client.send_bytes(client_frame(payload, 0x88))
    assert client.socket.has_left == has_left


@pytest.mark.parametrize(
    ("code", "has_left"),
    [
        (CloseCode.MALFORMED, True),
        (CloseCode.FORBIDDEN, True),
        (CloseCode.RESTART, False),
        (CloseCode.SLOW, False),
        (CloseCode.INTERNAL, False),
    ],
)
async def test_a_client_that_is_told_not_to_come_back_has_left(
    client: FakeClient, listener: Listener, code: CloseCode, has_left: bool
) -> None:
    client.socket.close(code, "")
    assert client.socket.has_left == has_left


async def test_one_that_vanishes_has_not_left(client: FakeClient, listener: Listener) -> None:
    client.transport.vanish()
    await asyncio.sleep(0)
    assert not client.socket.has_left
