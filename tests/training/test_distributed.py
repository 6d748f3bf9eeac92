"""One device, two mirrored ones and two processes train the same model."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support import agreement

from camformer_tf import errors, recipe, rundir
from camformer_tf.training import checkpoint, cluster

pytestmark = pytest.mark.distributed
SAMPLE = agreement.SAMPLE
FIT = [sys.executable, "-m", "camformer_tf.cli", "fit", "smoke", str(SAMPLE)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(kind, optimiser, dropout, in_graph) → what its processes came to after an epoch."""
    folder, known = tmp_path_factory.mktemp("agreement"), {}

    def get(kind: str, optimizer: str, dropout: float, in_graph: bool = False):
        key = kind, optimizer, dropout, in_graph
        if key not in known:
            known[key] = agreement.train(*key[:3], folder, in_graph=in_graph)
        return known[key]

    return get


@pytest.mark.parametrize(
    ("optimizer", "dropout", "in_graph"),
    [("sgd", 0.0, False), ("adamw", 0.2, False), ("adamw", 0.2, True)],
)
def test_mirrored_devices_and_two_processes_agree_bit_for_bit(
    trained, optimizer, dropout, in_graph
):
    (mirrored,) = trained("mirrored", optimizer, dropout, in_graph)
    both = trained("multiworker", optimizer, dropout, in_graph)
    assert len(both) == 2
    for one in both:
        assert one.keys() == mirrored.keys()
        for name, value in mirrored.items():
            np.testing.assert_array_equal(one[name], value, err_msg=name)


def test_with_sgd_mirrored_devices_come_to_the_weights_of_one(trained):
    (one,), (two,) = trained("one", "sgd", 0.0), trained("mirrored", "sgd", 0.0)
    # Sums of 64 and 64 against sums of 128 in float32: rounding alone, which a rate ten times as
    # high makes grow a hundred times as much in an epoch. Moving statistics are ten times as large
    # as weights.
    assert agreement.largest_difference(one, two, "/", but="moving") < 1e-5
    assert agreement.largest_difference(one, two, "/moving") < 1e-4
    assert agreement.largest_difference(one, two, "history val_pearson") < 1e-5
    assert agreement.largest_difference(one, two, "history loss") < 1e-5


def test_with_adamw_mirrored_devices_come_to_the_history_of_one(trained):
    (one,), (two,) = trained("one", "adamw", 0.0), trained("mirrored", "adamw", 0.0)
    # Rounding, which AdamW makes grow: it steps by a gradient over its size.
    assert agreement.largest_difference(one, two, "history loss") < 1e-3 * one["history loss"][0]
    assert agreement.largest_difference(one, two, "history val_pearson") < 0.02


def fit_in_two(out, *options, **others):
    return agreement.in_two_processes([*FIT, str(out), *options], **others)


TWO = ["--strategy", "multiworker", "--precision", "float32", "--set", "train.epochs=2", "--quiet"]


def test_a_run_of_two_processes_is_that_of_two_devices_byte_for_byte(tmp_path):
    two, mirrored = tmp_path / "two", tmp_path / "mirrored"
    assert fit_in_two(two, *TWO) == [0, 0]
    options = ["--devices", "2", "--precision", "float32", "--set", "train.epochs=2", "--quiet"]
    subprocess.run([*FIT, str(mirrored), *options], check=True, timeout=240)
    for name in (rundir.LOG, rundir.VAL_PREDICTIONS, rundir.RECIPE):
        assert (two / name).read_bytes() == (mirrored / name).read_bytes()
    assert {p.name for p in two.iterdir()} == {p.name for p in mirrored.iterdir()}


def test_a_worker_that_never_comes_is_named_in_the_time_that_was_said(tmp_path, monkeypatch):
    addresses = agreement.free_addresses(2)
    start = time.monotonic()
    with pytest.raises(
        errors.UserError, match=rf"after 1 s these have not come: 1 \({addresses[1]}"
    ):
        cluster.meet(addresses, 0, 1)
    assert time.monotonic() - start < 20


def test_two_streaming_workers_train_on_their_own_shards(tmp_path):
    assert fit_in_two(tmp_path / "run", *TWO, "--data", "stream") == [0, 0]
    assert rundir.load(tmp_path / "run").data == "stream"


def test_a_signal_to_one_worker_stops_all_and_the_run_goes_on(tmp_path):
    out, whole = tmp_path / "run", tmp_path / "whole"
    options = [*TWO, "--set", "train.epochs=4"]
    cluster = agreement.free_addresses(2)
    command = [*FIT, str(out), *options]
    processes = [
        subprocess.Popen(command, env=agreement.variables(cluster, i), stderr=subprocess.PIPE)
        for i in range(2)
    ]
    wait_for(out / rundir.CHECKPOINTS)
    processes[1].send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=120)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [143, 143], said
    assert "Go on with --resume" in said[0]
    assert checkpoint.newest(out / rundir.CHECKPOINTS)
    assert fit_in_two(out, *options, "--resume") == [0, 0]
    assert fit_in_two(whole, *options) == [0, 0]
    assert (out / rundir.LOG).read_bytes() == (whole / rundir.LOG).read_bytes()


def test_a_lost_worker_ends_the_other_with_advice(tmp_path):
    out = tmp_path / "run"
    cluster = agreement.free_addresses(2)
    command = [*FIT, str(out), *TWO, "--set", "train.epochs=500"]
    processes = [
        subprocess.Popen(command, env=agreement.variables(cluster, i), stderr=subprocess.PIPE)
        for i in range(2)
    ]
    wait_for(out / rundir.CHECKPOINTS)
    processes[1].kill()
    _, said = processes[0].communicate(timeout=90)
    processes[1].communicate()
    assert processes[0].returncode == 1
    assert "Error: another worker was lost" in said.decode()


def wait_for(path, seconds=90):
    ends = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < ends, f"no {path} in {seconds} s"
        time.sleep(0.1)


# --- Slurm ---

SLURM = {"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "SLURM_PROCID": "2"}


@pytest.mark.parametrize(
    ("nodes", "tasks", "expected"),
    [
        ("node[8-11]", "1(x4)", ["node8:8888", "node9:8888", "node10:8888", "node11:8888"]),
        ("a,b", "2,1", ["a:8888", "a:8889", "b:8888"]),
        ("gpu[01-02,07].local,login", "1(x4)",
         ["gpu01.local:8888", "gpu02.local:8888", "gpu07.local:8888", "login:8888"]),
        ("n1", "2", ["n1:8888", "n1:8889"]),
    ],
)  # fmt: skip
def test_slurm_tasks_are_workers_in_slurms_order(nodes, tasks, expected):
    made = cluster.slurm_config(
        {"SLURM_STEP_NODELIST": nodes, "SLURM_STEP_TASKS_PER_NODE": tasks, "SLURM_PROCID": "1"}
    )
    assert made == {"cluster": {"worker": expected}, "task": {"type": "worker", "index": 1}}


def test_slurm_without_its_variables_is_refused():
    with pytest.raises(errors.UserError, match="SLURM_STEP_NODELIST is not set"):
        cluster.slurm_config({})


@pytest.mark.parametrize(
    "config",
    [None, "{}", "no json", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}'],
)
def test_several_workers_without_a_whole_tf_config_are_refused(monkeypatch, config):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(errors.UserError, match="TF_CONFIG must name all workers"):
        cluster.cluster("multiworker")


def test_a_tf_config_that_nobody_asked_to_obey_is_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{}")
    with pytest.raises(errors.UserError, match="TF_CONFIG is set"):
        cluster.cluster("auto")
    assert cluster.cluster("one") is None


def test_an_address_without_a_port_is_refused():
    with pytest.raises(errors.UserError, match="'node1': expected host:port"):
        cluster.meet(["node1", "node2:1"], 0, 1)


def test_a_taken_address_is_told():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(errors.UserError, match="worker 0: cannot listen"):
            cluster.meet([address, "127.0.0.1:1"], 0, 1)


def test_the_recipe_of_these_tests_has_dropout():
    assert all(block.dropout for block in recipe.load("smoke").model.blocks)
