"""What a run would be: the result of `fit --dry-run`."""

from __future__ import annotations

import dataclasses
import math

import keras

from camformer_tf import wording
from camformer_tf.batches import dataset
from camformer_tf.data import text as texts

_FLOAT32 = 4  # bytes


@dataclasses.dataclass(frozen=True, repr=False)
class FitPlan:
    """What `fit` would train, with all that it checks before the first step checked.

    Attributes:
        run_dir: the folder of the run, of which nothing is written.
        status: "new", "to resume" or "finished".
        devices: their names.
        strategy: how they share the work.
        workers: the number of processes.
        precision: the dtype policy of the layers.
        precision_reason: why it is that one.
        parameters: the number of trainable parameters.
        training_examples: that an epoch shows.
        validation_examples: their number.
        data: where batches come from: "memory" or "stream".
        batch_size: of all devices together.
        steps_per_epoch: their number.
        epochs: at most.
        memory_bytes: an estimate for one device; see `memory_bytes`.
    """

    run_dir: str
    status: str
    devices: list[str]
    strategy: str
    workers: int
    precision: str
    precision_reason: str
    parameters: int
    training_examples: int
    validation_examples: int
    data: str
    batch_size: int
    steps_per_epoch: int
    epochs: int
    memory_bytes: int

    def summary(self) -> str:
        """Returns the plan for a person, a line for each part."""
        workers = f", {self.workers} workers" if self.workers > 1 else ""
        return "\n".join(
            [
                f"run          {self.run_dir} ({self.status}); nothing is written",
                f"network      {self.parameters:,} parameters",
                f"training     {wording.count(self.training_examples, 'sequence')} from "
                f"{self.data}, {wording.count(self.steps_per_epoch, 'step')} of "
                f"{self.batch_size:,} an epoch",
                f"validation   {wording.count(self.validation_examples, 'sequence')}",
                f"epochs       at most {self.epochs:,}, "
                f"{wording.count(self.epochs * self.steps_per_epoch, 'step')}",
                f"devices      {', '.join(self.devices)}, strategy {self.strategy}{workers}",
                f"precision    {self.precision}: {self.precision_reason}",
                f"memory       about {_size(self.memory_bytes)} on each device, "
                "besides TensorFlow's own",
            ]
        )

    def __repr__(self) -> str:
        return "FitPlan\n" + "\n".join(f"  {line}" for line in self.summary().splitlines())


def memory_bytes(
    model: keras.Model,
    training: dataset.Batches,
    validation: texts.Examples,
    *,
    batch_size: int,
    length: int,
) -> int:
    """Returns roughly how many bytes a training holds at once.

    These are weights, gradients, the optimizer's moments and one copy of the weights for
    validation; the outputs of all layers for a batch, twice, since their gradients exist too; and
    the sequences that are held in memory.

    Args:
        model: with its optimizer.
        training: the training batches.
        validation: the validation set.
        batch_size: of one device.
        length: letters in a sequence.
    """
    weights = sum(math.prod(variable.shape) for variable in model.variables)
    trainable = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    moments = sum(math.prod(variable.shape) for variable in model.optimizer.variables)
    variables = _FLOAT32 * (2 * weights + trainable + moments)
    outputs = batch_size * sum(_output_bytes(layer) for layer in model.layers)
    sequences = len(validation.expression) * (length + _FLOAT32)
    if training.mode == "memory":
        sequences += training.examples * (length + _FLOAT32)
    return variables + 2 * outputs + sequences


def _output_bytes(layer: keras.Layer) -> int:
    """Returns the bytes that a layer's output takes for one sequence; 0 where it is unknown."""
    try:
        shape = layer.output.shape
    except AttributeError:  # a layer of a subclassed model, or one with several outputs
        return 0
    size = 2 if layer.compute_dtype in ("float16", "bfloat16") else _FLOAT32
    return size * math.prod(dimension or 1 for dimension in shape[1:])


def _size(count: int) -> str:
    """Returns a number of bytes for a person."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{max(count / 2**20, 0.1):,.1f} MiB"
