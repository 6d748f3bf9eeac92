"""The scorecard of the DREAM 2022 challenge: scores of subsets and of the whole.

Source: prixfixe/evaluation.py, de-Boer-Lab/random-promoter-dream-challenge-2022@f7b2e19.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from camformer_tf import errors
from camformer_tf.metrics import bootstrap, correlation, dream_subsets

METRICS = ("pearson", "spearman")
_COLUMNS = {"native": "yeast", "snv": "SNVs"}  # our name → the column in a table of teams


@dataclasses.dataclass(frozen=True)
class SubsetScore:
    """The score of a subset.

    Attributes:
        n: the number of members.
        pearson: Pearson's r; None if undefined.
        spearman: Spearman's rho; None if undefined.
        weight: the weight in the scores of the challenge.
        ci: metric → 95 % interval by bootstrap.
    """

    n: int
    pearson: float | None
    spearman: float | None
    weight: float
    ci: dict[str, tuple[float, float]] | None = None


@dataclasses.dataclass(frozen=True)
class Scorecard:
    """The scores of predictions in a phase.

    Attributes:
        phase: one of `dream_subsets.PHASES`.
        snv_list: the source of the SNV pairs, see `dream_subsets.SubsetMembers`.
        missing: subset → its file, which does not exist.
        subsets: subset → its score.
        score_pearson: weighted mean of r²; None if a subset is missing or a correlation undefined.
        score_spearman: weighted mean of rho; None as above.
        score_overall: the mean of both; None as above.
        ci: score → 95 % interval by bootstrap.
    """

    phase: str
    snv_list: str
    missing: dict[str, str]
    subsets: dict[str, SubsetScore]
    score_pearson: float | None
    score_spearman: float | None
    score_overall: float | None
    ci: dict[str, tuple[float, float]] | None = None


def score(
    expression: np.ndarray,
    prediction: np.ndarray,
    members: dream_subsets.SubsetMembers,
    *,
    resamples: int = 0,
    seed: int = 42,
) -> Scorecard:
    """Returns the scorecard of predictions.

    score_pearson is the mean of r² over the subsets by their weights, score_spearman that of rho,
    score_overall the mean of the two.

    Args:
        expression: measured values, float64 (N,).
        prediction: predictions, float64 (N,).
        members: of the subsets.
        resamples: the number of resamples of each subset for intervals; 0 for no intervals.
        seed: of the resamples.

    Raises:
        errors.UserError: a member has no prediction or no expression.
    """
    scores: dict[str, SubsetScore] = {}
    bootstraps: dict[str, np.ndarray] = {}  # each (resamples, 2)
    for name, positions in members.positions.items():
        y, p = _values(expression, prediction, positions, name)
        ci = None
        if resamples:
            draw = np.random.default_rng([seed, list(dream_subsets.SUBSETS).index(name)])
            bootstraps[name] = bootstrap.correlations(y, [p], resamples, draw)[:, 0]
            ci = bootstrap.intervals(bootstraps[name], METRICS)
        r, rho = correlation.pearson(y, p), correlation.spearman(y, p)
        weight = dream_subsets.SUBSETS[name].weight
        scores[name] = SubsetScore(len(y), _none_if_nan(r), _none_if_nan(rho), weight, ci)
    head = members.phase, members.snv_list, members.missing, scores
    if len(scores) < len(dream_subsets.SUBSETS):
        return Scorecard(*head, None, None, None)
    pairs = [[score.pearson, score.spearman] for score in scores.values()]
    pearson, spearman, overall = _totals(np.array([pairs], float), scores)[0]  # None becomes NaN
    ci = None
    if resamples:
        names = ("score_pearson", "score_spearman", "score_overall")
        ci = bootstrap.intervals(_totals(np.stack([*bootstraps.values()], axis=1), scores), names)
    return Scorecard(
        *head, _none_if_nan(pearson), _none_if_nan(spearman), _none_if_nan(overall), ci
    )


def _totals(values: np.ndarray, scores: Mapping[str, SubsetScore]) -> np.ndarray:
    """Returns the challenge's three scores (K, 3) of the subsets' r and rho, (K, subsets, 2)."""
    weights = np.array([score.weight for score in scores.values()])  # (subsets,)
    terms = np.stack([values[..., 0] ** 2, values[..., 1]], axis=-1)  # (K, subsets, 2)
    means = np.einsum("ksm,s->km", terms, weights) / weights.sum()  # (K, 2)
    return np.column_stack([means, means.mean(axis=1)])


def _values(
    expression: np.ndarray, prediction: np.ndarray, positions: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns measured and predicted values (n,) of a subset's members, or differences of pairs."""
    for values, noun in ((prediction, "prediction"), (expression, "expression")):
        absent = np.unique(positions[~np.isfinite(values[positions])])
        if len(absent):
            count = "1 position" if len(absent) == 1 else f"{len(absent):,} positions"
            raise errors.UserError(
                f"subset {name}: position {absent[0]} has no finite {noun} ({count} in all). "
                "A score needs every position."
            )
    if positions.ndim == 1:
        return expression[positions], prediction[positions]
    alt, ref = positions.T  # each (n,)
    return expression[ref] - expression[alt], prediction[ref] - prediction[alt]


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


# === Published results ===


def read_published(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Returns published results: team → metric → subset or "score" → value, as in the scorecard.

    In the file, the rows "pearson" hold r². Source of the format:
    manuscript_figures/Figure_4_S5_S6/data/sota.csv of Bornelov-lab/Camformer@feaa529.

    Raises:
        errors.UserError: the file is not such a table.
    """
    teams: dict[str, dict[str, dict[str, float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            (_, _, *header), *rows = csv.reader(file, delimiter="\t")
        for metric, team, *values in rows:
            row = dict(zip(header, map(float, values), strict=True))
            scores = {name: row[_COLUMNS.get(name, name)] for name in dream_subsets.SUBSETS}
            if metric == "pearson":
                scores = {name: math.sqrt(value) for name, value in scores.items()}
            teams.setdefault(team, {})[metric] = scores | {"score": row["score"]}
    except (OSError, KeyError, ValueError) as error:
        raise errors.UserError(
            f"{path}: not a table of published scores ({error}). Expected tab-separated columns: "
            "metric, team, all, high, low, yeast, …, score."
        ) from error
    return teams


def rank(value: float | None, values: Sequence[float]) -> int | None:
    """Returns the rank that a value would have among other values; 1 is the highest."""
    return None if value is None else 1 + sum(v > value for v in values)
