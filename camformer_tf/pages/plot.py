"""Plots of runs, searches and predictions: arrays in, a matplotlib Figure out.

They are readable without colour: series also differ in line style or hatch. They need the extra
`report`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from camformer_tf import errors
from camformer_tf.metrics import conformal, correlation, dream

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_COMBINATIONS = 300  # choices of k replicates whose mean is scored
_MOST_NAMES = 40  # runs with their names on an axis
_BINS = 20
_QUARTILES = (0.25, 0.5, 0.75)


def learning_curves(history: pd.DataFrame, best_epoch: int | None = None) -> Figure:
    """Plots losses and correlations against the epoch, with the best epoch and rate cuts marked.

    Args:
        history: the columns of a run's history.csv.
        best_epoch: the number of the best epoch, from 1.
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
    has_steps = len(cuts) < len(epoch) / 2  # with one cycle, the rate falls all the time
    for axes in (left, right):
        for i, cut in enumerate(cuts if has_steps else []):
            axes.axvline(cut, color="0.6", linestyle=":", label="" if i else "rate cut")
        if best_epoch is not None:
            axes.axvline(best_epoch, color="black", linewidth=0.8, label="best epoch")
        axes.legend(fontsize="small")
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def scatter(expression: np.ndarray, prediction: np.ndarray) -> Figure:
    """Plots the density of measured against predicted values, (N,) each, with r, rho and n.

    The distributions of both are at the sides. Pairs with a value that is not finite are left out.
    """
    is_usable = np.isfinite(expression) & np.isfinite(prediction)
    expression, prediction = expression[is_usable], prediction[is_usable]
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
    main.text(0.03, 0.97, f"r = {_number(r)}\nrho = {_number(rho)}\nn = {len(expression):,}",
              transform=main.transAxes, va="top")  # fmt: skip
    return figure


def residuals(
    expression: np.ndarray, prediction: np.ndarray, properties: Mapping[str, np.ndarray]
) -> Figure:
    """Plots predicted minus measured values against properties of the examples.

    Each bin holds the same number of examples; the plot shows its median and its quartiles.

    Args:
        expression: measured values, (N,).
        prediction: predictions, (N,).
        properties: name → values of the examples, (N,).
    """
    figure = _figure(3.2 * len(properties), 3.2)
    panels = figure.subplots(1, len(properties), squeeze=False, sharey=True)[0]
    error = prediction - expression  # (N,)
    for axes, (name, values) in zip(panels, properties.items(), strict=True):
        is_usable = np.isfinite(error) & np.isfinite(values)
        x_values, y_values = values[is_usable], error[is_usable]  # (n,)
        edges = np.unique(np.quantile(x_values, np.linspace(0, 1, _BINS + 1)[1:-1]))
        place = np.searchsorted(edges, x_values, side="right")  # (n,), the bin of each example
        rows = [
            [x_values[place == i].mean(), *np.quantile(y_values[place == i], _QUARTILES)]
            for i in np.unique(place)
        ]
        x, low, middle, high = np.array(rows).T  # each (bins,)
        axes.fill_between(x, low, high, color="0.85")
        axes.plot(x, middle, "k.-")
        axes.axhline(0, color="0.4", linewidth=0.8, linestyle="--")
        axes.set(xlabel=name)
    panels[0].set_ylabel("predicted - measured")
    return figure


def scores(card: dream.Scorecard, teams: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Figure:
    """Plots Pearson's r of every subset as bars, beside published results.

    Args:
        card: the scores of this model.
        teams: published results, see `dream.read_published`.
    """
    figure = _figure(10, 3.8)
    axes = figure.subplots()
    names = list(card.subsets)
    columns: dict[str, list[float | None]] = {
        "this model": [card.subsets[name].pearson for name in names]
    }
    columns |= {team: [row["pearson"][name] for name in names] for team, row in teams.items()}
    width = 0.85 / len(columns)
    hatches = itertools.cycle(["", "//", "..", "xx", "\\\\", "++", "oo"])
    for i, (team, values) in enumerate(columns.items()):
        heights = [np.nan if value is None else value for value in values]
        place = np.arange(len(names)) + (i - (len(columns) - 1) / 2) * width
        colour = "tab:blue" if i == 0 else str(0.55 + 0.35 * i / len(columns))
        axes.bar(place, heights, width, label=team, hatch=next(hatches), color=colour,
                 edgecolor="white")  # fmt: skip
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names])
    axes.set(ylabel="Pearson r")
    figure.legend(loc="outside lower center", ncols=min(len(columns), 4), fontsize="small")
    return figure


def ensemble_sizes(expression: np.ndarray, predictions: np.ndarray, *, seed: int = 42) -> Figure:
    """Plots r² and rho of the mean of k replicates against k.

    Points are means over all choices of k replicates, or over 300 random ones; bars show the
    range. Source of the figure: plot_utils.py:613, Bornelov-lab/Camformer@feaa529.

    Args:
        expression: measured values, (N,).
        predictions: predictions of M replicates, (M, N).
        seed: of the random choices.
    """
    count = len(predictions)
    pairs_by_size = [
        [
            (correlation.pearson(expression, mean) ** 2, correlation.spearman(expression, mean))
            for mean in (predictions[list(c)].mean(axis=0) for c in _choices(count, k, seed))
        ]
        for k in range(1, count + 1)
    ]
    figure = _figure(8, 3.4)
    for axes, i, name in zip(figure.subplots(1, 2), (0, 1), ("r²", "rho"), strict=True):
        values = [[pair[i] for pair in pairs] for pairs in pairs_by_size]
        middle = [np.mean(v) for v in values]
        span = [[m - min(v) for m, v in zip(middle, values, strict=True)],
                [max(v) - m for m, v in zip(middle, values, strict=True)]]  # fmt: skip
        axes.errorbar(range(1, count + 1), middle, span, fmt="ko-", capsize=3)
        axes.set(xlabel="replicates in the mean", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def runs(
    names: Sequence[str], pearson: Sequence[float | None], spearman: Sequence[float | None]
) -> Figure:
    """Plots r and rho of runs, one row per run; None leaves a gap.

    The names of more than 40 runs are left out.
    """
    has_names = len(names) <= _MOST_NAMES
    figure = _figure(8, max(2.2, 0.8 + 0.25 * len(names)) if has_names else 6)
    axes = figure.subplots()
    places = range(1, len(names) + 1)
    for values, marker, label in ((pearson, "o", "r"), (spearman, "s", "rho")):
        x = [np.nan if value is None else value for value in values]
        axes.plot(x, places, marker, label=label, markersize=5 if has_names else 2,
                  fillstyle="full" if label == "r" else "none")  # fmt: skip
    axes.set(xlabel="correlation in validation", ylabel="" if has_names else "rank by r + rho")
    if has_names:
        axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.grid(axis="x", color="0.85")
    axes.legend()
    return figure


def search(scores: Sequence[float]) -> Figure:
    """Plots the scores of a search's trials in their order, and the best score so far."""
    figure = _figure(8, 3.2)
    axes = figure.subplots()
    number = range(1, len(scores) + 1)
    axes.plot(number, scores, "o", color="0.6", markersize=4, label="trial")
    axes.step(number, np.maximum.accumulate(scores), "k-", where="post", label="best so far")
    axes.set(xlabel="trial", ylabel="r + rho")
    axes.legend(loc="lower right")
    return figure


def pareto(
    scores: Sequence[float], label: str, values: Sequence[float], is_front: Sequence[bool]
) -> Figure:
    """Plots scores against a cost or a rate, with rings around the trials of the Pareto front.

    Args:
        scores: r + rho of N trials.
        label: the name of the values.
        values: a cost or a rate of the trials, above 0.
        is_front: whether a trial is on the Pareto front.
    """
    figure = _figure(6, 3.6)
    axes = figure.subplots()
    axes.semilogx(values, scores, "o", color="0.6", markersize=4)
    x, y = np.array(values)[list(is_front)], np.array(scores)[list(is_front)]
    order = np.argsort(x)
    axes.plot(x[order], y[order], "ko--", fillstyle="none", markersize=9, linewidth=0.8)
    axes.set(xlabel=label, ylabel="r + rho")
    return figure


def importance(values: Mapping[str, tuple[float, float]]) -> Figure:
    """Plots name → (importance, standard deviation) as bars, from top to bottom."""
    figure = _figure(8, 0.9 + 0.28 * len(values))
    axes = figure.subplots()
    means, spreads = zip(*values.values(), strict=True)
    axes.barh(range(len(values)), means, xerr=spreads, color="0.7", edgecolor="black")
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.set_xlabel("importance")
    return figure


def parallel(
    names: Sequence[str],
    ends: Sequence[tuple[str, str]],
    places: np.ndarray,
    scores: Sequence[float],
    best: int = 5,
) -> Figure:
    """Plots parallel coordinates: a line per trial through the places of its values.

    Args:
        names: the names of K axes.
        ends: the labels of the lower and the upper end of each axis.
        places: the places of values, (N, K), 0 to 1; NaN where a trial does not use a value.
        scores: r + rho of N trials.
        best: the number of trials with the highest scores, drawn in black.
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


def coverage(band: conformal.Band, deciles: Sequence[conformal.Coverage]) -> Figure:
    """Plots the observed coverage and the width of intervals in each tenth by expression."""
    figure = _figure(8, 3.4)
    left, right = figure.subplots(1, 2)
    tenth = range(1, len(deciles) + 1)
    left.plot(tenth, [decile.coverage for decile in deciles], "ko-", label="observed")
    left.axhline(band.coverage, linestyle="--", color="0.5", label=f"nominal, {band.coverage:g}")
    left.set(xlabel="tenth by expression", ylabel="coverage", ylim=(0, 1.05))
    left.legend(loc="lower center")
    right.plot(tenth, [decile.width for decile in deciles], "ks-")
    right.set(xlabel="tenth by expression", ylabel="width of the intervals")
    right.set_ylim(bottom=0)
    return figure


def _choices(count: int, k: int, seed: int) -> list[tuple[int, ...]]:
    """Returns all choices of k out of `count`, or 300 random ones."""
    choices = list(itertools.islice(itertools.combinations(range(count), k), 5000))
    if len(choices) <= _MOST_COMBINATIONS:
        return choices
    draw = np.random.default_rng([seed, k])
    return [tuple(draw.permutation(count)[:k]) for _ in range(_MOST_COMBINATIONS)]


def _number(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.3f}"


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure  # here, as it is in the extra `report`
    except ImportError as error:
        raise errors.UserError(
            'Plots need matplotlib: pip install "camformer-tf[report]".'
        ) from error
    return Figure(figsize=(width, height), layout="constrained")
