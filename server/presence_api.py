"""``GET /v1/rooms/{room}/presence``: who is in a room, for those who have no connection to it.

    GET /v1/rooms/lecture/presence?token=...&after=u:ann&limit=100
    {"people": 4711, "sessions": 5000, "page": [{"id": "u:bea", "sessions": {...}, ...}], "next": "u:bea"}

The page holds people by rising id, ``next`` the id to go on after, or null. Bytes are given as Base64.
"""

import asyncio
import base64
import json
from typing import Any

import msgpack
import structlog
from aiohttp import web

from .auth import AccessRequest, Denied
from .close_codes import CloseCode, Refused
from .node import Node
from .room import Room

_log = structlog.get_logger()

_HEADERS = {
    # A page may ask from anywhere: what it may see is in the token, and not in a cookie.
    "Access-Control-Allow-Origin": "*",
    "Cache-Control": "no-store",
}
_LARGEST_PAGE = 1_000
_LARGEST_PAGE_BYTES = 256 << 10
_ANSWER_SECONDS = 1.2
"""Within which the other processes answer one that has just opened a room, and it has taken it in."""
_STATUS = {CloseCode.BAD_ROOM: 400, CloseCode.FULL: 503, CloseCode.STORAGE: 503, CloseCode.UNAVAILABLE: 503}


class PresenceApi:
    """Answers for one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request, as the authorizer says of its token."""
        name, query = request.match_info["room"], request.query
        limit = query.get("limit", "100")
        if not (limit.isascii() and limit.isdigit() and len(limit) < 5 and 0 < int(limit) <= _LARGEST_PAGE):
            return _refuse(400, f"limit is not 1 to {_LARGEST_PAGE}")
        if not 0 < len(name.encode(errors="replace")) <= self._node.config.limits.max_room_name_bytes:
            return _refuse(400, "that is no room's name")
        try:
            await self._admit(_token(request), name, request.remote or "")
            self._node.handshakes.end(request.protocol)
            body = await self._look(name, query.get("after", ""), int(limit))
        except Denied as error:
            self._node.metrics.refused["denied"] += 1
            return _refuse(403, str(error))
        except Refused as error:
            return _refuse(_STATUS.get(error.code, 503), str(error))
        return web.json_response(body, headers=_HEADERS, dumps=_dumps)

    async def _admit(self, token: str, name: str, address: str) -> None:
        node = self._node
        try:
            async with asyncio.timeout(node.config.limits.pre_auth_seconds):
                await node.authorize(AccessRequest(token, name, address))
        except Denied:
            raise
        except Exception as error:
            _log.exception("authorizer failed", room=name, address=address)
            raise Refused(CloseCode.UNAVAILABLE, "the login can't be checked now") from error

    async def _look(self, name: str, after: str, limit: int) -> dict[str, Any]:
        is_new = name not in self._node.rooms
        if is_new and not self._node.config.storage.redis:
            # Nobody is in it, and there are no others to ask.
            return {"people": 0, "sessions": 0, "page": [], "next": None}
        async with self._node.rooms.open(name) as room:
            if is_new:
                await asyncio.sleep(_ANSWER_SECONDS)
            return _page(room, after, limit)


def _page(room: Room, after: str, limit: int) -> dict[str, Any]:
    page = room.presence.page(after, limit, _LARGEST_PAGE_BYTES)
    return {**page._asdict(), "page": [msgpack.unpackb(person) for person in page.page]}


def _token(request: web.Request) -> str:
    """Return the token of the header, or that of the address, as pages have it."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.query.get("token", "")


def _dumps(body: object) -> str:
    return json.dumps(body, default=lambda value: base64.b64encode(value).decode(), ensure_ascii=False)


def _refuse(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status, headers=_HEADERS)
