"""A lease in Redis: one process at a time does what all could do."""

import secrets

from .redis_scripts import Scripts


class Lease:
    """One attempt to hold ``key``, which is in partition 0; another one, of this process too, is another's.

    It spares work. Whoever has been paused for longer than it lasts believes to hold it still, so what is
    done under it must be right when two do it.
    """

    def __init__(self, scripts: Scripts, key: str) -> None:
        self._scripts = scripts
        self._key = key
        self._holder = secrets.token_hex(8)

    async def hold(self, seconds: float) -> bool:
        """Take it, or hold it for so much longer from now. Returns whether it is held. Raises LogError."""
        milliseconds = max(1, round(seconds * 1000))
        return bool(await self._scripts.run("hold", 0, [self._key], [self._holder, milliseconds]))
