import dataclasses

import numpy as np
import pandas as pd
import pytest

from camformer_tf import recipe
from camformer_tf.data import manifest
from camformer_tf.evaluation import findings, pairing
from camformer_tf.metrics import conformal
from camformer_tf.model import calibrations

TRAIN = recipe.TrainConfig(epochs=6)
RNG = np.random.default_rng(5)


def history(loss, r=0.8, train_r=0.82) -> pd.DataFrame:
    epochs = np.arange(1, len(loss) + 1)
    return pd.DataFrame(
        {"epoch": epochs, "val_loss": loss, "val_pearson": r, "val_spearman": r,
         "train_pearson": train_r}
    )  # fmt: skip


def observations(sentences) -> str:
    return "; ".join(finding.observation for finding in sentences)


@pytest.mark.parametrize(
    ("loss", "best", "expected"),
    [
        ([3, 2, 1.5, 1.4, 1.39, 1.4], 5, ""),
        ([3, 2, 1.5, 1.6, 1.8, 2.0], 3, "validation loss rises after epoch 3, from 1.5 to 2"),
        ([3, 2, 1.5, 1.4, 1.39, 1.3], 6, "the last epoch, 6, is the best"),
        ([3, 2], 2, ""),  # of six: still going
    ],
)
def test_losses_give_the_findings_of_a_history(loss, best, expected):
    assert observations(findings.from_history(history(loss), TRAIN, best_epoch=best)) == expected


def test_one_cycle_may_be_best_at_its_end():
    train = dataclasses.replace(TRAIN, schedule="onecycle")
    assert not findings.from_history(history([3, 2, 1.5, 1.4, 1.3, 1.2]), train, best_epoch=6)


def test_overfitting_and_epochs_without_correlation_are_findings():
    flat = [1.0] * 6
    sentences = findings.from_history(history(flat, train_r=0.95), TRAIN, best_epoch=3)
    assert (
        observations(sentences)
        == "r is 0.15 higher in training than in validation at the best epoch"
    )
    dead = history(flat).assign(val_spearman=[0.8, np.nan, np.nan, 0.8, 0.8, 0.8])
    sentences = findings.from_history(dead, TRAIN, best_epoch=1)
    assert observations(sentences) == "correlations are undefined in 2 epochs, first in epoch 2"


def test_near_neighbours_and_few_sequences_are_findings(library):
    records = manifest.load(library)
    counts = {"mismatches": 3, "in_training": {"val": 30}}
    sentences = findings.from_records(dataclasses.replace(records, near_neighbours=counts), 5000)
    assert observations(sentences).startswith("10% of val have a neighbour within 3 letters")
    assert "family" in sentences[0].advice
    counts = {"mismatches": 3, "in_training": {"val": 3}}
    sentences = findings.from_records(dataclasses.replace(records, near_neighbours=counts), 400)
    assert (
        observations(sentences) == "only 400 validation sequences" and "0.10" in sentences[0].advice
    )
    sentences = findings.from_records(dataclasses.replace(records, near_neighbours=None), 5000)
    assert observations(sentences).endswith("were not counted")


def test_narrow_constant_and_missing_predictions_are_findings():
    y = RNG.normal(8, 2, 500)

    def observe(p) -> str:
        return observations(findings.from_predictions(pairing.Pairs("p", "t", y, p)))

    assert observe(y + RNG.normal(0, 1, 500)) == ""
    assert observe(8 + (y - 8) / 2) == (
        "the standard deviation of predictions is 50% of that of measured values"
    )
    for prediction in (20 + y, 3 * y):
        assert observe(prediction).startswith(
            "predictions and measured values are on different scales"
        )
    sentences = findings.from_predictions(pairing.Pairs("p", "t", np.ones(500), y))
    assert observations(sentences) == "all measured values are the same"
    missing = np.where(np.arange(500) < 7, np.nan, y)
    assert observe(missing) == "7 sequences have no prediction"
    assert observe(np.where(np.isnan(missing), np.nan, 4.0)).endswith(
        "all predictions have the same value"
    )


@pytest.mark.parametrize(
    ("overall", "first", "expected"),
    [
        (0.90, 0.90, ""),
        (0.91, 0.88, ""),  # of 100: a standard error of 0.03
        (0.80, 0.90, "observed coverage is 80.0%, nominal coverage 90%"),
        (0.90, 0.70, "observed coverage is below nominal in these tenths by expression: 1"),
    ],
)
def test_coverage_is_a_finding_where_it_is_not_nominal(overall, first, expected):
    deciles = [conformal.Coverage(100, c, 1.0, 0.0, 1.0) for c in (first, 0.9)]
    intervals = calibrations.Calibration(
        ("a",),
        calibrations.Scale(),
        conformal.Band(0.9, 1.0, 1.0, 1000),
        conformal.Coverage(1000, overall, 1.0, 0.0, 1.0),
        tuple(deciles),
    )
    assert observations(findings.from_calibration(intervals)) == expected


def test_the_range_of_replicates_is_a_finding():
    (finding,) = findings.from_replicates([1.5, 1.52, 1.47])
    assert finding.observation == "r + rho of 3 seeds ranges from 1.4700 to 1.5200"
    assert "0.0500" in finding.advice
