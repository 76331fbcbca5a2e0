"""One server process, as its connections see it: what they share, and nothing they could change."""

import time
from dataclasses import dataclass, field

from roomful.crdt.log import Log
from roomful.crdt.worker import WorkerPool

from .auth import Authorize
from .config import Config
from .handshakes import Handshakes
from .heartbeat import Heartbeat
from .metrics import Metrics
from .rooms import Rooms


@dataclass(slots=True)
class Node:
    """Built once by app.py. ``draining`` turns true once, when the process begins to stop."""

    config: Config
    metrics: Metrics
    log: Log
    rooms: Rooms
    checks: WorkerPool
    authorize: Authorize
    heartbeat: Heartbeat
    handshakes: Handshakes = field(default_factory=Handshakes)
    draining: bool = field(default=False)

    @property
    def unready(self) -> str:
        """Return why new clients should go elsewhere, or nothing."""
        if self.draining:
            return "draining"
        condition = self.log.condition
        return f"storage: {condition.reason}" if condition.failing else ""

    @property
    def storage_lost(self) -> bool:
        """Whether storage has refused for longer than rooms may live on without it."""
        condition = self.log.condition
        return (
            condition.failing
            and time.monotonic() - condition.since > self.config.timing.storage_patience_seconds
        )
