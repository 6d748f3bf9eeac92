import dataclasses
import json

import numpy as np
import pytest
from sklearn import isotonic

from camformer_tf import errors, rundir
from camformer_tf.metrics import conformal
from camformer_tf.model import calibrations

RNG = np.random.default_rng(4)
X = np.rint(RNG.normal(11, 3, 300) * 4) / 4  # with ties
Y = 0.3 * np.exp(X / 6) + RNG.normal(0, 0.5, 300)
COVERAGE = conformal.Coverage(5, 0.9, 1.0, 0.0, 2.0)
CALIBRATION = calibrations.Calibration(
    ("a",), calibrations.Scale(), conformal.Band(0.9, 2.0, 0.5, 10), COVERAGE, (COVERAGE,)
)


def test_the_affine_scale_is_the_least_squares_line():
    scale = calibrations.fit_scale("affine", X, Y)
    slope, intercept = np.polyfit(X, Y, 1)
    np.testing.assert_allclose(scale(X), slope * X + intercept, rtol=1e-12)
    np.testing.assert_allclose(scale(np.array([-50.0])), -50 * slope + intercept, rtol=1e-12)


def test_the_isotonic_scale_is_that_of_scikit_learn():
    judge = isotonic.IsotonicRegression(out_of_bounds="clip").fit(X, Y)
    scale = calibrations.fit_scale("isotonic", X, Y)
    x = np.linspace(X.min() - 2, X.max() + 2, 999)
    np.testing.assert_allclose(scale(x), judge.predict(x), atol=1e-10)
    assert len(scale.x) < len(np.unique(X))  # constant stretches keep only their ends
    assert np.isnan(scale(np.array([np.nan]))).all()


def test_the_scale_of_the_model_changes_nothing():
    assert calibrations.fit_scale("model", X, Y)(X) is X


def test_an_impossible_scale_is_refused():
    with pytest.raises(errors.UserError, match="measured values fall where predictions rise"):
        calibrations.fit_scale("affine", X, -X)
    with pytest.raises(errors.UserError, match="needs sequences with different predictions"):
        calibrations.fit_scale("isotonic", np.ones(5), np.arange(5.0))


def test_models_are_combined_on_the_new_scale():
    predictions = RNG.normal(size=(3, 7))
    mean, spread = calibrations.combine(
        predictions, calibrations.Scale("affine", (0.0, 1.0), (1.0, 3.0))
    )
    np.testing.assert_allclose(mean, 1 + 2 * predictions.mean(axis=0))
    np.testing.assert_allclose(spread, 2 * predictions.std(axis=0, ddof=1))
    level = calibrations.Scale("isotonic", (-1.0, 0.0, 1.0), (0.0, 5.0, 5.0))
    mean, spread = calibrations.combine(np.array([[-1.0], [3.0]]), level)
    assert (mean.item(), spread.item()) == (5.0, np.std([0, 5], ddof=1))  # of the mean, not a mean
    assert calibrations.combine(predictions[:1], calibrations.Scale())[1] is None


def test_a_calibration_is_read_back_for_its_models_alone(tmp_path):
    members = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / rundir.BEST).write_text(name)
        members.append(tmp_path / name)
    scale = calibrations.fit_scale("isotonic", X, Y)
    calibration = dataclasses.replace(
        CALIBRATION, members=calibrations.fingerprints(members), scale=scale
    )
    path = tmp_path / "c.json"
    calibrations.save(calibration, path)
    assert calibrations.load(path, members) == calibration
    assert calibrations.load(path, members[::-1]) == calibration  # in any order
    (tmp_path / "two" / rundir.BEST).write_text("trained anew")
    with pytest.raises(errors.UserError, match="c.json: is of other models than these 2"):
        calibrations.load(path, members)
    with pytest.raises(errors.UserError, match="exists already"):
        calibrations.save(calibration, path)


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"members": []})])
def test_a_file_that_is_not_a_calibration_is_refused(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(errors.UserError, match="c.json: not a calibration"):
        calibrations.load(tmp_path / "c.json", [])


def test_the_summary_shows_every_tenth():
    lines = CALIBRATION.summary().splitlines()
    assert "intervals of coverage 0.9 from 10 sequences, scale model" in lines[0]
    assert lines[2].split() == ["all", "0.000", "2.000", "5", "0.900", "1.000"]
    assert lines[3].split()[0] == "1"
