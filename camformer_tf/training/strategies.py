"""Devices, the distribution strategy over them, and the precision they compute in."""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path
from typing import Any

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
    """The devices of a run.

    Attributes:
        names: such as "GPU:0".
        kind: "one", "mirrored" or "multiworker".
        strategy: the one behind it.
        precision: the dtype policy of layers.
        reason: why it is that one.
        worker: the index of this process.
        workers: how many processes train together.
        steps_per_call: how many training steps a call makes.
        xla: whether XLA compiles them.
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
        """The number of copies of the model that train together."""
        return self.strategy.num_replicas_in_sync

    @property
    def chief(self) -> bool:
        """Whether this process writes the run's files."""
        return self.worker == 0

    def banner(self) -> str:
        """Returns a line for a person."""
        worker = f" (worker {self.worker} of {self.workers})" if self.workers > 1 else ""
        compiler = ", compiled by XLA" if self.xla else ""
        return (
            f"training on {', '.join(self.names)}{worker}, strategy {self.kind}, "
            f"{self.precision}: {self.reason}{compiler}"
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
    """Returns the devices and their strategy.

    Several logical devices of a CPU can be made only before TensorFlow starts in this process.

    Args:
        kind: "one" device, "mirrored" over several, "multiworker" as the variable TF_CONFIG says,
            "slurm" as Slurm's variables say, or "auto": mirrored if there are several devices.
        count: how many GPUs to use (all by default); without a GPU, into how many logical devices
            to split the CPU.
        precision: the policy of layers, or "auto": what the devices compute in fastest.
        xla: whether XLA compiles the training step: "on", "off", or "auto" on a single GPU.
        require_gpu: whether to refuse to train without a GPU.
        timeout: seconds after which a process ends if its fellow workers have not come.

    Raises:
        errors.UserError: missing or undescribed devices or workers, `count` above 1 with "one", or
            XLA for several devices.
    """
    config = cluster.read_config(kind)
    gpus = tf.config.list_physical_devices("GPU")
    if require_gpu and not gpus:
        raise errors.UserError(
            "--require-gpu: TensorFlow sees no GPU here. `camformer-tf doctor` says why."
        )
    count = _count(kind, count, len(gpus))
    if not gpus and count > 1:
        _split_cpu(count)
    elif config and count < len(gpus):
        tf.config.set_visible_devices(gpus[:count], "GPU")
    policy, reason = _precision(precision, gpus[:count])
    if not gpus and policy != "float32":
        _one_operation_at_once()
    names = tuple(f"{'GPU' if gpus else 'CPU'}:{i}" for i in range(count))
    steps = _GPU_STEPS_PER_CALL if gpus else 1
    several_devices = bool(config) or kind == "mirrored" or count > 1
    if several_devices and xla == "on":
        raise errors.UserError(
            "--xla on: XLA compiles the step of a single device only. Leave the option out."
        )
    if config:
        strategy = cluster.connect(config, timeout, on_gpus=bool(gpus))
        worker, number = config["task"]["index"], len(config["cluster"]["worker"])
        return Devices(names, "multiworker", strategy, policy, reason, worker, number, steps)
    if several_devices:  # on GPUs by NCCL, its default
        strategy = tf.distribute.MirroredStrategy(list(names))
        return Devices(names, "mirrored", strategy, policy, reason, steps_per_call=steps)
    compiles = xla == "on" or (xla == "auto" and bool(gpus))
    default = tf.distribute.get_strategy()
    return Devices(names, "one", default, policy, reason, steps_per_call=steps, xla=compiles)


def _count(kind: str, count: int | None, gpus: int) -> int:
    """Returns how many devices to use."""
    if kind == "one":
        if count not in (None, 1):
            raise errors.UserError(
                f"--devices {count} with --strategy one, which uses one device. Leave one of the "
                "two out."
            )
        return 1
    if gpus and count and count > gpus:
        raise errors.UserError(
            f"--devices {count}: TensorFlow sees {gpus} {'GPU' if gpus == 1 else 'GPUs'} here."
        )
    return count or max(gpus, 1)


# === Precision ===


def _precision(name: str, gpus: list[Any]) -> tuple[str, str]:
    """Returns the policy of layers, and why it is that one."""
    if name != "auto":
        return name, "as requested"
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        weakest = min(tuple(gpu.get("compute_capability") or (0, 0)) for gpu in details)
        number = ".".join(map(str, weakest))
        if weakest >= (8, 0):
            return "mixed_bfloat16", f"compute capability {number} has bfloat16"
        if weakest >= (7, 0):
            return "mixed_float16", f"compute capability {number} has float16 and no bfloat16"
        return "float32", f"compute capability {number} is fastest in float32"
    flags = cpu_flags()
    for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-BF16")):
        if flag in flags:
            return "mixed_bfloat16", f"the CPU has {name}"
    return "float32", "the CPU does not compute in bfloat16"


def _one_operation_at_once() -> None:
    """Makes training in 16 bits on a CPU give the same bits each time.

    Where operations run side by side, gradients of wide convolutions are rounded differently when
    the machine is busy (seen with mini in bfloat16; float32 is not affected). It costs no time, as
    each operation uses all cores. The setting is the whole process's.
    """
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        _log.warning(
            "TensorFlow has started already in this process, so 16-bit training on this CPU may "
            "round differently each time. Train first in a fresh process, or in float32."
        )


def cpu_flags(info: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Returns the CPU's features as Linux names them; nothing where there is no such file."""
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
            f"--devices {count}: the CPU cannot be split after TensorFlow has started in this "
            "process. Restart Python (in a notebook, the kernel) and train first, or use one "
            "device."
        ) from error
