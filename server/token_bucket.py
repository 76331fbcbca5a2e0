"""How often somebody may do something."""

from collections.abc import Hashable


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

    def is_full(self, now: float) -> bool:
        """Whether it is as good as a new one."""
        return self._left + (now - self._at) * self._rate >= self._rate


class TokenBuckets:
    """A bucket for each who comes. One that has rested for a second is forgotten, so that there are no more
    than came within one.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        # The one that was taken from last comes last.
        self._buckets: dict[Hashable, TokenBucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, who: Hashable, now: float) -> bool:
        """Return whether somebody is allowed once more now (monotonic seconds), and count it if so."""
        bucket = self._buckets.pop(who, None) or TokenBucket(self._rate, now)
        while self._buckets and next(iter(self._buckets.values())).is_full(now):
            del self._buckets[next(iter(self._buckets))]
        self._buckets[who] = bucket
        return bucket.take(now)
