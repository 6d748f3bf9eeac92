"""Untrained models for tests of exports: one alone, and three calibrated replicates."""

from pathlib import Path

import numpy as np
import pytest

from camformer_tf import recipe, rundir
from camformer_tf.data import sequence
from camformer_tf.evaluation import ensemble
from camformer_tf.model import inference, keras_file, rescnn

SETTINGS = recipe.load("smoke")


@pytest.fixture(scope="session")
def keras_path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("export") / "m.keras"
    keras_file.save(rescnn.build(SETTINGS.model), path, SETTINGS)
    return path


@pytest.fixture(scope="session")
def promoters() -> list[str]:
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), (20, 110))
    return sequence.text(letters)


@pytest.fixture(scope="session")
def replicates(tmp_path_factory) -> Path:
    """A run of three replicates, calibrated on an isotonic scale."""
    folder = tmp_path_factory.mktemp("replicates") / "run"
    for seed in (1, 2, 3):
        run = folder / rundir.replicate(seed)
        run.mkdir(parents=True)
        keras_file.save(rescnn.build(SETTINGS.model, seed=seed), run / rundir.BEST, SETTINGS)
        (run / rundir.RECIPE).touch()
        (run / rundir.RUN).touch()
    rng = np.random.default_rng(8)
    letters = rng.choice(np.frombuffer(b"ACGT", np.uint8), (400, 110))
    expression = 5 + 30 * inference.load(folder).predict_letters(letters) + rng.normal(0, 0.3, 400)
    measurements = folder.parent / "measured.txt"
    lines = zip(sequence.text(letters), expression, strict=True)
    measurements.write_text("".join(f"{text}\t{value}\n" for text, value in lines))
    ensemble.calibrate(folder, measurements, scale="isotonic")
    return folder
