"""``GET /v1/route``: which node serves a user, a room or an owner, for clients that can choose.

    GET /v1/route?user=ann
    {"slot": 3774, "node": "http://a:8080", "alternatives": ["http://b:8080"], "view": "89abcdef01234567"}

It is answered out of memory: whether Redis is there does not matter, and any node may be asked.
"""

from aiohttp import web

from .cluster.sharding import slot_of
from .node import Node

_LONGEST_KEY_BYTES = 512
_HEADERS = {
    # It holds no secret, and the pages that ask come from everywhere.
    "Access-Control-Allow-Origin": "*",
    "Cache-Control": "no-store",
}


class Router:
    """Answers for one node, by the view it has."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._key = node.config.listen.shard_by

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request: 400 when it does not say for whom, 503 when no node takes clients."""
        key = request.query.get(self._key, "")
        if not key:
            return _refuse(400, f"connections are placed by {self._key} here: ask with ?{self._key}=NAME")
        if len(key.encode(errors="replace")) > _LONGEST_KEY_BYTES:
            return _refuse(400, f"{self._key} has more than {_LONGEST_KEY_BYTES} bytes")
        slot, view = slot_of(key), self._node.view
        urls = view.ranked(slot)
        if not urls:
            return _refuse(503, "no node takes clients now")
        answer = {"slot": slot, "node": urls[0], "alternatives": urls[1:], "view": view.hash}
        return web.json_response(answer, headers=_HEADERS)


def _refuse(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status, headers=_HEADERS)
