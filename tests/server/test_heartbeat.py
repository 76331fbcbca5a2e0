"""Turns, silence and standing still, on a clock that jumps. The interval is 20 s, patience 30 s."""

import asyncio
import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from roomful.server import frames
from roomful.server import heartbeat as heartbeat_module
from roomful.server.close_codes import CloseCode
from roomful.server.heartbeat import Heartbeat
from roomful.server.websocket import WebSocket
from tests.server.fakes import FakeClient, client_frame

pytestmark = pytest.mark.virtual_time

INTERVAL, PATIENCE = 20.0, 30.0
NOTHING = frames.binary(b"\x01\x01\x00")
PING = frames.control(frames.PING)
PONG = client_frame(b"", 0x8A)


class Beaten:
    """A connection that notes its turns, and when and why it was cut off."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self.client = FakeClient(outbox=1_000)
        self.socket = self.client.socket
        self.cut: tuple[CloseCode, str, float] | None = None
        self._heartbeat = heartbeat
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.client.start(lambda _: self)

    def keep_alive(self) -> None:
        self.socket.write(NOTHING)

    def cut_off(self, code: CloseCode, reason: str) -> None:
        self.cut = code, reason, self._loop.time() - self._began
        self._heartbeat.remove(self)

    def received(self, message: bytes) -> None: ...

    def turn(self) -> None: ...

    def turn_over(self) -> None: ...

    def close(self, code: CloseCode, reason: str) -> None: ...

    def congested(self) -> None: ...

    def drained(self) -> None: ...

    def lost(self) -> None: ...

    def pong(self) -> None:
        self.client.send_bytes(PONG)

    def stall(self, size: int) -> None:
        """Let so many bytes wait for the client."""
        self.client.transport.stall()
        self.socket.write(bytes(size))


@pytest.fixture
async def heartbeat() -> Heartbeat:
    return Heartbeat(INTERVAL, PATIENCE)


def connected(heartbeat: Heartbeat) -> Beaten:
    connection = Beaten(heartbeat)
    heartbeat.add(connection)
    return connection


def written(connection: Beaten) -> list[bytes]:
    writes, connection.client.transport.writes = connection.client.transport.writes, []
    return writes


async def test_a_quiet_connection_gets_a_data_frame_and_a_ping_once_an_interval(heartbeat: Heartbeat) -> None:
    connection = connected(heartbeat)
    await asyncio.sleep(INTERVAL - 0.1)
    assert written(connection) == []
    for _ in range(5):
        await asyncio.sleep(INTERVAL)
        assert written(connection) == [NOTHING, PING]
        connection.pong()
    assert connection.cut is None
    heartbeat.stop()


async def test_each_connection_has_its_own_turn(heartbeat: Heartbeat) -> None:
    early = connected(heartbeat)
    await asyncio.sleep(5)
    late = connected(heartbeat)
    await asyncio.sleep(INTERVAL - 5)
    assert (written(early), written(late)) == ([NOTHING, PING], [])
    await asyncio.sleep(5)
    assert (written(early), written(late)) == ([], [NOTHING, PING])
    heartbeat.stop()


async def test_a_connection_that_does_not_answer_its_first_ping_is_cut_off_at_its_second_turn(
    heartbeat: Heartbeat,
) -> None:
    connection = connected(heartbeat)
    await asyncio.sleep(10 * INTERVAL)
    assert connection.cut == (CloseCode.NORMAL, "silent", 2 * INTERVAL)
    assert written(connection) == [NOTHING, PING]


@pytest.mark.parametrize("after", [0.1, INTERVAL / 2, INTERVAL - 0.1])
async def test_whoever_falls_silent_is_cut_off_at_its_second_turn_from_then(
    heartbeat: Heartbeat, after: float
) -> None:
    connection = connected(heartbeat)
    for _ in range(3):
        await asyncio.sleep(INTERVAL)
        connection.pong()
    await asyncio.sleep(after)
    connection.pong()
    await asyncio.sleep(10 * INTERVAL)
    assert connection.cut == (CloseCode.NORMAL, "silent", 5 * INTERVAL)


async def test_an_answer_just_before_the_next_turn_is_enough(heartbeat: Heartbeat) -> None:
    connection = connected(heartbeat)
    await asyncio.sleep(INTERVAL - 0.1)
    for _ in range(5):
        await asyncio.sleep(INTERVAL)
        connection.pong()
    assert connection.cut is None
    heartbeat.stop()


async def test_a_connection_that_is_not_read_is_not_called_silent(heartbeat: Heartbeat) -> None:
    connection = connected(heartbeat)
    connection.socket.pause_reading()
    await asyncio.sleep(11 * INTERVAL - 0.1)
    assert connection.cut is None
    connection.socket.resume_reading()
    await asyncio.sleep(2 * INTERVAL)
    assert connection.cut == (CloseCode.NORMAL, "silent", 12 * INTERVAL), "a whole turn to be heard in"


async def test_a_connection_that_takes_nothing_is_cut_off(heartbeat: Heartbeat) -> None:
    connection = connected(heartbeat)
    await asyncio.sleep(5)
    connection.stall(2_000)
    connection.pong()
    await asyncio.sleep(10 * INTERVAL)
    assert connection.cut == (CloseCode.SLOW, "took nothing for too long", 2 * INTERVAL)


async def test_a_congested_connection_gets_neither_frames_nor_pings(heartbeat: Heartbeat) -> None:
    connection = connected(heartbeat)
    connection.stall(2_000)
    written(connection)
    await asyncio.sleep(INTERVAL)
    assert written(connection) == []
    heartbeat.stop()


async def test_a_slow_connection_may_take_its_time(heartbeat: Heartbeat) -> None:
    connection = connected(heartbeat)
    connection.stall(100_000)
    for _ in range(20):
        await asyncio.sleep(INTERVAL - 1)
        connection.client.transport.take(1)
    assert connection.cut is None
    heartbeat.stop()


async def test_answers_that_pile_up_are_not_taken_for_progress(heartbeat: Heartbeat) -> None:
    """A client that goes on sending and takes no acknowledgement would fill the memory."""
    connection = connected(heartbeat)
    connection.stall(2_000)
    for _ in range(10):
        await asyncio.sleep(5)
        connection.pong()
        if connection.cut is None:
            connection.socket.write(b"an acknowledgement")
    assert connection.cut == (CloseCode.SLOW, "took nothing for too long", 2 * INTERVAL)


async def test_who_has_caught_up_between_two_turns_has_all_its_time_again(heartbeat: Heartbeat) -> None:
    connection = connected(heartbeat)
    for size in range(2_000, 4_000, 100):
        connection.stall(size)
        await asyncio.sleep(25)
        connection.client.transport.drain()
        await asyncio.sleep(1)
        connection.pong()
    assert connection.cut is None
    heartbeat.stop()


@pytest.mark.parametrize(("patience", "turn"), [(5.0, 4), (45.0, 5)])
async def test_who_was_slow_has_time_to_take_what_is_ahead_of_a_ping_and_to_answer_one(
    patience: float, turn: int
) -> None:
    heartbeat = Heartbeat(INTERVAL, patience)
    connection = connected(heartbeat)
    await asyncio.sleep(2 * INTERVAL - 1)
    connection.pong()
    connection.stall(2_000)
    await asyncio.sleep(2)
    connection.client.transport.drain()
    await asyncio.sleep(10 * INTERVAL)
    assert connection.cut == (CloseCode.NORMAL, "silent", turn * INTERVAL)


async def test_after_congestion_the_turns_are_as_before(heartbeat: Heartbeat) -> None:
    connection = connected(heartbeat)
    connection.stall(2_000)
    await asyncio.sleep(INTERVAL)
    connection.client.transport.drain()
    connection.pong()
    written(connection)
    await asyncio.sleep(INTERVAL)
    assert written(connection) == [NOTHING, PING]
    await asyncio.sleep(1)
    connection.stall(2_000)
    await asyncio.sleep(PATIENCE - 2)
    assert connection.cut is None, "an earlier congestion does not count"
    heartbeat.stop()


@pytest.fixture
async def host(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The host of all clients acknowledges at once, until what this returns is called."""
    loop, lost_at = asyncio.get_running_loop(), math.inf

    def lose() -> None:
        nonlocal lost_at
        lost_at = loop.time()

    monkeypatch.setattr(heartbeat_module, "time", SimpleNamespace(monotonic=loop.time))
    ago = property(lambda _: max(0.0, loop.time() - lost_at))
    monkeypatch.setattr(WebSocket, "unacknowledged_seconds", ago)
    return lose


@pytest.mark.parametrize("waits", [0, 2_000])
async def test_one_whose_host_is_gone_is_cut_off_at_its_second_turn_from_then_whatever_waits_for_it(
    heartbeat: Heartbeat, host: Callable[[], None], waits: int
) -> None:
    connection = connected(heartbeat)
    for _ in range(3):
        await asyncio.sleep(INTERVAL)
        connection.pong()
    await asyncio.sleep(5)
    host()
    connection.stall(waits)
    await asyncio.sleep(10 * INTERVAL)
    assert connection.cut == (CloseCode.NORMAL, "silent", 5 * INTERVAL)


async def test_nor_does_it_help_that_it_was_slow_a_moment_ago(host: Callable[[], None]) -> None:
    heartbeat = Heartbeat(INTERVAL, 45.0)
    connection = connected(heartbeat)
    await asyncio.sleep(2 * INTERVAL - 1)
    connection.pong()
    connection.stall(2_000)
    await asyncio.sleep(2)
    connection.client.transport.drain()
    host()
    await asyncio.sleep(10 * INTERVAL)
    assert connection.cut == (CloseCode.NORMAL, "silent", 4 * INTERVAL)


async def test_one_whose_host_acknowledges_is_only_slow(
    heartbeat: Heartbeat, host: Callable[[], None]
) -> None:
    connection = connected(heartbeat)
    await asyncio.sleep(5)
    connection.stall(2_000)
    await asyncio.sleep(10 * INTERVAL)
    assert connection.cut == (CloseCode.SLOW, "took nothing for too long", 2 * INTERVAL)


async def test_a_removed_connection_has_no_more_turns(heartbeat: Heartbeat) -> None:
    connection, other = connected(heartbeat), connected(heartbeat)
    assert (len(heartbeat), set(heartbeat.connections)) == (2, {connection, other})
    heartbeat.remove(connection)
    heartbeat.remove(connection)
    assert (len(heartbeat), heartbeat.connections) == (1, (other,))
    await asyncio.sleep(INTERVAL)
    assert (written(connection), written(other)) == ([], [NOTHING, PING])
    heartbeat.stop()


async def test_the_timer_rests_while_nobody_is_there_and_runs_again_for_the_next(
    heartbeat: Heartbeat,
) -> None:
    heartbeat.remove(connected(heartbeat))
    await asyncio.sleep(3 * INTERVAL)
    connection = connected(heartbeat)
    await asyncio.sleep(INTERVAL)
    assert written(connection) == [NOTHING, PING]
    heartbeat.stop()


async def test_after_the_stop_nobody_has_a_turn(heartbeat: Heartbeat) -> None:
    connection = connected(heartbeat)
    heartbeat.stop()
    await asyncio.sleep(10 * INTERVAL)
    assert (written(connection), connection.cut) == ([], None)


async def test_a_heartbeat_without_connections_may_be_stopped() -> None:
    Heartbeat(INTERVAL, PATIENCE).stop()


async def test_one_that_is_heard_is_not_gone_though_its_host_acknowledges_nothing(
    heartbeat: Heartbeat, host: Callable[[], None]
) -> None:
    connection = connected(heartbeat)
    await asyncio.sleep(5)
    host()
    for _ in range(10):
        await asyncio.sleep(INTERVAL)
        connection.pong()
    assert connection.cut is None
    heartbeat.stop()


async def test_one_that_is_not_read_and_takes_nothing_is_gone_with_its_host(
    heartbeat: Heartbeat, host: Callable[[], None]
) -> None:
    connection = connected(heartbeat)
    await asyncio.sleep(5)
    connection.socket.pause_reading()
    connection.stall(2_000)
    host()
    await asyncio.sleep(10 * INTERVAL)
    assert connection.cut == (CloseCode.NORMAL, "silent", 2 * INTERVAL)
