"""Connections at the door: what is waited for, for how long, by how many, and what is handed on."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from roomful.server.cluster import acceptor as module
from roomful.server.cluster.acceptor import SILENT_PER_HANDSHAKE, Acceptor
from roomful.server.cluster.listeners import bind
from roomful.server.cluster.request_key import LONGEST_HEAD
from roomful.server.config import Limits
from roomful.server.metrics import Arrivals
from tests.waiting import until

pytestmark = pytest.mark.both_loops

HEAD = b"GET /hocuspocus?user=ann HTTP/1.1\r\nHost: example.org\r\n\r\n"
PLACES = 2
MOST = PLACES * SILENT_PER_HANDSHAKE


class Takers:
    """Takes what it is given, while it has a place."""

    def __init__(self) -> None:
        self.places = 1_000
        self.taken: list[tuple[socket.socket, bytes]] = []

    def has_place(self) -> bool:
        return len(self.taken) < self.places

    def take(self, connection: socket.socket, head: bytes) -> None:
        assert self.has_place()
        self.taken.append((connection, head))

    @property
    def heads(self) -> list[bytes]:
        return [head for _, head in self.taken]


class Door:
    """An acceptor on a free port, and clients of it."""

    def __init__(self, seconds: float) -> None:
        self.takers = Takers()
        self.arrivals = Arrivals()
        self.acceptor = Acceptor(
            self.takers, self.arrivals, Limits(max_handshakes=PLACES, pre_auth_seconds=seconds)
        )
        (listener,) = bind("127.0.0.1", 0)
        self.address = listener.getsockname()
        self.clients: list[socket.socket] = []
        self.acceptor.listen([listener])

    def client(self, said: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.address, timeout=5)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.clients.append(client)
        client.sendall(said)
        return client

    def close(self) -> None:
        self.acceptor.close()
        for each in (*self.clients, *(connection for connection, _ in self.takers.taken)):
            each.close()


@pytest.fixture
async def opened() -> AsyncIterator[Callable[[float], Door]]:
    doors: list[Door] = []

    def opened(seconds: float = 10) -> Door:
        doors.append(Door(seconds))
        return doors[-1]

    yield opened
    for door in doors:
        door.close()


@pytest.fixture
async def door(opened: Callable[[float], Door]) -> Door:
    return opened(10)


@pytest.fixture
def peeks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much was seen at each look."""
    seen: list[int] = []
    peek = module._peek

    def counted(connection: socket.socket) -> bytes | None:
        head = peek(connection)
        seen.append(len(head or b""))
        return head

    monkeypatch.setattr(module, "_peek", counted)
    return seen


async def hung_up_on(client: socket.socket) -> bool:
    """Whether the server closes the connection, without a word."""
    try:
        return await asyncio.to_thread(client.recv, 1) == b""
    except ConnectionResetError:
        return True


async def test_a_connection_is_handed_on_with_every_byte_still_to_read(door: Door) -> None:
    door.client(HEAD + b"more")
    await until(lambda: len(door.takers.taken) == 1)
    connection, head = door.takers.taken[0]
    assert head == HEAD + b"more"
    assert connection.recv(1_000) == HEAD + b"more"
    assert not connection.getblocking()
    assert (door.arrivals.accepted, door.arrivals.dropped) == (1, {})


async def test_a_head_that_comes_byte_by_byte_is_awaited_without_spinning(
    door: Door, peeks: list[int]
) -> None:
    client = door.client()
    for at in range(len(HEAD)):
        client.sendall(HEAD[at : at + 1])
        await asyncio.sleep(0)
        if at % 8 == 0:
            await until(lambda at=at: peeks[-1:] == [at + 1])  # type: ignore[misc]
    await until(lambda: door.takers.heads == [HEAD])
    connection, _ = door.takers.taken[0]
    assert connection.recv(1_000) == HEAD
    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
    # Each look but the first and the last two saw more than the one before.
    assert len(peeks) <= len(HEAD) + 3


async def test_where_the_kernel_knows_no_low_water_mark_it_is_looked_at_again_after_a_moment(
    door: Door, peeks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_set_mark", lambda *_: False)
    client = door.client(HEAD[:20])
    await until(lambda: len(peeks) >= 3)
    client.sendall(HEAD[20:])
    await until(lambda: door.takers.heads == [HEAD])
    assert len(peeks) < 20


async def test_a_head_that_never_ends_is_dropped_at_the_deadline_and_said_once(
    opened: Callable[[float], Door], peeks: list[int]
) -> None:
    door = opened(0.2)
    clients = [door.client(said) for said in (b"", b"GET", HEAD[:-1])]
    for client in clients:
        assert await hung_up_on(client)
    assert door.arrivals.dropped == {"slow": 3}
    assert door.takers.taken == []
    assert len(peeks) <= 10


async def test_who_hangs_up_in_the_middle_of_a_head_is_forgotten_at_once(door: Door) -> None:
    door.client(HEAD[:20]).close()
    door.client().close()
    await until(lambda: door.arrivals.dropped == {"left": 2})


async def test_garbage_and_endless_heads_are_handed_on_to_be_answered(door: Door) -> None:
    door.client(b"\x16\x03\x01\x02\x00")
    endless = b"GET /" + b"a" * 2 * LONGEST_HEAD
    door.client(endless)
    await until(lambda: len(door.takers.taken) == 2)
    assert b"\x16\x03\x01\x02\x00" in door.takers.heads
    assert max(map(len, door.takers.heads)) == LONGEST_HEAD


async def test_the_silent_keep_nobody_out_and_the_oldest_makes_room(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOMENT_SECONDS", 0.1)
    silent = [door.client() for _ in range(MOST + 3)]
    door.client(HEAD)
    await until(lambda: door.takers.heads == [HEAD])
    assert door.arrivals.dropped == {"crowded out": 4}
    for client in silent[:4]:
        assert await hung_up_on(client)
    silent[4].sendall(HEAD)
    await until(lambda: len(door.takers.taken) == 2)


async def test_in_a_storm_nobody_is_dropped_for_a_moments_silence(door: Door) -> None:
    clients = [door.client() for _ in range(3 * MOST)]
    await until(lambda: door.arrivals.accepted == MOST)
    for client in clients:
        client.sendall(HEAD)
    await until(lambda: len(door.takers.taken) == len(clients), within=0.9)
    assert door.arrivals.dropped == {}


async def test_while_nobody_has_a_place_newcomers_wait_in_the_kernel_and_are_served_in_order(
    door: Door,
) -> None:
    door.takers.places = 2
    for number in range(6):
        door.client(HEAD + b"%d" % number)
    await until(lambda: len(door.takers.taken) == 2)
    await asyncio.sleep(0.05)
    assert door.arrivals.accepted <= 3
    for places in (3, 6):
        door.takers.places = places
        door.acceptor.go_on()
        await until(lambda places=places: len(door.takers.taken) == places)  # type: ignore[misc]
    assert [head[-1:] for head in door.takers.heads] == [b"0", b"1", b"2", b"3", b"4", b"5"]


async def test_who_speaks_while_nobody_has_a_place_is_handed_on_later_unless_it_leaves(
    door: Door, peeks: list[int]
) -> None:
    impatient, early = door.client(), door.client()
    await until(lambda: door.arrivals.accepted == 2)
    door.takers.places = 0
    for client in (impatient, early):
        client.sendall(HEAD)
    await until(lambda: peeks.count(len(HEAD)) == 2)
    impatient.close()
    # Nobody is accepted before them.
    door.client(b"GET /other HTTP/1.1\r\n\r\n")
    door.takers.places = 1_000
    door.acceptor.go_on()
    await until(lambda: len(door.takers.taken) == 2)
    assert door.takers.heads[0] == HEAD
    assert door.arrivals.dropped == {"left": 1}


async def test_who_spoke_and_is_served_by_nobody_in_time_is_dropped(opened: Callable[[float], Door]) -> None:
    door = opened(0.2)
    client = door.client()
    await until(lambda: door.arrivals.accepted == 1)
    door.takers.places = 0
    client.sendall(HEAD)
    assert await hung_up_on(client)
    assert door.arrivals.dropped == {"unserved": 1}


async def test_who_gave_up_while_it_waited_is_not_handed_on(door: Door) -> None:
    door.takers.places = 0
    door.acceptor.go_on()
    impatient = [door.client(HEAD) for _ in range(5)]
    for client in impatient:
        client.close()
    door.client(HEAD + b"patient")
    door.takers.places = 1_000
    door.acceptor.go_on()
    await until(lambda: bool(door.takers.taken))
    assert door.takers.heads == [HEAD + b"patient"]
    assert door.arrivals.dropped == {"left": 5}


async def test_an_acceptor_that_is_closed_hangs_up_on_those_it_has_not_handed_on(door: Door) -> None:
    waiting = door.client(HEAD[:9])
    door.client(HEAD)
    await until(lambda: door.arrivals.accepted == 2 and len(door.takers.taken) == 1)
    door.acceptor.close()
    assert await hung_up_on(waiting)
    with pytest.raises(ConnectionRefusedError):
        door.client()
    connection, _ = door.takers.taken[0]
    assert connection.recv(1_000) == HEAD
    door.acceptor.go_on()


async def test_a_system_without_descriptors_is_given_a_rest(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_EXHAUSTED_SECONDS", 0.1)
    silent = door.client()
    await until(lambda: door.arrivals.accepted == 1)

    class Full(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            raise OSError(24, "Too many open files")

    (listener,) = bind("127.0.0.1", 0)
    with Full(fileno=listener.detach()) as full:
        door.acceptor._accept(full)
    assert await hung_up_on(silent)
    door.client(HEAD)
    await asyncio.sleep(0)
    assert door.takers.taken == []
    await until(lambda: door.takers.heads == [HEAD])
