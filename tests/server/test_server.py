import contextlib
import dataclasses
import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
import tensorflow as tf
from support import toy_export

from camformer_tf import errors, recipe
from camformer_tf.export import export
from camformer_tf.model import predict, rescnn
from camformer_tf.server import server

PATH = "/v1/models/camformer:predict"
OPTIONS = server.ServerOptions(
    port=0, max_batch_size=16, max_request_bytes=50_000, timeout=20, poll=0.05
)


@pytest.fixture
def folder(tmp_path):
    toy_export.write(tmp_path / "toy", 1)
    return tmp_path / "toy"


@pytest.fixture(scope="module")
def some():
    letters = np.random.default_rng(0).choice(list("ACGT"), (200, 110))
    return ["".join(row) for row in letters]


@pytest.fixture(scope="module")
def known(some):
    """What version 0 of the toy says; version n says n more."""
    letters = np.frombuffer("".join(some).encode(), np.uint8).reshape(-1, 110)
    return letters @ np.arange(1.0, 111.0) / 4096


def connect(url):
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)


def ask(connection, sequences, path=PATH):
    connection.request("POST", path, json.dumps({"inputs": sequences}))
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read()), answer.headers


def raw(url):
    split = urlsplit(url)
    sock = socket.create_connection((split.hostname, split.port), timeout=30)
    return sock


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


# === Answers ===


def test_an_export_is_served_with_the_numbers_that_it_has_in_process(tmp_path, some):
    settings = recipe.load("smoke")
    predict.save(rescnn.from_recipe(settings), tmp_path / "m.keras", settings)
    version = export.export([tmp_path / "m.keras"], tmp_path / "exports")
    given = [*some[:20], some[0].lower(), "ACGT", some[0][:108], "N" * 110]
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    expected = {k: v.numpy() for k, v in signature(sequence=tf.constant(given)).items()}
    with server.background(version.parent, OPTIONS) as addresses:
        status, answer, _ = ask(connect(addresses.http), given)
    assert status == 200 and answer["outputs"].keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(answer["outputs"][name], values, atol=1e-5)


def test_sixty_four_clients_each_get_their_own_rows_back(folder, some, known):
    wrong, done = [], []

    def client(i, url):
        rng, connection = np.random.default_rng(i), connect(url)
        for _ in range(12):
            rows = rng.choice(200, rng.choice([1, 1, 2, 5, 40]))
            status, answer, _ = ask(connection, [some[row] for row in rows])
            close = status == 200 and np.allclose(
                answer["outputs"]["expression"], known[rows] + 1, atol=1e-3
            )
            (done if close else wrong).append((status, answer))

    with server.background(folder, OPTIONS) as addresses:
        threads = [threading.Thread(target=client, args=(i, addresses.http)) for i in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong and len(done) == 64 * 12


# === Reload ===


def test_versions_come_and_go_under_load_and_no_request_fails(folder, some, known):
    wrong, seen, stop = [], set(), threading.Event()

    def client(i, url):
        connection, rows = connect(url), [i, i + 50, i + 100]
        while not stop.is_set():
            status, answer, _ = ask(connection, [some[row] for row in rows])
            if status != 200:
                wrong.append((status, answer))
                return
            version = answer["outputs"]["expression"] - known[rows]
            seen.add(int(np.rint(version[0])))
            if not np.allclose(version, np.rint(version[0]), atol=1e-3):  # of one version, all
                wrong.append(answer)

    with server.background(folder, OPTIONS) as addresses:
        threads = [threading.Thread(target=client, args=(i, addresses.http)) for i in range(8)]
        for thread in threads:
            thread.start()
        for version in (2, 3, 4):
            toy_export.write(folder, version)
            wait_for(lambda version=version: version in seen)
        shutil.rmtree(folder / "4")  # back
        wait_for(lambda: served(addresses.http) == {3})
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong and seen == {1, 2, 3, 4}


def served(url):
    connection = connect(url)
    connection.request("GET", "/v1/models/camformer")
    found = json.loads(connection.getresponse().read())["model_version_status"]
    return {int(one["version"]) for one in found if one["state"] == "AVAILABLE"}


# === Clients that misbehave ===


def test_too_large_a_request_gets_its_answer_and_the_server_goes_on(folder, some):
    with server.background(folder, OPTIONS) as addresses:
        connection = connect(addresses.http)
        connection.request("POST", PATH, b" " * 150_000)
        answer = connection.getresponse()
        assert answer.status == 413 and "larger" in json.loads(answer.read())["error"]
        assert ask(connect(addresses.http), some[:1])[0] == 200


def test_what_is_cut_off_leaves_nothing_behind(folder, some):
    with server.background(folder, OPTIONS) as addresses:
        head = b"POST %s HTTP/1.1\r\n" % PATH.encode()
        for part in (b"", b"PO", head + b"Host", head + b"content-length: 99\r\n\r\n{"):
            sock = raw(addresses.http)
            sock.sendall(part)
            sock.close()
        assert ask(connect(addresses.http), some[:1])[0] == 200


def test_who_never_ends_a_request_is_hung_up_on(folder, some):
    chosen = dataclasses.replace(OPTIONS, timeout=0.5)
    with server.background(folder, chosen) as addresses:
        silent, head, body = raw(addresses.http), raw(addresses.http), raw(addresses.http)
        head.sendall(b"GET / HTTP/1.1\r\nx: ")
        body.sendall(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{" % PATH.encode())
        assert silent.recv(1) == head.recv(1) == b""
        assert body.recv(15) == b"HTTP/1.1 408 Re"
        for sock in (silent, head, body):
            sock.close()
        assert ask(connect(addresses.http), some[:1])[0] == 200


def test_a_connection_that_is_used_again_is_not_hung_up_on(folder, some):
    chosen = dataclasses.replace(OPTIONS, timeout=0.5)
    with server.background(folder, chosen) as addresses:
        connection = connect(addresses.http)
        for _ in range(3):
            assert ask(connection, some[:1])[0] == 200
            time.sleep(0.4)  # longer than the time limit in all


def test_a_head_without_end_is_hung_up_on(folder):
    with server.background(folder, OPTIONS) as addresses:
        sock = raw(addresses.http)
        sock.sendall(b"GET / HTTP/1.1\r\nx: ")
        with contextlib.suppress(OSError):
            for _ in range(100):
                sock.sendall(b"x" * 10_000)
            assert sock.recv(1) == b""


def test_what_is_not_http_is_400(folder):
    with server.background(folder, OPTIONS) as addresses:
        sock = raw(addresses.http)
        sock.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert sock.recv(15).startswith(b"HTTP/1.1 400")
        sock.close()


# === Start and stop ===


@contextlib.contextmanager
def command(folder, *options):
    """Runs the command; yields the process and its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "camformer_tf.cli", "serve", str(folder), "--port", "0", *options],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        yield process, line.split("REST at ")[1].split(",")[0].strip()
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_no_request_that_was_taken(folder, some, known, number):
    lost, answered, refused = [], [], []

    def client(i, url):
        connection, rows = connect(url), np.arange(i, i + 1500) % 200
        connection.connect()
        barrier.wait()
        while True:
            try:
                status, answer, headers = ask(connection, [some[row] for row in rows])
            except Exception as error:  # it was connected, and sent a request
                lost.append(repr(error))
                return
            if status == 503 and headers["connection"] == "close":
                refused.append(status)
                return
            if status != 200 or not np.allclose(
                answer["outputs"]["expression"], known[rows] + 1, atol=1e-3
            ):
                lost.append(answer)
            answered.append(status)
            if headers["connection"] == "close":
                return

    barrier = threading.Barrier(9)
    with command(folder, "--grpc-port", "0", "--max-batch-size", "8") as (process, url):
        threads = [threading.Thread(target=client, args=(i, url)) for i in range(8)]
        for thread in threads:
            thread.start()
        barrier.wait()
        wait_for(lambda: len(answered) > 10)
        process.send_signal(number)
        assert process.wait(30) == 0
        for thread in threads:
            thread.join()
        with pytest.raises(ConnectionRefusedError):
            raw(url)
    assert not lost and len(answered) > 10


def test_the_command_says_where_it_listens_and_serves_grpc(folder, some):
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    process = subprocess.Popen(
        [sys.executable, "-m", "camformer_tf.cli", "serve", str(folder), "--port", "0",
         "--grpc-port", "0", "--name", "m", "--label", "stable=1"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        url, rpc = line.split("REST at ")[1].strip().split("/, gRPC at ")
        path = "/v1/models/m/labels/stable:predict"
        assert ask(connect(url), some[:1], path)[0] == 200
        made = predict_pb2.PredictRequest()
        made.model_spec.name = "m"
        made.inputs["sequence"].CopyFrom(tf.make_tensor_proto(some[:2]))
        with grpc.insecure_channel(rpc) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert len(stub.Predict(made, timeout=20).outputs["expression"].float_val) == 2
    finally:
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.parametrize("which", ["port", "grpc_port"])
def test_a_port_that_is_taken_is_the_users_mistake(folder, which):
    with server.background(folder, OPTIONS) as addresses:
        chosen = dataclasses.replace(OPTIONS, **{which: urlsplit(addresses.http).port})
        with (
            pytest.raises(errors.UserError, match="Choose another"),
            server.background(folder, chosen),
        ):
            pass


def test_where_there_is_nothing_to_serve_it_says_so(tmp_path):
    with (
        pytest.raises(errors.UserError, match="no such folder"),
        server.background(tmp_path / "none", OPTIONS),
    ):
        pass
    with (
        pytest.raises(errors.UserError, match="no folder of a version in it"),
        server.background(tmp_path, OPTIONS),
    ):
        pass


def test_without_its_packages_it_says_what_to_install(folder, monkeypatch):
    for name, extra in (("prometheus_client", "serve"), ("uvicorn", "serve"), ("grpc", "grpc")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            chosen = dataclasses.replace(OPTIONS, grpc_port=0)
            with (
                pytest.raises(errors.UserError, match=rf"camformer-tf\[{extra}\]"),
                server.background(folder, chosen),
            ):
                pass
