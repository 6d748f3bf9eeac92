"""The network in Keras and in PyTorch with the same weights: by how much they differ.

Double pairs compute in float64, where rounding hides nothing: a difference is one of formulas.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf
import torch

from camformer_tf import recipe
from camformer_tf.data import sequence
from camformer_tf.model import rescnn, torch_import
from camformer_tf.training import optimizers
from support import torch_model

TORCH_LOSSES = {
    "l1": torch.nn.L1Loss(),
    "mse": torch.nn.MSELoss(),
    "huber": torch.nn.HuberLoss(delta=0.9),
}
Arrays = dict[str, np.ndarray]  # path of our variable ("conv_1/kernel") → array


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two networks of one recipe without dropout, and how to draw batches for them."""

    keras_network: keras.Model
    torch_network: torch_model.Camformer
    settings: recipe.Recipe
    is_double: bool

    def batch(self, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns one-hot (size, L, C) and targets (size,), some beyond Huber's 0.9 on each side
        of what a fresh network predicts."""
        rng = np.random.default_rng(seed)
        letters = rng.choice(
            list("ACGTN"), (size, self.settings.data.length), p=[0.24] * 4 + [0.04]
        )
        x = sequence.encode(["".join(row) for row in letters], self.settings.data.encoding)
        y = rng.normal(0, 1.5, size).astype(np.float32)
        return (x.astype(np.float64), y.astype(np.float64)) if self.is_double else (x, y)


def build_pair(settings: recipe.Recipe, *, is_double: bool = False, seed: int = 0) -> Pair:
    """Returns the networks of a recipe with PyTorch's start. Running statistics are those of a
    batch, gamma and beta are drawn, so that none of them is 0 or 1 and outputs are about 1."""
    blocks = tuple(dataclasses.replace(block, dropout=0.0) for block in settings.model.blocks)
    model = dataclasses.replace(settings.model, blocks=blocks, dense_dropout=0.0)
    settings = dataclasses.replace(settings, model=model)
    channels, length = sequence.channels(settings.data.encoding), settings.data.length
    torch.manual_seed(seed)
    torch_network = torch_model.Camformer(model, length=length, channels=channels)
    network = rescnn.build(model, length=length, channels=channels)
    networks = Pair(network, torch_network, settings, False)
    norms = [m for m in torch_network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0, 0.2)
        norm.momentum = 1.0
    with torch.no_grad():
        torch_network(_torch(networks.batch(16, seed)[0]))
    for norm in norms:
        norm.momentum = 0.1
    if is_double:
        networks = Pair(_in_float64(network), torch_network.double(), settings, True)
    for layer, values in torch_import.weights(
        _state(torch_network), networks.keras_network
    ).items():
        networks.keras_network.get_layer(layer).set_weights(values)
    return networks


def outputs(networks: Pair, size: int, *, training: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Returns the predictions of a batch, of Keras and PyTorch; training moves statistics."""
    x, _ = networks.batch(size, seed=1)
    networks.torch_network.train(training)
    with torch.no_grad():
        expected = networks.torch_network(_torch(x)).numpy()
    networks.torch_network.train()
    return networks.keras_network(x, training=training).numpy()[:, 0], expected


def gradients(
    networks: Pair, size: int, loss: str, *, seed: int = 2
) -> tuple[tuple[float, Arrays], tuple[float, Arrays]]:
    """Returns the loss and the gradients of a batch in training, of Keras and PyTorch."""
    x, y = networks.batch(size, seed)
    with tf.GradientTape() as tape:
        keras_loss = tf.reduce_mean(
            optimizers.loss(loss)(y, networks.keras_network(x, training=True)[:, 0])
        )
    variables = networks.keras_network.trainable_variables
    gradients_ = tape.gradient(keras_loss, variables)
    networks.torch_network.zero_grad()
    torch_loss = TORCH_LOSSES[loss](networks.torch_network(_torch(x)), torch.tensor(y))
    torch_loss.backward()
    keras_gradients = {v.path: g.numpy() for v, g in zip(variables, gradients_, strict=True)}
    state = {name: p.grad.numpy() for name, p in networks.torch_network.named_parameters()}
    torch_gradients = _by_path(networks, {**_state(networks.torch_network), **state})
    selection = {path: torch_gradients[path] for path in keras_gradients}
    return (float(keras_loss), keras_gradients), (torch_loss.item(), selection)


def steps(networks: Pair, size: int, count: int) -> tuple[Arrays, Arrays]:
    """Trains both by the recipe's loss and AdamW; returns all variables, of Keras and PyTorch."""
    train = networks.settings.train
    networks.keras_network.optimizer = optimizers.build(train)
    loss = optimizers.loss(train.loss)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss(y, networks.keras_network(x, training=True)[:, 0]))
        variables = networks.keras_network.trainable_variables
        networks.keras_network.optimizer.apply(tape.gradient(value, variables), variables)

    networks.keras_network.optimizer.build(networks.keras_network.trainable_variables)
    adamw = torch.optim.AdamW(
        networks.torch_network.parameters(),
        lr=float(np.float32(train.learning_rate)),  # Keras keeps it in float32
        weight_decay=float(np.float32(train.weight_decay)),
        betas=(0.9, 0.999),
        eps=1e-8,
    )
    for index in range(count):
        x, y = networks.batch(size, seed=100 + index)
        step(tf.constant(x), tf.constant(y))
        adamw.zero_grad()
        TORCH_LOSSES[train.loss](networks.torch_network(_torch(x)), torch.tensor(y)).backward()
        adamw.step()
    return variables(networks)


def variables(networks: Pair) -> tuple[Arrays, Arrays]:
    """Returns all variables, of Keras and PyTorch, statistics included."""
    layers = networks.keras_network.layers
    keras_variables = {
        v.path: keras.ops.convert_to_numpy(v) for layer in layers for v in layer.weights
    }
    return keras_variables, _by_path(networks, _state(networks.torch_network))


def noise(path: str) -> bool:
    """Returns whether a variable's true gradient is 0: a bias before a normalisation, which takes
    it off again. Its gradient is rounding noise, and AdamW makes full steps of noise."""
    return path.startswith("conv_") and path.endswith("/bias")


def largest(actual: Arrays, expected: Arrays) -> Arrays:
    """Returns the largest |difference| of each variable."""
    return {path: float(np.abs(actual[path] - value).max()) for path, value in expected.items()}


def largest_by_layer(actual: Arrays, expected: Arrays) -> Arrays:
    """Returns the largest |difference| in each layer, over the largest |value| in it."""
    ratios = {}
    for layer in {path.partition("/")[0] for path in expected}:
        paths = [path for path in expected if path.startswith(layer + "/")]
        difference = max(np.abs(actual[path] - expected[path]).max() for path in paths)
        ratios[layer] = float(difference / max(np.abs(expected[path]).max() for path in paths))
    return ratios


def with_biased_variances(
    networks: Pair, start: Arrays, end: Arrays, size: int, count: int
) -> Arrays:
    """Returns PyTorch's variables after `count` batches, running variances as Keras has them.

    Both keep 0.9 of the variance and add 0.1 of the batch's; PyTorch's is the unbiased one,
    n / (n - 1) times the biased, n = batch times positions (torch.nn.BatchNorm2d).
    """
    variables_ = dict(end)
    for path in end:
        if path.endswith("moving_variance"):
            n = size * networks.keras_network.get_layer(path.partition("/")[0]).input.shape[1]
            decayed_start = 0.9**count * start[path]
            variables_[path] = decayed_start + (end[path] - decayed_start) * (n - 1) / n
    return variables_


def _torch(x: np.ndarray) -> torch.Tensor:
    """one-hot (N, L, C) → (N, C, L, 1), as the originals read it."""
    return torch.tensor(x.transpose(0, 2, 1)[..., None])


def _state(network: torch.nn.Module) -> Arrays:
    return {name: value.detach().numpy() for name, value in network.state_dict().items()}


def _by_path(networks: Pair, state: Arrays) -> Arrays:
    return {
        variable.path: value.copy()
        for layer, values in torch_import.weights(state, networks.keras_network).items()
        for variable, value in zip(
            networks.keras_network.get_layer(layer).weights, values, strict=True
        )
    }


def _in_float64(model: keras.Model) -> keras.Model:
    def clone(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": "float64"})

    return keras.models.clone_model(model, clone_function=clone)
