"""The .keras file: what is in it, what is not, and networks of a user's own."""

import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

from camformer_tf import errors, recipe, rundir
from camformer_tf.model import keras_file, rescnn

SETTINGS = recipe.load("smoke", ["data.encoding=onehot_purine"])


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return rescnn.from_recipe(SETTINGS)


@pytest.fixture(scope="module")
def path(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.keras"
    keras_file.save(network, path, SETTINGS)
    return path


def own_network() -> keras.Model:
    inputs = keras.Input((110, 5))
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Conv1D(3, 4)(inputs))
    return keras.Model(inputs, keras.layers.Dense(1)(x), name="own")


def test_a_file_has_its_recipe_and_loads_in_plain_keras(path, network):
    file = keras_file.load(path)
    assert file.settings == SETTINGS and not file.is_custom
    text = zipfile.ZipFile(path).read("recipe.yaml").decode()
    assert recipe.parse(text, source="") == SETTINGS
    for copy in (keras.models.load_model(path), file.network):
        for a, b in zip(copy.get_weights(), network.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_file_has_neither_optimiser_nor_compile_configuration_and_training_continues(tmp_path):
    network = own_network()
    network.compile("adam", "mse")
    x, y = np.ones((8, 110, 5), np.float32), np.ones(8, np.float32)
    network.fit(x, y, verbose=0)
    optimizer, weights = network.optimizer, network.get_weights()
    keras_file.save(network, tmp_path / "m.keras", SETTINGS, custom=True)
    archive = zipfile.ZipFile(tmp_path / "m.keras")
    assert not json.loads(archive.read("config.json")).get("compile_config")
    with archive.open("model.weights.h5") as file, h5py.File(file) as contents:
        assert "optimizer" not in contents
        items = []
        contents.visititems(lambda _, item: items.append(item))
        size = sum(item.nbytes for item in items if isinstance(item, h5py.Dataset))
    assert size <= 4 * (rescnn.count_trainable(network) + 8)  # the loss has a tracker
    assert network.optimizer is optimizer and network.compiled
    network.fit(x, y, verbose=0)
    assert not np.array_equal(network.get_weights()[0], weights[0])


def test_a_network_of_a_users_own_is_loaded_as_it_was_saved(tmp_path):
    network = own_network()
    keras_file.save(network, tmp_path / "m.keras", SETTINGS, custom=True)
    file = keras_file.load(tmp_path / "m.keras")
    assert file.is_custom and file.network.name == "own" and file.settings == SETTINGS
    for a, b in zip(file.network.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class Unknown(keras.layers.Layer):
    """A layer that is not registered with Keras."""

    def call(self, x):
        return x


def test_layers_that_keras_does_not_know_are_named_with_advice(tmp_path):
    inputs = keras.Input((110, 5))
    outputs = keras.layers.Dense(1)(keras.layers.Flatten()(Unknown()(inputs)))
    keras_file.save(keras.Model(inputs, outputs), tmp_path / "m.keras", SETTINGS, custom=True)
    with pytest.raises(errors.UserError, match="(?s)Unknown.*Import the module that registers"):
        keras_file.load(tmp_path / "m.keras")


def test_saving_again_replaces_the_file_and_leaves_no_other(network, tmp_path):
    for _ in range(2):
        keras_file.save(network, tmp_path / "m.keras", SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]
    with pytest.raises(errors.UserError, match="exists already"):
        keras_file.save(network, tmp_path / "m.keras", SETTINGS, overwrite=False)


def test_what_is_not_a_model_is_refused(tmp_path):
    (tmp_path / "text.keras").write_text("ACGT")
    keras.Sequential([keras.Input((2,))]).save(tmp_path / "plain.keras")
    for name, message in {
        "absent": "absent: no such file or directory",
        ".": f"there is no {rundir.BEST} in it",
        "text.keras": "not a model of camformer_tf",
        "plain.keras": "not a model of camformer_tf .*recipe.yaml",
    }.items():
        with pytest.raises(errors.UserError, match=message):
            keras_file.load(tmp_path / name)
