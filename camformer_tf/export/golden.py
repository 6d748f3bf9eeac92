"""Golden predictions: what any server of an export must answer, computed without the export."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from camformer_tf import errors, recipe
from camformer_tf.data import rows, rules
from camformer_tf.model import calibration, predict

_PLAIN = 20  # sequences that are nothing but random
_TOLERANCE = 1e-5
_LARGEST = 17.0  # expression of the DREAM 2022 challenge; the floats of larger ones are coarser
_ROUNDING = 4  # float32 steps by which runtimes may differ before a scale is applied


@dataclasses.dataclass(frozen=True)
class Golden:
    """N sequences and their answers by name, (N,) each: numbers, NaN where a sequence cannot be
    read, `valid` and `reason`; and by how much others' may differ, by name.
    """

    sequences: list[str]
    answers: dict[str, np.ndarray]
    tolerance: dict[str, float]

    def save(self, path: Path) -> None:
        """Writes it as JSON, with null for NaN."""
        told = {
            "signature": "serving_default",
            "tolerance": self.tolerance,
            "sequences": self.sequences,
            "answers": {name: _listed(values) for name, values in self.answers.items()},
        }
        path.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def readable(self) -> list[str]:
        """Returns the sequences that the model can read."""
        valid = self.answers["valid"]
        return [one for one, known in zip(self.sequences, valid, strict=True) if known]

    def check(self, found: dict[str, np.ndarray]) -> None:
        """Raises UserError unless answers by name, (N,) each, are these."""
        for name, values in found.items():
            expected = self.answers[name]
            wrong = ~np.isclose(
                values.astype(np.float64), expected, rtol=0, atol=self.tolerance[name],
                equal_nan=True,
            )  # fmt: skip
            if wrong.any():
                i = int(np.argmax(wrong))
                raise errors.UserError(
                    f"The export is off in {wrong.sum()} of {len(wrong)} golden predictions: its "
                    f"{name} of {self.sequences[i]!r} is {values[i]}, the model's {expected[i]} "
                    f"(tolerance {self.tolerance[name]:g}). Nothing was written. Please report it."
                )


def make(
    models: Sequence[predict.Model],
    known: calibration.Calibration | None,
    ends: tuple[str, str] | None,
) -> Golden:
    """Returns golden predictions of models, perhaps calibrated, as `predict` makes them of rows.

    They are made on CPU, since GPUs may round products to less than float32. Sequences beside a
    step of an isotonic scale are left out, where float32 rounding becomes visible. The ends of an
    interval may differ by more, since what the spread differs by is multiplied there.

    Args:
        ends: the constant ends of the library's sequences.
    """
    rule = models[0].rule
    sequences = _sequences(rule, ends or ("", ""))
    raw = [sequence.strip().encode() for sequence in sequences]
    with tf.device("CPU:0"):
        each = predict.each(models, rows.of_sequences(raw, None, rule))
    answers = calibration.answer(each, known)
    largest = max(np.nanmax(np.abs(values)) for values in answers.values())
    tolerance = _TOLERANCE * max(1.0, float(largest) / _LARGEST)
    ends_differ = tolerance * (1 + known.band.quantile) if known else tolerance
    steady = _steady(each, known, tolerance)
    reason = np.array([rules.judge(one, rule) for one in raw], np.int32)
    answers |= {"valid": reason == 0, "reason": reason}
    kept = [sequence for sequence, keep in zip(sequences, steady, strict=True) if keep]
    return Golden(
        kept,
        {name: values[steady] for name, values in answers.items()},
        {"expression": tolerance, "spread": tolerance, "lower": ends_differ, "upper": ends_differ,
         "valid": 0.0, "reason": 0.0},
    )  # fmt: skip


def _sequences(rule: rules.Rule, ends: tuple[str, str]) -> list[str]:
    """Returns random promoters with constant ends; then what a person may type besides."""
    rng = np.random.default_rng(recipe.sub_seed(0, "golden"))
    left, right = ends

    def promoter(length: int = rule.length, n: int = 0) -> str:
        letters = rng.choice(list("ACGT"), max(length - len(left) - len(right), 0))
        letters[rng.permutation(len(letters))[:n]] = "N"
        return (left + "".join(letters) + right)[:length]

    shortest, longest = rule.length - rule.length_margin, rule.length + rule.length_margin
    middle = rule.length // 2
    odd = [
        promoter().lower(),
        promoter()[:middle].lower() + promoter()[middle:],
        promoter().replace("T", "U"),
        promoter().lower().replace("t", "u"),
        f"  {promoter()}\t",
        promoter(n=rule.max_n),
        promoter(max(shortest, 0)),
        promoter(longest),
        "",
        "ACGT",
        promoter(n=rule.max_n + 1),
        promoter()[: middle - 1] + "X" + promoter()[middle:],
        promoter() + promoter(),
    ]
    return [promoter() for _ in range(_PLAIN)] + odd


def _steady(
    each: np.ndarray, known: calibration.Calibration | None, tolerance: float
) -> np.ndarray:
    """Returns which of N rows answer the same, within half the tolerance, if M models' predictions
    (M, N) are rounded otherwise.
    """
    step = _ROUNDING * float(np.spacing(np.float32(np.nanmax(np.abs(each)))))
    given = calibration.answer(each, known)
    steady = np.ones(each.shape[1], bool)
    for shift in (-step, step):
        for name, values in calibration.answer(each + shift, known).items():
            steady &= ~(np.abs(values - given[name]) > tolerance / 2)
    return steady


def _listed(values: np.ndarray) -> list:
    return [None if isinstance(v, float) and math.isnan(v) else v for v in values.tolist()]
