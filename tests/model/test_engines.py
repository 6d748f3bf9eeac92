"""What computes a model's predictions: networks of recipes, of users, and exports."""

import json

import keras
import numpy as np
import pytest

from camformer_tf import errors, exportdir, recipe
from camformer_tf.data import rows, rules, sequence
from camformer_tf.export import export
from camformer_tf.model import engines, keras_file, rescnn

SETTINGS = recipe.load("smoke", ["data.encoding=onehot_purine", "data.max_n=110"])
RULE = rules.Rule(max_n=110)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return rescnn.from_recipe(SETTINGS)


@pytest.fixture(scope="module")
def path(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.keras"
    keras_file.save(network, path, SETTINGS)
    return path


@pytest.fixture
def part() -> rows.Rows:
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGTN", np.uint8), (70, 110))
    raw = [text.encode() for text in sequence.text(letters)]
    return rows.from_sequences([*raw, b"ACGT"], None, RULE)


def test_a_row_that_cannot_be_read_is_nan_and_keeps_its_reason(path, part):
    engine = engines.load(path, 64, "float32")
    same_part, answer = engine.answer(part)
    assert same_part is part and part.reasons[-1].startswith("length 4")
    assert list(answer) == ["expression"] and answer["expression"].dtype == np.float32
    assert np.isnan(answer["expression"]).tolist() == [False] * 70 + [True]


def test_an_engine_says_what_it_is(path, network):
    engine = engines.load(path, 64, "float32")
    assert (engine.name, engine.rule, engine.encoding) == (str(path), RULE, "onehot_purine")
    assert engine.parameters == rescnn.count_trainable(network)


def test_bfloat16_predictions_are_those_of_float32_to_its_8_bits(path, part):
    exact, coarse = (
        engines.load(path, 64, precision).answer(part)[1]["expression"][:70]
        for precision in ("float32", "mixed_bfloat16")
    )
    difference = np.abs(coarse - exact).max()
    # Each of four layers rounds to 2^-9 of a value; the head mixes values of either sign.
    assert 0 < difference < 0.05 * np.abs(exact).max()


def test_a_users_network_predicts_as_it_is_in_float32_only(tmp_path, part):
    inputs = keras.Input((110, 5))
    outputs = keras.layers.Flatten()(keras.layers.GlobalAveragePooling1D()(inputs)[:, 4:])
    network = keras.Model(inputs, outputs)
    keras_file.save(network, tmp_path / "m.keras", SETTINGS, custom=True)
    engine = engines.load(tmp_path / "m.keras", 64, "float32")
    _, answer = engine.answer(part)
    purines = sequence.table("onehot_purine")[part.letters][:, :, 4].mean(axis=1)
    np.testing.assert_allclose(answer["expression"][:70], purines[:70], rtol=1e-5)
    with pytest.raises(errors.UserError, match="custom network predicts as it was built"):
        engines.load(tmp_path / "m.keras", 64, "mixed_bfloat16")


def test_an_export_answers_as_its_network_and_in_float32_only(path, part, tmp_path):
    version = export.export(path, tmp_path / "e")
    engine = engines.load(tmp_path / "e", 64, "float32")
    assert (engine.rule, engine.encoding, engine.name) == (RULE, "onehot_purine", str(version))
    _, answer = engine.answer(part)
    _, expected = engines.load(path, 64, "float32").answer(part)
    np.testing.assert_allclose(answer["expression"], expected["expression"], atol=1e-5)
    with pytest.raises(errors.UserError, match="predicts in float32, found --precision mixed_b"):
        engines.load(tmp_path / "e", 64, "mixed_bfloat16")
    (version / exportdir.MODEL_CARD).write_text(json.dumps({}))
    with pytest.raises(errors.UserError, match="cannot be read as a model card"):
        engines.load(version, 64, "float32")


def test_a_version_of_another_format_is_refused(tmp_path):
    card = tmp_path / "2" / exportdir.MODEL_CARD
    card.parent.mkdir(parents=True)
    card.write_text("{}")
    with pytest.raises(errors.UserError, match="the newest version is not a SavedModel"):
        engines.load(tmp_path, 64, "float32")
