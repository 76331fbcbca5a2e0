"""Which nodes serve, as one of them knows it. Pure values; nodes.py brings the answers of Redis.

A node is what clients reach under one URL: one process, or several on one host, whose weights add up. All
nodes that know of the same processes have the same view, and place every slot alike (sharding.py).
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Self

from xxhash import xxh64_hexdigest

from .sharding import Member, ranked

LEASE_SECONDS = 6.0
"""How long a process that says nothing still counts as there."""


@dataclass(frozen=True, slots=True)
class Process:
    """What a process tells of itself. ``started_at`` is in Unix seconds of its own host, for people.

    One that is ``leaving`` is no node any more, but has people with it until it has drained.
    """

    name: str
    url: str
    weight: int
    started_at: float
    ready: bool = True
    leaving: bool = False

    def encode(self) -> bytes:
        """Return it as the JSON that is kept in Redis."""
        return json.dumps({each.name: getattr(self, each.name) for each in fields(self)}).encode()

    @classmethod
    def decode(cls, told: bytes) -> Self:
        """Read what ``encode`` made. Raises ValueError; what a later version adds is passed over."""
        try:
            values = json.loads(told)
            process = cls(**{each.name: values[each.name] for each in fields(cls) if each.name in values})
            url, weight = values["url"], values["weight"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no process: {error!r}") from error
        if not (isinstance(url, str) and isinstance(weight, int) and weight > 0):
            raise ValueError("no process: no URL, or no weight above 0")
        return process


@dataclass(frozen=True, slots=True)
class View:
    """The nodes by their URLs, sorted. Equal hashes mean equal nodes with equal weights."""

    members: tuple[Member, ...]
    hash: str
    _ranked: dict[int, tuple[str, ...]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, processes: Iterable[Process]) -> Self:
        """Return the view that holds these processes."""
        weights: Counter[str] = Counter()
        for process in processes:
            weights[process.url] += process.weight
        nodes = sorted(weights.items())
        text = "".join(f"{url} {weight}\n" for url, weight in nodes)
        return cls(
            tuple(Member(url, weight) for url, weight in nodes),
            xxh64_hexdigest(text.encode(errors="replace")),
        )

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)

    def ranked(self, slot: int) -> tuple[str, ...]:
        """Return the URLs in the order in which a slot prefers them; none when there is no node."""
        urls = self._ranked.get(slot)
        if urls is None:
            urls = self._ranked[slot] = tuple(member.name for member in ranked(slot, self.members))
        return urls


class Roster:
    """What a process makes of the answers to its renewals. ``ready`` are the URLs that take new clients,
    ``processes`` the names of all, those that are leaving included."""

    def __init__(self, own: Process) -> None:
        self.view = View.of((own,))
        self.ready = frozenset((own.url,))
        self.processes = frozenset((own.name,))
        self._known = {own.name: own}
        self._trusted_from = 0.0

    def answered(self, processes: Iterable[Process], *, held: bool, now: float) -> None:
        """Take the processes that hold a lease; ``held`` says whether the asking one had its own until then.

        When the asking process has lost its own lease, so may have all others, because Redis was away: for
        the length of a lease those that it knew are given time to come back.
        """
        told = {process.name: process for process in processes}
        if not held:
            self._trusted_from = now + LEASE_SECONDS
        self._known = told if now >= self._trusted_from else {**self._known, **told}
        self._look()

    def left(self, processes: Iterable[Process]) -> None:
        """Take those that remain when the asking process has given its lease up."""
        self._known = {process.name: process for process in processes}
        self._look()

    def _look(self) -> None:
        processes = [process for process in self._known.values() if not process.leaving]
        self.processes = frozenset(self._known)
        self.ready = frozenset(process.url for process in processes if process.ready)
        view = View.of(processes)
        # The same view stays the same object, with what it has ranked.
        if view.hash != self.view.hash:
            self.view = view
