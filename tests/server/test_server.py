import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import numpy as np
import pytest
import tensorflow as tf
from support import http_client, toy_export

import camformer_tf as cf
from camformer_tf import errors, recipe
from camformer_tf.export import export
from camformer_tf.model import keras_file, rescnn

OPTIONS = {
    "port": 0, "max_batch_size": 16, "max_request_bytes": 50_000, "timeout": 20, "poll": 0.05,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    toy_export.write(tmp_path / "toy", 1)
    return tmp_path / "toy"


@pytest.fixture(scope="module")
def sequences():
    return toy_export.random_sequences(200)


@pytest.fixture(scope="module")
def base(sequences):
    """What version 0 of the toy would predict; version n predicts n more."""
    return toy_export.expression(sequences, 0)


def run_threads(function, count, *arguments):
    """Starts threads of function(i, *arguments)."""
    threads = [threading.Thread(target=function, args=(i, *arguments)) for i in range(count)]
    for thread in threads:
        thread.start()
    return threads


def join(threads):
    for thread in threads:
        thread.join()


# === Answers ===


def test_a_server_of_an_export_gives_its_numbers(tmp_path, sequences):
    settings = recipe.load("smoke")
    keras_file.save(rescnn.from_recipe(settings), tmp_path / "m.keras", settings)
    version = export.export([tmp_path / "m.keras"], tmp_path / "exports")
    rows = [*sequences[:20], sequences[0].lower(), "ACGT", sequences[0][:108], "N" * 110]
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    expected = {k: v.numpy() for k, v in signature(sequence=tf.constant(rows)).items()}
    with cf.serve(version.parent, **OPTIONS) as server:
        status, answer, _ = http_client.ask(http_client.connect(server.url), rows)
    assert status == 200 and answer["outputs"].keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(answer["outputs"][name], values, atol=1e-5)


def test_sixty_four_clients_get_their_own_rows_each(folder, sequences, base):
    wrong_answers, right_answers = [], []

    def client(i, url):
        rng, connection = np.random.default_rng(i), http_client.connect(url)
        for _ in range(12):
            rows = rng.choice(200, rng.choice([1, 1, 2, 5, 40]))
            status, answer, _ = http_client.ask(connection, [sequences[row] for row in rows])
            is_right = status == 200 and np.allclose(
                answer["outputs"]["expression"], base[rows] + 1, atol=1e-3
            )
            (right_answers if is_right else wrong_answers).append((status, answer))

    with cf.serve(folder, **OPTIONS) as server:
        join(run_threads(client, 64, server.url))
    assert not wrong_answers and len(right_answers) == 64 * 12


def test_a_server_runs_beside_an_event_loop_as_in_a_notebook(folder, sequences):
    async def cell():
        with cf.serve(str(folder), port=0) as server:
            assert repr(server) == f"Server(url={server.url!r}, grpc=None)"
            return http_client.ask(http_client.connect(server.url), sequences[:1])[0]

    assert asyncio.run(cell()) == 200


def test_a_server_stops_at_the_end_of_its_block_also_after_an_error(folder):
    threads = threading.active_count()
    with pytest.raises(KeyError), cf.serve(folder, port=0) as server:
        raise KeyError
    with pytest.raises(ConnectionRefusedError):
        http_client.open_socket(server.url)
    http_client.wait_for(lambda: threading.active_count() <= threads + 2)  # idle pool threads


def test_two_servers_run_side_by_side(folder, sequences):
    with cf.serve(folder, port=0) as first, cf.serve(folder, port=0, name="m") as second:
        assert first.url != second.url
        path = "/v1/models/m:predict"
        assert http_client.ask(http_client.connect(first.url), sequences[:1])[0] == 200
        assert http_client.ask(http_client.connect(second.url), sequences[:1], path)[0] == 200


# === New versions ===


def available(url):
    """Returns the numbers of the versions that are available."""
    connection = http_client.connect(url)
    connection.request("GET", "/v1/models/camformer")
    statuses = json.loads(connection.getresponse().read())["model_version_status"]
    return {int(status["version"]) for status in statuses if status["state"] == "AVAILABLE"}


def test_versions_come_and_go_under_load_and_no_request_fails(folder, sequences, base):
    wrong_answers, versions, stop = [], set(), threading.Event()

    def client(i, url):
        connection, rows = http_client.connect(url), [i, i + 50, i + 100]
        while not stop.is_set():
            status, answer, _ = http_client.ask(connection, [sequences[row] for row in rows])
            if status != 200:
                wrong_answers.append((status, answer))
                return
            version = answer["outputs"]["expression"] - base[rows]
            versions.add(int(np.rint(version[0])))
            if not np.allclose(version, np.rint(version[0]), atol=1e-3):  # all of one version
                wrong_answers.append(answer)

    with cf.serve(folder, **OPTIONS) as server:
        threads = run_threads(client, 8, server.url)
        for version in (2, 3, 4):
            toy_export.write(folder, version)
            http_client.wait_for(lambda version=version: version in versions)
        shutil.rmtree(folder / "4")  # the version before takes its place
        http_client.wait_for(lambda: available(server.url) == {3})
        stop.set()
        join(threads)
    assert not wrong_answers and versions == {1, 2, 3, 4}


def test_folders_that_are_not_versions_do_not_disturb_the_server(folder):
    for name in ("²", "01", "x"):
        shutil.copytree(folder / "1", folder / name)
    with cf.serve(folder, port=0, poll=0.05) as server:
        assert available(server.url) == {1}
        toy_export.write(folder, 2)
        http_client.wait_for(lambda: available(server.url) == {2})


# === Start and stop ===


@contextlib.contextmanager
def command(folder, *options):
    """Runs the command; yields the process and the addresses of REST and gRPC."""
    process = subprocess.Popen(
        [sys.executable, "-m", "camformer_tf", "serve", str(folder), "--port", "0", *options],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        url, _, grpc = line.split("REST at ")[1].strip().partition("/, gRPC at ")
        yield process, url.rstrip("/"), grpc
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_no_request(folder, sequences, base, number):
    losses, answers, refusals = [], [], []

    def client(i, url):
        connection, rows = http_client.connect(url), np.arange(i, i + 1500) % 200
        connection.connect()
        barrier.wait()
        while True:
            try:
                status, answer, headers = http_client.ask(
                    connection, [sequences[row] for row in rows]
                )
            except Exception as error:  # the request was sent over an open connection
                losses.append(repr(error))
                return
            if status == 503 and headers["connection"] == "close":
                refusals.append(status)
                return
            if status != 200 or not np.allclose(
                answer["outputs"]["expression"], base[rows] + 1, atol=1e-3
            ):
                losses.append(answer)
            answers.append(status)
            if headers["connection"] == "close":
                return

    barrier = threading.Barrier(9)
    with command(folder, "--grpc-port", "0", "--max-batch-size", "8") as (process, url, _):
        threads = run_threads(client, 8, url)
        barrier.wait()
        http_client.wait_for(lambda: len(answers) > 10)
        process.send_signal(number)
        assert process.wait(30) == 0
        join(threads)
        with pytest.raises(ConnectionRefusedError):
            http_client.open_socket(url)
    assert not losses and len(answers) > 10


def test_the_command_prints_its_addresses_and_serves_grpc(folder, sequences):
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    options = ("--grpc-port", "0", "--name", "m", "--label", "stable=1")
    with command(folder, *options) as (process, url, grpc_address):
        path = "/v1/models/m/labels/stable:predict"
        assert http_client.ask(http_client.connect(url), sequences[:1], path)[0] == 200
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.inputs["sequence"].CopyFrom(tf.make_tensor_proto(sequences[:2]))
        with grpc.insecure_channel(grpc_address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            outputs = stub.Predict(request, timeout=20).outputs
            assert len(outputs["expression"].float_val) == 2
        process.terminate()
        assert process.wait(30) == 0


def test_signals_end_the_wait_and_have_their_old_handlers_afterwards(folder):
    handler = signal.getsignal(signal.SIGTERM)
    with cf.serve(folder, port=0) as server:
        server.catch_signals()
        signal.raise_signal(signal.SIGTERM)
        server.wait()
        assert available(server.url) == {1}  # until the end of the block
    assert signal.getsignal(signal.SIGTERM) == handler


def test_a_port_in_use_is_the_users_mistake(folder):
    with (
        cf.serve(folder, port=0) as server,
        pytest.raises(errors.UserError, match="Choose another --host or --port"),
        cf.serve(folder, port=urlsplit(server.url).port),
    ):
        pass


def test_a_folder_without_an_export_is_the_users_mistake(tmp_path):
    with (
        pytest.raises(errors.UserError, match="no such folder"),
        cf.serve(tmp_path / "none", port=0),
    ):
        pass
    with (
        pytest.raises(errors.UserError, match="it contains no version"),
        cf.serve(tmp_path, port=0),
    ):
        pass
