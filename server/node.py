"""One server process, as its connections see it: what they share, and nothing they could change."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from roomful.crdt.log import Log
from roomful.crdt.worker import WorkerPool

from .auth import Authorize
from .cluster.view import View
from .config import Config
from .handshakes import Handshakes
from .heartbeat import Heartbeat
from .metrics import Metrics
from .rooms import Rooms


@dataclass(slots=True)
class Node:
    """Built once by app.py. ``draining`` turns true once, when the process begins to stop.

    ``name`` is this process' among all on its Redis. ``view`` holds the nodes that serve beside this one;
    membership.py keeps it true.
    """

    config: Config
    metrics: Metrics
    log: Log
    rooms: Rooms
    checks: WorkerPool
    authorize: Authorize
    heartbeat: Heartbeat
    name: str = ""
    handshakes: Handshakes = field(default_factory=Handshakes)
    draining: bool = field(default=False)
    view: View = field(default_factory=lambda: View.of(()))
    awaiting_storage: set[Callable[[], None]] = field(default_factory=set)
    """Called, and forgotten, when updates can be stored and rooms be loaded."""

    @property
    def unready(self) -> str:
        """Return why new clients should go elsewhere, or nothing.

        Redis is lost for all servers alike, more often than not: as long as there are rooms here to be joined
        this one is of use, and a balancer that took them all out would have none.
        """
        if self.draining:
            return "draining"
        is_of_use = self.config.storage.redis and len(self.rooms) and not (self.storage_lost or self.log.full)
        return "" if is_of_use else self.degraded

    @property
    def degraded(self) -> str:
        """Return what is wrong with storage, or nothing."""
        condition = self.log.condition
        if condition.failing:
            return f"storage: {condition.reason}"
        return "storage: too slow, the backlog is full" if self.log.full else ""

    @property
    def failing_seconds(self) -> float:
        """For how long storage has refused."""
        condition = self.log.condition
        return time.monotonic() - condition.since if condition.failing else 0.0

    @property
    def storage_lost(self) -> bool:
        """Whether storage has refused for longer than rooms may live on without it."""
        timing = self.config.timing
        patience = (
            timing.redis_patience_seconds if self.config.storage.redis else timing.storage_patience_seconds
        )
        return self.log.condition.failing and self.failing_seconds > patience
