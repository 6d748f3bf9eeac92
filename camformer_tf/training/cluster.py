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

import tensorflow as tf

from camformer_tf import errors

_SLURM_PORT = 8888
_AGAIN = 0.2  # seconds until the next try to reach a worker


def cluster(kind: str) -> dict | None:
    """Returns the contents of TF_CONFIG, which for "slurm" is set first; none for one worker.

    Raises:
        errors.UserError: variables that are missing or wrong, or that nobody asked to obey.
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
    try:
        found = json.loads(os.environ["TF_CONFIG"])
        addresses, task = found["cluster"]["worker"], found["task"]
        known = task["type"] == "worker" and 0 <= task["index"] < len(addresses)
    except (KeyError, TypeError, ValueError):
        known = False
    if not known:
        raise errors.UserError(
            "--strategy multiworker: the variable TF_CONFIG must name all workers, and which one "
            'this is: {"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", '
            f'"index": 0}}}}. Found {os.environ.get("TF_CONFIG", "nothing")[:200]}.'
        )
    return found


def slurm_config(variables: Mapping[str, str], port: int = _SLURM_PORT) -> dict:
    """Returns the TF_CONFIG of this task of a Slurm step, tasks in Slurm's own order.

    TensorFlow's own resolver sorts host names as text, so that on node[8-11] ranks are mistaken.

    Raises:
        errors.UserError: the variables that Slurm sets are not there.
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
    hosts, tasks = [], []
    for head, inside, tail in re.findall(r"([^,\[]+)(?:\[([^\]]*)\]([^,\[]*))?", nodes):
        for item in inside.split(","):
            first, _, last = item.partition("-")
            if not first:
                hosts.append(head)
                continue
            numbers = range(int(first), int(last or first) + 1)
            hosts += [f"{head}{number:0{len(first)}d}{tail}" for number in numbers]
    for number, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts):
        tasks += [int(number)] * int(times or 1)
    pairs = zip(hosts, tasks, strict=True)
    workers = [f"{host}:{port + i}" for host, number in pairs for i in range(number)]
    return {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}


def strategy(
    cluster: dict, timeout: float, *, on_gpus: bool
) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Returns the strategy over all workers, once they are there; GPUs speak by NCCL, which
    TensorFlow uses between hosts only when told.

    Raises:
        errors.UserError: some have not come in so many seconds.
    """
    meet(cluster["cluster"]["worker"], cluster["task"]["index"], timeout)
    # Should one be lost just now, TensorFlow would wait for ever, in native code that no exception
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
    """Returns when this worker has reached all others, and they it.

    Every worker listens at its address and calls all others, naming itself; who has called all and
    was called by all is needed by none any more, and leaves the address to TensorFlow.

    Raises:
        errors.UserError: some have not come in so many seconds, or the address is taken.
    """
    ends = time.monotonic() + timeout
    absent, unheard = set(range(len(addresses))) - {index}, set(range(len(addresses))) - {index}
    host, port = _parts(addresses[index])
    try:
        server = socket.create_server(("", port))
    except OSError as error:
        raise errors.UserError(
            f"worker {index}: cannot listen at {addresses[index]} ({error.strerror}). Is another "
            "training of that port still running?"
        ) from error
    with server:
        server.settimeout(_AGAIN)
        while absent or unheard:
            absent -= {other for other in absent if _call(addresses[other], index)}
            with contextlib.suppress(OSError, ValueError):
                caller, _ = server.accept()
                with caller:
                    caller.settimeout(2)
                    unheard.discard(int(caller.recv(16).decode() or -1))
            if (absent or unheard) and time.monotonic() > ends:
                who = ", ".join(f"{i} ({addresses[i]})" for i in sorted(absent | unheard))
                raise errors.UserError(
                    f"worker {index}: after {timeout:g} s these have not come: {who}. Start "
                    "all of them with the same list of addresses, each with an index of its own, "
                    "and see whether a firewall lies between."
                )


def _call(address: str, index: int) -> bool:
    host, port = _parts(address)
    with contextlib.suppress(OSError), socket.create_connection((host, port), 2) as connection:
        connection.sendall(str(index).encode())
        return True
    return False


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise errors.UserError(f"worker address {address!r}: expected host:port.")
    return host, int(port)
