import dataclasses

import numpy as np
import pandas as pd
import pytest

from camformer_tf import recipe
from camformer_tf.data import manifest
from camformer_tf.evaluation import evaluate, findings
from camformer_tf.metrics import conformal
from camformer_tf.model import calibration

TRAIN = recipe.TrainConfig(epochs=6)
RNG = np.random.default_rng(5)


def history(loss, r=0.8, train_r=0.82) -> pd.DataFrame:
    epochs = np.arange(1, len(loss) + 1)
    return pd.DataFrame(
        {"epoch": epochs, "val_loss": loss, "val_pearson": r, "val_spearman": r,
         "train_pearson": train_r}
    )  # fmt: skip


def seen(found) -> str:
    return "; ".join(one.seen for one in found)


@pytest.mark.parametrize(
    ("loss", "best", "expected"),
    [
        ([3, 2, 1.5, 1.4, 1.39, 1.4], 5, ""),
        ([3, 2, 1.5, 1.6, 1.8, 2.0], 3, "validation loss rises after epoch 3, from 1.5 to 2"),
        ([3, 2, 1.5, 1.4, 1.39, 1.3], 6, "the last epoch, 6, is the best"),
        ([3, 2], 2, ""),  # of six: still going
    ],
)
def test_a_history_is_told_by_its_losses(loss, best, expected):
    assert seen(findings.of_training(history(loss), TRAIN, best_epoch=best)) == expected


def test_one_cycle_is_best_at_its_end_as_it_should():
    train = dataclasses.replace(TRAIN, schedule="onecycle")
    assert not findings.of_training(history([3, 2, 1.5, 1.4, 1.3, 1.2]), train, best_epoch=6)


def test_overfitting_and_dead_epochs_are_told():
    flat = [1.0] * 6
    found = findings.of_training(history(flat, train_r=0.95), TRAIN, best_epoch=3)
    assert seen(found) == "r is 0.15 higher in training than in validation at the best epoch"
    dead = history(flat).assign(val_spearman=[0.8, np.nan, np.nan, 0.8, 0.8, 0.8])
    found = findings.of_training(dead, TRAIN, best_epoch=1)
    assert seen(found) == "no correlation in 2 epochs, the first of them 2"


def test_leaks_and_few_sequences_are_told(library):
    known = manifest.load(library)
    near = {"mismatches": 3, "in_training": {"val": 30}}
    found = findings.of_records(dataclasses.replace(known, near_neighbours=near), 5000)
    assert seen(found).startswith("10% of val have a neighbour within 3 letters")
    assert "family" in found[0].advice
    few = {"mismatches": 3, "in_training": {"val": 3}}
    found = findings.of_records(dataclasses.replace(known, near_neighbours=few), 400)
    assert seen(found) == "only 400 validation sequences" and "0.10" in found[0].advice
    found = findings.of_records(dataclasses.replace(known, near_neighbours=None), 5000)
    assert seen(found).startswith("nobody counted")


def test_predictions_that_are_squeezed_constant_or_missing_are_told():
    y = RNG.normal(8, 2, 500)

    def of(p) -> str:
        return seen(findings.of_predictions(evaluate.Pairs("p", "t", y, p)))

    assert of(y + RNG.normal(0, 1, 500)) == ""
    assert of(8 + (y - 8) / 2) == "predictions spread 50% as far as measured values do"
    for scaled in (20 + y, 3 * y):
        assert of(scaled).startswith("predictions and measured values are on different scales")
    found = findings.of_predictions(evaluate.Pairs("p", "t", np.ones(500), y))
    assert seen(found) == "all measured values are one"
    missing = np.where(np.arange(500) < 7, np.nan, y)
    assert of(missing) == "7 sequences have no prediction"
    assert of(np.where(np.isnan(missing), np.nan, 4.0)).endswith("all predictions are one value")


@pytest.mark.parametrize(
    ("whole", "first", "expected"),
    [
        (0.90, 0.90, ""),
        (0.91, 0.88, ""),  # of 100: a standard error of 0.03
        (0.80, 0.90, "intervals hold 80.0% of measured values, where 90% are stated"),
        (0.90, 0.70, "intervals hold fewer than stated in these tenths by expression: 1"),
    ],
)
def test_coverage_is_told_where_it_is_not_as_stated(whole, first, expected):
    deciles = [conformal.Coverage(100, c, 1.0, 0.0, 1.0) for c in (first, 0.9)]
    known = calibration.Calibration(
        ("a",),
        calibration.Scale(),
        conformal.Band(0.9, 1.0, 1.0, 1000),
        conformal.Coverage(1000, whole, 1.0, 0.0, 1.0),
        tuple(deciles),
    )
    assert seen(findings.of_calibration(known)) == expected
