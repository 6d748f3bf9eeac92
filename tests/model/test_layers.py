import keras
import numpy as np
import pytest
import tensorflow as tf

from camformer_tf import recipe
from camformer_tf.model import layers, rescnn


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _run(layer: keras.Layer, x: np.ndarray, upstream: np.ndarray, **options) -> list[np.ndarray]:
    """Returns output and gradients of x and of all variables, as a graph computes them."""
    x = tf.cast(x, layer.compute_dtype)

    @tf.function
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, **options)
            total = tf.reduce_sum(tf.cast(y, tf.float32) * upstream)
        return [y, *tape.gradient(total, [x, *layer.trainable_variables])]

    return [tf.cast(value, tf.float32).numpy() for value in run(x)]


def _close(actual: list[np.ndarray], expected: list[np.ndarray], part: float) -> None:
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=part * np.abs(b).max())


# === Convolution ===


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("shape", [(3, 110, 5), (130, 70, 3), (2, 65, 4)])
def test_the_kernel_gradient_as_a_convolution_is_the_true_one(padding, shape):
    # More examples than a group, lengths that pieces do not divide, an even kernel.
    x, kernel = tf.constant(_normal(*shape)[:, None]), tf.constant(_normal(1, 10, shape[2], 7))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, kernel])
        plain = tf.nn.conv2d(x, kernel, 1, padding.upper())
        actual = layers._with_convolved_gradient(x, kernel, padding.upper())
        upstream = tf.constant(_normal(*plain.shape, seed=1))
        totals = [tf.reduce_sum(value * upstream) for value in (actual, plain)]
    # float32 sums of up to 130 x 70 products in another order
    _close(*([g.numpy() for g in tape.gradient(t, [x, kernel])] for t in totals), 1e-5)
    np.testing.assert_array_equal(actual, plain)


def test_large_kernels_in_bfloat16_use_that_gradient_and_agree_with_float32():
    # original's and mini's largest, and not small's
    assert 6 * 384 * 256 >= layers._LARGE_KERNEL > 5 * 256 * 256
    x, results = _normal(2, 30, 512), {}
    for dtype in ("float32", "mixed_bfloat16"):
        start = keras.initializers.RandomUniform(-0.02, 0.02, seed=1)
        layer = layers.Conv1D(512, 10, padding="same", kernel_initializer=start, dtype=dtype)
        layer.build((None, 30, 512))
        results[dtype] = _run(layer, x, _normal(2, 30, 512, seed=2))
    # bfloat16 keeps 8 bits: 4e-3 of the largest value, input and result rounded
    _close(results["mixed_bfloat16"], results["float32"], 2e-2)


def test_large_kernels_train_in_batches_of_unknown_size():
    layer = layers.Conv1D(512, 10, padding="same", dtype="mixed_bfloat16")
    layer.build((None, 12, 512))

    @tf.function(input_signature=[tf.TensorSpec([None, 12, 512], tf.bfloat16)])
    def gradient(x):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(layer(x))
        return tape.gradient(total, layer.trainable_variables)[0]

    assert np.abs(gradient(tf.ones((3, 12, 512), tf.bfloat16))).max() > 0


def test_the_bias_before_a_normalisation_gets_the_gradient_0_exactly():
    layer = layers.Conv1D(6, 3, padding="same")
    layer.build((None, 20, 4))
    *_, bias_gradient = _run(layer, _normal(5, 20, 4), _normal(5, 20, 6))
    np.testing.assert_array_equal(bias_gradient, np.zeros(6))


def test_convolution_with_activation_is_that_of_keras():
    one_operation, plain = (
        kind(6, 4, padding="same", activation="relu", bias_initializer="random_normal")
        for kind in (layers.Conv1D, keras.layers.Conv1D)
    )
    x = _normal(5, 20, 4)
    for layer in (one_operation, plain):
        layer.build(x.shape)
    plain.set_weights(one_operation.get_weights())
    np.testing.assert_allclose(one_operation(x), plain(x), atol=1e-6)


# === Normalisation ===


@pytest.mark.parametrize(("dtype", "part"), [("float32", 1e-5), ("mixed_bfloat16", 1e-2)])
def test_normalisation_trains_as_that_of_keras(dtype, part):
    options = {"momentum": 0.9, "epsilon": 1e-5, "dtype": dtype}
    x = _normal(16, 30, 8) * 3 + 2
    pair = layers.BatchNormalization(**options), keras.layers.BatchNormalization(**options)
    start = [_normal(8, seed=i) for i in range(3)] + [np.abs(_normal(8, seed=4))]
    results = []
    for layer in pair:
        layer.build(x.shape)
        layer.set_weights(start)
        results.append(_run(layer, x, _normal(16, 30, 8, seed=5), training=True))
    _close(*results, part)
    _close(pair[0].get_weights(), pair[1].get_weights(), part)  # moving statistics too


def test_frozen_normalisation_uses_and_keeps_its_moving_statistics():
    layer = layers.BatchNormalization(dtype="mixed_bfloat16", trainable=False, epsilon=0.0)
    x = tf.cast(_normal(5, 6, 4) + 3, tf.bfloat16)
    np.testing.assert_array_equal(layer(x, training=True), layer(x))
    np.testing.assert_array_equal(layer.get_weights()[2], np.zeros(4))


def test_normalisation_in_float64_is_computed_in_it():
    layer = layers.BatchNormalization(dtype="float64", epsilon=0.0)
    y = layer(np.random.default_rng(0).normal(size=(50, 4, 3)), training=True).numpy()
    np.testing.assert_allclose(y.mean((0, 1)), 0, atol=1e-14)
    np.testing.assert_allclose(y.std((0, 1)), 1, atol=1e-14)


# === Dropout ===


def test_dropout_keeps_its_part_and_the_mean():
    values = layers.Dropout(0.3, seed=1)(
        np.ones((100, 100, 100), np.float32), training=True
    ).numpy()
    assert set(np.unique(values)) == {np.float32(0), np.float32(1 / 0.7)}
    # a million draws: standard deviation 4.6e-4
    assert abs((values == 0).mean() - 0.3) < 0.002


def test_dropout_masks_are_independent_across_positions_calls_and_seeds():
    x = np.ones((200, 50, 20), np.float32)
    layer = layers.Dropout(0.5, seed=1)
    masks = [layer(x, training=True).numpy() > 0 for _ in range(2)]
    masks.append(layers.Dropout(0.5, seed=2)(x, training=True).numpy() > 0)
    shifts = [np.roll(masks[0], 1, axis) for axis in range(3)]
    for mask in masks[1:] + shifts:
        # 200,000 pairs: standard deviation 1.1e-3
        assert abs((masks[0] == mask).mean() - 0.5) < 0.006
    for axes in ((0, 1), (1, 2), (0, 2)):  # no position is dropped more often than others
        count = masks[0].size // masks[0].mean(axes).size
        assert np.abs(masks[0].mean(axes) - 0.5).max() < 5 * 0.5 / count**0.5


def test_dropout_gradient_has_the_mask_of_its_output():
    layer = layers.Dropout(0.4, seed=3)
    y, x_gradient = _run(layer, np.ones((7, 20, 6), np.float32), np.ones((7, 20, 6)), training=True)
    np.testing.assert_array_equal(y, x_gradient)


def test_dropout_without_xla_draws_the_same():
    x, seed = tf.ones((5, 11, 3)), tf.constant([4, 9], tf.uint32)
    arguments = x, None, seed, tf.constant(1 << 30, tf.uint32), tf.constant(1.5)
    plain = layers._mask.python_function(*arguments)
    np.testing.assert_array_equal(layers._mask(*arguments), plain)


def test_dropout_does_nothing_in_evaluation():
    x = _normal(2, 5, 3)
    np.testing.assert_array_equal(layers.Dropout(0.5)(x), x)
    np.testing.assert_array_equal(layers.ReLUDropout(0.5)(x), np.maximum(x, 0))


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_relu_with_dropout_is_relu_and_then_dropout(dtype):
    x, upstream = _normal(4, 30, 6), _normal(4, 30, 6, seed=1)
    outputs = _run(layers.ReLUDropout(0.4, seed=3, dtype=dtype), x, upstream, training=True)
    dropout = layers.Dropout(0.4, seed=3, dtype=dtype)
    y, x_gradient = _run(dropout, np.maximum(x, 0), upstream, training=True)
    np.testing.assert_array_equal(outputs[0], y)
    np.testing.assert_array_equal(outputs[1], np.where(x > 0, x_gradient, 0))


def test_relu_with_dropout_keeps_nan():
    y = layers.ReLUDropout(0.1, seed=3)(np.full((5, 5), np.nan, np.float32), training=True)
    assert np.isnan(y).sum() > 10  # so that divergence of a training shows


# === The whole network ===


@pytest.mark.parametrize("name", ["smoke", "mini", "small"])
def test_a_folded_network_predicts_what_the_trained_one_does(name):
    settings = recipe.load(name)
    network, folded_network = (
        rescnn.from_recipe(settings),
        rescnn.from_recipe(settings, is_folded=True),
    )
    for i, layer in enumerate(network.layers):
        if isinstance(layer, keras.layers.BatchNormalization):
            values = (value.shape for value in layer.get_weights())
            layer.set_weights([np.abs(_normal(*v, seed=i)) + 0.5 for v in values])
    rescnn.fold(network, folded_network)
    x = _normal(4, *network.input_shape[1:])
    expected = network(x).numpy()
    # float32: the same sums, rounded at other places
    np.testing.assert_allclose(folded_network(x), expected, atol=1e-5 * np.abs(expected).max())
    assert not any(
        "norm" in layer.name or "dropout" in layer.name for layer in folded_network.layers
    )
