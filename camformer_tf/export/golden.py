"""Golden predictions: what any server of an export must answer, computed without the export."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from camformer_tf import errors, recipe
from camformer_tf.data import rows, rules
from camformer_tf.model import calibrations, engines, inference

_RANDOM = 20  # random promoters among the sequences
_TOLERANCE = 1e-5
_LARGEST = 17.0  # expression of the DREAM 2022 challenge; the floats of larger ones are coarser
_ROUNDING = 4  # float32 steps by which runtimes may differ before a scale is applied


@dataclasses.dataclass(frozen=True)
class GoldenPredictions:
    """N sequences, and the answers to them.

    Attributes:
        sequences: as a client may send them.
        answers: by name, (N,) each: numbers, NaN where a sequence cannot be read; and `valid` and
            `reason`.
        tolerance: by name, the largest difference allowed in another's answer.
    """

    sequences: list[str]
    answers: dict[str, np.ndarray]
    tolerance: dict[str, float]

    def save(self, path: Path) -> None:
        """Writes them as JSON, with null for NaN."""
        contents = {
            "signature": "serving_default",
            "tolerance": self.tolerance,
            "sequences": self.sequences,
            "answers": {name: _json_values(values) for name, values in self.answers.items()},
        }
        path.write_text(json.dumps(contents, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def readable(self) -> list[str]:
        """Returns the sequences that the model can read."""
        pairs = zip(self.sequences, self.answers["valid"], strict=True)
        return [sequence for sequence, valid in pairs if valid]

    def check(self, answers: Mapping[str, np.ndarray]) -> None:
        """Raises UserError unless answers by name, (N,) each, agree within the tolerance."""
        for name, values in answers.items():
            expected = self.answers[name]
            wrong = ~np.isclose(
                values.astype(np.float64), expected, rtol=0, atol=self.tolerance[name],
                equal_nan=True,
            )  # fmt: skip
            if wrong.any():
                i = int(np.argmax(wrong))
                raise errors.UserError(
                    f"The export differs in {wrong.sum()} of {len(wrong)} golden predictions: "
                    f"{name} of {self.sequences[i]!r} is {values[i]}, the model's is {expected[i]} "
                    f"(tolerance {self.tolerance[name]:g}). Nothing was written. "
                    "Please report this as a bug."
                )


def build(
    members: Sequence[engines.Engine],
    calibration: calibrations.Calibration | None,
    ends: tuple[str, str] | None,
) -> GoldenPredictions:
    """Returns golden predictions of models, computed as `predict` computes a table.

    They are computed on CPU, since GPUs may round products to less than float32. Sequences close to
    a step of an isotonic scale are left out, since float32 rounding shows there. The tolerance of
    an interval's ends is wider, since they multiply the difference of the spread.

    Args:
        members: what computes.
        calibration: of these members.
        ends: the constant ends of the library's sequences.
    """
    rule = members[0].rule
    sequences = _sequences(rule, ends or ("", ""))
    raw = [sequence.strip().encode() for sequence in sequences]
    with tf.device("CPU:0"):
        part = rows.from_sequences(raw, None, rule)
        _, predictions = inference.Model(members).member_predictions(part)  # (M, N)
    answers = calibrations.answer(predictions, calibration)
    largest = max(np.nanmax(np.abs(values)) for values in answers.values())
    tolerance = _TOLERANCE * max(1.0, float(largest) / _LARGEST)
    interval = tolerance * (1 + calibration.band.quantile) if calibration else tolerance
    steady = _is_steady(predictions, calibration, tolerance)  # (N,)
    reason = np.array([rules.judge(sequence, rule) for sequence in raw], np.int32)
    answers |= {"valid": reason == 0, "reason": reason}
    return GoldenPredictions(
        [sequence for sequence, keep in zip(sequences, steady, strict=True) if keep],
        {name: values[steady] for name, values in answers.items()},
        {"expression": tolerance, "spread": tolerance, "lower": interval, "upper": interval,
         "valid": 0.0, "reason": 0.0},
    )  # fmt: skip


def _sequences(rule: rules.Rule, ends: tuple[str, str]) -> list[str]:
    """Returns random promoters with constant ends; then variants that a person may type."""
    rng = np.random.default_rng(recipe.sub_seed(0, "golden"))
    left, right = ends

    def promoter(length: int = rule.length, n: int = 0) -> str:
        letters = rng.choice(list("ACGT"), max(length - len(left) - len(right), 0))
        letters[rng.permutation(len(letters))[:n]] = "N"
        return (left + "".join(letters) + right)[:length]

    shortest, longest = rule.length - rule.length_margin, rule.length + rule.length_margin
    middle = rule.length // 2
    variants = [
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
    return [promoter() for _ in range(_RANDOM)] + variants


def _is_steady(
    predictions: np.ndarray, calibration: calibrations.Calibration | None, tolerance: float
) -> np.ndarray:
    """Returns bool (N,): whether a row's answers do not depend on the rounding of predictions.

    Answers may move by half the tolerance if the M models' predictions (M, N) move by a few float32
    steps.
    """
    step = _ROUNDING * float(np.spacing(np.float32(np.nanmax(np.abs(predictions)))))
    answers = calibrations.answer(predictions, calibration)
    steady = np.ones(predictions.shape[1], bool)
    for shift in (-step, step):
        for name, values in calibrations.answer(predictions + shift, calibration).items():
            steady &= ~(np.abs(values - answers[name]) > tolerance / 2)
    return steady


def _json_values(values: np.ndarray) -> list:
    return [None if isinstance(v, float) and math.isnan(v) else v for v in values.tolist()]
