"""Pictures of a run and its predictions: arrays in, a matplotlib Figure out.

Readable without colour: series differ in line or hatch too. Needs the extra `report`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from camformer_tf import errors
from camformer_tf.metrics import conformal, correlation, dream

_MOST_COMBINATIONS = 300  # of replicates of one number, that a mean is of
_MOST_NAMES = 40  # of runs that have theirs on an axis
_BINS = 20
_QUARTERS = (0.25, 0.5, 0.75)


def learning_curves(history: pd.DataFrame, best_epoch: int | None = None):
    """Returns losses and correlations against the epoch, of a run's history.csv, with the best
    epoch and the epochs after which the learning rate was cut marked.
    """
    figure = _figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    epoch, rate = history["epoch"], history["learning_rate"]
    left.plot(epoch, history["train_loss"], "--", color="tab:gray", label="training")
    left.plot(epoch, history["val_loss"], "-", color="tab:blue", label="validation")
    left.set(xlabel="epoch", ylabel="loss")
    for name, marker, label in (("pearson", "o", "r"), ("spearman", "s", "rho")):
        style = {"markersize": 3, "marker": marker}
        right.plot(epoch, history[f"train_{name}"], "--", **style, color="tab:gray",
                   label=f"{label}, training")  # fmt: skip
        right.plot(epoch, history[f"val_{name}"], "-", **style, label=f"{label}, validation")
    right.set(xlabel="epoch", ylabel="correlation")
    cuts = epoch[rate.to_numpy() < 0.99 * np.r_[rate.iloc[0], rate.to_numpy()[:-1]]]
    falls_by_step = len(cuts) < len(epoch) / 2  # and not all the time, as with one cycle
    for axes in (left, right):
        for i, at in enumerate(cuts if falls_by_step else []):
            axes.axvline(at, color="0.6", linestyle=":", label="" if i else "rate cut")
        if best_epoch is not None:
            axes.axvline(best_epoch, color="black", linewidth=0.8, label="best epoch")
        axes.legend(fontsize="small")
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def scatter(expression: np.ndarray, prediction: np.ndarray):
    """Returns measured against predicted values, (N,) each, as the density of their points, with
    the distribution of each at the sides, r, rho and n.
    """
    expression, prediction = _both(expression, prediction)
    figure = _figure(5.2, 5.2)
    grid = figure.add_gridspec(2, 2, width_ratios=(5, 1), height_ratios=(1, 5))
    main = figure.add_subplot(grid[1, 0])
    top = figure.add_subplot(grid[0, 0], sharex=main)
    side = figure.add_subplot(grid[1, 1], sharey=main)
    main.hexbin(prediction, expression, gridsize=60, bins="log", cmap="Greys", mincnt=1)
    top.hist(prediction, bins=60, color="0.5")
    side.hist(expression, bins=60, color="0.5", orientation="horizontal")
    for axes in (top, side):
        axes.set_axis_off()
    r = correlation.pearson(expression, prediction)
    rho = correlation.spearman(expression, prediction)
    main.set(xlabel="predicted", ylabel="measured")
    main.text(0.03, 0.97, f"r = {_said(r)}\nrho = {_said(rho)}\nn = {len(expression):,}",
              transform=main.transAxes, va="top")  # fmt: skip
    return figure


def residuals(expression: np.ndarray, prediction: np.ndarray, against: Mapping[str, np.ndarray]):
    """Returns predicted less measured against other values of the same N examples, name → (N,):
    the median in bins of equally many examples, and between which values half of them lie.
    """
    figure = _figure(3.2 * len(against), 3.2)
    panels = figure.subplots(1, len(against), squeeze=False, sharey=True)[0]
    error = prediction - expression
    for axes, (name, values) in zip(panels, against.items(), strict=True):
        known = np.isfinite(error) & np.isfinite(values)
        edges = np.unique(np.quantile(values[known], np.linspace(0, 1, _BINS + 1)[1:-1]))
        place = np.searchsorted(edges, values[known], side="right")
        rows = [
            [values[known][place == i].mean(), *np.quantile(error[known][place == i], _QUARTERS)]
            for i in np.unique(place)
        ]
        x, low, middle, high = np.array(rows).T
        axes.fill_between(x, low, high, color="0.85")
        axes.plot(x, middle, "k.-")
        axes.axhline(0, color="0.4", linewidth=0.8, linestyle="--")
        axes.set(xlabel=name)
    panels[0].set_ylabel("predicted - measured")
    return figure


def scores(card: dream.Scorecard, teams: Mapping[str, Mapping[str, Mapping[str, float]]]):
    """Returns Pearson's r of every subset as bars, beside those of published results (see
    `dream.read_published`).
    """
    figure = _figure(10, 3.8)
    axes = figure.subplots()
    names = list(card.subsets)
    shown = {"this model": [card.subsets[name].pearson for name in names]}
    shown |= {team: [found["pearson"][name] for name in names] for team, found in teams.items()}
    width = 0.85 / len(shown)
    hatches = itertools.cycle(["", "//", "..", "xx", "\\\\", "++", "oo"])
    for i, (team, values) in enumerate(shown.items()):
        heights = [np.nan if value is None else value for value in values]
        place = np.arange(len(names)) + (i - (len(shown) - 1) / 2) * width
        colour = "tab:blue" if i == 0 else str(0.55 + 0.35 * i / len(shown))
        axes.bar(place, heights, width, label=team, hatch=next(hatches), color=colour,
                 edgecolor="white")  # fmt: skip
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names])
    axes.set(ylabel="Pearson r")
    figure.legend(loc="outside lower center", ncols=min(len(shown), 4), fontsize="small")
    return figure


def ensemble_sizes(expression: np.ndarray, each: np.ndarray, *, seed: int = 42):
    """Returns r² and rho of the mean of k replicates against k: the mean over all choices of k (or
    300 drawn ones), and the least and the most.

    Args:
        expression: (N,).
        each: predictions of M replicates, (M, N).

    Source of the figure: plot_utils.py:613, Bornelov-lab/Camformer@feaa529.
    """
    found = [
        [
            (correlation.pearson(expression, mean) ** 2, correlation.spearman(expression, mean))
            for mean in (each[list(chosen)].mean(axis=0) for chosen in _choices(len(each), k, seed))
        ]
        for k in range(1, len(each) + 1)
    ]
    figure = _figure(8, 3.4)
    for axes, i, name in zip(figure.subplots(1, 2), (0, 1), ("r²", "rho"), strict=True):
        values = [[pair[i] for pair in pairs] for pairs in found]
        middle = [np.mean(v) for v in values]
        span = [[m - min(v) for m, v in zip(middle, values, strict=True)],
                [max(v) - m for m, v in zip(middle, values, strict=True)]]  # fmt: skip
        axes.errorbar(range(1, len(each) + 1), middle, span, fmt="ko-", capsize=3)
        axes.set(xlabel="replicates in the mean", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def runs(names: Sequence[str], pearson: Sequence[float | None], spearman: Sequence[float | None]):
    """Returns r and rho of runs, one below the other in the order given; of many runs the names are
    left out. None leaves a gap.
    """
    named = len(names) <= _MOST_NAMES
    figure = _figure(8, max(2.2, 0.8 + 0.25 * len(names)) if named else 6)
    axes = figure.subplots()
    places = range(1, len(names) + 1)
    for values, marker, label in ((pearson, "o", "r"), (spearman, "s", "rho")):
        known = [np.nan if value is None else value for value in values]
        axes.plot(known, places, marker, label=label, markersize=5 if named else 2,
                  fillstyle="full" if label == "r" else "none")  # fmt: skip
    axes.set(xlabel="correlation in validation", ylabel="" if named else "place by r + rho")
    if named:
        axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.grid(axis="x", color="0.85")
    axes.legend()
    return figure


def search(scores: Sequence[float]):
    """Returns the scores of a search's trials in their order, and the best so far."""
    figure = _figure(8, 3.2)
    axes = figure.subplots()
    number = range(1, len(scores) + 1)
    axes.plot(number, scores, "o", color="0.6", markersize=4, label="trial")
    axes.step(number, np.maximum.accumulate(scores), "k-", where="post", label="best so far")
    axes.set(xlabel="trial", ylabel="r + rho")
    axes.legend(loc="lower right")
    return figure


def against(scores: Sequence[float], what: str, values: Sequence[float], front: Sequence[bool]):
    """Returns scores against what they cost or bring, those of the Pareto front ringed."""
    figure = _figure(6, 3.6)
    axes = figure.subplots()
    axes.semilogx(values, scores, "o", color="0.6", markersize=4)
    x, y = np.array(values)[list(front)], np.array(scores)[list(front)]
    order = np.argsort(x)
    axes.plot(x[order], y[order], "ko--", fillstyle="none", markersize=9, linewidth=0.8)
    axes.set(xlabel=what, ylabel="r + rho")
    return figure


def importance(found: Mapping[str, tuple[float, float]]):
    """Returns name → (importance, standard deviation) as bars, in the order given."""
    figure = _figure(8, 0.9 + 0.28 * len(found))
    axes = figure.subplots()
    means, spreads = zip(*found.values(), strict=True)
    axes.barh(range(len(found)), means, xerr=spreads, color="0.7", edgecolor="black")
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set_xlabel("importance")
    return figure


def parallel(
    names: Sequence[str],
    ends: Sequence[tuple[str, str]],
    places: np.ndarray,
    scores: Sequence[float],
    best: int = 5,
):
    """Returns parallel coordinates: a line a trial through where its values lie.

    Args:
        names, ends: of the K axes, and what their lower and upper end is.
        places: (N, K), 0 to 1; NaN where a value does not count.
        scores: (N,); the `best` highest are in black.
    """
    figure = _figure(10, 4)
    axes = figure.subplots()
    order = np.argsort(scores)
    for rank, i in enumerate(order, 1):
        top = rank > len(order) - best
        axes.plot(places[i], "o-", color="black" if top else "0.75", linewidth=1.6 if top else 0.8,
                  markersize=3, zorder=2 if top else 1)  # fmt: skip
    for x, (low, high) in enumerate(ends):
        axes.axvline(x, color="0.4", linewidth=0.8, zorder=0)
        axes.annotate(low, (x, -0.04), ha="center", va="top", fontsize="small")
        axes.annotate(high, (x, 1.04), ha="center", va="bottom", fontsize="small")
    axes.set(ylim=(-0.15, 1.15), yticks=[])
    axes.set_xticks(range(len(names)), [n.replace(".", ".\n", 1) for n in names], rotation=20)
    for side in ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(False)
    return figure


def coverage(band: conformal.Band, deciles: Sequence[conformal.Coverage]):
    """Returns for each tenth of the examples by expression what share of measured values its
    intervals hold, beside the stated one, and how wide they are.
    """
    figure = _figure(8, 3.4)
    left, right = figure.subplots(1, 2)
    tenth = range(1, len(deciles) + 1)
    left.plot(tenth, [one.coverage for one in deciles], "ko-", label="measured")
    left.axhline(band.coverage, linestyle="--", color="0.5", label=f"stated, {band.coverage:g}")
    left.set(xlabel="tenth by expression", ylabel="coverage", ylim=(0, 1.05))
    left.legend(loc="lower center")
    right.plot(tenth, [one.width for one in deciles], "ks-")
    right.set(xlabel="tenth by expression", ylabel="width of the intervals")
    right.set_ylim(bottom=0)
    return figure


def _choices(count: int, k: int, seed: int) -> list[tuple[int, ...]]:
    every = list(itertools.islice(itertools.combinations(range(count), k), 5000))
    if len(every) <= _MOST_COMBINATIONS:
        return every
    draw = np.random.default_rng([seed, k])
    return [tuple(draw.permutation(count)[:k]) for _ in range(_MOST_COMBINATIONS)]


def _both(expression: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(expression) & np.isfinite(prediction)
    return expression[known], prediction[known]


def _said(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.3f}"


def _figure(width: float, height: float):
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise errors.UserError(
            'Pictures need matplotlib: pip install "camformer-tf[report]".'
        ) from error
    return Figure(figsize=(width, height), layout="constrained")
