import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from camformer_tf import errors, recipe
from camformer_tf.data import sequence
from camformer_tf.export import export
from camformer_tf.model import flanks, inference, keras_file, rescnn

BOTH_ENDS = recipe.FlanksConfig(cut_left=3, cut_right=13, add_left="ACGTN", add_right="GG")


def settings(config: recipe.FlanksConfig, encoding: str = "onehot") -> recipe.Recipe:
    return dataclasses.replace(
        recipe.load("smoke"),
        data=recipe.DataConfig(encoding=encoding),
        tricks=recipe.TricksConfig(flanks=config),
    )


@pytest.fixture(scope="module")
def promoters() -> list[str]:
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGTN", np.uint8), (20, 110))
    return sequence.text(letters)


@pytest.mark.parametrize("encoding", sequence.ENCODINGS)
@pytest.mark.parametrize(
    ("config", "start", "stop"),
    [
        (BOTH_ENDS, 3, 97),
        (recipe.FlanksConfig(cut_left=109), 109, 110),
        (recipe.FlanksConfig(add_right="TTT"), 0, 110),
    ],
    ids=["cut and added", "cut", "added"],
)
def test_the_layer_changes_channels_as_letters_are_changed(
    promoters, encoding, config, start, stop
):
    layer = flanks.layer(settings(config, encoding))
    texts = [config.add_left + row[start:stop] + config.add_right for row in promoters]
    outputs = layer(sequence.encode(promoters, encoding))
    np.testing.assert_array_equal(outputs, sequence.encode(texts, encoding))


@pytest.mark.parametrize("encoding", ["onehot_integer", "onehot_integer_purine"])
def test_added_letters_take_the_channel_of_whole_numbers_of_their_sequence(promoters, encoding):
    table = sequence.training_table(encoding)
    letters = sequence.letters(promoters).copy()
    letters[::2] |= sequence.INTEGER_BIT
    outputs = np.asarray(flanks.layer(settings(BOTH_ENDS, encoding))(table[letters]))
    assert (outputs[::2, :, 4] == 0).all() and (outputs[1::2, :, 4] == 1).all()


def test_a_recipe_without_flanks_has_no_layer():
    recipe_ = settings(recipe.FlanksConfig())
    assert flanks.layer(recipe_) is None
    assert [layer.name for layer in rescnn.from_recipe(recipe_).layers][:2] == ["onehot", "conv_1"]


def test_the_network_is_that_of_the_changed_sequences(promoters):
    recipe_ = settings(BOTH_ENDS)
    network, plain = rescnn.from_recipe(recipe_), rescnn.build(recipe_.model, length=101)
    assert [layer.name for layer in network.layers][:3] == ["onehot", "flanks", "conv_1"]
    plain.set_weights(network.get_weights())
    texts = ["ACGTN" + row[3:97] + "GG" for row in promoters]
    np.testing.assert_allclose(
        network(sequence.encode(promoters)), plain(sequence.encode(texts)), rtol=1e-5, atol=1e-6
    )


def test_a_saved_and_an_exported_model_have_the_flanks_inside(promoters, tmp_path):
    recipe_ = settings(BOTH_ENDS, "onehot_integer")
    network = rescnn.from_recipe(recipe_)
    keras_file.save(network, tmp_path / "m.keras", recipe_)
    expected = np.ravel(network(sequence.encode(promoters, "onehot_integer")))
    model = inference.load(tmp_path / "m.keras")
    np.testing.assert_allclose(
        model.predict_letters(sequence.letters(promoters)), expected, rtol=1e-5
    )
    saved_model = tf.saved_model.load(
        str(export.export([tmp_path / "m.keras"], tmp_path / "export"))
    )
    clean = [row.replace("N", "A") for row in promoters]
    answer = saved_model.signatures["serving_default"](sequence=tf.constant(clean))
    np.testing.assert_allclose(
        answer["expression"], model.predict_letters(sequence.letters(clean)), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            recipe.FlanksConfig(cut_left=60, cut_right=50),
            "leave nothing of a sequence of 110 letters",
        ),
        (recipe.FlanksConfig(add_left="ACU"), "add_left: expected letters ACGTN, found 'ACU'"),
        (recipe.FlanksConfig(add_right="a"), "add_right: expected letters ACGTN, found 'a'"),
    ],
)
def test_impossible_flanks_are_refused(config, message):
    with pytest.raises(errors.UserError, match=message):
        flanks.layer(settings(config))
