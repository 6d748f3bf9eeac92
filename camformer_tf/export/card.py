"""The model card of an export: what it reads, what it answers, and among which measured values."""

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

_SHARED = 0.99  # of the sequences that must have an end for it to be constant
_SHORTEST_END = 5  # letters


def make(
    served: graph.Served, settings: recipe.Recipe, validation: predictions.Table | None
) -> dict:
    """Returns the card as plain values; `recipe` is the first member's.

    Args:
        validation: what the first member predicted of its validation split.
    """
    ends = flanks(validation)
    return {
        "model": "camformer_tf residual CNN: promoter sequence → expression",
        "version": camformer_tf.__version__,
        "encoding": served.encoding,
        "rule": dataclasses.asdict(served.rule),
        "members": len(served.networks),
        "outputs": [*served.outputs, "valid", "reason"],
        "reasons": list(rules.reasons(served.rule)),
        "coverage": served.known.band.coverage if served.known else None,
        "measured": measured(validation),
        "flanks": ends and dict(zip(("left", "right"), ends, strict=True)),
        "recipe": dataclasses.asdict(settings),
    }


def save(card: dict, path: Path) -> None:
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def validation(model: Path) -> predictions.Table | None:
    """Returns what a run's model predicted of its validation split; None of a .keras file or where
    there is none.
    """
    path = model / rundir.VAL_PREDICTIONS
    return predictions.read(path) if path.is_file() else None


def measured(table: predictions.Table | None) -> dict | None:
    """Returns the measured expressions of a table as 101 quantiles, from 0 % to 100 %."""
    if table is None or table.expression is None:
        return None
    known = table.expression[np.isfinite(table.expression)]
    if not len(known):
        return None
    quantiles = np.quantile(known, np.linspace(0, 1, 101)).tolist()
    return {"of": "validation", "n": len(known), "quantiles": quantiles}


def flanks(table: predictions.Table | None) -> tuple[str, str] | None:
    """Returns what nearly all sequences of a table begin and end with, "" for less than a few
    letters; None where they share neither, or all. N at the end is padding.
    """
    if table is None or not table.sequences:
        return None
    sequences = [sequence.upper() for sequence in table.sequences]
    left = _shared(sequences)
    right = _shared([sequence.rstrip("N")[::-1] for sequence in sequences])[::-1]
    within = min(map(len, sequences))
    return (left, right) if 0 < len(left) + len(right) < within else None


def _shared(sequences: list[str]) -> str:
    shared, having = "", sequences
    while having:
        place = len(shared)
        letters = collections.Counter(one[place : place + 1] for one in having)
        letter, count = letters.most_common(1)[0]
        if not letter or count < _SHARED * len(sequences):
            break
        shared += letter
        having = [one for one in having if one[place] == letter]
    return shared if len(shared) >= _SHORTEST_END else ""
