"""What the kernel knows of the other end, from real connections."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from roomful.server.tcp_info import unacknowledged_seconds
from tests.black_hole import swallow

SECONDS = 0.3


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with client, ours:
        yield ours, client


def test_a_host_that_is_there_owes_nothing(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = ends
    ours.send(b"ping")
    time.sleep(SECONDS)
    assert unacknowledged_seconds(ours) == 0


def test_nor_does_one_whose_client_reads_nothing(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, client = ends
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    ours.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            ours.send(bytes(4_096))
    time.sleep(SECONDS)
    assert unacknowledged_seconds(ours) < SECONDS


def test_one_without_power_owes_it_for_as_long_as_it_has_none(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, client = ends
    swallow(client)
    ours.send(b"ping")
    time.sleep(SECONDS)
    assert SECONDS - 0.02 < unacknowledged_seconds(ours) < SECONDS + 1


def test_of_what_is_no_tcp_connection_nothing_is_known() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.send(b"ping")
        assert unacknowledged_seconds(ours) == unacknowledged_seconds(None) == 0
