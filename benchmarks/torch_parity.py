"""Measures by how much our numbers differ from PyTorch's, at full size, with the same weights.

    python benchmarks/torch_parity.py [RECIPE...]

The table goes to benchmarks/RESULTS.md, section "PyTorch parity". It needs PyTorch
(bin/install.sh test,torch) and takes some minutes. The network in PyTorch is
tests/support/torch_model.py, rewritten from the description; dropout is 0, losses and rates are the
recipe's.

The last column is the measure of a difference in float32: PyTorch in float32 beside PyTorch in
float64, from the same start and with the same batches.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable

import harness
import numpy as np
import tensorflow as tf
import torch

from camformer_tf import recipe

sys.path.insert(0, str(harness.ROOT / "tests"))
from support import parity

RECIPES = ("original", "small", "mini")
_SIZE, _STEPS, _BATCHES = 2, 20, 10
_HEADER = """\
| recipe | what | float64 | float32 | PyTorch, float32 beside float64 |
|---|---|---|---|---|"""


def table(names: list[str]) -> str:
    rows = [f"| {name} | {row} |" for name in names for row in measure(name)]
    intro = f"""\
{harness.processor()} ({platform.machine()}), TensorFlow {tf.__version__}, PyTorch
{torch.__version__}; no dropout. Differences between ours and PyTorch's, with the same weights:

- predictions of 8 sequences, in evaluation: largest;
- loss (l1, mse, huber in turn) of {_BATCHES} batches of {_SIZE}: largest;
- gradients of these, relative to the largest of their layer: median batch, largest;
- weights after {_STEPS} steps of AdamW with batches of {_SIZE}: median, largest. Biases before a
  normalisation have a row of their own: their true gradient is 0, so AdamW steps along rounding.

The last column is PyTorch in float32 beside itself in float64: the measure of a difference in
float32. Where a value is 0 except for rounding, or two values in a pooling window are equal except
for rounding, the gradient takes different paths in the two, and training continues from there.
"""
    return "\n".join([intro, _HEADER, *rows])


def measure(name: str) -> list[str]:
    """Returns the rows of one recipe."""
    return [_predictions(name), *_gradients(name), *_steps(name)]


def _predictions(name: str) -> str:
    outputs = [parity.outputs(pair, 8) for pair in _pairs(name)]
    differences = _differences(outputs, lambda a, b: np.abs(a - b).max())
    return _row("predictions", [f"{value:.1e}" for value in differences])


def _gradients(name: str) -> list[str]:
    pairs = _pairs(name)
    losses, layers = [], []
    for index in range(_BATCHES):
        kind = list(parity.TORCH_LOSSES)[index % 3]
        outputs = [parity.gradients(pair, _SIZE, kind, seed=index) for pair in pairs]
        losses.append(_differences(outputs, lambda a, b: abs(a[0] - b[0])))
        layers.append(
            _differences(outputs, lambda a, b: max(parity.largest_by_layer(a[1], b[1]).values()))
        )
    largest = [f"{value:.1e}" for value in np.max(losses, axis=0)]  # (batches, 3) → (3,)
    columns = np.transpose(layers)  # (3, batches)
    gradients = [_median_and_largest(column) for column in columns]
    return [_row("loss", largest), _row("gradients", gradients)]


def _steps(name: str) -> list[str]:
    weights = [parity.steps(pair, _SIZE, _STEPS) for pair in _pairs(name)]

    def row(title: str, is_noise: bool) -> str:
        def compare(a: parity.Arrays, b: parity.Arrays) -> str:
            paths = [path for path in b if parity.noise(path) == is_noise and "moving" not in path]
            differences = [np.abs(a[path] - b[path]).ravel() for path in paths]
            return _median_and_largest(np.concatenate(differences))

        return _row(title, _differences(weights, compare))

    return [
        row(f"{_STEPS} steps", False),
        row(f"{_STEPS} steps, biases before a normalisation", True),
    ]


def _pairs(name: str) -> tuple[parity.Pair, parity.Pair]:
    """Returns the networks of a recipe in float64 and in float32, with the same weights."""
    settings = recipe.load(name)
    return parity.build_pair(settings, is_double=True), parity.build_pair(settings)


def _differences(outputs: list[tuple], compare: Callable) -> list:
    """Returns `compare` of ours and theirs in float64, in float32, and of theirs in both.

    The outputs are (ours, theirs) in float64, then in float32.
    """
    (ours64, theirs64), (ours32, theirs32) = outputs
    return [compare(ours64, theirs64), compare(ours32, theirs32), compare(theirs32, theirs64)]


def _median_and_largest(values: np.ndarray) -> str:
    return f"{np.median(values):.1e}, {np.max(values):.1e}"


def _row(title: str, cells: list[str]) -> str:
    return " | ".join([title, *cells])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=RECIPES, metavar="RECIPE")
    section = table(parser.parse_args().recipes)
    harness.save("PyTorch parity", section)
    print(section)


if __name__ == "__main__":
    main()
