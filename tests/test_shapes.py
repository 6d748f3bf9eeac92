"""Sizes of networks by arithmetic: counted by hand, and as Keras builds them."""

import pytest

from camformer_tf import errors, recipe, shapes
from camformer_tf.data import sequence
from camformer_tf.model import rescnn

TINY = recipe.parse(
    """
    data: {length: 10, encoding: onehot_purine}
    model:
      residual: false
      padding: 1
      blocks: [{filters: 2, kernel: 4, pool: {size: 3, stride: 2}}, {filters: 3, kernel: 2}]
      dense: [7]
    """,
    source="tiny",
)


def test_a_tiny_network_is_counted_by_hand():
    # 10 + 2 - 4 + 1 = 9 positions, pooled (9 - 3) // 2 + 1 = 4; then 4 + 2 - 2 + 1 = 5.
    sizes = shapes.layer_sizes(TINY.model, 10, 5)
    counts = [(size.positions, size.inputs, size.outputs, size.pooled_positions) for size in sizes]
    assert counts == [(9, 20, 2, 4), (5, 4, 3, None), (1, 15, 7, None), (1, 7, 1, None)]
    flop = 2 * 9 * 20 * 2 + 2 * 5 * 4 * 3 + 2 * 15 * 7 + 2 * 7
    assert shapes.flop(TINY.model, 10, 5) == flop == 1064
    parameters = (20 + 3) * 2 + (4 + 3) * 3 + (15 + 1) * 7 + (7 + 1)
    assert shapes.parameters(TINY.model, 10, 5) == parameters == 187


@pytest.mark.parametrize("name", [*recipe.shipped_files(), "grid-270/100"])
def test_parameters_are_those_of_the_network_that_keras_builds(name):
    settings = recipe.load(name)
    network = rescnn.from_recipe(settings)
    count = shapes.parameters(settings.model, *shapes.input_shape(settings))
    assert count == rescnn.count_trainable(network)
    assert settings.expect.parameters in (None, count)


def test_flanks_change_the_length_of_what_the_network_reads():
    settings = recipe.load(
        "smoke",
        ["tricks.flanks.cut_left=3", "tricks.flanks.add_right=ACGTA", "data.encoding=onehot_n"],
    )
    assert shapes.input_shape(settings) == (112, 4)
    network = rescnn.from_recipe(settings)
    count = shapes.parameters(settings.model, 112, 4)
    assert count == rescnn.count_trainable(network)


def test_channels_are_those_of_the_encodings():
    assert {name: sequence.channels(name) for name in sequence.ENCODINGS} == shapes.CHANNELS


def test_layers_that_do_not_go_together_are_refused():
    with pytest.raises(errors.UserError, match="nothing is left of the sequence"):
        shapes.parameters(TINY.model, 1, 5)
    alone = recipe.ModelConfig(blocks=TINY.model.blocks[:1])
    with pytest.raises(errors.UserError, match="residual blocks come in pairs, found 1"):
        shapes.flop(alone, 110, 4)
