"""Evaluates predictions: scores, the DREAM 2022 scorecard, the gain over other predictions."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from camformer_tf import files
from camformer_tf.evaluation import challenge, pairing, scoring
from camformer_tf.metrics import dream as dream2022


@dataclasses.dataclass(frozen=True, repr=False)
class Evaluation:
    """How good predictions are.

    Attributes:
        scores: correlations and errors over all rows.
        scorecard: that of the DREAM 2022 challenge, if its files were given.
        difference: metric → gain over other predictions, if there were any.
        against: the name of the other predictions.
        teams: published results that the scorecard is compared with.
    """

    scores: scoring.Scores
    scorecard: dream2022.Scorecard | None = None
    difference: dict[str, scoring.Difference] | None = None
    against: str = ""
    teams: challenge.Teams = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        return self.summary()

    def summary(self) -> str:
        """Returns the evaluation as tables for a person."""
        parts = [self.scores.summary()]
        if self.scorecard:
            parts.append(challenge.summary(self.scorecard, self.teams))
        if self.difference:
            lines = [f"{name:<16} {gain.summary()}" for name, gain in self.difference.items()]
            parts.append("\n".join([f"higher than {self.against} by", *lines]))
        return "\n\n".join(parts)

    def values(self) -> dict[str, Any]:
        """Returns the contents of scores.json; intervals are left out where there are none."""
        values = dataclasses.asdict(self.scores)
        if self.scorecard:
            values |= dataclasses.asdict(self.scorecard)
        if self.difference:
            values["against"] = {
                name: dataclasses.asdict(gain) for name, gain in self.difference.items()
            }
        return _without_ci(values)

    def table(self) -> pd.DataFrame:
        """Returns a row per number: its dotted name as in scores.json, value, and interval."""
        rows = _rows(self.values(), "")
        return pd.DataFrame(rows, columns=["score", "value", "lower", "upper"], dtype=object)


def evaluate(
    predictions: pairing.Predictions,
    truth: pairing.Truth | None = None,
    *,
    dream: files.PathLike | None = None,
    leaderboard: files.PathLike | None = None,
    phase: challenge.Phase | None = None,
    published: files.PathLike | None = None,
    bootstrap: int = 0,
    against: pairing.Predictions | None = None,
    out: files.PathLike | None = None,
    overwrite: bool = False,
) -> Evaluation:
    """Returns how good predictions are, and writes it if `out` is given.

    Args:
        predictions: the path of a table that `predict` wrote, or of the challenge's JSON; a
            DataFrame with the column prediction (and sequence, expression); or N numbers.
        truth: the path of the text that was predicted, or N measured values, in the same order;
            by default the predictions' own column expression.
        dream: folder of the DREAM 2022 challenge's subset files, for its scorecard.
        leaderboard: folder of the public leaderboard's ids, for the phases public and private.
        phase: of the scorecard: "full", "public" or "private"; by default full, or public where
            only the leaderboard is given.
        published: table of published scores (sota.csv), for places among them.
        bootstrap: number of resamples for 95 % intervals; 0 for none.
        against: other predictions of the same sequences, to compare with.
        out: file to write: a table if it ends in .csv or .tsv, else JSON; "-" is standard output.
        overwrite: whether `out` may be replaced.

    Raises:
        errors.UserError: files that cannot be read or do not fit, a missing measured value, an
            infinite prediction, or an `out` that exists.
    """
    path = None if out is None else Path(out)
    if path:
        files.check_text_output(path, overwrite=overwrite)
    judge = challenge.load(dream, leaderboard, phase, published)
    sample = judge.load(predictions, truth)
    evaluation = Evaluation(
        scores=scoring.score_pairs(sample, resamples=bootstrap),
        scorecard=judge.score(sample, resamples=bootstrap),
        teams=judge.teams,
    )
    if against is not None:
        if truth is None and not isinstance(against, str | os.PathLike):
            # numbers have no measured values of their own: take those of the predictions
            reference = pairing.load(against, sample.expression)
        else:
            reference = judge.load(against, truth)
        difference = scoring.compare(sample, reference, resamples=bootstrap)
        evaluation = dataclasses.replace(evaluation, difference=difference, against=reference.table)
    if path:
        with files.text_output(path, overwrite=overwrite) as file:
            _write(evaluation, file, files.table_format(path, {".csv": ",", ".tsv": "\t"}, ""))
    return evaluation


def _write(evaluation: Evaluation, file: TextIO, separator: str) -> None:
    """Writes JSON, or a table of columns between which the separator stands."""
    if separator:
        evaluation.table().to_csv(file, sep=separator, index=False, lineterminator="\n")
    else:
        file.write(json.dumps(evaluation.values(), indent=2, allow_nan=False) + "\n")


def _without_ci(values: dict[str, Any]) -> dict[str, Any]:
    """Returns nested values without the intervals that are None."""
    present = {key: value for key, value in values.items() if key != "ci" or value is not None}
    return {k: _without_ci(v) if isinstance(v, dict) else v for k, v in present.items()}


def _rows(values: dict[str, Any], prefix: str) -> list[tuple[str, Any, Any, Any]]:
    """Returns (dotted name, value, lower, upper) of nested numbers."""
    intervals = values.get("ci", {})
    if not isinstance(intervals, dict):  # of a difference, which has one interval
        intervals = {"difference": intervals}
    rows = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += _rows(value, f"{prefix}{key}.") if key != "ci" else []
        elif key != "ci" and not isinstance(value, str):
            rows.append((prefix + key, value, *intervals.get(key, (None, None))))
    return rows
