"""Counters of the embedded server, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = tuple(2**i for i in range(13))


class Counters:
    """Counts requests, calls of the model and loads.

    Raises:
        ImportError: prometheus_client is not installed.
    """

    def __init__(self) -> None:
        import prometheus_client as prometheus

        self._prometheus = prometheus
        self._registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)
        self._requests = prometheus.Counter(
            "camformer_requests", "Requests answered.", ["path", "code"], registry=registry
        )
        self._seconds = prometheus.Histogram(
            "camformer_request_seconds", "Time from the head of a request to its answer.",
            ["path"], buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._rows = prometheus.Histogram(
            "camformer_batch_rows", "Rows in a call of the model; the sum is all rows.",
            buckets=_ROWS, registry=registry,
        )  # fmt: skip
        self._model_seconds = prometheus.Counter(
            "camformer_model_seconds", "Time in calls of the model.", registry=registry
        )
        self._loads = prometheus.Counter(
            "camformer_model_loads", "Attempts to load a version.", ["outcome"], registry=registry
        )
        self._queue = prometheus.Gauge(
            "camformer_queue_rows", "Rows in the queue.", registry=registry
        )
        self._version = prometheus.Gauge(
            "camformer_model_version", "Newest version that is loaded.", registry=registry
        )
        # (path, code) → counter, histogram: looking them up costs as much as counting
        self._children: dict[tuple[str, str], tuple[prometheus.Counter, prometheus.Histogram]] = {}

    def count_request(self, path: str, code: str, seconds: float) -> None:
        """Counts an answered request: path, status code, and seconds from its head to the end."""
        if (path, code) not in self._children:
            children = self._requests.labels(path, code), self._seconds.labels(path)
            self._children[path, code] = children
        counter, histogram = self._children[path, code]
        counter.inc()
        histogram.observe(seconds)

    def count_call(self, rows: int, seconds: float) -> None:
        """Counts a call of the model: its rows and seconds."""
        self._rows.observe(rows)
        self._model_seconds.inc(seconds)

    def count_load(self, success: bool) -> None:
        """Counts an attempt to load a version."""
        self._loads.labels("loaded" if success else "broken").inc()

    def watch(self, queue_rows: Callable[[], int], newest: Callable[[], int]) -> None:
        """Takes functions that return the rows in the queue, and the number of the newest version.

        They are called whenever the counters are read.
        """
        self._queue.set_function(queue_rows)
        self._version.set_function(newest)

    def exposition(self) -> tuple[bytes, str]:
        """Returns the text that Prometheus reads, and its content type."""
        prometheus = self._prometheus
        return prometheus.generate_latest(self._registry), prometheus.CONTENT_TYPE_LATEST
