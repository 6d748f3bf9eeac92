"""Measures by how much our numbers differ from PyTorch's, at full size, on the same weights.

    python benchmarks/torch_parity.py [RECIPE...]

The table goes to benchmarks/RESULTS.md, section "PyTorch parity". It needs PyTorch
(bin/install.sh test,torch) and takes some minutes. The network in PyTorch is tests/torch_model.py,
written anew from the description; dropout is 0, losses and rates are the recipe's.

What a difference in float32 is worth is told by the last column: PyTorch in float32 beside PyTorch
in float64, from the same start and with the same batches.
"""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

import numpy as np
import records  # the benchmark of that name, for its save()
import tensorflow as tf
import torch

from camformer_tf import recipe

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support import parity

RECIPES = ("original", "small", "mini")
_SIZE, _STEPS, _BATCHES = 2, 20, 10
_HEADER = """\
| recipe | what | float64 | float32 | PyTorch, float32 beside float64 |
|---|---|---|---|---|"""


def run(names: list[str]) -> str:
    rows = [f"| {name} | {row} |" for name in names for row in measure(name)]
    about = f"""\
{records.processor()} ({platform.machine()}), TensorFlow {tf.__version__}, PyTorch
{torch.__version__}; no dropout. Differences between ours and PyTorch's, on the same weights:

- predictions of 8 sequences, in evaluation: largest;
- loss (l1, mse, huber in turn) of {_BATCHES} batches of {_SIZE}: largest;
- gradients of these, relative to the largest of their layer: median batch, largest;
- weights after {_STEPS} steps of AdamW with batches of {_SIZE}: median, largest; apart from them
  biases before a normalisation, whose true gradient is 0, so that steps are made of rounding.

The last column is PyTorch in float32 beside itself in float64: what a difference in float32 is
worth. Where a value is 0 but for rounding, or two in a pooling window are equal but for rounding,
the gradient takes another way in one than in the other, and training goes on from there.
"""
    return "\n".join([about, _HEADER, *rows])


def measure(name: str) -> list[str]:
    """Returns the rows of one recipe."""
    return [_predictions(name), *_gradients(name), *_steps(name)]


def _predictions(name: str) -> str:
    found = [parity.outputs(made, 8) for made in _pairs(name)]
    return _row(
        "predictions", [f"{v:.1e}" for v in _three(found, lambda a, b: np.abs(a - b).max())]
    )


def _gradients(name: str) -> list[str]:
    made = _pairs(name)
    losses, layers = [], []
    for index in range(_BATCHES):
        kind = list(parity.TORCH_LOSSES)[index % 3]
        found = [parity.gradients(pair, _SIZE, kind, seed=index) for pair in made]
        losses.append(_three(found, lambda a, b: abs(a[0] - b[0])))
        layers.append(
            _three(found, lambda a, b: max(parity.largest_of_layers(a[1], b[1]).values()))
        )
    largest = [f"{v:.1e}" for v in np.max(losses, axis=0)]
    columns = np.transpose(layers)
    return [_row("loss", largest), _row("gradients", [_median_and_largest(c) for c in columns])]


def _steps(name: str) -> list[str]:
    found = [parity.steps(made, _SIZE, _STEPS) for made in _pairs(name)]

    def row(what: str, noise: bool) -> str:
        def compare(a, b):
            paths = [path for path in b if parity.noise(path) == noise and "moving" not in path]
            each = [np.abs(a[path] - b[path]).ravel() for path in paths]
            return _median_and_largest(np.concatenate(each))

        return _row(what, _three(found, compare))

    return [
        row(f"{_STEPS} steps", False),
        row(f"{_STEPS} steps, biases before a normalisation", True),
    ]


def _pairs(name: str) -> tuple[parity.Pair, parity.Pair]:
    """Returns the networks of a recipe in float64 and in float32, with the same weights."""
    return tuple(parity.pair(recipe.load(name), double=double) for double in (True, False))


def _three(found: list[tuple], compare) -> list:
    """Returns `compare` of ours and theirs in float64, in float32, and of theirs in both; `found`
    is (ours, theirs) in float64, then in float32."""
    (ours64, theirs64), (ours32, theirs32) = found
    return [compare(ours64, theirs64), compare(ours32, theirs32), compare(theirs32, theirs64)]


def _median_and_largest(values: np.ndarray) -> str:
    return f"{np.median(values):.1e}, {np.max(values):.1e}"


def _row(what: str, cells: list[str]) -> str:
    return " | ".join([what, *cells])


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("recipes", nargs="*", default=RECIPES, metavar="RECIPE")
    table = run(options.parse_args().recipes)
    records.save("PyTorch parity", table)
    print(table)
