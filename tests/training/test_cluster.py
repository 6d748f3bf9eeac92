"""Who the workers of a training are, and how they wait for each other."""

import socket
import time

import pytest
import tensorflow as tf
from support import agreement

from camformer_tf import errors
from camformer_tf.training import cluster

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
    config = cluster.slurm_config(
        {"SLURM_STEP_NODELIST": nodes, "SLURM_STEP_TASKS_PER_NODE": tasks, "SLURM_PROCID": "1"}
    )
    assert config == {"cluster": {"worker": expected}, "task": {"type": "worker", "index": 1}}


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
        cluster.read_config("multiworker")


def test_a_tf_config_without_its_strategy_is_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{}")
    with pytest.raises(errors.UserError, match="TF_CONFIG is set"):
        cluster.read_config("auto")
    assert cluster.read_config("one") is None


def test_an_address_without_a_port_is_refused():
    with pytest.raises(errors.UserError, match="'node1': expected host:port"):
        cluster.meet(["node1", "node2:1"], 0, 1)


def test_an_address_in_use_is_reported():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(errors.UserError, match="worker 0: cannot listen"):
            cluster.meet([address, "127.0.0.1:1"], 0, 1)


def test_a_worker_that_never_comes_is_named_when_the_time_is_over():
    addresses = agreement.free_addresses(2)
    start = time.monotonic()
    with pytest.raises(
        errors.UserError, match=rf"after 1 s these workers have not come: 1 \({addresses[1]}"
    ):
        cluster.meet(addresses, 0, 1)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(("on_gpus", "expected"), [(True, "NCCL"), (False, "RING")])
def test_gpus_of_several_hosts_communicate_by_nccl(monkeypatch, on_gpus, expected):
    requests = []
    monkeypatch.setattr(cluster, "meet", lambda *arguments: None)
    monkeypatch.setattr(
        tf.distribute,
        "MultiWorkerMirroredStrategy",
        lambda communication_options: requests.append(communication_options),
    )
    config = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    cluster.connect(config, 60, on_gpus=on_gpus)
    (options,) = requests
    assert options.implementation.value == expected
