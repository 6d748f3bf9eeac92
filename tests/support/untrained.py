"""Models that were never trained, as exports take them: alone, three replicates, calibrated."""

from pathlib import Path

import numpy as np
import pytest

from camformer_tf import recipe, rundir
from camformer_tf.data import sequence
from camformer_tf.evaluation import ensemble
from camformer_tf.model import calibration, predict, rescnn

SETTINGS = recipe.load("smoke")


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("export") / "m.keras"
    predict.save(rescnn.build(SETTINGS.model), path, SETTINGS)
    return path


@pytest.fixture(scope="session")
def some() -> list[str]:
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), (20, 110))
    return sequence.text(letters)


@pytest.fixture(scope="session")
def replicates(tmp_path_factory) -> Path:
    """A run of three replicates, calibrated on another, isotonic scale."""
    folder = tmp_path_factory.mktemp("replicates") / "run"
    for seed in (1, 2, 3):
        one = folder / rundir.replicate(seed)
        one.mkdir(parents=True)
        predict.save(rescnn.build(SETTINGS.model, seed=seed), one / rundir.BEST, SETTINGS)
        (one / rundir.RECIPE).touch()
        (one / rundir.RUN).touch()
    rng = np.random.default_rng(8)
    letters = rng.choice(np.frombuffer(b"ACGT", np.uint8), (400, 110))
    each = np.stack([predict.load(path).predict(letters) for path in predict.members([folder])])
    expression = 5 + 30 * each.mean(axis=0) + rng.normal(0, 0.3, 400)
    measured = folder.parent / "measured.txt"
    rows = zip(sequence.text(letters), expression, strict=True)
    measured.write_text("".join(f"{one}\t{value}\n" for one, value in rows))
    found = ensemble.calibrate([folder], measured, scale="isotonic")
    calibration.save(found, folder / rundir.CALIBRATION)
    return folder
