"""The network in Keras' own layers: the same numbers, without this package."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from camformer_tf import recipe
from camformer_tf.data import sequence
from camformer_tf.model import inference, keras_file, rescnn, stock

PROGRAMS = Path(__file__).parents[1] / "support" / "programs"
FLANKS = ["tricks.flanks.cut_left=3", "tricks.flanks.cut_right=2", "tricks.flanks.add_left=ACGTN"]


def trained_network(settings: recipe.Recipe) -> keras.Model:
    """Returns a network whose normalisations have seen data."""
    network = rescnn.from_recipe(settings)
    rng = np.random.default_rng(1)
    for layer in network.layers:
        if layer.name.startswith("norm_"):
            gamma, beta, mean, variance = layer.get_weights()
            noise = rng.normal(0, 0.2, (3, *gamma.shape)).astype(np.float32)
            layer.set_weights([gamma + noise[0], beta + noise[1], mean + noise[2], variance * 1.3])
    return network


def channels(settings: recipe.Recipe, count: int = 20) -> np.ndarray:
    letters = np.random.default_rng(0).choice(
        np.frombuffer(b"ACGTN", np.uint8), (count, settings.data.length)
    )
    return sequence.table(settings.data.encoding)[letters]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model.dense_dropout=0.2", "data.encoding=onehot_purine"],
        [*FLANKS, "data.encoding=onehot_integer_purine", "model.padding=5", "model.residual=false"],
        [*FLANKS, "tricks.flanks.add_right=GG"],
        ["tricks.flanks.cut_right=4"],
        ["tricks.flanks.add_right=TT"],
    ],
)
def test_predictions_are_those_of_the_network_to_float32_rounding(overrides):
    settings = recipe.load("smoke", overrides)
    network = trained_network(settings)
    copy = stock.build(network, settings)
    onehot = channels(settings)
    if settings.data.encoding.startswith("onehot_integer"):
        onehot[:10, :, 4] = 0  # as for whole numbers in training
    expected = network(onehot).numpy()
    assert copy.output_shape == (None, 1)
    np.testing.assert_allclose(copy(onehot).numpy(), expected, rtol=1e-5, atol=2e-6)
    assert {type(layer).__module__.split(".")[0] for layer in copy.layers} == {"keras"}
    assert rescnn.count_trainable(copy) == rescnn.count_trainable(network)


def test_dropout_and_normalisation_are_those_of_the_recipe():
    settings = recipe.load("mini", ["model.dense_dropout=0.25"])
    copy = stock.build(rescnn.from_recipe(settings), settings)
    rates = [layer.rate for layer in copy.layers if isinstance(layer, keras.layers.Dropout)]
    blocks = [block.dropout for block in settings.model.blocks if block.dropout]
    assert rates == [*blocks, *[0.25] * len(settings.model.dense)]
    norms = [x for x in copy.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {(norm.momentum, norm.epsilon) for norm in norms} == {(0.9, 1e-5)}


def test_the_file_loads_and_trains_where_this_package_cannot_be_imported(tmp_path):
    settings = recipe.load("smoke", [*FLANKS, "data.encoding=onehot_integer"])
    network, path = trained_network(settings), tmp_path / "stock.keras"
    stock.save(network, path, settings)
    onehot = channels(settings)
    np.save(tmp_path / "onehot.npy", onehot)
    subprocess.run(
        [sys.executable, "-P", PROGRAMS / "stock_network.py", path, tmp_path],
        check=True,
        timeout=120,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd=tmp_path,
    )
    predictions = np.load(tmp_path / "predictions.npy")
    np.testing.assert_allclose(predictions, network(onehot).numpy(), rtol=1e-5, atol=2e-6)


def test_this_package_reads_the_file_too(tmp_path):
    settings = recipe.load("smoke")
    network = trained_network(settings)
    keras_file.save(network, tmp_path / "m.keras", settings)
    stock.save(network, tmp_path / "stock.keras", settings)
    letters = sequence.letters(["ACGTTGCATG" * 11, "GGGTTGCANN" * 11])
    original, copy = (inference.load(tmp_path / name) for name in ("m.keras", "stock.keras"))
    np.testing.assert_allclose(
        copy.predict_letters(letters), original.predict_letters(letters), atol=1e-5
    )
