"""Who may do what in the attacked rooms: ``--authorize tests.hostile.guard:authorize``."""

import asyncio

from roomful.server.auth import Access, AccessRequest, Denied


async def authorize(request: AccessRequest) -> Access:
    """Judge by the token: "denied", "readonly", "late" (in half a second), "never", or all rights."""
    if request.token == "denied":
        raise Denied("not you")
    if request.token == "late":
        await asyncio.sleep(0.5)
    if request.token == "never":
        await asyncio.Event().wait()
    return Access(user=request.token, read_only=request.token == "readonly")
