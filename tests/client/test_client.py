"""Predictions from servers: the embedded one, and bad ones."""

import contextlib
import http.server
import json
import socket
import threading
import time

import numpy as np
import pytest
from click import testing

from camformer_tf import cli, errors
from camformer_tf.client import client, connection
from camformer_tf.data import predictions, rows, rules
from camformer_tf.export import export
from camformer_tf.model import inference, predict
from camformer_tf.server import server

WAYS = ("http", "grpc")


@pytest.fixture(scope="module")
def exported(replicates, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "exports"
    export.export([replicates], folder)
    return folder


@pytest.fixture(scope="module")
def urls(exported):
    with server.serve(exported, port=0, grpc_port=0) as running:
        yield {"http": running.url, "grpc": f"grpc://{running.grpc}"}


@pytest.fixture
def library(tmp_path, promoters):
    """2,100 promoters, some in lower case, some that cannot be read."""
    rng = np.random.default_rng(3)
    lines = ["".join(rng.permutation(list(one))) for one in promoters * 105]
    lines[7], lines[8], lines[2000] = lines[7].lower(), "ACGT", lines[2000][:50] + "!" + "A" * 59
    path = tmp_path / "library.txt"
    path.write_text("".join(f"{line}\t{i / 4}\n" for i, line in enumerate(lines)))
    return path


@pytest.mark.parametrize("way", WAYS)
def test_the_table_is_that_of_predicting_here(urls, exported, library, tmp_path, way):
    out, here = tmp_path / "served.tsv", tmp_path / "here.tsv"
    assert client.to_file(urls[way], library, out, batch_size=64, concurrency=8) == 2_100
    predict.to_file(inference.load(exported), library, here)
    ours, theirs = (path.read_text().splitlines() for path in (out, here))
    assert (
        ours[0]
        == theirs[0]
        == "\t".join(["sequence", "prediction", "expression", "spread", "lower", "upper", "reason"])
    )
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        one, other = one.split("\t"), other.split("\t")
        assert [one[0], one[2], one[6]] == [other[0], other[2], other[6]]  # in order
        assert bool(one[6]) != bool(one[1])
    made, expected = predictions.read(out), predictions.read(here)
    # Rounding of float32 by batch size, on a scale that multiplies it by 30
    np.testing.assert_allclose(made.prediction, expected.prediction, atol=3e-5)
    assert np.isnan(made.prediction).sum() == 2


def test_a_table_is_of_one_version_whatever_comes_meanwhile(urls, library, tmp_path, monkeypatch):
    asked, connect = [], client.connect
    monkeypatch.setattr(
        client, "connect", lambda where, **options: asked.append(where) or connect(where, **options)
    )
    client.to_file(urls["http"], library, tmp_path / "a.tsv")
    assert [where.version for where in asked] == [None, 1]
    with pytest.raises(errors.UserError, match="7"):
        client.to_file(f"{urls['http']}/v1/models/camformer/versions/7", library, tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("way", WAYS)
def test_regress_versions_and_signatures_are_told(urls, promoters, way):
    asked = client.connect(connection.address(urls[way]))
    assert asked.versions() == [1]
    assert asked.signatures() == ["onehot", "regress", "serving_default"]
    found = asked.predict(promoters)
    np.testing.assert_allclose(asked.regress(promoters), found["expression"], atol=3e-5)
    assert found["valid"].dtype == bool and found["spread"].shape == (20,)
    assert (asked.card() is None) == (way == "grpc")


@pytest.mark.parametrize("way", WAYS)
def test_a_version_that_is_not_there_is_said(urls, promoters, way):
    asked = client.connect(connection.address(f"{urls[way]}/v1/models/camformer/versions/7"))
    with pytest.raises(errors.UserError, match="7"):
        asked.predict(promoters)
    asked = client.connect(connection.address(f"{urls[way]}/v1/models/other"))
    with pytest.raises(errors.UserError, match="other"):
        asked.predict(promoters)


def test_an_address_may_name_model_and_version():
    assert connection.address("http://h:1") == connection.Address("http", "h:1", "camformer", None)
    found = connection.address("grpc://h:8500/v1/models/mine/versions/12/")
    assert found == connection.Address("grpc", "h:8500", "mine", 12)
    assert str(connection.address("https://h:1/v1/models/m")) == "https://h:1/v1/models/m"
    for wrong in ("h:8501", "ftp://h:1", "http://h:1/v2", "http://h:1/v1/models/m:predict", ""):
        with pytest.raises(errors.UserError, match="expected a server such as"):
            connection.address(wrong)


# === Servers that misbehave ===


@contextlib.contextmanager
def misbehaving(answer):
    """Serves `answer(number of the request, sequences) -> (status, headers, body)`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                count.append(None)
                number = len(count)
            status, headers, told = answer(number, body["inputs"]["sequence"])
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *words):
            pass

    lock, count = threading.Lock(), []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}", count
        finally:
            running.shutdown()
            thread.join()


def lengths(sequences: list[str]) -> bytes:
    return json.dumps({"outputs": {"expression": [len(one) for one in sequences]}}).encode()


def test_what_is_busy_is_asked_again_and_nothing_is_lost_or_out_of_order():
    def answer(number, sequences):
        if number % 3 == 1:
            return 503, {"Retry-After": "0"}, b'{"error": "full"}'
        time.sleep(0.02 * (len(sequences[0]) < 50))  # the first are slow
        return 200, {}, lengths(sequences)

    part = rows.from_sequences([b"A" * i for i in range(1, 101)], None, rules.Rule())
    with misbehaving(answer) as (url, count):
        asked = client.connect(connection.address(url), retries=20)
        ((told, found),) = client.answers(
            asked, [part], known_rule=False, batch_size=7, concurrency=5
        )
    assert found["expression"].tolist() == list(range(1, 101))
    assert told.reasons == [None] * 100  # the server decides, whose rule is not known
    assert len(count) >= 15 * 3 // 2 - 1


def test_a_server_that_stays_busy_is_an_error_after_so_many_tries():
    with misbehaving(lambda *_: (503, {"Retry-After": "0"}, b'{"error": "full"}')) as (url, count):
        asked = client.connect(connection.address(url), retries=3)
        with pytest.raises(errors.UserError, match="503: full"):
            asked.predict(["ACGT"])
    assert len(count) == 4


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((400, {}, b'{"error": "not so"}'), "400: not so"),
        ((200, {}, b"<html>"), "is no JSON"),
        ((200, {}, b'{"predictions": []}'), "outputs"),
        (
            (200, {}, b'{"outputs": {"expression": [1]}}'),
            "of 2 sequences, found the outputs expression: 1",
        ),
        ((200, {}, b'{"outputs": [1, 2]}'), "outputs"),
    ],
)
def test_a_wrong_answer_is_said_and_not_asked_again(answer, message):
    with misbehaving(lambda *_: answer) as (url, count):
        asked = client.connect(connection.address(url))
        with pytest.raises(errors.UserError, match=message):
            asked.predict(["ACGT", "ACGT"])
    assert len(count) == 1


@pytest.mark.parametrize("way", WAYS)
def test_no_server_and_a_silent_one_are_said_in_time(way):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        url = f"{way}://127.0.0.1:{silent.getsockname()[1]}"
        asked = client.connect(connection.address(url), timeout=0.5, retries=0)
        start = time.monotonic()
        with pytest.raises(errors.UserError):
            asked.predict(["ACGT"])
        assert time.monotonic() - start < 10
    with pytest.raises(errors.UserError, match="running|UNAVAILABLE"):
        client.connect(connection.address(url), timeout=5, retries=0).predict(["ACGT"])


def test_predict_takes_a_model_or_a_server(tmp_path, library):
    def said(*words: str) -> str:
        done = testing.CliRunner().invoke(cli.main, ["predict", *words])
        assert done.exit_code == 2
        return done.output

    files = [str(library), str(tmp_path / "out.tsv")]
    assert "Name MODEL, or --server" in said(*files)
    assert "Name MODEL, or --server" in said("run", *files, "--server", "http://h:1")
    assert "--precision goes without --server" in said(
        *files, "--server", "http://h:1", "--precision", "float32"
    )
    assert "--timeout goes with --server" in said("run", *files, "--timeout", "3")
