"""Medians and ratios as a table, for the terminal and for RESULTS.md.

RESULTS.md is written by hand but for what stands between two markers: one section for each scenario, replaced
when that scenario is measured again, and a history of one line a measurement, of which the last few stay.
"""

import datetime
import math
import re
import statistics
from dataclasses import fields
from pathlib import Path

from .machine import describe
from .measurement import Figure, Outcome, Scenario
from .servers import NODE_SERVERS

RESULTS = Path(__file__).parent / "RESULTS.md"
HISTORY = 20
GENERATOR_LIMIT = 85.0
Runs = dict[str, list[Outcome]]


def _values(runs: list[Outcome], key: str) -> list[float]:
    return [run.figures[key] for run in runs if key in run.figures and not run.problems]


def median(runs: list[Outcome], key: str) -> float | None:
    """Over the valid runs; None when there is none, or the server has no such figure."""
    values = _values(runs, key)
    return statistics.median(values) if values else None


def ratio(figure: Figure, runs: Runs) -> float | None:
    """Roomful against the better of the Node servers."""
    own = median(runs.get("roomful", []), figure.key)
    peers = [value for name in NODE_SERVERS if (value := median(runs.get(name, []), figure.key))]
    return own / min(peers) if own is not None and peers else None


def _number(value: float) -> str:
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 4)}f}"


def _cell(runs: list[Outcome], figure: Figure) -> str:
    values = _values(runs, figure.key)
    if values:
        spread = (
            f" ({_number(min(values))}-{_number(max(values))})" if len(values) > 1 and not figure.side else ""
        )
        return _number(statistics.median(values)) + spread
    seen = [run.figures[figure.key] for run in runs if figure.key in run.figures]
    return f"INVALID, saw {_number(seen[0])}" if seen else "INVALID" if _all_invalid(runs) else "-"


def notes(runs: Runs) -> list[str]:
    """What a reader of the table must know: what went wrong, and where the clients were the limit."""
    found = {
        f"{name} INVALID: {line.splitlines()[0]}"
        for name in runs
        for run in runs[name]
        for line in run.problems
    }
    for name, outcomes in runs.items():
        share = median(outcomes, "generator_cpu")
        if share is not None and share >= GENERATOR_LIMIT:
            found.add(f"{name} may be faster than this: the clients' core was {share:.0f} % busy")
    return [f"- {line}" for line in sorted(found)]


def _all_invalid(runs: list[Outcome]) -> bool:
    return bool(runs) and all(run.problems for run in runs)


def _verdict(figure: Figure, runs: Runs) -> tuple[str, str]:
    """The ratio cell and the goal cell, with a word on whether it is met."""
    if figure.side:
        return "", ""
    share = ratio(figure, runs)
    own = median(runs.get("roomful", []), figure.key)
    goals: list[str] = []
    if figure.goal is not None:
        met = "" if share is None else " met" if share <= figure.goal else " MISSED"
        goals.append(f"ratio {figure.goal}{met}")
    if figure.limit is not None:
        met = "" if own is None else " met" if own <= figure.limit else " MISSED"
        goals.append(f"{_number(figure.limit)} {figure.unit}".rstrip() + met)
    return "-" if share is None else _number(share), ", ".join(goals)


def table(scenario: Scenario, runs: Runs) -> str:
    """A Markdown table: a line a figure, a column a server. Spread of the runs in brackets."""
    rows = [["", *runs, "ratio", "goal"]]
    for figure in scenario.figures:
        unit = f" [{figure.unit}]" if figure.unit else ""
        rows.append(
            [figure.title + unit, *(_cell(runs[name], figure) for name in runs), *_verdict(figure, runs)]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [_line(row, widths) for row in rows]
    return "\n".join([lines[0], _line(["-" * width for width in widths], widths), *lines[1:]])


def _line(cells: list[str], widths: list[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _between(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    block = f"{begin}\n{content}\n{end}"
    if begin not in text:
        return f"{text.rstrip()}\n\n{block}\n"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: block, text)


def record(scenario: Scenario, runs: Runs, argv: list[str]) -> None:
    """Replace the scenario's section, and add a line to the history."""
    text = RESULTS.read_text()
    machine = describe()
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    # Where somebody keeps the trace is nobody's business.
    command = " ".join(Path(word).name if "/" in word else word for word in argv)
    times = max(len(outcomes) for outcomes in runs.values())
    section = [
        f"### {scenario.name}",
        "",
        f"`{_parameters(scenario)}`  ",
        f"{today}, commit {machine.commit}, median of {times}, `python -m bench {command}`",
        "",
        table(scenario, runs),
        "",
        *notes(runs),
    ]
    text = _between(text, "machine", str(machine))
    text = _between(text, scenario.name, "\n".join(section).rstrip())
    compared = [figure for figure in scenario.figures if figure.goal is not None or figure.limit is not None]
    headline = ", ".join(
        f"{figure.title} {_number(own)} {figure.unit}"
        + (f" (ratio {_number(share)})" if (share := ratio(figure, runs)) else "")
        for figure in compared
        if (own := median(runs.get("roomful", []), figure.key)) is not None
    )
    text = _between(
        text, "history", _history(text, f"- {today} {machine.commit} **{scenario.name}** {headline}")
    )
    RESULTS.write_text(text)


def _parameters(scenario: Scenario) -> str:
    named = ((field.name, getattr(scenario, field.name)) for field in fields(scenario))  # type: ignore[arg-type]
    return ", ".join(f"{name} {value}" for name, value in named if value and name not in ("name", "trace"))


def _history(text: str, newest: str) -> str:
    found = re.search(r"<!-- history: begin -->\n(.*?)\n?<!-- history: end -->", text, re.DOTALL)
    earlier = [line for line in found.group(1).splitlines() if line.startswith("- ")] if found else []
    return "\n".join([newest, *earlier][:HISTORY])
