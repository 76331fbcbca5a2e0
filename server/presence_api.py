"""``GET /v1/rooms/{room}/presence``: who is in a room, for those who have no connection to it.

    GET /v1/rooms/lecture/presence?token=...&after=u:ann&limit=100
    {"people": 4711, "sessions": 5000, "page": [{"id": "u:bea", "sessions": {...}, ...}], "next": "u:bea"}

The page holds people by rising id, ``next`` the id to go on after, or null. Bytes are given as Base64.

A user, or a token, may ask so often a second and no more. A school has one address, so that counts only for
those who have neither. A room that is not in memory is loaded to be answered for; so many requests may wait.
"""

import asyncio
import base64
import contextlib
import json
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import msgpack
import structlog
from aiohttp import web

from .auth import AccessRequest, Denied
from .close_codes import CloseCode, Refused
from .node import Node
from .room import Room
from .token_bucket import TokenBuckets

_log = structlog.get_logger()

_HEADERS = {
    # A page may ask from anywhere: what it may see is in the token, and not in a cookie.
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Retry-After",
    "Cache-Control": "no-store",
}
_LARGEST_PAGE = 1_000
_LARGEST_PAGE_BYTES = 256 << 10
_LOG_INTERVAL_SECONDS = 60.0
_STATUS = {CloseCode.BAD_ROOM: 400, CloseCode.FULL: 503, CloseCode.STORAGE: 503, CloseCode.UNAVAILABLE: 503}


class _TooOften(Exception):
    """Somebody asks more often than is allowed."""


class PresenceApi:
    """Answers for one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._pace = TokenBuckets(node.config.limits.presence_requests_per_second)
        self._logged_at = -_LOG_INTERVAL_SECONDS
        self._lookups = 0

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
        except _TooOften:
            self._count("too-many-requests")
            return _refuse(429, "too many requests in a second", retry_after=1)
        except Denied as error:
            self._node.metrics.refused["denied"] += 1
            return _refuse(403, str(error))
        except Refused as error:
            status = _STATUS.get(error.code, 503)
            return _refuse(status, str(error), retry_after=2 if status == 503 else 0)
        return web.json_response(body, headers=_HEADERS, dumps=_dumps)

    async def _admit(self, token: str, name: str, address: str) -> None:
        node = self._node
        # Before the login service is asked as well: it may be what many requests would wear out.
        self._bound("token", token) if token else self._bound("address", address)
        try:
            async with asyncio.timeout(node.config.limits.pre_auth_seconds):
                access = await node.authorize(AccessRequest(token, name, address))
        except Denied:
            raise
        except Exception as error:
            _log.exception("authorizer failed", room=name, address=address)
            raise Refused(CloseCode.UNAVAILABLE, "the login can't be checked now") from error
        if access.user:
            self._bound("user", access.user)

    def _bound(self, kind: str, who: str) -> None:
        # A token is not to be kept for longer than it takes to look at it.
        key = blake2b(who.encode(errors="replace"), digest_size=16).digest()
        if not self._pace.take((kind, key), self._loop.time()):
            raise _TooOften

    def _count(self, reason: str) -> None:
        """Count a request that was refused, and log at most one line in a while."""
        refused = self._node.metrics.refused
        refused[reason] += 1
        if self._loop.time() >= self._logged_at + _LOG_INTERVAL_SECONDS:
            self._logged_at = self._loop.time()
            _log.warning("presence is asked for too often", reason=reason, so_far=refused[reason])

    async def _look(self, name: str, after: str, limit: int) -> dict[str, Any]:
        rooms = self._node.rooms
        room = rooms.loaded(name)
        if room is not None and not room.presence.unanswered_seconds:
            return _page(room, after, limit)
        if name not in rooms and not self._node.config.storage.redis:
            # Nobody is in it, and there are no others to ask.
            return {"people": 0, "sessions": 0, "page": [], "next": None}
        with self._lookup():
            async with rooms.open(name) as room:
                await asyncio.sleep(room.presence.unanswered_seconds)
                return _page(room, after, limit)

    @contextlib.contextmanager
    def _lookup(self) -> Iterator[None]:
        if self._lookups >= self._node.config.limits.max_presence_lookups:
            self._count("too-many-lookups")
            raise Refused(CloseCode.FULL, "too many rooms are being looked into")
        self._lookups += 1
        try:
            yield
        finally:
            self._lookups -= 1


def _page(room: Room, after: str, limit: int) -> dict[str, Any]:
    page = room.presence.page(after, limit, _LARGEST_PAGE_BYTES)
    return {**page._asdict(), "page": [msgpack.unpackb(person) for person in page.page]}


def _token(request: web.Request) -> str:
    """Return the token of the header, or that of the address, as pages have it."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.query.get("token", "")


def _dumps(body: object) -> str:
    return json.dumps(body, default=lambda value: base64.b64encode(value).decode(), ensure_ascii=False)


def _refuse(status: int, reason: str, retry_after: int = 0) -> web.Response:
    headers = {**_HEADERS, "Retry-After": str(retry_after)} if retry_after else _HEADERS
    return web.json_response({"error": reason}, status=status, headers=headers)
