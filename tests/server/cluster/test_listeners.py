"""Where a host's name leads to."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from roomful.server.cluster.listeners import bind, spoken

V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[socket.AddressFamily, str]]]:
    """What names stand for; add to it."""
    known: dict[str, list[tuple[socket.AddressFamily, str]]] = {}
    ask = socket.getaddrinfo

    def answer(host: str, port: int, *rest: Any, **more: Any) -> list[Any]:
        if host not in known:
            return list(ask(host, port, *rest, **more))
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return known


def reaches(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture
def bound() -> Iterator[list[socket.socket]]:
    """Closes what is put into it."""
    listeners: list[socket.socket] = []
    yield listeners
    for each in listeners:
        each.close()


@pytest.mark.parametrize(
    ("host", "v4", "v6", "url"),
    [
        ("127.0.0.1", True, False, "http://127.0.0.1:"),
        ("::1", False, True, "http://[::1]:"),
        ("::", True, True, "http://[::]:"),
    ],
)
def test_an_address_is_listened_on_alone_but_all_of_ipv6_means_all(
    bound: list[socket.socket], host: str, v4: bool, v6: bool, url: str
) -> None:
    bound += bind(host, 0)
    assert len(bound) == 1
    port = bound[0].getsockname()[1]
    assert (reaches("127.0.0.1", port), reaches("::1", port)) == (v4, v6)
    assert spoken(bound) == {"host": host, "port": port, "url": f"{url}{port}/"}


def test_a_name_that_stands_for_two_addresses_is_listened_on_at_both_on_one_port(
    bound: list[socket.socket], names: dict[str, list[tuple[socket.AddressFamily, str]]]
) -> None:
    names["both.test"] = [(V6, "::1"), (V4, "127.0.0.1"), (V4, "127.0.0.1")]
    bound += bind("both.test", 0)
    port = bound[0].getsockname()[1]
    assert [each.getsockname()[:2] for each in bound] == [("::1", port), ("127.0.0.1", port)]
    assert reaches("127.0.0.1", port)
    assert reaches("::1", port)


def test_an_address_that_is_taken_is_an_error_and_leaves_nothing_open(
    bound: list[socket.socket], names: dict[str, list[tuple[socket.AddressFamily, str]]]
) -> None:
    bound += bind("127.0.0.1", 0)
    port = bound[0].getsockname()[1]
    names["both.test"] = [(V6, "::1"), (V4, "127.0.0.1")]
    with pytest.raises(OSError, match="in use"):
        bind("both.test", port)
    assert not reaches("::1", port)
