"""What a recipe costs: parameters, floating-point operations, memory and time on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from camformer_tf import files, recipe, shapes, speed

if TYPE_CHECKING:
    import pandas as pd

_BYTES = 4  # of a float32
_SLOTS = {"adamw": 2, "lion": 1}  # values that an optimiser keeps for each parameter
_PASSES = 3  # a training step: forward, gradients of values, gradients of weights
_EFFICIENCY = 0.8  # of the rate of matrix products; benchmarks/RESULTS.md measured 0.68 to 1.02
_SEQUENCES = 1_000_000


@dataclasses.dataclass(frozen=True, repr=False)
class RecipeCost:
    """A recipe and what it costs; memory and time are estimates.

    Attributes:
        name: the name or path of the recipe.
        text: the recipe as YAML, every value spelled out.
        parameters: the number of trainable parameters.
        flop: floating-point operations of one sequence forward, 2 for each multiply-add of
            convolutions and dense layers.
        weight_bytes: the network's variables in float32.
        training_bytes: variables, gradients, optimiser state and the values of a batch that the
            gradients need, in float32: of a block the outputs of convolution, normalisation,
            pooling and ReLU, and of the addition of a pair. TensorFlow itself takes about 0.6 GB
            more.
        seconds_per_million: device and precision → seconds to train on a million sequences: 3 ×
            `flop` × 10^6 / (0.8 × the measured rate of matrix products).
    """

    name: str
    text: str
    parameters: int
    flop: int
    weight_bytes: int
    training_bytes: int
    batch_size: int
    seconds_per_million: dict[str, float]

    def summary(self) -> str:
        """Returns the costs for a person, without the recipe's text."""
        lines = [
            f"parameters       {self.parameters:,}",
            f"forward          {self.flop / 1e6:,.1f} MFLOP a sequence",
            f"weights          {self.weight_bytes / 2**20:,.1f} MiB",
            f"training memory  about {self.training_bytes / 2**20:,.0f} MiB for batches of "
            f"{self.batch_size}, and TensorFlow's own",
        ]
        lines += [
            f"training time    about {seconds:,.0f} s for 1,000,000 sequences in {place}"
            for place, seconds in self.seconds_per_million.items()
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        lines = [f"Recipe {self.name}", *(f"  {line}" for line in self.summary().splitlines())]
        return "\n".join(lines)


@overload
def recipes(name: None = None, *, overrides: Sequence[str] = ()) -> pd.DataFrame: ...
@overload
def recipes(name: files.PathLike, *, overrides: Sequence[str] = ()) -> RecipeCost: ...
def recipes(
    name: files.PathLike | None = None, *, overrides: Sequence[str] = ()
) -> pd.DataFrame | RecipeCost:
    """Lists the recipes of this package, or shows one with its costs.

    Args:
        name: a recipe's name or path; by default all of the package.
        overrides: changes to that recipe, such as "train.epochs=2".

    Returns:
        Without a name, a table: name, parameters, mflop (forward, of one sequence) and description.
        With one, the recipe and its costs, for which matrices are multiplied for a second.

    Raises:
        errors.UserError: there is no such recipe, or its layers do not go together.
    """
    if name is None:
        return _table()
    settings = recipe.load(str(name), overrides)
    size = (settings.model, *shapes.input_shape(settings))
    operations = shapes.flop(*size)
    rates = speed.rates()
    return RecipeCost(
        name=str(name),
        text=recipe.dump(settings),
        parameters=shapes.parameters(*size),
        flop=operations,
        weight_bytes=_variables(settings) * _BYTES,
        training_bytes=_training_values(settings) * _BYTES,
        batch_size=settings.train.batch_size,
        seconds_per_million={
            place: _PASSES * operations * _SEQUENCES / (_EFFICIENCY * rate * 1e9)
            for place, rate in rates.items()
        },
    )


def describe(text: str) -> str:
    """Returns the first sentence of a recipe's header comment."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#") or line.startswith("# Run:"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines).partition(". ")[0].rstrip(".")


def _table() -> pd.DataFrame:
    import pandas as pd  # here, since the command line imports this module

    rows = []
    for name, path in recipe.shipped_files().items():
        settings = recipe.load(name)
        size = (settings.model, *shapes.input_shape(settings))
        description = describe(path.read_text(encoding="utf-8"))
        rows.append((name, shapes.parameters(*size), shapes.flop(*size) / 1e6, description))
    return pd.DataFrame(rows, columns=["name", "parameters", "mflop", "description"])


def _variables(settings: recipe.Recipe) -> int:
    """Returns the number of values of all variables: parameters and moving statistics."""
    sizes = shapes.layer_sizes(settings.model, *shapes.input_shape(settings))
    moving = sum(2 * size.outputs for size in sizes if size.is_convolution)  # mean and variance
    return shapes.parameters(settings.model, *shapes.input_shape(settings)) + moving


def _training_values(settings: recipe.Recipe) -> int:
    """Returns the number of values in memory during a training step."""
    length, channels = shapes.input_shape(settings)
    sizes = shapes.layer_sizes(settings.model, length, channels)
    batch = length * channels  # values of one sequence; the input first
    for i, size in enumerate(sizes):
        outputs = size.outputs * (size.pooled_positions or size.positions)
        if size.is_convolution:
            batch += 2 * size.positions * size.outputs  # of convolution and normalisation
            batch += outputs * (2 if size.pooled_positions else 1)  # of pooling and ReLU
            batch += outputs if settings.model.residual and i % 2 else 0  # of the addition
        else:
            batch += 2 * outputs  # of the layer and ReLU
    parameters = shapes.parameters(settings.model, length, channels)
    states = parameters * (1 + _SLOTS[settings.train.optimizer])  # gradients and optimiser
    return _variables(settings) + states + batch * settings.train.batch_size
