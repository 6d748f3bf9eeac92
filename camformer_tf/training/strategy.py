"""Devices, the distribution strategy over them, and the precision they compute in."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow as tf

from camformer_tf import errors

KINDS = ("auto", "one", "mirrored", "multiworker", "slurm")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
WORKER_TIMEOUT = 300  # seconds that workers wait for each other at the start

_SLURM_PORT = 8888
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of a run: their names; "one", "mirrored" or "multiworker", and the strategy
    behind it; which worker of how many this process is; the policy of layers, and why."""

    names: tuple[str, ...]
    kind: str
    strategy: tf.distribute.Strategy
    precision: str
    reason: str
    worker: int = 0
    workers: int = 1

    @property
    def replicas(self) -> int:
        return self.strategy.num_replicas_in_sync

    @property
    def chief(self) -> bool:
        """Whether this process writes the run's files."""
        return self.worker == 0

    def banner(self) -> str:
        """Returns a line for a person."""
        who = f" (worker {self.worker} of {self.workers})" if self.workers > 1 else ""
        return (
            f"training on {', '.join(self.names)}{who}, strategy {self.kind}, "
            f"{self.precision}: {self.reason}"
        )


def make(
    kind: str = "auto",
    count: int | None = None,
    precision: str = "auto",
    *,
    require_gpu: bool = False,
    timeout: float = WORKER_TIMEOUT,
) -> Devices:
    """Returns the devices and their strategy; call it before anything else of TensorFlow.

    Args:
        kind: "one" device, "mirrored" over several, "multiworker" as the variable TF_CONFIG says,
            "slurm" as Slurm's variables say, or "auto": mirrored if there are several devices.
        count: how many GPUs to use (all by default); without a GPU, into how many logical devices
            to split the CPU.
        precision: the policy of layers, or "auto": what the devices compute in fastest.
        require_gpu: whether to refuse to train without a GPU.
        timeout: seconds after which a process whose fellow workers have not come ends itself.

    Raises:
        errors.UserError: devices or workers that are not there or not told, or `count` above 1 with
            "one".
    """
    cluster = _cluster(kind)
    gpus = tf.config.list_physical_devices("GPU")
    if require_gpu and not gpus:
        raise errors.UserError(
            "--require-gpu: TensorFlow sees no GPU here. `camformer-tf doctor` says why."
        )
    if kind == "one":
        if count not in (None, 1):
            raise errors.UserError(f"--strategy one uses one device, found --devices {count}.")
        count = 1
    if gpus and count and count > len(gpus):
        raise errors.UserError(f"--devices {count}: TensorFlow sees {len(gpus)} GPUs here.")
    count = count or max(len(gpus), 1)
    if not gpus and count > 1:
        _split_cpu(count)
    elif cluster and count < len(gpus):
        tf.config.set_visible_devices(gpus[:count], "GPU")
    policy, reason = _precision(precision, gpus[:count])
    names = tuple(f"{'GPU' if gpus else 'CPU'}:{i}" for i in range(count))
    if cluster:
        with _ending_after(timeout, cluster):
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        worker, workers = cluster["task"]["index"], len(cluster["cluster"]["worker"])
        return Devices(names, "multiworker", strategy, policy, reason, worker, workers)
    if kind == "mirrored" or count > 1:
        strategy = tf.distribute.MirroredStrategy(list(names))
        return Devices(names, "mirrored", strategy, policy, reason)
    return Devices(names, "one", tf.distribute.get_strategy(), policy, reason)


# === Precision ===


def _precision(asked: str, gpus: list) -> tuple[str, str]:
    """Returns the policy of layers, and why it is that one."""
    if asked != "auto":
        return asked, "as asked"
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        weakest = min(tuple(found.get("compute_capability") or (0, 0)) for found in details)
        number = ".".join(map(str, weakest))
        if weakest >= (8, 0):
            return "mixed_bfloat16", f"compute capability {number} has bfloat16"
        if weakest >= (7, 0):
            return "mixed_float16", f"compute capability {number} has float16 and no bfloat16"
        return "float32", f"compute capability {number} is fastest in it"
    flags = cpu_flags()
    for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-BF16")):
        if flag in flags:
            return "mixed_bfloat16", f"the CPU has {name}"
    return "float32", "the CPU does not compute in bfloat16"


def cpu_flags(info: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Returns what Linux says that the CPU can do; nothing where there is no such file."""
    text = info.read_text() if info.is_file() else ""
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(match[1].split()) if match else set()


# === Several workers ===


def _cluster(kind: str) -> dict | None:
    """Returns the contents of TF_CONFIG, which for Slurm is set first; none for one worker."""
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
        workers, task = found["cluster"]["worker"], found["task"]
        known = task["type"] == "worker" and 0 <= task["index"] < len(workers)
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


@contextlib.contextmanager
def _ending_after(seconds: float, cluster: dict) -> Iterator[None]:
    """Ends the process, with a message, if the block takes longer: TensorFlow would wait for
    missing workers far longer, in native code that no exception reaches."""

    def end() -> None:
        absent = [name for name in cluster["cluster"]["worker"] if not _answers(name)]
        _log.error(
            f"after {seconds:g} s not all workers have come; no answer from "
            f"{', '.join(absent) or 'none in particular'}. Start all of them, with the same "
            "TF_CONFIG but for the index, and look whether a firewall lies between them."
        )
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError, ValueError), socket.create_connection((host, int(port)), 2):
        return True
    return False


def _split_cpu(count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * count
    if tf.config.get_logical_device_configuration(cpu) == logical:
        return
    try:
        tf.config.set_logical_device_configuration(cpu, logical)
    except RuntimeError as error:
        raise errors.UserError(
            f"--devices {count}: the CPU cannot be split any more, since TensorFlow has started. "
            "Make the strategy first, in a fresh process."
        ) from error
