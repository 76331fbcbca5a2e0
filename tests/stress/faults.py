"""What goes wrong, where and when: a schedule that follows from a seed alone."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.tcp_proxy import FAIR, Weather

NODES: Final = 3

KILL, TERMINATE, FREEZE, FORGET = "kill", "terminate", "freeze", "forget"
CUT, RESET, REFUSE, SWALLOW = "cut", "reset", "refuse", "swallow"
DELAY, THROTTLE, SPLIT = "delay", "throttle", "split"

LINK_FAULTS: Final = (CUT, RESET, REFUSE, SWALLOW, DELAY, THROTTLE, SPLIT)
NODE_FAULTS: Final = (KILL, TERMINATE, FREEZE)

_PAUSE: Final = 2.5
"""Seconds on average between two faults of the same target; there are ten of these."""
_BEYOND_TIMEOUTS: Final = 6.0
"""Seconds after which whoever waits for an answer has given it up (crdt/log_redis.py)."""


@dataclass(frozen=True, slots=True)
class Target:
    """A process or a link: ``node``, ``redis``, ``node-redis`` or ``clients-node``, and the node's number."""

    name: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one target, ``at`` seconds after the start and so many ``seconds`` long."""

    at: float
    target: Target
    kind: str
    seconds: float
    weather: Weather = FAIR
    size: int = 0

    def __str__(self) -> str:
        return f"{self.at:5.1f} s  {self.target.name} {self.target.number}: {self.kind}, {self.seconds:.1f} s"


def schedule(seed: int, seconds: float, kinds: Mapping[str, Sequence[str]]) -> dict[Target, list[Fault]]:
    """Return each target's faults, one after the other; ``kinds`` are those of each target's name."""
    targets = [Target(name, number) for name in kinds for number in range(1 if name == "redis" else NODES)]
    return {
        target: list(_faults(random.Random(f"{seed} {target}"), target, seconds, kinds[target.name]))
        for target in targets
    }


def _faults(rng: random.Random, target: Target, seconds: float, kinds: Sequence[str]) -> Iterator[Fault]:
    at = rng.expovariate(1 / _PAUSE)
    while at < seconds:
        kind = rng.choice(kinds)
        length = rng.uniform(0.1, 2.0)
        if kind == FREEZE and rng.random() < 0.1:
            length = _BEYOND_TIMEOUTS
        yield Fault(at, target, kind, length, _weather(kind, rng), rng.randint(1, 4_000))
        at += length + rng.expovariate(1 / _PAUSE)


def _weather(kind: str, rng: random.Random) -> Weather:
    if kind == DELAY:
        return Weather(delay=rng.uniform(0.01, 0.2), jitter=rng.uniform(0, 0.1))
    if kind == THROTTLE:
        return Weather(bytes_per_second=rng.uniform(10_000, 100_000))
    return Weather(splits=kind == SPLIT, swallows=kind == SWALLOW)
