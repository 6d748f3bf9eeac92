"""The DREAM 2022 scorecard of a predictions table, beside published results."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from camformer_tf import errors
from camformer_tf.data import predictions
from camformer_tf.evaluation import evaluate
from camformer_tf.metrics import dream

_GROUND = dream.SUBSETS["all"].public
_SAME = 1e-6  # by which a measured value may differ from the leaderboard's, which has more digits
_PHASES = {
    "full": "the whole test set",
    "public": "the public leaderboard",
    "private": "the private evaluation",
}
_LISTS = {"official": "", "recovered": ", SNV pairs of the recovered list", "none": ""}


def read_public(submission: Path, leaderboard_dir: Path) -> evaluate.Pairs:
    """Returns a submission's JSON with the public values as what was measured.

    Raises:
        errors.UserError: the leaderboard has no file of them, or one of other positions.
    """
    ground = leaderboard_dir / _GROUND
    known = {int(key): value for key, value in predictions.read_json(ground).items()}
    rows = max(known, default=-1) + 1
    expression = np.full(rows, np.nan)
    expression[list(known)] = list(known.values())
    return evaluate.Pairs(
        str(submission), str(ground), expression, evaluate.from_json(submission, rows)
    )


def judge(
    pairs: evaluate.Pairs,
    phase: str,
    subsets_dir: Path | None,
    leaderboard_dir: Path | None,
    *,
    resamples: int = 0,
) -> dream.Scorecard:
    """Returns the scorecard of predictions of the challenge's whole test file.

    Args:
        phase: "full", "public" or "private".
        subsets_dir, leaderboard_dir: see `dream.members`.
        resamples: see `dream.score`.

    Raises:
        errors.UserError: files that are not there or do not fit, or members without a prediction.
    """
    if leaderboard_dir:
        _check_truth(pairs, leaderboard_dir / _GROUND)
    chosen = dream.members(phase, pairs.sequences, subsets_dir, leaderboard_dir)
    return dream.score(pairs.expression, pairs.prediction, chosen, resamples=resamples)


def summary(card: dream.Scorecard, teams: dict[str, dict[str, dict[str, float]]]) -> str:
    """Returns the scorecard as a table for a person, with the places that the scores would have
    among those of `teams` (see `dream.published`), if there are any.
    """
    place = f" {'place':>6}" if teams else ""
    rows = [
        f"{'category':<20} {'sequences':>9} {'Pearson r':>10}{place} {'Spearman':>9}{place} "
        f"{'weight':>7}"
    ]
    for name, one in card.subsets.items():
        cells = _cells(one.pearson, one.spearman, name, teams)
        rows.append(f"{name.replace('_', ' '):<20} {one.n:>9,} {cells} {one.weight:>7.2f}")
        if one.ci:
            rows.append(_interval_row(one.ci, "pearson", "spearman"))
    scores = (card.score_pearson, card.score_spearman)
    rows.append(f"{'score (r², rho)':<20} {'':>9} {_cells(*scores, 'score', teams)}")
    if card.ci:
        rows.append(_interval_row(card.ci, "score_pearson", "score_spearman"))
    rows.append(f"{'overall':<20} {'':>9} {_number(card.score_overall):>10}")
    if card.ci and "score_overall" in card.ci:
        rows.append(f"{'':<20}{evaluate.show_interval(card.ci['score_overall'])}")
    head = f"DREAM 2022, {_PHASES[card.phase]}{_LISTS[card.snv_list]}"
    notes = [f"places among {len(teams)}: {', '.join(teams)}"] if teams else []
    if card.missing:
        named = ", ".join(f"{name} ({file})" for name, file in card.missing.items())
        notes.append(f"no score, since these subsets are missing: {named}")
    elif card.score_overall is None:
        notes.append("no score, since a correlation is undefined: the predictions have no spread")
    return "\n".join([head, *rows, *notes])


def _check_truth(pairs: evaluate.Pairs, ground: Path) -> None:
    if not ground.is_file():
        return
    for key, value in predictions.read_json(ground).items():
        row = int(key)
        found = pairs.expression[row] if row < len(pairs.expression) else np.nan
        if not abs(found - value) <= _SAME:
            raise errors.UserError(
                f"{pairs.truth}: row {row + 1} has {found:g}, the public leaderboard {value:g}. "
                "The truth must be the challenge's whole test file, in its order."
            )


def _cells(r, rho, name, teams) -> str:
    cells = []
    for value, metric, width in ((r, "pearson", 10), (rho, "spearman", 9)):
        cells.append(f"{_number(value):>{width}}")
        if teams:
            place = dream.rank(value, [team[metric][name] for team in teams.values()])
            cells.append(f"{'-' if place is None else place:>6}")
    return " ".join(cells)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.6f}"


def _interval_row(ci: dict[str, tuple[float, float]], *names: str) -> str:
    shown = "".join(evaluate.show_interval(ci.get(name)) for name in names)
    return f"{'':<20}{shown}"
