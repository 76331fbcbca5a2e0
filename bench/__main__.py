"""``python -m bench``: each scenario on each server in turn, in one run; medians, and their ratios."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from .environment import CACHE, HERE, prepare
from .generator import task
from .launching import GENERATOR_CORE, ServerError, running
from .measurement import Outcome, Scenario, Target
from .report import RESULTS, Runs, notes, record, table
from .scenarios import SCENARIOS
from .scenarios.paper import Paper
from .servers import KEYED, PLAIN, SERVERS, Server

GENERATOR_SECONDS = 900.0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "scenarios", nargs="*", metavar="scenario", help=f"of {', '.join(SCENARIOS)} (default: all)"
    )
    parser.add_argument("--servers", default=",".join(SERVERS), help="comma-separated (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each; medians are shown (default: 3)")
    parser.add_argument("--short", action="store_true", help="once and small: does everything work?")
    parser.add_argument(
        "--protocol", choices=(PLAIN, KEYED), help="what servers that speak both are driven with"
    )
    parser.add_argument("--trace", type=Path, help="automerge-paper.json.gz, for the scenario 'paper'")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a scenario's parameter, e.g. people=50",
    )
    parser.add_argument("--write", action="store_true", help=f"put the tables into {RESULTS.name}")
    parser.add_argument("--profile", action="store_true", help="print how to attach py-spy to each server")
    chosen = parser.parse_args(argv)
    if chosen.short and chosen.write:
        parser.error("short runs measure nothing, so they are not written down")
    chosen.servers = chosen.servers.split(",")
    for given, known in ((chosen.scenarios, SCENARIOS), (chosen.servers, SERVERS)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return chosen


def _scenario(name: str, chosen: argparse.Namespace) -> Scenario:
    scenario = SCENARIOS[name]
    if isinstance(scenario, Paper) and chosen.trace:
        scenario = replace(scenario, trace=str(chosen.trace.resolve()))
    if chosen.short:
        scenario = scenario.short()
    changes: dict[str, Any] = {}
    for change in chosen.set:
        key, _, value = change.partition("=")
        for field in fields(scenario):  # type: ignore[arg-type]
            if field.name == key:
                changes[key] = type(getattr(scenario, key))(value)
    return replace(scenario, **changes)  # type: ignore[type-var]


def _generate(scenario: Scenario, target: Target, phase: str) -> Outcome:
    finished = subprocess.run(
        ["taskset", "-c", str(GENERATOR_CORE), sys.executable, "-m", "bench.generator"],
        input=json.dumps(task(scenario, target, phase, CACHE)).encode(),
        stdout=subprocess.PIPE,
        cwd=HERE.parent,
        timeout=GENERATOR_SECONDS,
        check=False,
    )
    if finished.returncode:
        return Outcome(problems=[f"the generator failed with {finished.returncode}; its words are above"])
    return Outcome(**json.loads(finished.stdout))


def _run(scenario: Scenario, server: Server, chosen: argparse.Namespace) -> Outcome:
    """All phases of a scenario on a fresh server, its folder gone afterwards."""
    outcome = Outcome()
    folder = Path(tempfile.mkdtemp(prefix="roomful-bench-"))
    try:
        phases = list(scenario.phases.items())
        for phase, launch in phases if server.keeps else phases[:1]:
            with running(server, launch, folder, chosen.protocol) as target:
                for node in target.nodes if chosen.profile else ():
                    picture = f"{server.name}-{scenario.name}-{node.pid}.svg"
                    print(
                        f"  {server.name} is process {node.pid}: py-spy record --subprocesses "
                        f"--duration 15 --pid {node.pid} --output {picture}",
                        flush=True,
                    )
                part = _generate(scenario, target, phase)
            # The first phase's load on the machine is the one shown.
            outcome.figures = part.figures | outcome.figures
            outcome.problems += part.problems
    except (ServerError, subprocess.TimeoutExpired) as error:
        outcome.problems.append(str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def _loudly(server: str, outcome: Outcome) -> None:
    shown = "  ".join(f"{key} {value:.4g}" for key, value in outcome.figures.items())
    print(f"  {server:20}{shown}", flush=True)
    for problem in outcome.problems:
        print(f"  !!!!!! {server}: INVALID: {problem}", flush=True)


def main(argv: list[str] | None = None) -> int:
    chosen = _arguments(argv)
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    prepare(chosen.servers)
    repeats = 1 if chosen.short else chosen.repeats
    failed = False
    for name in chosen.scenarios or SCENARIOS:
        scenario = _scenario(name, chosen)
        if isinstance(scenario, Paper) and (reason := scenario.missing()):
            print(f"\n{name}: skipped: {reason}")
            continue
        servers = [
            server for server in chosen.servers if all(map(SERVERS[server].can, scenario.phases.values()))
        ]
        if not servers:
            print(f"\n{name}: skipped: none of these servers can be launched so")
            continue
        print(f"\n{name}: {scenario}", flush=True)
        runs: Runs = {server: [] for server in servers}
        for repeat in range(repeats):
            # Each server takes each place in the row as often as the others, as far as the repeats allow.
            turn = repeat % len(servers)
            for server in servers[turn:] + servers[:turn]:
                outcome = _run(scenario, SERVERS[server], chosen)
                _loudly(server, outcome)
                runs[server].append(outcome)
                failed = failed or bool(outcome.problems and server == "roomful")
        print("\n" + "\n".join([table(scenario, runs), *notes(runs)]), flush=True)
        if chosen.write:
            record(scenario, runs, sys.argv[1:] if argv is None else argv)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
