"""What the embedded server counts, for Prometheus."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@dataclasses.dataclass(frozen=True)
class Metrics:
    """Functions that count, and one that writes everything down.

    Args:
        request: path, status code and seconds of an answered request.
        call: rows and seconds of a call of the model.
        load: whether a version could be loaded.
        watch: takes functions that say how many rows wait, and which version is the newest.
        page: the text for Prometheus, and its content type.
    """

    request: Callable[[str, str, float], None]
    call: Callable[[int, float], None]
    load: Callable[[bool], None]
    watch: Callable[[Callable[[], int], Callable[[], int]], None]
    page: Callable[[], tuple[bytes, str]]


def make() -> Metrics:
    import prometheus_client as prometheus

    registry = prometheus.CollectorRegistry()
    prometheus.ProcessCollector(registry=registry)
    at = {"registry": registry}
    requests = prometheus.Counter(
        "camformer_requests", "Answered requests.", ["path", "code"], **at
    )
    seconds = prometheus.Histogram(
        "camformer_request_seconds", "From the head of a request to its answer.", ["path"],
        buckets=_SECONDS, **at,
    )  # fmt: skip
    rows = prometheus.Histogram(
        "camformer_batch_rows", "Rows in a call of the model; its sum is all rows.",
        buckets=[2**i for i in range(13)], **at,
    )  # fmt: skip
    busy = prometheus.Counter("camformer_model_seconds", "Time in calls of the model.", **at)
    loads = prometheus.Counter("camformer_model_loads", "Versions loaded.", ["outcome"], **at)
    queue = prometheus.Gauge("camformer_queue_rows", "Rows that wait for a call.", **at)
    version = prometheus.Gauge("camformer_model_version", "The newest version loaded.", **at)
    children: dict[tuple, tuple] = {}  # looking one up costs as much as counting

    def request(path: str, code: str, taken: float) -> None:
        if (path, code) not in children:
            children[path, code] = requests.labels(path, code), seconds.labels(path)
        count, histogram = children[path, code]
        count.inc()
        histogram.observe(taken)

    def call(size: int, taken: float) -> None:
        rows.observe(size)
        busy.inc(taken)

    def load(well: bool) -> None:
        loads.labels("loaded" if well else "broken").inc()

    def watch(queued: Callable[[], int], newest: Callable[[], int]) -> None:
        queue.set_function(queued)
        version.set_function(newest)

    def page() -> tuple[bytes, str]:
        return prometheus.generate_latest(registry), prometheus.CONTENT_TYPE_LATEST

    return Metrics(request, call, load, watch, page)
