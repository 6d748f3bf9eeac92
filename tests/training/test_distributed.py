"""One device, two mirrored ones and two processes train the same model."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support import agreement

from camformer_tf import recipe, rundir
from camformer_tf.training import checkpoint

pytestmark = pytest.mark.distributed
SAMPLE = agreement.SAMPLE
FIT = [sys.executable, "-m", "camformer_tf.cli", "fit", "smoke", str(SAMPLE)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """(kind, optimizer, dropout, in_graph) → variables and history of each process."""
    folder, cache = tmp_path_factory.mktemp("agreement"), {}

    def get(kind: str, optimizer: str, dropout: float, in_graph: bool = False):
        key = kind, optimizer, dropout, in_graph
        if key not in cache:
            cache[key] = agreement.train(*key[:3], folder, in_graph=in_graph)
        return cache[key]

    return get


@pytest.mark.parametrize(
    ("optimizer", "dropout", "in_graph"),
    [("sgd", 0.0, False), ("adamw", 0.2, False), ("adamw", 0.2, True)],
)
def test_mirrored_devices_and_two_processes_agree_bit_for_bit(
    results, optimizer, dropout, in_graph
):
    (mirror,) = results("mirrored", optimizer, dropout, in_graph)
    workers = results("multiworker", optimizer, dropout, in_graph)
    assert len(workers) == 2
    for worker in workers:
        assert worker.keys() == mirror.keys()
        for name, value in mirror.items():
            np.testing.assert_array_equal(worker[name], value, err_msg=name)


def test_with_sgd_mirrored_devices_come_to_the_weights_of_one(results):
    (single,), (double,) = results("one", "sgd", 0.0), results("mirrored", "sgd", 0.0)
    # Sums of 64 and 64 against sums of 128 in float32: rounding alone, which in an epoch grows a
    # hundred times as much with a rate ten times as high. Moving statistics are ten times as large
    # as weights.
    assert agreement.largest_difference(single, double, "/", but="moving") < 1e-5
    assert agreement.largest_difference(single, double, "/moving") < 1e-4
    assert agreement.largest_difference(single, double, "history val_pearson") < 1e-5
    assert agreement.largest_difference(single, double, "history loss") < 1e-5


def test_with_adamw_mirrored_devices_come_to_the_history_of_one(results):
    (single,), (double,) = results("one", "adamw", 0.0), results("mirrored", "adamw", 0.0)
    # Rounding, which AdamW amplifies: it steps by a gradient over its size.
    assert (
        agreement.largest_difference(single, double, "history loss")
        < 1e-3 * single["history loss"][0]
    )
    assert agreement.largest_difference(single, double, "history val_pearson") < 0.02


def fit_in_two(out, *options):
    return agreement.in_two_processes([*FIT, str(out), *options])


TWO = ["--strategy", "multiworker", "--precision", "float32", "--set", "train.epochs=2", "--quiet"]


def test_a_run_of_two_processes_is_that_of_two_devices_byte_for_byte(tmp_path):
    processes, devices = tmp_path / "processes", tmp_path / "devices"
    assert fit_in_two(processes, *TWO) == [0, 0]
    options = ["--devices", "2", "--precision", "float32", "--set", "train.epochs=2", "--quiet"]
    subprocess.run([*FIT, str(devices), *options], check=True, timeout=240)
    for name in (rundir.LOG, rundir.VAL_PREDICTIONS, rundir.RECIPE):
        assert (processes / name).read_bytes() == (devices / name).read_bytes()
    assert {p.name for p in processes.iterdir()} == {p.name for p in devices.iterdir()}


def test_two_streaming_workers_train_on_their_own_shards(tmp_path):
    assert fit_in_two(tmp_path / "run", *TWO, "--data", "stream") == [0, 0]
    assert rundir.load(tmp_path / "run").data == "stream"


def test_a_signal_to_one_worker_stops_all_and_the_run_can_be_resumed(tmp_path):
    out, reference = tmp_path / "run", tmp_path / "reference"
    options = [*TWO, "--set", "train.epochs=4"]
    addresses = agreement.free_addresses(2)
    command = [*FIT, str(out), *options]
    processes = [
        subprocess.Popen(command, env=agreement.variables(addresses, i), stderr=subprocess.PIPE)
        for i in range(2)
    ]
    wait_for(out / rundir.CHECKPOINTS)
    processes[1].send_signal(signal.SIGTERM)
    messages = [process.communicate(timeout=120)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [143, 143], messages
    assert "Continue it with --resume" in messages[0]
    assert checkpoint.newest(out / rundir.CHECKPOINTS)
    assert fit_in_two(out, *options, "--resume") == [0, 0]
    assert fit_in_two(reference, *options) == [0, 0]
    assert (out / rundir.LOG).read_bytes() == (reference / rundir.LOG).read_bytes()


def test_a_lost_worker_ends_the_other_with_advice(tmp_path):
    out = tmp_path / "run"
    addresses = agreement.free_addresses(2)
    command = [*FIT, str(out), *TWO, "--set", "train.epochs=500"]
    processes = [
        subprocess.Popen(command, env=agreement.variables(addresses, i), stderr=subprocess.PIPE)
        for i in range(2)
    ]
    wait_for(out / rundir.CHECKPOINTS)
    processes[1].kill()
    _, message = processes[0].communicate(timeout=90)
    processes[1].communicate()
    assert processes[0].returncode == 1
    assert "Error: another worker was lost" in message.decode()


def wait_for(path, seconds=90):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"no {path} in {seconds} s"
        time.sleep(0.1)


def test_the_recipe_of_these_tests_has_dropout():
    assert all(block.dropout for block in recipe.load("smoke").model.blocks)
