import itertools
import sys

import numpy as np
import pandas as pd
import pytest

from camformer_tf import errors
from camformer_tf.metrics import conformal, dream, dream_subsets
from camformer_tf.pages import plot

RNG = np.random.default_rng(3)
Y = RNG.normal(10, 2, 500)
P = Y + RNG.normal(0, 1, 500)


def lines(axes) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_ydata() for line in axes.lines}


def texts(figure) -> str:
    return "\n".join(text.get_text() for axes in figure.axes for text in axes.texts)


@pytest.fixture
def history() -> pd.DataFrame:
    columns = {f"{part}_{name}": RNG.random(6) for part in ("train", "val")
               for name in ("loss", "pearson", "spearman")}  # fmt: skip
    rates = [0.1, 0.1, 0.1, 0.01, 0.01, 0.001]
    return pd.DataFrame({"epoch": range(1, 7), "learning_rate": rates} | columns)


def test_learning_curves_show_the_history_with_cuts_and_best_epoch(history):
    figure = plot.learning_curves(history, best_epoch=4)
    left, right = figure.axes
    np.testing.assert_array_equal(lines(left)["validation"], history.val_loss)
    np.testing.assert_array_equal(lines(right)["rho, training"], history.train_spearman)
    upright = [line.get_xdata()[0] for line in left.lines if line.get_xdata()[0] in (4, 6)]
    assert sorted(x for x in upright if x != 1) == [4, 4, 6]  # two cuts and the best epoch


def test_a_rate_that_falls_in_every_epoch_is_not_marked(history):
    falling = history.assign(learning_rate=np.linspace(1, 0.1, 6))
    assert "rate cut" not in lines(plot.learning_curves(falling).axes[0])


def test_the_scatter_has_the_correlations_of_finite_predictions():
    prediction = P.copy()
    prediction[:100] = np.nan
    figure = plot.scatter(Y, prediction)
    r = np.corrcoef(Y[100:], P[100:])[0, 1]
    assert f"r = {r:.3f}" in texts(figure) and "n = 400" in texts(figure)
    assert "r = undefined" in texts(plot.scatter(Y, np.ones(500)))


def test_residuals_are_medians_of_bins_with_equal_numbers_of_examples():
    figure = plot.residuals(Y, Y + 2 * (Y > 10), {"measured": Y, "one value": np.ones(500)})
    (curve,) = [line for line in figure.axes[0].lines if len(line.get_ydata()) > 2]
    assert set(np.round(curve.get_ydata(), 9)) <= {0, 1, 2} and len(curve.get_ydata()) == 20
    assert np.all(np.diff(curve.get_xdata()) > 0)
    (point,) = [line for line in figure.axes[1].lines if len(line.get_ydata()) == 1]
    assert point.get_xdata()[0] == 1


def test_scores_are_bars_beside_published_ones():
    subsets = {name: dream.SubsetScore(9, 0.5, 0.5, 1.0) for name in dream_subsets.SUBSETS}
    subsets["low"] = dream.SubsetScore(9, None, None, 1.0)
    card = dream.Scorecard("full", "official", {}, subsets, None, None, None)
    teams = {"a": {"pearson": dict.fromkeys(dream_subsets.SUBSETS, 0.9)}}
    figure = plot.scores(card, teams)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights[:2] == [0.5, 0.5] and np.isnan(heights[2]) and heights[9:] == [0.9] * 9
    assert (
        len({bar.get_hatch() for bar in figure.axes[0].patches}) == 2
    )  # different without colour too


def test_ensemble_sizes_are_means_over_all_choices():
    predictions = Y + RNG.normal(0, 1, (4, 500))
    figure = plot.ensemble_sizes(Y, predictions)
    means = [
        np.mean([np.corrcoef(Y, predictions[list(c)].mean(0))[0, 1] ** 2
                 for c in itertools.combinations(range(4), k)])
        for k in range(1, 5)
    ]  # fmt: skip
    points = figure.axes[0].lines[0].get_ydata().astype(float)
    np.testing.assert_allclose(points, means, rtol=1e-12)
    assert len(plot._choices(12, 6, 1)) == 300 and len(plot._choices(12, 1, 1)) == 12


def test_observed_coverage_is_beside_the_nominal_one():
    deciles = [conformal.Coverage(10, 0.8 + i / 100, 1.0 + i, 0, 1) for i in range(10)]
    figure = plot.coverage(conformal.Band(0.9, 1, 1, 50), deciles)
    curves = lines(figure.axes[0])
    assert curves["observed"].tolist() == [decile.coverage for decile in deciles]
    assert set(curves["nominal, 0.9"]) == {0.9}
    assert figure.axes[1].lines[0].get_ydata().tolist() == [decile.width for decile in deciles]


def test_without_matplotlib_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(errors.UserError, match=r"camformer-tf\[report\]"):
        plot.scatter(Y, P)


def test_runs_are_in_their_order_and_many_have_no_names():
    axes = plot.runs(["a", "b"], [0.5, None], [0.4, 0.6]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    np.testing.assert_array_equal(lines(axes)["r"], [1, 2])
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [0.5, np.nan])
    assert axes.yaxis_inverted()
    figure = plot.runs([str(i) for i in range(270)], np.linspace(1, 0, 270), [0.5] * 270)
    assert figure.get_figheight() < 10 and figure.axes[0].get_ylabel() == "rank by r + rho"


def test_a_search_shows_its_trials_and_the_best_so_far():
    axes = plot.search([0.5, 0.9, 0.7]).axes[0]
    assert lines(axes)["trial"] == pytest.approx([0.5, 0.9, 0.7])
    assert lines(axes)["best so far"] == pytest.approx([0.5, 0.9, 0.9])


def test_the_pareto_front_is_drawn_in_the_order_of_its_values():
    axes = plot.pareto(
        [0.9, 0.5, 0.8, 0.1], "parameters", [90, 5, 40, 7], [True] * 3 + [False]
    ).axes[0]
    trials, front = axes.lines
    assert trials.get_ydata() == pytest.approx([0.9, 0.5, 0.8, 0.1])
    assert front.get_xdata().tolist() == [5, 40, 90] and axes.get_xlabel() == "parameters"


def test_importance_is_a_bar_per_value_from_top_to_bottom():
    axes = plot.importance({"train.epochs": (0.5, 0.1), "train.seed": (0.25, 0.0)}).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.25] and axes.yaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["train.epochs", "train.seed"]


def test_parallel_coordinates_have_a_line_per_trial_and_the_best_in_black():
    places = np.array([[0.0, 1.0], [0.5, np.nan], [1.0, 0.0]])
    figure = plot.parallel(["a.b", "c"], [("1", "9"), ("x", "y")], places, [3, 1, 2], best=1)
    trials = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [line.get_color() for line in trials] == ["0.75", "0.75", "black"]  # the best on top
    np.testing.assert_array_equal(trials[-1].get_ydata(), [0.0, 1.0])
    assert texts(figure).split() == ["1", "9", "x", "y"]
