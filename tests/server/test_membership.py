"""A node among others: what it is called, what its connections are placed by, and whom it moves."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from roomful.crdt.log import Condition
from roomful.server import membership as module
from roomful.server.cluster.sharding import slot_of
from roomful.server.cluster.view import Process, View
from roomful.server.config import Config, Listen, Storage
from roomful.server.membership import Membership, public_url
from tests.redis_process import shared_redis
from tests.server.nodes import FakeNode, Visitor, settle, token
from tests.waiting import until

HERE = "http://here"


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        (Listen(), "http://127.0.0.1:9000"),
        (Listen(host="localhost"), "http://localhost:9000"),
        (Listen(host="::1"), "http://[::1]:9000"),
        (Listen(host="0.0.0.0"), "http://machine:9000"),
        (Listen(host="::"), "http://machine:9000"),
        (Listen(public_url="https://a.example.org/"), "https://a.example.org"),
        (Listen(public_url="https://a.example.org:1/x"), "https://a.example.org:1/x"),
    ],
)
def test_a_node_is_reached_where_it_listens_unless_it_is_said_otherwise(
    listen: Listen, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "machine")
    assert public_url(listen, 9000) == url


async def test_without_redis_a_node_is_alone() -> None:
    node = FakeNode(node_weight=3).node
    async with Membership(node, HERE) as membership:
        assert [(member.name, member.weight) for member in node.view.members] == [(HERE, 3)]
        await membership.leave()
        assert node.view.urls == (HERE,)


@pytest.mark.parametrize(
    ("shard_by", "url_says", "token_says", "key"),
    [
        ("user", "ann", "", "ann"),
        ("user", "ann", "bob", "bob"),
        ("user", "", "bob", "bob"),
        ("user", "", "", None),
        ("room", "", "bob", "doc"),
        ("room", "elsewhere", "bob", "elsewhere"),
        ("owner", "ann", "bob", "ann"),
        ("owner", "", "bob", None),
    ],
)
@pytest.mark.parametrize("protocol", ["y-websocket", "hocuspocus"])
async def test_a_connection_is_placed_by_the_login_and_else_by_what_its_address_says(
    protocol: str, shard_by: str, url_says: str, token_says: str, key: str | None
) -> None:
    node = FakeNode(shard_by=shard_by)
    client: Visitor
    if protocol == "hocuspocus":
        client = provider = node.provider()
        client.connection.place(url_says)
        provider.send_to("doc", token(token_says))
    else:
        client = node.editor("doc", token_says)
        client.connection.place(url_says)
    await settle()
    assert client.connection.slot == (None if key is None else slot_of(key))
    client.transport.vanish()
    node.heartbeat.stop()


class Neighbours:
    """A node with visitors, some of whom belong to another node that has joined since they came."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)
        monkeypatch.setattr("roomful.server.cluster.rebalance._SETTLED_SECONDS", 0.0)
        self.fake = FakeNode(rebalance_percent_per_second=100)
        self.node = self.fake.node
        self.view = View.of([Process(url, url, 1, 0.0) for url in (HERE, "http://there")])
        redis = Storage(redis=shared_redis().url, redis_prefix=secrets.token_hex(4))
        self.node.config = Config(listen=self.node.config.listen, storage=redis)
        self.membership = Membership(self.node, HERE)
        names = [f"user-{number}" for number in range(40)]
        self.visitors = {name: self.fake.editor("doc", name) for name in names}

    def belongs_elsewhere(self, name: str) -> bool:
        return self.view.ranked(slot_of(name))[0] != HERE

    def there_joins(self) -> None:
        self.membership._heard(self.view, frozenset(self.view.urls), frozenset())


@pytest.fixture
async def neighbours(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Neighbours]:
    # What Redis says would undo what the test says.
    monkeypatch.setattr("roomful.server.cluster.nodes._RENEW_SECONDS", 1.9)
    neighbours = Neighbours(monkeypatch)
    async with neighbours.membership:
        await settle()
        yield neighbours
    neighbours.fake.heartbeat.stop()
    for visitor in neighbours.visitors.values():
        visitor.transport.vanish()
    await settle()


async def test_those_who_belong_elsewhere_are_closed_to_come_back_there(neighbours: Neighbours) -> None:
    neighbours.there_joins()
    movers = {name for name in neighbours.visitors if neighbours.belongs_elsewhere(name)}
    await until(lambda: neighbours.node.metrics.moved_connections == len(movers), within=1.8)
    closed = {name: visitor.closed_with() for name, visitor in neighbours.visitors.items()}
    assert {name for name, why in closed.items() if why} == movers
    assert {why for why in closed.values() if why} == {(1012, "moved; reconnect=0-1000")}


async def test_a_node_that_is_not_ready_itself_moves_nobody_until_it_is(neighbours: Neighbours) -> None:
    neighbours.fake.log.condition = Condition("away", 1e12)
    neighbours.there_joins()
    await asyncio.sleep(0.4)
    assert neighbours.node.metrics.moved_connections == 0
    neighbours.fake.log.condition = Condition()
    await until(lambda: neighbours.node.metrics.moved_connections > 0, within=1.6)
