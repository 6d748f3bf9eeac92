import json

from support import asgi

from camformer_tf.server import counters

PREDICT = "/v1/models/camformer:predict"


def text(counts):
    return counts.exposition()[0].decode()


def test_requests_are_counted_by_path_and_code_and_calls_by_rows():
    counts = counters.Counters()
    counts.count_request("predict", "200", 0.02)
    counts.count_request("predict", "200", 3.0)
    counts.count_request("predict", "400", 0.001)
    counts.count_call(3, 0.5)
    counts.count_call(128, 0.25)
    for line in (
        'camformer_requests_total{code="200",path="predict"} 2.0',
        'camformer_requests_total{code="400",path="predict"} 1.0',
        'camformer_request_seconds_bucket{le="0.025",path="predict"} 2.0',
        "camformer_batch_rows_sum 131.0",
        "camformer_model_seconds_total 0.75",
    ):
        assert line in text(counts)


def test_loads_are_counted_by_outcome():
    counts = counters.Counters()
    for success in (True, False, True):
        counts.count_load(success)
    assert 'camformer_model_loads_total{outcome="loaded"} 2.0' in text(counts)
    assert 'camformer_model_loads_total{outcome="broken"} 1.0' in text(counts)


def test_gauges_are_read_when_prometheus_reads():
    counts, values = counters.Counters(), [5, 2]
    counts.watch(lambda: values[0], lambda: values[1])
    values[:] = 7, 3
    assert "camformer_queue_rows 7.0" in text(counts)
    assert "camformer_model_version 3.0" in text(counts)


def test_two_servers_in_one_process_count_apart():
    first, second = counters.Counters(), counters.Counters()
    first.count_call(1, 0.1)
    assert "camformer_batch_rows_sum 1.0" in text(first)
    assert "camformer_batch_rows_sum 0.0" in text(second)


def test_metrics_count_requests_rows_and_calls(run_app, sequences):
    async def use(app, service):
        service.counters.watch(lambda: service.batcher.queue_rows, lambda: service.versions.newest)
        await asgi.ask(app, "POST", PREDICT, json.dumps({"instances": sequences}).encode())
        await asgi.ask(app, "POST", PREDICT, b"{")
        return await asgi.ask(app, "GET", "/metrics")

    answer = run_app(use)
    assert answer.headers["content-type"].startswith("text/plain")
    for line in (
        'camformer_requests_total{code="200",path="predict"} 1.0',
        'camformer_requests_total{code="400",path="predict"} 1.0',
        'camformer_request_seconds_count{path="predict"} 2.0',
        "camformer_queue_rows 0.0",
        "camformer_model_version 2.0",
    ):
        assert line in answer.body.decode()
