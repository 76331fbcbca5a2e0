from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from roomful.server.close_codes import CloseCode
from roomful.server.metrics import Histogram, Metrics, exposition


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def render(metrics: Metrics) -> Callable[[], dict[tuple[str, str], float]]:
    """Return the samples of this server by name and label."""
    text = exposition(metrics)

    def samples() -> dict[tuple[str, str], float]:
        return {
            (sample.name, ",".join(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text().decode())
            for sample in family.samples
            if sample.name.startswith("roomful_")
        }

    return samples


Render = Callable[[], dict[tuple[str, str], float]]


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("updates", "roomful_updates_total"),
        ("update_bytes", "roomful_update_bytes_total"),
        ("deliveries", "roomful_deliveries_total"),
        ("delivered_bytes", "roomful_delivered_bytes_total"),
        ("awareness_changes", "roomful_awareness_changes_total"),
        ("stateless", "roomful_stateless_messages_total"),
        ("fell_behind", "roomful_fell_behind_total"),
        ("joins", "roomful_joins_total"),
        ("folds", "roomful_folds_total"),
        ("view_changes", "roomful_view_changes_total"),
        ("moved_connections", "roomful_moved_connections_total"),
    ],
)
def test_a_counter_shows_what_was_added_to_it(
    metrics: Metrics, render: Render, attribute: str, name: str
) -> None:
    assert render()[name, ""] == 0
    setattr(metrics, attribute, 3)
    assert render()[name, ""] == 3


def test_every_counter_is_shown(metrics: Metrics, render: Render) -> None:
    counters = [name for name, value in vars(metrics).items() if isinstance(value, int)]
    for place, name in enumerate(counters):
        setattr(metrics, name, 1_000 + place)
    shown = set(render().values())
    assert {1_000 + place for place in range(len(counters))} <= shown


@pytest.mark.parametrize(
    ("attribute", "key", "name", "label"),
    [
        ("refused", "utf8", "roomful_refused_messages_total", "utf8"),
        ("closed", CloseCode.SLOW, "roomful_closed_connections_total", "4508"),
        ("worker_failures", "timeout", "roomful_worker_failures_total", "timeout"),
    ],
)
def test_a_labelled_counter_shows_each_label(
    metrics: Metrics, render: Render, attribute: str, key: object, name: str, label: str
) -> None:
    getattr(metrics, attribute)[key] += 2
    assert render()[name, label] == 2


@pytest.mark.parametrize(
    "name", ["append_seconds", "fan_out_seconds", "loop_lag_seconds", "lease_lateness_seconds"]
)
def test_a_histogram_shows_buckets_count_and_sum(metrics: Metrics, render: Render, name: str) -> None:
    histogram: Histogram = getattr(metrics, name)
    histogram.observe(0.002)
    histogram.observe(20, times=3)
    samples = render()
    assert samples[f"roomful_{name}_bucket", "0.001"] == 0
    assert samples[f"roomful_{name}_bucket", "0.0025"] == 1
    assert samples[f"roomful_{name}_bucket", "10.0"] == 1
    assert samples[f"roomful_{name}_bucket", "+Inf"] == samples[f"roomful_{name}_count", ""] == 4
    assert samples[f"roomful_{name}_sum", ""] == pytest.approx(60.002)


def test_a_gauge_is_read_each_time_somebody_asks(metrics: Metrics, render: Render) -> None:
    rooms = [1.0]
    metrics.gauge("rooms", "Rooms in memory", lambda: rooms[0])
    assert render()["roomful_rooms", ""] == 1
    rooms[0] = 7
    assert render()["roomful_rooms", ""] == 7


def test_the_process_is_described_too(metrics: Metrics) -> None:
    text = exposition(metrics)().decode()
    assert "python_info" in text
    assert "process_resident_memory_bytes" in text


@given(st.lists(st.floats(0, 100), max_size=30))
def test_buckets_are_cumulative_and_a_bound_belongs_to_its_bucket(observed: list[float]) -> None:
    histogram = Histogram()
    for seconds in observed:
        histogram.observe(seconds)
    for bound, count in histogram.buckets():
        assert count == sum(seconds <= float(bound) for seconds in observed)


@pytest.mark.parametrize("bound", [0.001, 0.5, 10.0])
def test_what_is_exactly_at_a_bound_counts_below_it(bound: float) -> None:
    histogram = Histogram()
    histogram.observe(bound)
    assert dict(histogram.buckets())[str(bound)] == 1
