"""How often somebody may do something."""


class TokenBucket:
    """Allows ``rate`` a second, and as many at once after a second of rest."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._left = rate
        self._at = now

    def take(self, now: float) -> bool:
        """Return whether once more is allowed now (monotonic seconds), and count it if so."""
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
