"""``GET /v1/route``: where a client is told to go."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from aiohttp.test_utils import TestClient, TestServer

from roomful.server.cluster.sharding import slot_of
from roomful.server.cluster.view import Process, View
from roomful.server.gateway import Gateway
from tests.server.nodes import FakeNode

VIEW = View.of([Process(name, f"http://{name}", 1, 0.0) for name in "abc"])


class Answer(NamedTuple):
    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]


async def ask(query: dict[str, str], *, view: View = VIEW, shard_by: str = "user") -> Answer:
    node = FakeNode(shard_by=shard_by).node
    node.view = view
    async with TestClient(TestServer(Gateway(node).application())) as client:
        response = await client.get("/v1/route", params=query)
        return Answer(response.status, await response.json(), response.headers)


@pytest.mark.parametrize("shard_by", ["user", "room", "owner"])
async def test_a_key_is_told_its_node_and_the_alternatives_in_order(shard_by: str) -> None:
    for key in ("ann", "名前"):
        first, *others = VIEW.ranked(slot_of(key))
        expected = {"slot": slot_of(key), "node": first, "alternatives": others, "view": VIEW.hash}
        answer = await ask({shard_by: key}, shard_by=shard_by)
        assert (answer.status, answer.body) == (200, expected)


async def test_a_page_from_anywhere_may_ask_and_nobody_keeps_the_answer() -> None:
    headers = (await ask({"user": "ann"})).headers
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "query", [{}, {"user": ""}, {"room": "doc"}, {"user": "x" * 513}, {"user": "名" * 171}]
)
async def test_who_does_not_say_for_whom_is_told_how_to_ask(query: dict[str, str]) -> None:
    answer = await ask(query)
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (400, "*")
    assert "user" in answer.body["error"]


async def test_the_longest_name_is_taken() -> None:
    assert (await ask({"user": "x" * 512})).status == 200


async def test_when_no_node_takes_clients_that_is_said() -> None:
    answer = await ask({"user": "ann"}, view=View.of(()))
    assert (answer.status, answer.body) == (503, {"error": "no node takes clients now"})
