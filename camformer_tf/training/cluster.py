"""Several processes that train together: who they are, and how they wait for each other."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import re
import socket
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from camformer_tf import errors

Config = dict[str, Any]  # the contents of TF_CONFIG: cluster and task

_SLURM_PORT = 8888
_RETRY_SECONDS = 0.2  # until the next attempt to reach a worker


def read_config(kind: str) -> Config | None:
    """Returns the contents of TF_CONFIG; None for a training of one process.

    Args:
        kind: the strategy; for "slurm", TF_CONFIG is set first from Slurm's variables.

    Raises:
        errors.UserError: missing or wrong variables, or a TF_CONFIG that "auto" would ignore.
    """
    if kind == "slurm":
        os.environ["TF_CONFIG"] = json.dumps(slurm_config(os.environ))
    elif kind != "multiworker":
        if kind == "auto" and "TF_CONFIG" in os.environ:
            raise errors.UserError(
                "TF_CONFIG is set. Pass --strategy multiworker to train with the workers that it "
                "names, or unset it."
            )
        return None
    config: Config = {}
    try:
        config = json.loads(os.environ["TF_CONFIG"])
        addresses, task = config["cluster"]["worker"], config["task"]
        valid = task["type"] == "worker" and 0 <= task["index"] < len(addresses)
    except (KeyError, TypeError, ValueError):
        valid = False
    if not valid:
        raise errors.UserError(
            "--strategy multiworker: the variable TF_CONFIG must name all workers, and which one "
            'this is: {"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", '
            f'"index": 0}}}}. Found {os.environ.get("TF_CONFIG", "nothing")[:200]}.'
        )
    return config


def slurm_config(variables: Mapping[str, str], port: int = _SLURM_PORT) -> Config:
    """Returns the TF_CONFIG of this task of a Slurm step, tasks in Slurm's own order.

    TensorFlow's own resolver sorts host names as text, which gives wrong ranks on node[8-11].

    Args:
        variables: of the environment.
        port: of the first worker on each host.

    Raises:
        errors.UserError: the variables that Slurm sets are missing.
    """
    try:
        nodes = variables["SLURM_STEP_NODELIST"]
        counts = variables["SLURM_STEP_TASKS_PER_NODE"]
        rank = int(variables["SLURM_PROCID"])
    except KeyError as error:
        raise errors.UserError(
            f"--strategy slurm: {error.args[0]} is not set. Start the tasks with srun, one for "
            "each node (bin/fit-slurm.sh)."
        ) from error
    hosts: list[str] = []
    tasks: list[int] = []
    for head, numbers, tail in re.findall(r"([^,\[]+)(?:\[([^\]]*)\]([^,\[]*))?", nodes):
        for item in numbers.split(","):  # "01-03" or "7"
            first, _, last = item.partition("-")
            if not first:
                hosts.append(head)
                continue
            indices = range(int(first), int(last or first) + 1)
            hosts += [f"{head}{index:0{len(first)}d}{tail}" for index in indices]
    for number, repeats in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts):
        tasks += [int(number)] * int(repeats or 1)
    pairs = zip(hosts, tasks, strict=True)
    workers = [f"{host}:{port + i}" for host, number in pairs for i in range(number)]
    return {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}


def connect(
    config: Config, timeout: float, *, on_gpus: bool
) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Returns the strategy over all workers, once all of them have come.

    GPUs communicate by NCCL, which TensorFlow uses between hosts only on request.

    Args:
        config: see `read_config`.
        timeout: seconds to wait for the others.
        on_gpus: whether the workers train on GPUs.

    Raises:
        errors.UserError: some have not come in that time.
    """
    meet(config["cluster"]["worker"], config["task"]["index"], timeout)
    # If a worker is lost just now, TensorFlow would wait forever, in native code that no exception
    # and no Python thread reaches.
    faulthandler.dump_traceback_later(timeout, exit=True)
    means = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=means.NCCL if on_gpus else means.RING
    )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    finally:
        faulthandler.cancel_dump_traceback_later()


def meet(addresses: list[str], index: int, timeout: float) -> None:
    """Returns when this worker has reached all others, and all others have reached it.

    Every worker listens at its address and calls all others, naming itself. A worker that has
    called all and was called by all closes its address, which TensorFlow then uses.

    Args:
        addresses: host:port of each worker.
        index: of this worker.
        timeout: seconds to wait.

    Raises:
        errors.UserError: some have not come in that time, or the address is in use.
    """
    end = time.monotonic() + timeout
    missing = set(range(len(addresses))) - {index}  # workers that do not answer yet
    silent = set(missing)  # workers that have not called yet
    host, port = _host_and_port(addresses[index])
    try:
        server = socket.create_server(("", port))
    except OSError as error:
        raise errors.UserError(
            f"worker {index}: cannot listen at {addresses[index]} ({error.strerror}). Is another "
            "training with that port still running?"
        ) from error
    with server:
        server.settimeout(_RETRY_SECONDS)
        while missing or silent:
            missing -= {worker for worker in missing if _call(addresses[worker], index)}
            with contextlib.suppress(OSError, ValueError):
                caller, _ = server.accept()
                with caller:
                    caller.settimeout(2)
                    silent.discard(int(caller.recv(16).decode() or -1))
            if (missing or silent) and time.monotonic() > end:
                names = ", ".join(f"{i} ({addresses[i]})" for i in sorted(missing | silent))
                raise errors.UserError(
                    f"worker {index}: after {timeout:g} s these workers have not come: {names}. "
                    "Start all of them with the same list of addresses, each with its own index, "
                    "and check whether a firewall blocks the ports."
                )


def _call(address: str, index: int) -> bool:
    host, port = _host_and_port(address)
    with contextlib.suppress(OSError), socket.create_connection((host, port), 2) as connection:
        connection.sendall(str(index).encode())
        return True
    return False


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise errors.UserError(f"worker address {address!r}: expected host:port.")
    return host, int(port)
