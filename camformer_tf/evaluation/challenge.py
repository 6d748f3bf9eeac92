"""The DREAM 2022 challenge: its files, the scorecard of predictions, published results."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from camformer_tf import errors, files
from camformer_tf.data import predictions
from camformer_tf.evaluation import pairing, scoring
from camformer_tf.metrics import dream, dream_subsets

Phase = Literal["full", "public", "private"]
Teams = Mapping[str, Mapping[str, Mapping[str, float]]]  # see `dream.read_published`

_GROUND = dream_subsets.SUBSETS["all"].public
_TOLERANCE = 1e-6  # between a measured value and the leaderboard's, which has more digits
_PHASES = {
    "full": "the whole test set",
    "public": "the public leaderboard",
    "private": "the private evaluation",
}
_LISTS = {"official": "", "recovered": ", SNV pairs of the recovered list", "none": ""}


@dataclasses.dataclass(frozen=True)
class Challenge:
    """The challenge's files that predictions are judged by.

    Attributes:
        subsets, leaderboard: the folders of `dream_subsets.members`; without both, there is no
            scorecard.
        phase: part of the test set that is scored.
        teams: published results, see `dream.read_published`.
    """

    subsets: Path | None
    leaderboard: Path | None
    phase: Phase
    teams: Teams

    @property
    def has_scorecard(self) -> bool:
        """Whether predictions get a scorecard."""
        return bool(self.subsets or self.leaderboard)

    def load(
        self, source: pairing.Predictions, truth: pairing.Truth | None = None
    ) -> pairing.Pairs:
        """Returns predictions with their measured values, see `pairing.load`.

        A submission's JSON without truth, in the public phase, is judged by the values of the
        leaderboard.

        Raises:
            errors.UserError: as of `pairing.load`, or the leaderboard does not fit.
        """
        leaderboard = self.leaderboard if truth is None and self.phase == "public" else None
        if leaderboard and isinstance(source, str | os.PathLike):
            path = Path(source)
            if path.suffix == ".json":
                return read_public(path, leaderboard)
        return pairing.load(source, truth)

    def score(self, pairs: pairing.Pairs, *, resamples: int = 0) -> dream.Scorecard | None:
        """Returns the scorecard of predictions of the challenge's whole test file.

        Args:
            pairs: a prediction for each row of the test file.
            resamples: see `dream.score`.

        Raises:
            errors.UserError: files that are missing or do not fit, or members of a subset without a
                prediction.
        """
        if not self.has_scorecard:
            return None
        if self.leaderboard:
            _check_truth(pairs, self.leaderboard / _GROUND)
        members = dream_subsets.members(self.phase, pairs.sequences, self.subsets, self.leaderboard)
        return dream.score(pairs.expression, pairs.prediction, members, resamples=resamples)


def load(
    subsets: files.PathLike | None = None,
    leaderboard: files.PathLike | None = None,
    phase: Phase | None = None,
    published: files.PathLike | None = None,
) -> Challenge:
    """Returns the challenge of these files; of none, one without a scorecard.

    Args:
        subsets: folder of the challenge's subset files.
        leaderboard: folder of the public leaderboard's ids.
        phase: by default "full", or "public" where the leaderboard is given alone.
        published: table of published scores.

    Raises:
        errors.UserError: a phase or published scores without the files of the scorecard.
    """
    if (phase or published) and not (subsets or leaderboard):
        raise errors.UserError("phase and published go with dream or leaderboard.")
    return Challenge(
        subsets=Path(subsets) if subsets else None,
        leaderboard=Path(leaderboard) if leaderboard else None,
        phase=phase or ("public" if leaderboard and not subsets else "full"),
        teams=dream.read_published(Path(published)) if published else {},
    )


def read_public(submission: Path, leaderboard: Path) -> pairing.Pairs:
    """Returns a submission's JSON with the public values as the measured values.

    Raises:
        errors.UserError: the leaderboard has no file of them, or the positions do not fit.
    """
    ground = leaderboard / _GROUND
    public = {int(key): value for key, value in predictions.read_json(ground).items()}
    rows = max(public, default=-1) + 1
    expression = np.full(rows, np.nan)  # (rows,); rows that are not public stay NaN
    expression[list(public)] = list(public.values())
    prediction = pairing.read_json(submission, rows)
    return pairing.Pairs(str(submission), str(ground), expression, prediction)


def places(card: dream.Scorecard, teams: Teams) -> dict[str, dict[str, int | None]]:
    """Returns metric → subset or "score" → the place that the value would have among teams."""
    values = {
        metric: {name: getattr(subset, metric) for name, subset in card.subsets.items()}
        | {"score": getattr(card, f"score_{metric}")}
        for metric in dream.METRICS
    }
    return {
        metric: {
            name: dream.rank(value, [team[metric][name] for team in teams.values()])
            for name, value in column.items()
        }
        for metric, column in values.items()
    }


def summary(card: dream.Scorecard, teams: Teams) -> str:
    """Returns the scorecard as a table for a person, with places among teams, if there are any."""
    place = f" {'place':>6}" if teams else ""
    rows = [
        f"{'category':<20} {'sequences':>9} {'Pearson r':>10}{place} {'Spearman':>9}{place} "
        f"{'weight':>7}"
    ]
    ranks = places(card, teams) if teams else {}  # metric → subset → place
    for name, subset in card.subsets.items():
        cells = _cells([subset.pearson, subset.spearman], name, ranks)
        rows.append(f"{name.replace('_', ' '):<20} {subset.n:>9,} {cells} {subset.weight:>7.2f}")
        if subset.ci:
            rows.append(_interval_row(subset.ci, "pearson", "spearman"))
    cells = _cells([card.score_pearson, card.score_spearman], "score", ranks)
    rows.append(f"{'score (r², rho)':<20} {'':>9} {cells}")
    if card.ci:
        rows.append(_interval_row(card.ci, "score_pearson", "score_spearman"))
    rows.append(f"{'overall':<20} {'':>9} {_number(card.score_overall):>10}")
    if card.ci and "score_overall" in card.ci:
        rows.append(f"{'':<20}{scoring.show_interval(card.ci['score_overall'])}")
    head = f"DREAM 2022, {_PHASES[card.phase]}{_LISTS[card.snv_list]}"
    notes = [f"places among {len(teams)}: {', '.join(teams)}"] if teams else []
    if card.missing:
        subsets = ", ".join(f"{name} ({file})" for name, file in card.missing.items())
        notes.append(f"no score: these subsets are missing: {subsets}")
    elif card.score_overall is None:
        notes.append("no score: a correlation is undefined (the predictions have no spread)")
    return "\n".join([head, *rows, *notes])


def _check_truth(pairs: pairing.Pairs, ground: Path) -> None:
    """Raises UserError unless the measured values are those of the challenge."""
    if not ground.is_file():
        return
    for key, value in predictions.read_json(ground).items():
        row = int(key)
        # NaN, of a row beyond the end or without a value, is refused too
        expression = pairs.expression[row] if row < len(pairs.expression) else np.nan
        if not abs(expression - value) <= _TOLERANCE:
            raise errors.UserError(
                f"{pairs.truth}: row {row + 1} has {expression:g}, the public leaderboard "
                f"{value:g}. The truth must be the challenge's whole test file, in its order."
            )


def _cells(
    values: Sequence[float | None], name: str, ranks: Mapping[str, Mapping[str, int | None]]
) -> str:
    """Returns r and rho of a subset or score, each followed by its place, if there are places."""
    cells = []
    for value, metric, width in zip(values, dream.METRICS, (10, 9), strict=True):
        cells.append(f"{_number(value):>{width}}")
        if ranks:
            place = ranks[metric][name]
            cells.append(f"{'-' if place is None else place:>6}")
    return " ".join(cells)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.6f}"


def _interval_row(ci: Mapping[str, tuple[float, float]], *names: str) -> str:
    intervals = "".join(scoring.show_interval(ci.get(name)) for name in names)
    return f"{'':<20}{intervals}"
