"""Who gets a connection, when all workers are well and when they are not."""

import socket
from collections import Counter
from typing import cast

import pytest

from roomful.server.cluster.dispatcher import Dispatcher
from roomful.server.cluster.sharding import Member
from roomful.server.cluster.supervisor import Supervisor
from roomful.server.metrics import Arrivals

MOST = 40


class Process:
    """A process and its channel in one."""

    def __init__(self) -> None:
        self.channel = self
        self.is_open = True
        self.handshakes = 0

    def take(self, connection: socket.socket) -> None:
        self.handshakes += 1
        connection.close()


class Worker:
    def __init__(self, number: int) -> None:
        self.member = Member(str(number))
        self.process: Process | None = Process()
        self.restarts = 0

    @property
    def in_hand(self) -> int:
        return 0 if self.process is None else self.process.handshakes


class Office:
    def __init__(self, count: int) -> None:
        self.workers = [Worker(number) for number in range(count)]
        supervisors = cast("list[Supervisor]", self.workers)
        self.dispatcher = Dispatcher(supervisors, "user", MOST, Arrivals())

    def send(self, user: str) -> int:
        """Return the number of the worker that took a connection of a user."""
        before = [worker.in_hand for worker in self.workers]
        ours, theirs = socket.socketpair()
        theirs.close()
        self.dispatcher.take(ours, f"GET /hocuspocus?user={user} HTTP/1.1\r\n\r\n".encode())
        (number,) = [at for at, worker in enumerate(self.workers) if worker.in_hand > before[at]]
        self.workers[number].process.handshakes -= 1  # type: ignore[union-attr]
        return number


@pytest.fixture
def office() -> Office:
    return Office(4)


USERS = [f"ann{number}" for number in range(400)]


def test_users_are_spread_and_each_has_one_worker(office: Office) -> None:
    places = {user: office.send(user) for user in USERS}
    assert all(office.send(user) == places[user] for user in USERS)
    assert min(Counter(places.values()).values()) > len(USERS) / 8


@pytest.mark.parametrize("ailment", ["dead", "starting or draining", "full"])
def test_a_worker_that_can_t_take_them_has_its_users_served_elsewhere_and_the_others_keep_theirs(
    office: Office, ailment: str
) -> None:
    places = {user: office.send(user) for user in USERS}
    process = office.workers[2].process
    assert process is not None
    if ailment == "dead":
        office.workers[2].process = None
    elif ailment == "full":
        process.handshakes = 2 * MOST // 5
    else:
        process.is_open = False
    meanwhile = {user: office.send(user) for user in USERS}
    assert all(meanwhile[user] == place for user, place in places.items() if place != 2)
    assert {meanwhile[user] for user, place in places.items() if place == 2} == {0, 1, 3}
    office.workers[2].process = Process()
    assert places == {user: office.send(user) for user in USERS}


def test_there_is_a_place_until_the_bound_is_reached_or_nobody_can_take_any(office: Office) -> None:
    processes = [worker.process for worker in office.workers if worker.process is not None]
    assert office.dispatcher.has_place()
    for process in processes:
        process.handshakes = MOST // 4
    assert not office.dispatcher.has_place()
    processes[0].handshakes -= 1
    assert office.dispatcher.has_place()
    for process in processes:
        process.is_open = False
    assert not office.dispatcher.has_place()


def test_one_worker_that_stands_still_leaves_places_for_the_others(office: Office) -> None:
    process = office.workers[0].process
    assert process is not None
    while office.dispatcher._is_open(cast("Supervisor", office.workers[0])):
        process.handshakes += 1
    assert office.dispatcher.has_place()


def test_a_client_that_has_no_address_any_more_is_passed_on_as_well(office: Office) -> None:
    with socket.socket() as unconnected:
        office.dispatcher.take(unconnected, b"GET / HTTP/1.1\r\n\r\n")
    assert sum(worker.in_hand for worker in office.workers) == 1
