import keras
import numpy as np
import pytest

from camformer_tf import errors, recipe, rundir
from camformer_tf.data import rows, rules, sequence
from camformer_tf.export import export, members
from camformer_tf.model import calibrations, keras_file, rescnn


def test_replicates_are_members_with_their_calibration(replicates):
    ensemble = members.load([replicates], None)
    assert [path.name for path in ensemble.paths] == ["seed-1", "seed-2", "seed-3"]
    assert isinstance(ensemble.calibration, calibrations.Calibration)
    model = ensemble.fold()
    assert model.outputs == ["expression", "spread", "lower", "upper"]
    assert (model.encoding, model.rule) == ("onehot", rules.Rule())


def test_a_folded_network_and_the_reference_predict_the_same(keras_path, promoters):
    ensemble = members.load([keras_path], None)
    (network,) = ensemble.fold().networks
    (reference,) = ensemble.reference_engines()
    part = rows.from_sequences([text.encode() for text in promoters], None, rules.Rule())
    _, answer = reference.answer(part)
    expression = network.predict(sequence.encode(promoters), verbose=0)[:, 0]
    np.testing.assert_allclose(expression, answer["expression"], atol=1e-5)


def test_a_single_model_has_no_calibration(replicates, keras_path):
    with pytest.raises(errors.UserError, match="found 3 models. Export them one by one"):
        members.load([replicates], None).single()
    assert members.load([keras_path], None).single().calibration is None


def test_members_of_another_encoding_or_rule_are_refused(keras_path, tmp_path):
    for change, message in (
        ("data.encoding=onehot_n", "its encoding is onehot_n, that of the first model is onehot"),
        ("data.max_n=5", "reads Rule.*Use them one by one"),
    ):
        settings = recipe.load("smoke", [change])
        keras_file.save(rescnn.from_recipe(settings), tmp_path / "other.keras", settings)
        with pytest.raises(errors.UserError, match=f"other.keras: {message}"):
            members.load([keras_path, tmp_path / "other.keras"], None)


def test_the_calibration_of_other_models_is_refused(replicates, keras_path):
    with pytest.raises(errors.UserError, match="other models than these 1"):
        members.load([keras_path], replicates / rundir.CALIBRATION)


def test_an_export_is_not_exported_again(keras_path, tmp_path):
    version_dir = export.export(keras_path, tmp_path / "e")
    for path in (version_dir, version_dir.parent):
        with pytest.raises(errors.UserError, match="is an export already"):
            members.load([path], None)


def test_a_custom_network_is_refused(tmp_path):
    inputs = keras.Input((110, 4))
    outputs = keras.layers.Dense(1)(keras.layers.Flatten()(inputs))
    settings = recipe.load("smoke")
    keras_file.save(keras.Model(inputs, outputs), tmp_path / "m.keras", settings, custom=True)
    with pytest.raises(errors.UserError, match=r"m\.keras: a custom network"):
        members.load([tmp_path / "m.keras"], None)
