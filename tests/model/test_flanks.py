import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from camformer_tf import errors, recipe
from camformer_tf.data import sequence
from camformer_tf.export import export
from camformer_tf.model import flanks, inference, keras_file, rescnn

CUT_AND_ADDED = recipe.FlanksConfig(cut_left=3, cut_right=13, add_left="ACGTN", add_right="GG")


def settings(wanted: recipe.FlanksConfig, encoding: str = "onehot") -> recipe.Recipe:
    return dataclasses.replace(
        recipe.load("smoke"),
        data=recipe.DataConfig(encoding=encoding),
        tricks=recipe.TricksConfig(flanks=wanted),
    )


@pytest.fixture(scope="module")
def some() -> list[str]:
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGTN", np.uint8), (20, 110))
    return sequence.text(letters)


@pytest.mark.parametrize("encoding", sequence.ENCODINGS)
@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        (CUT_AND_ADDED, 3, 97),
        (recipe.FlanksConfig(cut_left=109), 109, 110),
        (recipe.FlanksConfig(add_right="TTT"), 0, 110),
    ],
    ids=["cut and added", "cut", "added"],
)
def test_the_layer_does_to_channels_what_is_done_to_letters(some, encoding, wanted, start, stop):
    layer = flanks.layer(settings(wanted, encoding))
    texts = [wanted.add_left + row[start:stop] + wanted.add_right for row in some]
    made = layer(sequence.encode(some, encoding))
    np.testing.assert_array_equal(made, sequence.encode(texts, encoding))


@pytest.mark.parametrize("encoding", ["onehot_integer", "onehot_integer_purine"])
def test_added_letters_have_the_channel_of_whole_numbers_of_their_sequence(some, encoding):
    table = sequence.training_table(encoding)
    letters = sequence.letters(some).copy()
    letters[::2] |= sequence.INTEGER_BIT
    made = np.asarray(flanks.layer(settings(CUT_AND_ADDED, encoding))(table[letters]))
    assert (made[::2, :, 4] == 0).all() and (made[1::2, :, 4] == 1).all()


def test_a_recipe_without_the_trick_has_no_layer():
    made = settings(recipe.FlanksConfig())
    assert flanks.layer(made) is None
    assert [layer.name for layer in rescnn.from_recipe(made).layers][:2] == ["onehot", "conv_1"]


def test_the_network_is_that_of_the_changed_sequences(some):
    made = settings(CUT_AND_ADDED)
    changed, plain = rescnn.from_recipe(made), rescnn.build(made.model, length=101)
    assert [layer.name for layer in changed.layers][:3] == ["onehot", "flanks", "conv_1"]
    plain.set_weights(changed.get_weights())
    texts = ["ACGTN" + row[3:97] + "GG" for row in some]
    np.testing.assert_allclose(
        changed(sequence.encode(some)), plain(sequence.encode(texts)), rtol=1e-5, atol=1e-6
    )


def test_a_saved_and_an_exported_model_have_the_flanks_inside(some, tmp_path):
    made = settings(CUT_AND_ADDED, "onehot_integer")
    model = rescnn.from_recipe(made)
    keras_file.save(model, tmp_path / "m.keras", made)
    expected = np.ravel(model(sequence.encode(some, "onehot_integer")))
    loaded = inference.load(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.predict_letters(sequence.letters(some)), expected, rtol=1e-5)
    served = tf.saved_model.load(str(export.export([tmp_path / "m.keras"], tmp_path / "export")))
    clean = [row.replace("N", "A") for row in some]
    answer = served.signatures["serving_default"](sequence=tf.constant(clean))
    np.testing.assert_allclose(
        answer["expression"], loaded.predict_letters(sequence.letters(clean)), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            recipe.FlanksConfig(cut_left=60, cut_right=50),
            "leave nothing of a sequence of 110 letters",
        ),
        (recipe.FlanksConfig(add_left="ACU"), "add_left: expected letters ACGTN, found 'ACU'"),
        (recipe.FlanksConfig(add_right="a"), "add_right: expected letters ACGTN, found 'a'"),
    ],
)
def test_flanks_that_cannot_be_are_refused(wanted, message):
    with pytest.raises(errors.UserError, match=message):
        flanks.layer(settings(wanted))
