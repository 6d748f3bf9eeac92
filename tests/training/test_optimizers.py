import keras
import numpy as np
import pytest

from camformer_tf import recipe
from camformer_tf.training import optimizers


def test_losses_are_those_of_the_original():
    # base/model_utils.py:43-52, Bornelov-lab/Camformer@feaa529: L1, MSE, Huber with delta 0.9
    y, p = np.float32([0, 0, 0, 5]), np.float32([0.5, -0.9, 2, 5])
    error = np.abs(y - p)
    assert np.asarray(optimizers.loss("l1")(y, p)) == pytest.approx(error)
    assert np.asarray(optimizers.loss("mse")(y, p)) == pytest.approx(error**2)
    huber = [0.5 * 0.25, 0.5 * 0.81, 0.9 * (2 - 0.45), 0]
    assert np.asarray(optimizers.loss("huber")(y, p)) == pytest.approx(huber)


def test_huber_agrees_with_keras():
    rng = np.random.default_rng(0)
    y, p = rng.normal(size=(2, 50)).astype(np.float32)
    expected = keras.losses.huber(y[:, None], p[:, None], delta=0.9)
    np.testing.assert_allclose(optimizers.loss("huber")(y, p), expected, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 1e-4, 1e-7, 1e-9])
def test_adamw_steps_are_those_of_pytorchs_formula(size):
    # torch.optim.AdamW, in float64: decoupled decay, epsilon added after the bias correction, which
    # shows where gradients are as small as epsilon (1e-8).
    rng = np.random.default_rng(0)
    value = rng.normal(size=20)
    variable = keras.Variable(value.astype(np.float32))
    optimizer = optimizers.build(recipe.TrainConfig())
    m = v = np.zeros(20)
    for step in range(1, 51):
        gradient = size * rng.normal(size=20)
        optimizer.apply([keras.ops.convert_to_tensor(gradient.astype(np.float32))], [variable])
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        value = value * (1 - 1e-3 * 1e-3)
        value -= 1e-3 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    # 50 roundings to float32 of values up to 2.4, each by at most half of 2.4e-7
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), value, atol=6e-6)


def test_lion_steps_are_those_of_lion_pytorchs_rule():
    # update_fn of lion_pytorch 0.1.2, in float64: decay, then the sign of the mixed gradient, then
    # the momentum. With these values the other order of decay and step is off by 0.005 a step.
    rng = np.random.default_rng(0)
    value, m = rng.normal(size=20), np.zeros(20)
    variable = keras.Variable(value.astype(np.float32))
    train = recipe.TrainConfig(optimizer="lion", learning_rate=0.1, weight_decay=0.5)
    optimizer = optimizers.build(train)
    for _ in range(50):
        gradient = rng.normal(size=20)
        optimizer.apply([keras.ops.convert_to_tensor(gradient.astype(np.float32))], [variable])
        value = value * (1 - 0.1 * 0.5)
        value -= 0.1 * np.sign(0.9 * m + 0.1 * gradient)
        m = 0.99 * m + 0.01 * gradient
    # 50 roundings to float32 of values up to 2.4, each by at most half of 2.4e-7
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), value, atol=6e-6)


def test_one_cycle_can_move_the_momentum_of_lion():
    train = recipe.TrainConfig(optimizer="lion", schedule="onecycle", learning_rate=0.1)
    optimizer = optimizers.build(train)
    variable = keras.Variable(np.zeros(1, np.float32))
    optimizer.apply([keras.ops.ones(1)], [variable])  # momentum 0.01
    optimizer.beta_1.assign(0.995)
    optimizer.apply([keras.ops.convert_to_tensor([-1.0])], [variable])  # 0.00995 - 0.005: still up
    # two steps down; with the beta_1 of 0.9 they would have cancelled (0.009 - 0.1: down)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), -0.2, rtol=1e-3)


def test_adamw_is_saved_and_loaded_with_a_model(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizers.build(recipe.TrainConfig(weight_decay=0.25)), "mse")
    model.save(tmp_path / "m.keras")
    loaded_model = keras.models.load_model(tmp_path / "m.keras")
    assert type(loaded_model.optimizer) is optimizers.AdamW
    assert (loaded_model.optimizer.weight_decay, loaded_model.optimizer.epsilon) == (0.25, 1e-8)


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_weight_decay_reaches_every_variable(name):
    train = recipe.TrainConfig(optimizer=name, weight_decay=0.5, learning_rate=0.1)
    optimizer = optimizers.build(train)
    variables = [
        keras.Variable(np.ones(2, np.float32), name=n) for n in ("bias", "gamma", "kernel")
    ]
    zero = keras.ops.zeros(2)
    optimizer.apply([zero] * 3, variables)
    for variable in variables:
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), 0.95, rtol=1e-6)
