"""A search as one HTML page: how the score rose, which values matter, what the best have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import camformer_tf
from camformer_tf.pages import page, plot
from camformer_tf.tuning import space, trials

_FEWEST = 10  # trials of which the importance of values is told
_TREES = 300
_SHUFFLES = 30
_AXES = 8  # of parallel coordinates, the most important values
_BEST = 5


def write(
    ranked: Sequence[trials.Trial], searched: space.Space, path: Path, *, overwrite: bool = False
) -> None:
    """Writes the page of trials, the best first.

    Raises:
        errors.UserError: an extra that is not installed, or a file that is there already.
    """
    done = [one for one in ranked if one.score is not None]
    matters = importance(done, searched) if len(done) >= _FEWEST else {}
    pictures = []
    if done:
        in_order = sorted(done, key=lambda one: one.trial)
        scores = [one.score for one in in_order]
        sizes = [one.parameters for one in in_order]
        speeds = [one.sequences_per_second for one in in_order]
        small, fast = [one.pareto for one in in_order], [one.pareto_speed for one in in_order]
        pictures = [
            (plot.search(scores), "r + rho of each trial in their order, and the best so far."),
            (
                plot.pareto(scores, "parameters", sizes, small),
                "r + rho against parameters; ringed: no smaller network scores higher.",
            ),
            (
                plot.pareto(scores, "sequences/s in training", speeds, fast),
                "r + rho against speed; ringed: no faster network scores higher.",
            ),
        ]
    if matters:
        names = list(matters)[:_AXES]
        table = [
            [_place(searched.ranges[n], one.values.get(n, _NOT)) for n in names] for one in done
        ]
        labels = [(_shown(searched.ranges[n], 0), _shown(searched.ranges[n], 1)) for n in names]
        pictures += [
            (
                plot.importance({n: matters[n] for n in list(matters)[:15]}),
                "By how much r² of a forest of regression trees over the trials falls when a value "
                "is shuffled among them, with its standard deviation.",
            ),
            (
                plot.parallel(names, labels, np.array(table, float), [one.score for one in done]),
                f"The {_BEST} best trials in black, the others in grey; a gap where a value does "
                "not count.",
            ),
        ]
    keys = [key for key in searched.ranges if len({_text(one, key) for one in ranked}) > 1]
    page.save(
        path,
        "search.html",
        overwrite=overwrite,
        version=camformer_tf.__version__,
        name=Path(searched.where).name,
        trials=ranked,
        done=len(done),
        fewest=_FEWEST,
        important=bool(matters),
        pictures=[(page.picture(figure, words), words) for figure, words in pictures],
        keys=keys,
        rows=[[_text(one, key) for key in keys] for one in ranked],
    )


def importance(
    done: Sequence[trials.Trial], searched: space.Space
) -> dict[str, tuple[float, float]]:
    """Returns key → (mean, standard deviation) of the permutation importance of its values for
    r + rho, the most important first; keys of which all trials have one value are left out.

    Source of the method: Breiman, Random Forests, Machine Learning 45, 2001, by scikit-learn.
    """
    from sklearn import ensemble, inspection

    columns = {
        key: [_place(one, trial.values.get(key, _NOT)) for trial in done]
        for key, one in searched.ranges.items()
    }
    # What does not count in a trial is a value of its own, below all others.
    known = {key: np.nan_to_num(np.array(v, float), nan=-0.5) for key, v in columns.items()}
    known = {key: values for key, values in known.items() if np.ptp(values)}
    if not known:
        return {}
    x = np.stack(list(known.values()), axis=1)
    y = np.array([one.score for one in done])
    forest = ensemble.RandomForestRegressor(_TREES, random_state=42).fit(x, y)
    found = inspection.permutation_importance(forest, x, y, n_repeats=_SHUFFLES, random_state=42)
    order = np.argsort(-found.importances_mean, kind="stable")
    names = list(known)
    return {
        names[i]: (float(found.importances_mean[i]), float(found.importances_std[i])) for i in order
    }


_NOT = object()  # a value that does not count


def _place(one: space.Range, value: object) -> float:
    """Returns where a value lies in its range, 0 to 1; NaN if it does not count."""
    if value is _NOT:
        return float("nan")
    if one.kind == "choice":
        return one.values.index(value) / max(1, len(one.values) - 1)
    if one.kind == "log":
        return (
            float(np.log(value / one.low) / np.log(one.high / one.low)) if one.high > one.low else 0
        )
    return (value - one.low) / (one.high - one.low) if one.high > one.low else 0.0


def _shown(one: space.Range, end: int) -> str:
    return json.dumps(one.ends()[-end])


def _text(trial: trials.Trial, key: str) -> str | float | int:
    value = trial.values.get(key, _NOT)
    if value is _NOT:
        return ""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
