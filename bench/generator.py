"""The process that plays all the clients. A task as JSON on stdin, its outcome as JSON on stdout.

It is a process of its own so that it has a core of its own, and so that nothing it allocated for one server
is still there when it meets the next.
"""

import json
import resource
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from .measurement import Node, Outcome, Target
from .scenarios import SCENARIOS
from .wire import Dialect


def task(scenario: Any, target: Target, phase: str, cache: Path) -> dict[str, Any]:
    """What ``main`` reads."""
    return {
        "parameters": asdict(scenario),
        "target": asdict(target) | {"data": str(target.data) if target.data else None},
        "phase": phase,
        "cache": str(cache),
    }


async def perform(order: dict[str, Any]) -> Outcome:
    parameters, where = order["parameters"], order["target"]
    scenario = type(SCENARIOS[parameters["name"]])(**parameters)
    target = Target(
        nodes=tuple(Node(**node) for node in where["nodes"]),
        dialect=Dialect(**where["dialect"]),
        data=Path(where["data"]) if where["data"] else None,
        redis=where["redis"],
    )
    return await scenario.drive(target, order["phase"], Path(order["cache"]))


def main() -> None:
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        outcome = uvloop.run(perform(json.load(sys.stdin)))
    except (ConnectionError, TimeoutError) as error:
        traceback.print_exc()
        outcome = Outcome(problems=[f"the clients met {error!r}"])
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
