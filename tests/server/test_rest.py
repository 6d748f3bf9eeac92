import base64
import json

import numpy as np
import pytest
import tensorflow as tf
from support import asgi, toy_export

from camformer_tf.server import rest

PREDICT = "/v1/models/camformer:predict"

# === Predict ===


def test_rows_and_columns_get_the_numbers_of_the_model(ask, toy_signatures, sequences):
    outputs = toy_signatures["serving_default"](sequence=tf.constant(sequences))
    rows = ask("POST", PREDICT, {"instances": sequences}).json()["predictions"]
    objects = ask("POST", PREDICT, {"instances": [{"sequence": s} for s in sequences]}).json()
    columns = ask("POST", PREDICT, {"inputs": {"sequence": sequences}}).json()["outputs"]
    assert objects["predictions"] == rows
    assert [row["expression"] for row in rows] == columns["expression"]
    np.testing.assert_array_equal(np.float32(columns["expression"]), outputs["expression"].numpy())
    assert all(row == {"expression": row["expression"], "valid": True, "reason": 0} for row in rows)
    assert columns["valid"] == [True] * 9 and columns["reason"] == [0] * 9


def test_strings_may_be_in_base64(ask, sequences):
    encoding = {"b64": base64.b64encode(sequences[0].encode()).decode()}
    plain = ask("POST", PREDICT, {"instances": [sequences[0]]})
    assert ask("POST", PREDICT, {"instances": [encoding]}).body == plain.body
    assert ask("POST", PREDICT, {"instances": [{"sequence": encoding}]}).body == plain.body


def test_nan_is_a_bare_word(ask):
    body = ask("POST", PREDICT, {"instances": ["ACGT"]}).body
    assert b'"expression": NaN, "reason": 1, "valid": false' in body


def test_a_single_output_has_no_name(ask):
    zeros = np.zeros((2, 110, 4)).tolist()
    answer = ask("POST", PREDICT, {"signature_name": "onehot", "instances": zeros})
    assert answer.body == b'{"predictions": [2.0, 2.0]}'
    answer = ask("POST", PREDICT, {"signature_name": "onehot", "inputs": zeros})
    assert answer.body == b'{"outputs": [2.0, 2.0]}'


def test_inputs_without_rows_go_by_columns(ask):
    request = {"signature_name": "pair", "inputs": {"a": 0.5, "b": [1, 2]}}
    answer = ask("POST", PREDICT, request).json()["outputs"]
    assert answer["sum"] == [1.5, 2.5]
    assert answer["name_bytes"] == [{"b64": base64.b64encode(b"1").decode()},
                                    {"b64": base64.b64encode(b"2").decode()}]  # fmt: skip


def test_columns_of_no_rows_get_columns_of_no_rows(ask):
    answer = ask("POST", PREDICT, {"inputs": []}).json()["outputs"]
    assert answer == {"expression": [], "reason": [], "valid": []}


def test_a_version_or_label_in_the_path_selects_the_version(ask, sequences):
    def expression(path):
        answer = ask("POST", f"/v1/models/camformer{path}:predict", {"instances": sequences[:1]})
        return answer.json()["predictions"][0]["expression"]

    first, second = expression("/versions/1"), expression("/versions/2")
    assert second == pytest.approx(first + 1)
    assert expression("") == second and expression("/labels/stable") == first


def test_classify_is_refused_for_a_signature_of_another_api(ask):
    answer = ask("POST", "/v1/models/camformer:classify", {"examples": [{"sequence": "A"}]})
    assert "method_name to be tensorflow/serving/classify" in asgi.error_message(answer)


# === The model ===


def test_status_is_that_of_tensorflow_serving(ask):
    first = {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    statuses = ask("GET", "/v1/models/camformer").json()["model_version_status"]
    assert statuses == [first | {"version": "2"}, first]
    for path in ("/versions/1", "/labels/stable"):
        answer = ask("GET", f"/v1/models/camformer{path}")
        assert answer.json() == {"model_version_status": [first]}


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
    assert message in asgi.error_message(ask(method, path, body), status)


# === Health, headers, page ===


def test_health_follows_the_state_of_the_server(run_app):
    async def use(app, service):
        ready = await asgi.ask(app, "GET", "/healthz")
        service.ready = False
        loading = await asgi.ask(app, "GET", "/healthz")
        service.ready, service.stopping = True, True
        return ready, loading, await asgi.ask(app, "GET", "/healthz")

    answers = run_app(use)
    assert [answer.status for answer in answers] == [200, 503, 503]
    assert [answer.json()["status"] for answer in answers] == ["ok", "loading", "stopping"]


def test_a_stopping_server_refuses_requests_and_closes_connections(run_app, sequences):
    async def use(app, service):
        service.stopping = True
        body = json.dumps({"instances": sequences}).encode()
        return await asgi.ask(app, "POST", PREDICT, body)

    answer = run_app(use)
    assert asgi.error_message(answer, 503) == "The server is stopping"
    assert answer.headers["connection"] == "close" and answer.headers["retry-after"] == "1"


def test_requests_are_refused_until_a_version_is_loaded(run_app, sequences):
    async def use(app, service):
        service.ready = False
        body = json.dumps({"instances": sequences}).encode()
        return await asgi.ask(app, "POST", PREDICT, body)

    assert asgi.error_message(run_app(use), 503) == "The server is loading"


def test_answers_are_not_stored_and_their_type_is_not_guessed(ask):
    headers = ask("GET", "/v1/models/camformer").headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'self'; connect-src *")
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("origin", "header"),
    [("https://a.example", "https://a.example"), ("https://b.example", None)],
)
def test_only_the_origin_of_the_option_may_read_answers(ask, origin, header):
    answer = ask("GET", "/v1/models", cors="https://a.example", headers=[("origin", origin)])
    assert answer.headers.get("access-control-allow-origin") == header


def test_the_page_is_served_as_its_files_are(run_app, monkeypatch, tmp_path):
    (tmp_path / "index.html").write_text("<title>page</title>")
    (tmp_path / "page.js").write_text("1")
    monkeypatch.setattr(rest, "PAGE", tmp_path)

    async def use(app, service):
        return [await asgi.ask(app, "GET", path) for path in ("/", "/page.js", "/../secret", "/no")]

    page, script, secret, missing = run_app(use)
    assert page.body == b"<title>page</title>"
    assert page.headers["content-type"].startswith("text/html")
    assert "javascript" in script.headers["content-type"]
    assert secret.status == missing.status == 404


def test_a_failure_of_the_server_is_500_in_json(ask, toy_versions, monkeypatch):
    monkeypatch.setattr(toy_versions, "find", lambda *_: 1 / 0)
    answer = ask("GET", "/v1/models/camformer/card")
    assert asgi.error_message(answer, 500) == "The server failed; see its log"
