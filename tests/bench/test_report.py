"""Ratios compare only what is valid, and a new measurement replaces its own section alone."""

from bench.measurement import Figure, Outcome
from bench.report import HISTORY, _between, _history, notes, ratio

CPU = Figure("delivery", "CPU", "µs")


def _run(value: float, *problems: str) -> Outcome:
    return Outcome({"delivery": value}, list(problems))


def test_the_ratio_is_to_the_better_node_server_and_between_medians() -> None:
    runs = {
        "roomful": [_run(2), _run(90), _run(1)],
        "y-websocket-server": [_run(8)],
        "hocuspocus": [_run(4)],
        "pycrdt-websocket": [_run(1)],
    }
    assert ratio(CPU, runs) == 0.5


def test_an_invalid_run_is_compared_with_nothing_and_named() -> None:
    runs = {
        "roomful": [_run(2)],
        "hocuspocus": [_run(1, "3 of 4 updates arrived")],
        "y-websocket-server": [_run(8)],
    }
    assert ratio(CPU, runs) == 0.25
    assert notes(runs) == ["- hocuspocus INVALID: 3 of 4 updates arrived"]
    assert ratio(CPU, {"roomful": [_run(2, "lost")], "hocuspocus": [_run(1)]}) is None


def test_a_section_is_replaced_and_the_rest_stays() -> None:
    text = "# Title\n\n<!-- a: begin -->\nold\n<!-- a: end -->\n\nwords\n"
    assert (
        _between(text, "a", "new \\1") == "# Title\n\n<!-- a: begin -->\nnew \\1\n<!-- a: end -->\n\nwords\n"
    )
    assert _between(text, "b", "first").endswith("words\n\n<!-- b: begin -->\nfirst\n<!-- b: end -->\n")


def test_the_history_keeps_the_newest_lines() -> None:
    text = "<!-- history: begin -->\n<!-- history: end -->\n"
    for number in range(HISTORY + 3):
        text = _between(text, "history", _history(text, f"- run {number}"))
    kept = [line for line in text.splitlines() if line.startswith("- ")]
    assert kept == [f"- run {number}" for number in range(HISTORY + 2, 2, -1)]
