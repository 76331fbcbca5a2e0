"""The scenarios by name, in the order in which they run."""

from bench.measurement import Scenario

from .events import EVENTS, EVENTS_FAST, EVENTS_FLOOD
from .idle import Idle
from .join import Join
from .nodes import NODES, NODES_ROOMS
from .paper import Paper
from .presence import Presence
from .storm import Storm
from .typing import CLASSES, CROWD, LECTURE
from .workers import Workers

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        LECTURE,
        CROWD,
        CLASSES,
        Join(),
        Idle(),
        Presence(),
        EVENTS,
        EVENTS_FAST,
        EVENTS_FLOOD,
        Paper(),
        NODES,
        NODES_ROOMS,
        Workers(),
        Storm(),
    )
}
