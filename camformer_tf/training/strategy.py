"""Devices and the distribution strategy over them."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from camformer_tf import errors

KINDS = ("auto", "one", "mirrored")


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of a run: their names, "one" or "mirrored", and the strategy behind that word."""

    names: tuple[str, ...]
    kind: str
    strategy: tf.distribute.Strategy

    @property
    def replicas(self) -> int:
        return self.strategy.num_replicas_in_sync

    def banner(self) -> str:
        """Returns a line for a person."""
        return f"training on {', '.join(self.names)} (strategy {self.kind}, float32)"


def make(kind: str = "auto", count: int | None = None) -> Devices:
    """Returns the devices and their strategy; call it before anything else of TensorFlow.

    Args:
        kind: "one" device, "mirrored" over several, or "auto": mirrored if there are several.
        count: how many GPUs to use (all by default); without a GPU, into how many logical devices
            to split the CPU.

    Raises:
        errors.UserError: devices that are not there, or `count` above 1 with "one".
    """
    gpus = tf.config.list_physical_devices("GPU")
    if kind == "one":
        if count not in (None, 1):
            raise errors.UserError(f"--strategy one uses one device, found --devices {count}.")
        count = 1
    if gpus and count and count > len(gpus):
        raise errors.UserError(f"--devices {count}: TensorFlow sees {len(gpus)} GPUs here.")
    count = count or max(len(gpus), 1)
    if not gpus and count > 1:
        _split_cpu(count)
    names = tuple(f"{'GPU' if gpus else 'CPU'}:{i}" for i in range(count))
    if kind == "mirrored" or count > 1:
        return Devices(names, "mirrored", tf.distribute.MirroredStrategy(list(names)))
    return Devices(names, "one", tf.distribute.get_strategy())


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
