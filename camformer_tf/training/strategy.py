"""Devices, the distribution strategy over them, and the precision they compute in."""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path

import tensorflow as tf

from camformer_tf import errors
from camformer_tf.training import cluster

KINDS = ("auto", "one", "mirrored", "multiworker", "slurm")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
WORKER_TIMEOUT = 300  # seconds that workers wait for each other at the start
XLA = ("auto", "on", "off")

_GPU_STEPS_PER_CALL = 50  # of the recipe mini on an H100, some 20 ms

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of a run: their names; "one", "mirrored" or "multiworker", and the strategy
    behind it; which worker of how many this process is; the policy of layers, and why; how many
    training steps a call makes, and whether XLA compiles them.
    """

    names: tuple[str, ...]
    kind: str
    strategy: tf.distribute.Strategy
    precision: str
    reason: str
    worker: int = 0
    workers: int = 1
    steps_per_call: int = 1
    xla: bool = False

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
        compiled = ", compiled by XLA" if self.xla else ""
        return (
            f"training on {', '.join(self.names)}{who}, strategy {self.kind}, "
            f"{self.precision}: {self.reason}{compiled}"
        )


def make(
    kind: str = "auto",
    count: int | None = None,
    precision: str = "auto",
    *,
    xla: str = "auto",
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
        xla: whether XLA compiles the training step: "on", "off", or "auto" on a single GPU.
        require_gpu: whether to refuse to train without a GPU.
        timeout: seconds after which a process whose fellow workers have not come ends itself.

    Raises:
        errors.UserError: devices or workers that are not there or not told, or `count` above 1 with
            "one", or XLA for several devices.
    """
    config = cluster.cluster(kind)
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
    elif config and count < len(gpus):
        tf.config.set_visible_devices(gpus[:count], "GPU")
    policy, reason = _precision(precision, gpus[:count])
    if not gpus and policy != "float32":
        _one_operation_at_a_time()
    names = tuple(f"{'GPU' if gpus else 'CPU'}:{i}" for i in range(count))
    steps = _GPU_STEPS_PER_CALL if gpus else 1
    several = bool(config) or kind == "mirrored" or count > 1
    if several and xla == "on":
        raise errors.UserError("--xla on: a step of several devices is not compiled; leave it out.")
    if config:
        strategy = cluster.strategy(config, timeout, on_gpus=bool(gpus))
        worker, number = config["task"]["index"], len(config["cluster"]["worker"])
        return Devices(names, "multiworker", strategy, policy, reason, worker, number, steps)
    if several:  # on GPUs by NCCL, unasked
        strategy = tf.distribute.MirroredStrategy(list(names))
        return Devices(names, "mirrored", strategy, policy, reason, steps_per_call=steps)
    compiled = xla == "on" or (xla == "auto" and bool(gpus))
    one = tf.distribute.get_strategy()
    return Devices(names, "one", one, policy, reason, steps_per_call=steps, xla=compiled)


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


def _one_operation_at_a_time() -> None:
    """Makes training in 16 bits on a CPU give the same bits each time: where operations run side by
    side, gradients of wide convolutions come out rounded differently when the machine is busy (seen
    with mini in bfloat16; float32 is not affected). It costs no time, as each operation uses all
    cores.
    """
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        _log.warning(
            "TensorFlow has started already, so that training in 16 bits on this CPU may be "
            "rounded differently each time. Make the strategy first, in a fresh process."
        )


def cpu_flags(info: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Returns what Linux says that the CPU can do; nothing where there is no such file."""
    text = info.read_text() if info.is_file() else ""
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(match[1].split()) if match else set()


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
