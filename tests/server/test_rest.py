import asyncio
import base64
import dataclasses
import gzip
import json
import math
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, strategies
from support import asgi, toy_export

from camformer_tf.server import (
    batching,
    counters,
    models,
    options,
    refusal,
    rest,
    service,
    tensors,
    versions,
)

PREDICT = "/v1/models/camformer:predict"
REGRESS = "/v1/models/camformer:regress"
OPTIONS = options.ServerOptions(labels={"stable": 1}, max_request_bytes=20_000, timeout=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "toy"
    for version in (1, 2):
        toy_export.write(folder, version)
    return folder


@pytest.fixture(scope="module")
def loaded(folder):
    found = versions.Versions(
        folder, "camformer", OPTIONS.labels, lambda path: models.load(path, (1, 4))
    )
    found.poll()
    return found


@pytest.fixture(scope="module")
def serve(loaded):
    """Runs something with the application of some options, in a loop."""

    def run(use, chosen=OPTIONS):
        async def main():
            counted = counters.make()
            batcher = batching.Batcher(4, chosen.max_queue, report=counted.call)
            of = service.Service(chosen, loaded, batcher, counted, ready=True)
            try:
                return await use(rest.app(of), of)
            finally:
                batcher.close()

        return asyncio.run(main())

    return run


@pytest.fixture(scope="module")
def ask(serve):
    def ask(method, path, body=None, *, chosen=OPTIONS, **options):
        pieces = (
            [] if body is None else [body if isinstance(body, bytes) else json.dumps(body).encode()]
        )
        return serve(lambda app, of: asgi.ask(app, method, path, *pieces, **options), chosen)

    return ask


@pytest.fixture(scope="module")
def model(folder):
    """The newest version as TensorFlow itself loads it: the judge of answers."""
    return tf.saved_model.load(str(folder / "2")).signatures


@pytest.fixture(scope="module")
def some():
    letters = np.random.default_rng(0).choice(list("ACGT"), (9, 110))
    return ["".join(row) for row in letters]


def error(answer, status=400):
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    return answer.json()["error"]


# === Predict ===


def test_rows_and_columns_get_the_numbers_of_the_model(ask, model, some):
    expected = model["serving_default"](sequence=tf.constant(some))["expression"].numpy()
    rows = ask("POST", PREDICT, {"instances": some}).json()["predictions"]
    objects = ask("POST", PREDICT, {"instances": [{"sequence": s} for s in some]}).json()
    columns = ask("POST", PREDICT, {"inputs": {"sequence": some}}).json()["outputs"]
    assert objects["predictions"] == rows
    assert [row["expression"] for row in rows] == columns["expression"]
    np.testing.assert_array_equal(np.float32(columns["expression"]), expected)
    assert all(row == {"expression": row["expression"], "valid": True, "reason": 0} for row in rows)
    assert columns["valid"] == [True] * 9 and columns["reason"] == [0] * 9


def test_strings_may_come_in_base64(ask, some):
    coded = {"b64": base64.b64encode(some[0].encode()).decode()}
    plain = ask("POST", PREDICT, {"instances": [some[0]]})
    assert ask("POST", PREDICT, {"instances": [coded]}).body == plain.body
    assert ask("POST", PREDICT, {"instances": [{"sequence": coded}]}).body == plain.body


def test_not_a_number_is_a_bare_token(ask):
    body = ask("POST", PREDICT, {"instances": ["ACGT"]}).body
    assert b'"expression": NaN, "reason": 1, "valid": false' in body


def test_a_single_output_comes_without_its_name(ask):
    zeros = np.zeros((2, 110, 4)).tolist()
    answer = ask("POST", PREDICT, {"signature_name": "onehot", "instances": zeros})
    assert answer.body == b'{"predictions": [2.0, 2.0]}'
    answer = ask("POST", PREDICT, {"signature_name": "onehot", "inputs": zeros})
    assert answer.body == b'{"outputs": [2.0, 2.0]}'


def test_inputs_without_rows_go_by_columns(ask):
    asked = {"signature_name": "pair", "inputs": {"a": 0.5, "b": [1, 2]}}
    answer = ask("POST", PREDICT, asked).json()["outputs"]
    assert answer["sum"] == [1.5, 2.5]
    assert answer["name_bytes"] == [{"b64": base64.b64encode(b"1").decode()},
                                    {"b64": base64.b64encode(b"2").decode()}]  # fmt: skip


def test_no_rows_in_columns_get_none(ask):
    answer = ask("POST", PREDICT, {"inputs": []}).json()["outputs"]
    assert answer == {"expression": [], "reason": [], "valid": []}


def test_a_version_or_label_in_the_path_is_the_one_that_answers(ask, some):
    def number(path):
        answer = ask("POST", f"/v1/models/camformer{path}:predict", {"instances": some[:1]})
        return answer.json()["predictions"][0]["expression"]

    one, two = number("/versions/1"), number("/versions/2")
    assert two == pytest.approx(one + 1)
    assert number("") == two and number("/labels/stable") == one


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error"),
        (b'{"instances": ["A\xff"]}', "JSON Parse error"),
        (b'{"instances": ["A"], "instances": ["C"]}', "'instances' occurs twice"),
        (b"[" * 100_0, "JSON Parse error: nested too deeply"),
        (b'{"instances": [' + b"9" * 5000 + b"]}", "JSON Parse error"),
        (b"[]", "JSON Value: [] Is not object"),
        (b"{}", "Missing 'inputs' or 'instances' key"),
        (b'{"instances": ["A"], "inputs": ["A"]}', "expecting only one of"),
        (b'{"instances": "A"}', "Excepting 'instances' to be an list/array"),
        (b'{"instances": []}', "No values in 'instances' array"),
        (b'{"instances": [1]}', "JSON Value: 1 Type: Number is not of expected type: string"),
        (b'{"instances": [null]}', "Type: Null is not of expected type: string"),
        (b'{"instances": [["A"], "C"]}', "found at incorrect level: 2"),
        (b'{"instances": ["A", ["C"]]}', "Encountered list at unexpected level: 1 expected < 1"),
        (b'{"instances": [["A"], ["C", "G"]]}', "unexpected size: 2 at level: 1 expected size: 1"),
        (b'{"instances": [["A"]]}', "Input sequence: expected shape [?] but got: [1,1]"),
        (b'{"instances": [{"sequence": "A"}, "C"]}', "Expecting object but got list at item 1"),
        (b'{"instances": ["A", {"sequence": "C"}]}', "value/list but got object at item 1"),
        (b'{"instances": [{"dna": "A"}]}', "keys must be equal to: sequence"),
        (b'{"inputs": {"dna": ["A"]}}', "Missing named input: sequence in 'inputs' object."),
        (b'{"instances": [{"b64": "?"}]}', "Unable to base64 decode"),
        (b'{"inputs": [{"b64": 1}]}', "not formatted correctly for base64 data"),
        (b'{"instances": ["\\ud800"]}', "surrogate pair"),
        (b'{"instances": ["A"], "signature_name": 1}', "'signature_name' key must be a string"),
        (b'{"instances": ["A"], "signature_name": "x"}', '"x" not found in signature def'),
        (b'{"instances": [1], "signature_name": "pair"}', "instances is a plain list"),
        (b'{"inputs": [1], "signature_name": "pair"}', "inputs is a plain value/list"),
        (b'{"inputs": {"a": 1, "b": [0.5]}, "signature_name": "pair"}', "expected type: int32"),
        (b'{"inputs": {"a": 1, "b": [true]}, "signature_name": "pair"}', "expected type: int32"),
        (b'{"inputs": {"a": 1, "b": [1e3]}, "signature_name": "pair"}', "expected type: int32"),
        (b'{"inputs": {"a": 1, "b": [3000000000]}, "signature_name": "pair"}', "type: int32"),
        (b'{"inputs": {"a": 16777216, "b": [1]}, "signature_name": "pair"}', "loss of precision"),
        (b'{"inputs": {"a": 1e39, "b": [1]}, "signature_name": "pair"}', "loss of precision"),
        (b'{"inputs": {"a": "1", "b": [1]}, "signature_name": "pair"}', "expected type: float"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused_in_the_words_of_tensorflow_serving(ask, body, message):
    assert message in error(ask("POST", PREDICT, body))


def test_what_floats_may_be_is_taken(ask):
    asked = b'{"inputs": {"a": %s, "b": [0]}, "signature_name": "pair"}'
    for token, value in ((b"NaN", math.nan), (b"-Infinity", -math.inf), (b"16777215", 16777215.0)):
        answer = ask("POST", PREDICT, asked % token).json()["outputs"]["sum"]
        np.testing.assert_equal(answer, [value])


# === Regress and classify ===


def test_regress_gets_the_numbers_of_the_model(ask, model, some):
    examples = [{"sequence": s} for s in some]
    answer = ask("POST", REGRESS, {"signature_name": "regress", "examples": examples})
    expected = model["serving_default"](sequence=tf.constant(some))["expression"].numpy()
    np.testing.assert_array_equal(np.float32(answer.json()["results"]), expected)


def test_a_context_is_part_of_each_example(ask, some):
    asked = {
        "signature_name": "regress",
        "examples": [{"sequence": some[0]}, {"sequence": [some[0]]}],
    }
    given = {
        "signature_name": "regress",
        "context": {"sequence": some[0]},
        "examples": [{}, {"x": 1}],
    }
    assert ask("POST", REGRESS, given).body == ask("POST", REGRESS, asked).body


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"examples": [{"sequence": "A"}]}, "method_name to be tensorflow/serving/regress. Was: "
                                            "tensorflow/serving/predict"),
        ({"examples": [{}], "signature_name": "x"}, "No signature was found with the name: x"),
        ({}, "key 'examples' is expected"),
        ({"examples": {}}, "'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": ["A"]}, "Example must be JSON object but got JSON String"),
        ({"examples": [{"x": None}]}, "has element with unexpected JSON type: Null"),
        ({"examples": [{"x": [["A"]]}]}, "has element with unexpected JSON type: Array"),
        ({"examples": [{"x": ["A", 1]}]}, "expecting type: bytes"),
        ({"examples": [{"x": 2**63}]}, "beyond int64"),
        ({"examples": [{"x": 1e39}]}, "without loss of precision"),
        ({"examples": [{"x": "\ud800"}]}, "surrogate pair"),
        ({"examples": [{"\ud800": "A"}]}, "is no name"),
        ({"examples": [{"sequence": "A"}], "context": 1}, "Example must be JSON object"),
    ],
)  # fmt: skip
def test_malformed_examples_are_refused(ask, asked, message):
    assert message in error(ask("POST", REGRESS, asked))


def test_an_example_without_a_sequence_does_not_spoil_others_in_its_call(serve, some):
    bad = json.dumps({"signature_name": "regress", "examples": [{"x": 1}]}).encode()
    good = json.dumps({"signature_name": "regress", "examples": [{"sequence": some[0]}]}).encode()

    async def use(app, of):
        return await asyncio.gather(
            *(asgi.ask(app, "POST", REGRESS, body) for body in [good, bad] * 8)
        )

    answers = serve(use)
    assert [answer.status for answer in answers] == [200, 400] * 8
    assert "sequence" in answers[1].json()["error"]


def test_what_cannot_classify_says_so(ask):
    answer = ask("POST", "/v1/models/camformer:classify", {"examples": [{"sequence": "A"}]})
    assert "method_name to be tensorflow/serving/classify" in error(answer)


# === What a model is ===


def test_status_is_that_of_tensorflow_serving(ask):
    one = {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    both = ask("GET", "/v1/models/camformer").json()["model_version_status"]
    assert both == [one | {"version": "2"}, one]
    for path in ("/versions/1", "/labels/stable"):
        answer = ask("GET", f"/v1/models/camformer{path}")
        assert answer.json() == {"model_version_status": [one]}


def test_metadata_holds_the_signatures(ask):
    answer = ask("GET", "/v1/models/camformer/versions/1/metadata").json()
    assert answer["model_spec"] == {"name": "camformer", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "onehot", "regress", "pair"}
    assert signatures["regress"]["method_name"] == toy_export.REGRESS
    sequence = signatures["serving_default"]["inputs"]["sequence"]
    assert sequence["dtype"] == "DT_STRING"
    assert [dim["size"] for dim in sequence["tensor_shape"]["dim"]] == ["-1"]


def test_models_and_their_cards_can_be_read(ask):
    assert ask("GET", "/v1/models").json() == {"models": ["camformer"]}
    assert ask("GET", "/v1/models/camformer/card").json()["version"] == "2"
    assert ask("GET", "/v1/models/camformer/labels/stable/card").json()["version"] == "1"


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/v1/models/other:predict", 404, "Servable not found for request: Latest(other)"),
        ("POST", "/v1/models/camformer/versions/9:predict", 404, "Specific(camformer, 9)"),
        ("POST", "/v1/models/camformer/versions/99999999999999999999:predict", 400, "to numeric"),
        ("POST", "/v1/models/camformer/labels/x:predict", 400, "servable version label: x"),
        ("GET", "/v1/models/other", 404, "Could not find any versions of model other"),
        ("GET", "/v1/models/camformer/versions/9", 404, "Could not find version 9 of model"),
        ("GET", PREDICT, 400, f"Malformed request: GET {PREDICT}"),
        ("POST", "/v1/models/camformer", 400, "Malformed request: POST /v1/models/camformer"),
        ("GET", "/v1/models/camformer/versions/x", 400, "Malformed request"),
        ("PUT", PREDICT, 405, "use GET or POST"),
        ("GET", "/nothing", 404, "Not Found"),
        ("POST", "/healthz", 405, "Method Not Allowed"),
    ],
)  # fmt: skip
def test_wrong_paths_are_refused(ask, method, path, status, message):
    body = {"instances": ["A"]} if method == "POST" else None
    assert message in error(ask(method, path, body), status)


# === Limits ===


def test_a_request_in_pieces_is_read_whole(serve, some):
    body = json.dumps({"instances": some}).encode()
    pieces = [body[i : i + 7] for i in range(0, len(body), 7)]
    answer = serve(lambda app, of: asgi.ask(app, "POST", PREDICT, *pieces))
    assert len(answer.json()["predictions"]) == 9


def test_too_large_a_request_is_refused(serve):
    for pieces in ([b" " * 20_001], [b" " * 1000] * 21, [b" " * 20_000] * 50):
        answer = serve(lambda app, of, pieces=pieces: asgi.ask(app, "POST", PREDICT, *pieces))
        assert "larger than 20000 bytes" in error(answer, 413)


def test_gzip_is_read_and_no_bomb_explodes(ask, some):
    body = json.dumps({"instances": some}).encode()
    zipped = {"headers": [("content-encoding", "gzip")]}
    answer = ask("POST", PREDICT, gzip.compress(body), **zipped)
    assert answer.body == ask("POST", PREDICT, body).body
    error(ask("POST", PREDICT, gzip.compress(b" " * 10**8)[:20_000], **zipped), 413)
    assert "not gzip" in error(ask("POST", PREDICT, body, **zipped))
    assert "too early" in error(ask("POST", PREDICT, gzip.compress(body)[:-9], **zipped))
    other = ask("POST", PREDICT, body, headers=[("content-encoding", "br")])
    assert "expected gzip or none" in error(other, 415)


def test_a_body_that_does_not_arrive_is_not_waited_for(loaded, serve):
    async def use(app, of):
        async def receive():
            await asyncio.sleep(60)

        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": []}
        await app(scope, receive, send)
        return sent[0]["status"]

    assert serve(use, dataclasses.replace(OPTIONS, timeout=0.05)) == 408


def test_who_goes_away_in_the_middle_is_let_go(serve):
    async def use(app, of):
        answer = await asgi.ask(app, "POST", PREDICT, b'{"inst', cut=True)
        return answer, of.open

    answer, still_open = serve(use)
    assert answer.status == 0 and still_open == 0


@pytest.fixture
def stuck(loaded, monkeypatch):
    """Lets the model wait until told to go on."""
    go_on, entered = threading.Event(), threading.Event()
    version = loaded.find("camformer")
    signature = version.signatures["serving_default"]

    def call(arrays):
        entered.set()
        go_on.wait(20)
        return signature.call(arrays)

    slow = dataclasses.replace(signature, call=call)
    monkeypatch.setitem(version.signatures, "serving_default", slow)
    yield go_on, entered
    go_on.set()


def test_a_full_queue_is_503_and_what_was_taken_is_answered(serve, stuck, some):
    go_on, entered = stuck
    body = json.dumps({"instances": some[:2]}).encode()

    async def use(app, of):
        asked = [asyncio.create_task(asgi.ask(app, "POST", PREDICT, body))]
        await asyncio.to_thread(entered.wait, 10)
        asked += [asyncio.create_task(asgi.ask(app, "POST", PREDICT, body)) for _ in range(2)]
        while of.batcher.queued < 4:
            await asyncio.sleep(0.001)
        refused = await asgi.ask(app, "POST", PREDICT, body)
        go_on.set()
        return refused, await asyncio.gather(*asked)

    refused, answers = serve(use, dataclasses.replace(OPTIONS, max_queue=5))
    assert "queue" in error(refused, 503) and refused.headers["retry-after"] == "1"
    assert [answer.status for answer in answers] == [200] * 3


def test_an_answer_that_takes_too_long_is_504_and_its_rows_are_taken_back(serve, stuck, some):
    go_on, entered = stuck
    body = json.dumps({"instances": some[:1]}).encode()

    async def use(app, of):
        answers = await asyncio.gather(*(asgi.ask(app, "POST", PREDICT, body) for _ in range(9)))
        go_on.set()
        end = time.monotonic() + 10
        while of.batcher.queued and time.monotonic() < end:
            await asyncio.sleep(0.01)
        return answers, of.batcher.queued

    answers, queued = serve(use, dataclasses.replace(OPTIONS, timeout=0.3))
    assert {answer.status for answer in answers} == {504} and queued == 0
    assert error(answers[0], 504) == "No answer within 0.3 s"


def test_who_does_not_wait_for_the_answer_is_not_computed(serve, stuck, some):
    go_on, entered = stuck
    body = json.dumps({"instances": some[:1]}).encode()

    async def use(app, of):
        first = asyncio.create_task(asgi.ask(app, "POST", PREDICT, body))
        await asyncio.to_thread(entered.wait, 10)
        messages = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]

        async def receive():
            return messages.pop(0)

        scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": []}
        await app(scope, receive, None)  # returns before the model does, and sends nothing
        go_on.set()
        return await first, of.metrics

    answer, counted = serve(use)
    assert answer.status == 200
    assert b"camformer_batch_rows_sum 1.0" in counted.page()[0]


# === Health, metrics, headers ===


def test_health_says_whether_it_is_ready(serve):
    async def use(app, of):
        ready = await asgi.ask(app, "GET", "/healthz")
        of.ready = False
        loading = await asgi.ask(app, "GET", "/healthz")
        of.ready, of.stopping = True, True
        return ready, loading, await asgi.ask(app, "GET", "/healthz")

    answers = serve(use)
    assert [answer.status for answer in answers] == [200, 503, 503]
    assert [answer.json()["status"] for answer in answers] == ["ok", "loading", "stopping"]


def test_when_it_stops_new_requests_are_refused_and_connections_closed(serve, some):
    async def use(app, of):
        of.stopping = True
        return await asgi.ask(app, "POST", PREDICT, json.dumps({"instances": some}).encode())

    answer = serve(use)
    assert error(answer, 503) == "The server is stopping"
    assert answer.headers["connection"] == "close" and answer.headers["retry-after"] == "1"


def test_until_a_version_is_loaded_requests_are_refused(serve, some):
    async def use(app, of):
        of.ready = False
        return await asgi.ask(app, "POST", PREDICT, json.dumps({"instances": some}).encode())

    assert error(serve(use), 503) == "The server is loading"


def test_metrics_count_requests_rows_and_calls(serve, some):
    async def use(app, of):
        of.metrics.watch(lambda: of.batcher.queued, lambda: of.versions.newest)
        await asgi.ask(app, "POST", PREDICT, json.dumps({"instances": some}).encode())
        await asgi.ask(app, "POST", PREDICT, b"{")
        return await asgi.ask(app, "GET", "/metrics")

    text = serve(use).body.decode()
    for line in (
        'camformer_requests_total{code="200",path="predict"} 1.0',
        'camformer_requests_total{code="400",path="predict"} 1.0',
        'camformer_request_seconds_count{path="predict"} 2.0',
        "camformer_queue_rows 0.0",
        "camformer_model_version 2.0",
    ):
        assert line in text


def test_answers_are_neither_kept_nor_guessed_at(ask):
    headers = ask("GET", "/v1/models/camformer").headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'self'; connect-src *")
    assert "access-control-allow-origin" not in headers


def test_other_origins_may_read_answers_only_where_it_is_told_so(ask):
    chosen = dataclasses.replace(OPTIONS, cors="https://a.example")
    for origin, allowed in (
        ("https://a.example", "https://a.example"),
        ("https://b.example", None),
    ):
        answer = ask("GET", "/v1/models", chosen=chosen, headers=[("origin", origin)])
        assert answer.headers.get("access-control-allow-origin") == allowed


def test_the_page_is_served_as_it_lies_there(serve, monkeypatch, tmp_path):
    (tmp_path / "index.html").write_text("<title>page</title>")
    (tmp_path / "page.js").write_text("1")
    monkeypatch.setattr(rest, "PAGE", tmp_path)

    async def use(app, of):
        return [await asgi.ask(app, "GET", path) for path in ("/", "/page.js", "/../secret", "/no")]

    page, script, outside, missing = serve(use)
    assert page.body == b"<title>page</title>" and page.headers["content-type"].startswith(
        "text/html"
    )
    assert "javascript" in script.headers["content-type"]
    assert outside.status == missing.status == 404


# === Numbers ===


@given(strategies.lists(strategies.floats(width=32)))
def test_numbers_in_json_read_as_the_same_float32(values):
    array = np.array(values, np.float32)
    written = json.loads(tensors.write_results(array))["results"]
    np.testing.assert_array_equal(np.array(written, np.float32), array)
    assert all(isinstance(value, float) for value in written)


@given(strategies.lists(strategies.floats()))
def test_numbers_in_json_read_as_the_same_float64(values):
    array = np.array(values, np.float64)
    written = json.loads(tensors.write_columns({"x": array}))["outputs"]
    np.testing.assert_array_equal(np.array(written), array)


def test_numbers_are_no_longer_than_they_need_be():
    values = np.array([0.2, 11.46, 3, 1e30, 1e-7, 16777216, 1 / 3], np.float32)
    assert tensors.write_results(values) == (
        b'{"results": [0.2, 11.46, 3.0, 1e+30, 1e-07, 16777216.0, 0.333333343]}'
    )


def test_outputs_of_different_lengths_are_not_written_as_rows():
    with pytest.raises(refusal.Refused, match="inconsistent"):
        tensors.write_rows({"a": np.zeros(2), "b": np.zeros(3)})
