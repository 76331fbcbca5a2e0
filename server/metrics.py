"""Every figure the server keeps, by name.

The hot path adds to plain integers; they become Prometheus samples only when somebody asks.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """Counts seconds into buckets."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        self.counts[bisect_left(_BOUNDS, seconds)] += times
        self.sum += seconds * times

    def buckets(self) -> list[tuple[str, float]]:
        """Return cumulative (upper bound, count), as Prometheus wants them."""
        total = 0
        rows: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), self.counts, strict=True):
            total += count
            rows.append((bound, total))
        return rows


class Arrivals:
    """Connections at the door, before anybody has read a byte of them."""

    def __init__(self) -> None:
        self.accepted = 0
        self.dropped: Counter[str] = Counter()

    def collect(self) -> Iterator[Metric]:
        """Return the samples."""
        yield CounterMetricFamily("roomful_accepted_connections", "Connections accepted", value=self.accepted)
        family = CounterMetricFamily(
            "roomful_dropped_connections",
            "Connections dropped before their request, by reason",
            labels=["reason"],
        )
        for reason, count in self.dropped.items():
            family.add_metric([reason], count)
        yield family


class Metrics:
    """Counters that only grow. What can be read off the running server is asked for in ``gauges``."""

    def __init__(self) -> None:
        self.updates = 0
        self.update_bytes = 0
        self.deliveries = 0
        self.delivered_bytes = 0
        self.awareness_changes = 0
        self.stateless = 0
        self.presence_frames = 0
        self.presence_bytes = 0
        self.presence_conflated = 0
        self.ghosts = 0
        self.events = 0
        self.event_deliveries = 0
        self.fell_behind = 0
        self.joins = 0
        self.folds = 0
        self.archived = 0
        self.archive_failures = 0
        self.folds_taken = 0
        self.view_changes = 0
        self.moved_connections = 0
        self.cold_rooms_refused = 0
        self.arrivals = Arrivals()
        self.refused: Counter[str] = Counter()
        self.closed: Counter[int] = Counter()
        self.worker_failures: Counter[str] = Counter()
        self.store_errors: Counter[str] = Counter()
        self.append_seconds = Histogram()
        self.fan_out_seconds = Histogram()
        self.loop_lag_seconds = Histogram()
        self.lease_lateness_seconds = Histogram()
        self.store_get_seconds = Histogram()
        self.tick_lateness_seconds = Histogram()
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Name something that is read when somebody asks."""
        self.gauges[name] = (text, read)


class _Samples(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        metrics = self._metrics
        for name, text, value in (
            ("updates", "Updates taken from clients", metrics.updates),
            ("update_bytes", "Bytes of updates taken from clients", metrics.update_bytes),
            (
                "deliveries",
                "Updates handed to other clients, each counted for each client",
                metrics.deliveries,
            ),
            ("delivered_bytes", "Bytes of document frames written", metrics.delivered_bytes),
            ("awareness_changes", "Awareness states taken from clients", metrics.awareness_changes),
            ("stateless_messages", "Stateless messages relayed", metrics.stateless),
            ("events", "Events taken from clients", metrics.events),
            (
                "event_deliveries",
                "Events handed to clients, each counted for each client",
                metrics.event_deliveries,
            ),
            ("presence_frames", "Presence frames written", metrics.presence_frames),
            ("presence_bytes", "Bytes of presence frames written", metrics.presence_bytes),
            (
                "presence_conflated",
                "Changes of presence that a later one replaced before they were told",
                metrics.presence_conflated,
            ),
            ("ghosts", "Sessions given up that were lost and did not come back", metrics.ghosts),
            (
                "fell_behind",
                "Times a slow client was left to catch up by one later diff",
                metrics.fell_behind,
            ),
            ("joins", "Documents opened by clients", metrics.joins),
            ("folds", "Snapshots made", metrics.folds),
            ("archived_rooms", "Old rooms moved from Redis to the snapshot store", metrics.archived),
            ("archive_failures", "Times an old room could not be read or merged", metrics.archive_failures),
            ("folds_taken", "Snapshots taken from other servers", metrics.folds_taken),
            ("view_changes", "Times the nodes or their weights became others", metrics.view_changes),
            (
                "moved_connections",
                "Connections closed because another node has them now",
                metrics.moved_connections,
            ),
            (
                "cold_rooms_refused",
                "Times a room that is not in memory was asked for while storage was lost",
                metrics.cold_rooms_refused,
            ),
        ):
            yield CounterMetricFamily(f"roomful_{name}", text, value=value)
        labelled: tuple[tuple[str, str, str, Counter[str] | Counter[int]], ...] = (
            ("refused_messages", "Messages refused, by reason", "reason", metrics.refused),
            ("closed_connections", "Connections closed by the server, by close code", "code", metrics.closed),
            (
                "worker_failures",
                "Jobs that ended their worker process, by reason",
                "reason",
                metrics.worker_failures,
            ),
            (
                "store_errors",
                "Failures of the snapshot store, by operation",
                "operation",
                metrics.store_errors,
            ),
        )
        for name, text, label, counts in labelled:
            family = CounterMetricFamily(f"roomful_{name}", text, labels=[label])
            for key, value in counts.items():
                family.add_metric([str(key)], value)
            yield family
        for name, text, histogram in (
            ("append_seconds", "From the first update of a group to its durability", metrics.append_seconds),
            ("fan_out_seconds", "From an update's arrival to its last write", metrics.fan_out_seconds),
            ("loop_lag_seconds", "How late the event loop was", metrics.loop_lag_seconds),
            (
                "lease_lateness_seconds",
                "How late this node's lease was renewed; at 4 s it lapses",
                metrics.lease_lateness_seconds,
            ),
            ("tick_lateness_seconds", "How late a room told its presence", metrics.tick_lateness_seconds),
            (
                "store_get_seconds",
                "Time to get the snapshot of an archived room, of those that were loaded back",
                metrics.store_get_seconds,
            ),
        ):
            yield HistogramMetricFamily(f"roomful_{name}", text, histogram.buckets(), histogram.sum)
        for name, (text, read) in metrics.gauges.items():
            yield GaugeMetricFamily(f"roomful_{name}", text, value=read())
        yield from metrics.arrivals.collect()


def exposition(metrics: Metrics) -> Callable[[], bytes]:
    """Return what renders the metrics as Prometheus text."""
    return rendering(_Samples(metrics))


def rendering(samples: Collector) -> Callable[[], bytes]:
    """Return what renders samples, and what is known of this process, as Prometheus text."""
    registry = CollectorRegistry()
    registry.register(samples)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return lambda: generate_latest(registry)
