"""Networks as functions of letters."""

import keras
import numpy as np
import pytest

from camformer_tf import recipe
from camformer_tf.data import sequence
from camformer_tf.model import predictors, rescnn

SETTINGS = recipe.load("smoke", ["data.encoding=onehot_purine"])


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return rescnn.from_recipe(SETTINGS)


@pytest.fixture
def letters() -> np.ndarray:
    return np.random.default_rng(0).choice(np.frombuffer(b"ACGTN", np.uint8), (70, 110))


def test_predictions_are_those_of_keras_on_the_encoded_sequences(network, letters):
    expected = network.predict(sequence.encode(sequence.text(letters), "onehot_purine"), verbose=0)
    predictions = predictors.plain(network, "onehot_purine")(letters)
    assert predictions.dtype == np.float32 and predictions.shape == (70,)
    np.testing.assert_allclose(predictions, expected[:, 0], atol=1e-6)  # another batch size


@pytest.mark.parametrize("batch_size", [1, 64, 70, 1000])
def test_predictions_hardly_depend_on_the_batch_size(network, letters, batch_size):
    expected = predictors.plain(network, "onehot_purine", 35)(letters)
    predictions = predictors.plain(network, "onehot_purine", batch_size)(letters)
    # float32 sums in another order: 5e-7 seen between batches of 1 and 256
    np.testing.assert_allclose(predictions, expected, atol=2e-6)


def test_no_sequence_gives_no_prediction(network):
    assert predictors.plain(network, "onehot_purine")(np.empty((0, 110), np.uint8)).size == 0


def test_a_folding_predictor_follows_the_weights_and_a_snapshot_does_not(network, letters):
    folding = predictors.folding(network, SETTINGS)
    snapshot = predictors.snapshot(network, SETTINGS, "float32", 64)
    first = folding(letters)
    np.testing.assert_allclose(snapshot(letters), first, atol=2e-6)
    network.get_layer("expression").bias.assign_add([1.0])
    np.testing.assert_allclose(folding(letters), first + 1, atol=2e-6)
    np.testing.assert_allclose(snapshot(letters), first, atol=2e-6)
