"""Requests of the page: failures, busy servers, new versions, TensorFlow Serving."""

import contextlib
import http.server
import json
import threading

import numpy as np
import pytest
from support import page_steps as steps

pytestmark = pytest.mark.browser


def test_a_bare_nan_is_read_outside_strings_only(visit):
    page = visit()
    text = r'{"a": [NaN, -Infinity, 1.5e3, "NaN \" NaN", null], "NaN": Infinity}'
    value = page.evaluate("async (text) => (await import('/server.js')).parse(text)", text)
    assert value == {"a": [None, None, 1500, 'NaN " NaN', None], "NaN": None}


def test_a_prediction_that_was_cancelled_continues_where_it_stopped(visit):
    page, sequences, routes = visit(), steps.promoters(600), []

    def answer_first(route):
        routes.append(route)
        if len(routes) == 1:
            route.continue_()  # the second one is never answered

    page.route("**/*:predict", answer_first)
    page.fill("#text", "\n".join(sequences))
    page.click("#predict")
    steps.expect(page, "#message").to_have_text("512 of 600 sequences predicted …")
    page.click("#cancel")
    steps.expect(page, "#message").to_have_text("Cancelled. 512 predictions stay in the table.")
    steps.expect(page, "#predict").to_be_focused()
    page.unroute("**/*:predict")
    with page.expect_request("**/*:predict") as request:
        page.click("#predict")
    assert json.loads(request.value.post_data)["instances"] == sequences[512:]
    steps.expect(page, "#message").to_have_text("600 sequences predicted.")


def test_a_busy_server_is_asked_again(visit):
    page, times = visit(quiet=False), []

    def busy(route):
        times.append(page.evaluate("performance.now()"))
        if len(times) < 3:
            route.fulfill(status=503, headers={"Retry-After": "2"}, json={"error": "full"})
        else:
            route.continue_()

    page.route("**/*:predict", busy)
    page.fill("#text", steps.promoters(1)[0])
    page.click("#predict")
    steps.expect(page, "#message").to_have_text(
        "The server is busy; trying again in 2 s (attempt 2 of 5)."
    )
    steps.expect(page, "#message").to_have_text("1 sequence predicted.")
    assert len(times) == 3 and min(np.diff(times)) >= 1999


@pytest.mark.parametrize(
    "answer, message",
    [
        (None, "The server does not answer"),
        ({"status": 400, "json": {"error": "<b>wrong</b>"}}, "answers 400: <b>wrong</b>"),
        ({"status": 200, "body": "<html>"}, "is not JSON"),
        ({"status": 200, "json": {"predictions": []}}, "does not answer like a promoter model"),
    ],
)
def test_a_failure_has_a_message_and_the_text_stays(visit, answer, message):
    page, (sequence,) = visit(quiet=False), steps.promoters(1)
    page.route("**/*:predict", lambda route: route.fulfill(**answer) if answer else route.abort())
    page.fill("#text", sequence)
    page.click("#predict")
    steps.expect(page, "#message").to_contain_text(message)
    steps.expect(page, "#message").to_contain_text("Your text is still in the box")
    assert page.input_value("#text") == sequence
    page.unroute("**/*:predict")
    page.click("#predict")
    steps.expect(page, "#message").to_have_text("1 sequence predicted.")


def test_a_new_version_of_the_model_replaces_the_old_one(visit):
    page = visit(quiet=False)
    status = {"version": "2", "state": "AVAILABLE"}
    page.route(
        "**/models/camformer",
        lambda route: route.fulfill(json={"model_version_status": [status]}),
    )
    page.route(
        "**/versions/1:predict", lambda route: route.fulfill(status=404, json={"error": "x"})
    )
    page.route("**/versions/2/card", lambda route: route.fulfill(json={"rule": steps.RULE}))
    answer = {"expression": 1.0, "valid": True}
    page.route("**/versions/2:predict", lambda route: route.fulfill(json={"predictions": [answer]}))
    steps.predict(page, steps.promoters(1)[0])
    assert steps.parse_csv(steps.download(page, "#csv"))[0]["version"] == "2"


class TensorFlowServing(http.server.BaseHTTPRequestHandler):
    """The part of TensorFlow Serving's REST that the page needs: no list of models, no card."""

    cors = True

    def log_message(self, *_):
        pass

    def reply(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        if self.cors:
            self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path != "/v1/models/mine":
            return self.reply(404, {"error": "Malformed request: GET " + self.path})
        self.reply(200, {"model_version_status": [{"version": "7", "state": "AVAILABLE"}]})

    def do_POST(self):
        assert self.path == "/v1/models/mine/versions/7:predict"
        sequences = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
        answers = [{"expression": s.count("G") / 4, "valid": True} for s in sequences]
        self.reply(200, {"predictions": answers})


@pytest.fixture
def foreign_server():
    """Starts a stand-in for TensorFlow Serving, with the headers for other pages or without."""
    with contextlib.ExitStack() as stack:

        def start(cors):
            handler = type("Handler", (TensorFlowServing,), {"cors": cors})
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


def test_the_page_predicts_with_tensorflow_serving_on_another_machine(visit, foreign_server):
    url = foreign_server(cors=True)
    page = visit(query=f"?server={url}&model=mine", quiet=False, origins=[url])
    steps.expect(page, "#model").to_contain_text(
        "Model mine, version 7. The server has no model card"
    )
    (sequence,) = steps.promoters(1)
    steps.predict(page, sequence + "\n" + steps.cores(1)[0])
    rows = steps.table_rows(page)
    assert rows[0][2] == f"{sequence.count('G') / 4:.2f}" and "length 80" in rows[1][2]
    assert page.locator("#table thead th").count() == 3


def test_the_message_names_the_flag_if_cors_headers_are_missing(visit, foreign_server):
    url = foreign_server(cors=False)
    page = visit(query=f"?server={url}&model=mine", quiet=False, origins=[url])
    steps.expect(page, "#model").to_contain_text("--rest_api_enable_cors_support=true")
    page = visit(query="?server=ftp://x", quiet=False)
    steps.expect(page, "#model").to_contain_text("expected an address")
