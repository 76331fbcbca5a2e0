"""Whose request it is, read off the bytes of its head before anybody has judged them.

Placement is an optimisation: the key only decides which process serves, and every process can serve
everybody. So a token is not verified here, and what can't be read costs nothing but the good place.

    key    := what ``shard_by`` asks for, or else the user
    room   := the path after ``/sync/``, percent-decoded, or the parameter ``room``
    owner  := the parameter ``owner``
    user   := the parameter ``user``, or ``sub`` of the token if that is a JWT (RFC 7519), or the token,
              or the client's address and port
    token  := the parameter ``token``, or what follows ``Authorization: Bearer``
"""

import base64
import json
import re
from urllib.parse import parse_qs, unquote

LONGEST_HEAD = 16 * 1024
"""Bytes of a head that are looked at. aiohttp refuses longer ones too."""

_MOST_PARAMETERS = 100
_SYNC = "/sync/"
_METHOD = re.compile(rb"[A-Z]{1,20}(?: |\Z)")
_BEARER = re.compile(rb"\nauthorization:[ \t]*bearer[ \t]+([^\r\n]+)", re.IGNORECASE)


def is_enough(head: bytes) -> bool:
    """Whether nothing that still comes would change the key: the head is whole, too long, or none at all."""
    return (
        len(head) >= LONGEST_HEAD
        or b"\r\n\r\n" in head
        or b"\n\n" in head
        or _METHOD.match(head) is None
    )  # fmt: skip


def request_key(head: bytes, shard_by: str, address: str) -> str:
    """Return the key to shard by; `shard_by` is user, room or owner, `address` the client's with its port."""
    line, _, _ = head.partition(b"\r\n")
    target = [*line.split(b" "), b""][1].decode("latin-1")
    path, _, query = target.partition("?")
    try:
        parameters = parse_qs(query, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        parameters = {}

    def parameter(name: str) -> str:
        return parameters.get(name, [""])[0]

    if shard_by == "room" and (room := unquote(path.partition(_SYNC)[2]) or parameter("room")):
        return room
    if shard_by == "owner" and (owner := parameter("owner")):
        return owner
    token = parameter("token") or _bearer(head)
    return parameter("user") or _subject(token) or token or address


def _bearer(head: bytes) -> str:
    found = _BEARER.search(head)
    return found[1].strip().decode("latin-1") if found else ""


def _subject(token: str) -> str:
    """Return ``sub`` of a JSON Web Token's payload, or nothing."""
    parts = token.split(".")
    if len(parts) != 3:
        return ""
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return ""
    subject = payload.get("sub") if isinstance(payload, dict) else None
    return subject if isinstance(subject, str) else ""
