import zipfile

import keras
import numpy as np
import pytest

from camformer_tf import errors, recipe, rundir
from camformer_tf.data import sequence
from camformer_tf.model import inference, keras_file, predictors, rescnn

PRECISIONS = ("float32", "mixed_bfloat16")
SETTINGS = recipe.load("smoke", ["data.encoding=onehot_purine"])


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return rescnn.build(SETTINGS.model, channels=5)


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.keras"
    keras_file.save(network, path, SETTINGS)
    return path


@pytest.fixture
def letters() -> np.ndarray:
    return np.random.default_rng(0).choice(np.frombuffer(b"ACGTN", np.uint8), (70, 110))


def test_predictions_are_those_of_keras_on_the_encoded_sequences(network, letters):
    expected = network.predict(sequence.encode(sequence.text(letters), "onehot_purine"), verbose=0)
    ours = predictors.plain(network, "onehot_purine")(letters)
    assert ours.dtype == np.float32 and ours.shape == (70,)
    np.testing.assert_allclose(ours, expected[:, 0], atol=1e-6)  # another batch size


@pytest.mark.parametrize("batch_size", [1, 64, 70, 1000])
def test_predictions_hardly_depend_on_the_batch_size(network, letters, batch_size):
    whole = predictors.plain(network, "onehot_purine", 35)(letters)
    parts = predictors.plain(network, "onehot_purine", batch_size)(letters)
    # float32 sums in another order: 5e-7 seen between batches of 1 and 256
    np.testing.assert_allclose(parts, whole, atol=2e-6)


def test_no_sequence_gives_no_prediction(network):
    assert predictors.plain(network, "onehot_purine")(np.empty((0, 110), np.uint8)).size == 0


def test_a_saved_model_carries_its_recipe_and_loads_in_plain_keras(saved, network, letters):
    assert keras_file.load(saved).settings == SETTINGS
    assert recipe.parse(zipfile.ZipFile(saved).read("recipe.yaml").decode(), source="") == SETTINGS
    plain = keras.models.load_model(saved)
    for a, b in zip(plain.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bfloat16_predictions_are_those_of_float32_to_its_8_bits(saved, letters):
    exact, coarse = (
        inference.load(saved, batch_size=64, precision=p).predict_letters(letters)
        for p in PRECISIONS
    )
    difference = np.abs(coarse - exact).max()
    # Each of four layers rounds to 2^-9 of a value; the head mixes values of either sign.
    assert 0 < difference < 0.05 * np.abs(exact).max()


def test_an_export_predicts_in_float32_only(saved, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    with pytest.raises(errors.UserError, match="predicts in float32, found --precision mixed_b"):
        inference.load(tmp_path, precision="mixed_bfloat16")


def test_saving_again_replaces_the_file_and_leaves_no_other(network, tmp_path):
    for _ in range(2):
        keras_file.save(network, tmp_path / "m.keras", SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]


def test_a_run_of_replicates_is_its_models_and_all_must_be_finished(saved, tmp_path):
    for seed in (42, 7):
        folder = tmp_path / "many" / rundir.replicate(seed)
        folder.mkdir(parents=True)
        (folder / rundir.RECIPE).touch()
        (folder / rundir.RUN).touch()
    assert [path.name for path in inference.member_paths([tmp_path / "many", saved])] == [
        "seed-42", "seed-7", saved.name
    ]  # fmt: skip
    (tmp_path / "many" / "seed-7" / rundir.RUN).unlink()
    with pytest.raises(errors.UserError, match="many: not finished: seed-7"):
        inference.member_paths([tmp_path / "many"])


def test_models_that_read_other_sequences_do_not_go_together(saved, tmp_path):
    settings = recipe.load("smoke", ["data.encoding=onehot_purine", "data.max_n=1"])
    keras_file.save(rescnn.build(settings.model, channels=5), tmp_path / "b.keras", settings)
    with pytest.raises(errors.UserError, match="b.keras: reads Rule.*Use them one by one"):
        inference.load([saved, tmp_path / "b.keras"])
