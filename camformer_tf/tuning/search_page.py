"""A search as one HTML page: its progress, the importance of values, the best trials."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import camformer_tf
from camformer_tf.pages import page, plot
from camformer_tf.tuning import ranking, space, template

_MIN_TRIALS = 10  # completed ones, for the importance of values
_TREES = 300
_SHUFFLES = 30
_AXES = 8  # of parallel coordinates: the most important values
_BARS = 15  # of the importance of values
_BEST = 5

_NO_VALUE = object()  # the value of an item beyond the end of a list


def write(
    trials: ranking.Ranking, search_space: space.Space, path: Path, *, overwrite: bool = False
) -> None:
    """Writes the page of a search.

    Raises:
        errors.UserError: an extra that is not installed, or a file that exists.
    """
    completed_trials = [trial for trial in trials if trial.score is not None]
    pictures = _progress(completed_trials) if completed_trials else []
    has_importance = False
    if len(completed_trials) >= _MIN_TRIALS:
        importances = importance(completed_trials, search_space)
        has_importance = bool(importances)
        if importances:
            pictures += _importance(completed_trials, search_space, importances)
    keys = [key for key in search_space.ranges if len({_text(t, key) for t in trials}) > 1]
    page.save(
        path,
        "search.html",
        overwrite=overwrite,
        version=camformer_tf.__version__,
        name=Path(search_space.source).name,
        trials=trials.trials,
        completed=len(completed_trials),
        minimum=_MIN_TRIALS,
        important=has_importance,
        pictures=[(picture, picture.words) for picture in pictures],
        keys=keys,
        rows=[[_text(trial, key) for key in keys] for trial in trials],
    )


def _progress(trials: Sequence[ranking.Trial]) -> list[page.Picture]:
    """Returns plots of the scores of completed trials: by time, size and speed."""
    by_time = sorted(trials, key=lambda trial: trial.trial)
    scores = _numbers(by_time, "score")
    sizes = _numbers(by_time, "parameters")
    speeds = _numbers(by_time, "sequences_per_second")
    small = [trial.pareto for trial in by_time]
    fast = [trial.pareto_speed for trial in by_time]
    return [
        page.picture(plot.search(scores), "r + rho of each trial in order, and the best so far."),
        page.picture(
            plot.pareto(scores, "parameters", sizes, small),
            "r + rho against parameters; circled: no smaller network scores higher.",
        ),
        page.picture(
            plot.pareto(scores, "sequences/s in training", speeds, fast),
            "r + rho against speed; circled: no faster network scores higher.",
        ),
    ]


def _importance(
    trials: Sequence[ranking.Trial],
    search_space: space.Space,
    importances: dict[str, tuple[float, float]],
) -> list[page.Picture]:
    """Returns plots of the most important values, and of where the trials have them."""
    names = list(importances)[:_AXES]
    ranges = [search_space.ranges[name] for name in names]
    table = [
        [_position(r, t.values.get(n, _NO_VALUE)) for n, r in zip(names, ranges, strict=True)]
        for t in trials
    ]
    labels = [(_label(value_range, 0), _label(value_range, 1)) for value_range in ranges]
    # (trials, axes), NaN where a value is not used
    figure = plot.parallel(names, labels, np.array(table, float), _numbers(trials, "score"))
    return [
        page.picture(
            plot.importance({name: importances[name] for name in list(importances)[:_BARS]}),
            "Permutation importance: decrease of r² of a random forest over the trials when a "
            "value is shuffled among them, with its standard deviation.",
        ),
        page.picture(
            figure,
            f"The {_BEST} best trials in black, the others in grey; a gap where a value is not "
            "used.",
        ),
    ]


def importance(
    trials: Sequence[ranking.Trial], search_space: space.Space
) -> dict[str, tuple[float, float]]:
    """Returns key → (mean, standard deviation) of the permutation importance for r + rho.

    The most important key is first; keys that have the same value in all trials are left out.

    Args:
        trials: T completed trials.
        search_space: their space.

    Source of the method: Breiman, Random Forests, Machine Learning 45, 2001, by scikit-learn.
    """
    from sklearn import ensemble, inspection

    columns = {
        key: [_position(value_range, trial.values.get(key, _NO_VALUE)) for trial in trials]
        for key, value_range in search_space.ranges.items()
    }
    # An unused value counts as a value of its own, below all others.
    arrays = {key: np.nan_to_num(np.array(v, float), nan=-0.5) for key, v in columns.items()}
    arrays = {key: values for key, values in arrays.items() if np.ptp(values)}  # K × (T,)
    if not arrays:
        return {}
    x = np.stack(list(arrays.values()), axis=1)  # (T, K)
    y = np.array([trial.score for trial in trials])  # (T,)
    forest = ensemble.RandomForestRegressor(_TREES, random_state=42).fit(x, y)
    result = inspection.permutation_importance(forest, x, y, n_repeats=_SHUFFLES, random_state=42)
    means, deviations = result.importances_mean, result.importances_std  # (K,)
    order = np.argsort(-means, kind="stable")
    keys = list(arrays)
    return {keys[i]: (float(means[i]), float(deviations[i])) for i in order}


def _numbers(trials: Sequence[ranking.Trial], name: str) -> list[float]:
    return [getattr(trial, name) for trial in trials]


def _position(value_range: template.Range, value: Any) -> float:
    """Returns where a value lies in its range, 0 to 1; NaN if it is not used."""
    if value is _NO_VALUE:
        return float("nan")
    if value_range.kind == "choice":
        choices = list(value_range.values)
        return choices.index(value) / max(1, len(choices) - 1)
    low, high = value_range.low, value_range.high
    if not high > low or not isinstance(value, int | float):
        return 0.0
    if value_range.kind == "log":
        return float(np.log(value / low) / np.log(high / low))
    return (value - low) / (high - low)


def _label(value_range: template.Range, end: int) -> str:
    return json.dumps(value_range.ends()[-end])


def _text(trial: ranking.Trial, key: str) -> str | float | int:
    value = trial.values.get(key, _NO_VALUE)
    if value is _NO_VALUE:
        return ""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
