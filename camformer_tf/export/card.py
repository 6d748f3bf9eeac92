"""The model card of an export: its inputs and outputs, and the measured values of its data."""

from __future__ import annotations

import collections
import dataclasses
import json
from pathlib import Path

import numpy as np

import camformer_tf
from camformer_tf import recipe, rundir
from camformer_tf.data import predictions, rules
from camformer_tf.export import graph

_COMMON_SHARE = 0.99  # of the sequences that must share an end for it to be constant
_SHORTEST_END = 5  # letters


def build(
    model: graph.ServedModel, settings: recipe.Recipe, validation: predictions.Table | None
) -> dict:
    """Returns the card as plain values that JSON can hold.

    Args:
        model: the exported model.
        settings: the recipe of the first member.
        validation: the predictions of the first member for its validation split.
    """
    ends = flanks(validation)
    return {
        "model": "camformer_tf residual CNN: promoter sequence → expression",
        "version": camformer_tf.__version__,
        "encoding": model.encoding,
        "rule": dataclasses.asdict(model.rule),
        "members": len(model.networks),
        "outputs": [*model.outputs, "valid", "reason"],
        "reasons": list(rules.reasons(model.rule)),
        "coverage": model.calibration.band.coverage if model.calibration else None,
        "measured": expression_quantiles(validation),
        "flanks": ends and dict(zip(("left", "right"), ends, strict=True)),
        "recipe": dataclasses.asdict(settings),
    }


def save(card: dict, path: Path) -> None:
    """Writes a card as JSON."""
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_validation(model: Path) -> predictions.Table | None:
    """Returns the predictions of a run for its validation split.

    None for a .keras file, and for a run without a validation split.
    """
    path = model / rundir.VAL_PREDICTIONS
    return predictions.read(path) if path.is_file() else None


def expression_quantiles(table: predictions.Table | None) -> dict | None:
    """Returns the measured expressions of a table as 101 quantiles, from 0 % to 100 %."""
    if table is None or table.expression is None:
        return None
    finite = table.expression[np.isfinite(table.expression)]  # (n,)
    if not len(finite):
        return None
    quantiles = np.quantile(finite, np.linspace(0, 1, 101)).tolist()
    return {"of": "validation", "n": len(finite), "quantiles": quantiles}


def flanks(table: predictions.Table | None) -> tuple[str, str] | None:
    """Returns the constant left and right ends of a table's sequences.

    An end is constant if at least 99 % of the sequences share it; "" if it has fewer than 5
    letters. N at the end of a sequence is padding. None if neither end is constant, or if the two
    ends leave no letter between them.
    """
    if table is None or not table.sequences:
        return None
    sequences = [sequence.upper() for sequence in table.sequences]
    left = _common_start(sequences)
    right = _common_start([sequence.rstrip("N")[::-1] for sequence in sequences])[::-1]
    shortest = min(map(len, sequences))
    return (left, right) if 0 < len(left) + len(right) < shortest else None


def _common_start(sequences: list[str]) -> str:
    start, matches = "", sequences  # matches: the sequences that begin with `start`
    while matches:
        position = len(start)
        letters = collections.Counter(sequence[position : position + 1] for sequence in matches)
        letter, count = letters.most_common(1)[0]  # "" beyond the end of a sequence
        if not letter or count < _COMMON_SHARE * len(sequences):
            break
        start += letter
        matches = [sequence for sequence in matches if sequence[position] == letter]
    return start if len(start) >= _SHORTEST_END else ""
