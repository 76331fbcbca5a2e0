"""The one seam for logins: who is asking for which room, and what may they do there.

All protocols call it with the token their client sent. Real logins plug in here; without one,
everybody may read and write, and the server stays on loopback (config.py).
"""

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """What is known before access is given. ``token`` is empty when the client sent none."""

    token: str
    room: str
    address: str


@dataclass(frozen=True, slots=True)
class Access:
    """Who it is, and what they may do: write, unless they may only read; and tell the room events, as
    ``sends_events`` says, or else if they may write.
    """

    user: str
    read_only: bool = False
    sends_events: bool | None = None

    @property
    def may_send_events(self) -> bool:
        return not self.read_only if self.sends_events is None else self.sends_events


class Denied(Exception):
    """Raised by an authorizer; the reason is shown to the client."""


Authorize = Callable[[AccessRequest], Awaitable[Access]]


async def allow_all(_: AccessRequest) -> Access:
    """Let everybody in to read and write, namelessly."""
    return Access(user="")


def load_authorizer(name: str) -> Authorize:
    """Import "package.module:callable"; empty means ``allow_all``. Raises ValueError saying what is wrong."""
    if not name:
        return allow_all
    module_name, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"can't load {name!r}: {error}") from error
    if not callable(found):
        raise ValueError(f"{name!r} is not callable")
    return cast("Authorize", found)
