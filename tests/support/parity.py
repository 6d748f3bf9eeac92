"""Our network beside PyTorch's with the same weights and sequences: by how much they differ.

`double` pairs compute in float64, where rounding hides nothing: what differs there is a formula.
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

    ours: keras.Model
    theirs: torch_model.Camformer
    settings: recipe.Recipe
    double: bool

    def batch(self, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns one-hot (size, L, C) and targets (size,), some beyond Huber's 0.9 on each side
        of what a fresh network predicts."""
        rng = np.random.default_rng(seed)
        letters = rng.choice(
            list("ACGTN"), (size, self.settings.data.length), p=[0.24] * 4 + [0.04]
        )
        x = sequence.encode(["".join(row) for row in letters], self.settings.data.encoding)
        y = rng.normal(0, 1.5, size).astype(np.float32)
        return (x.astype(np.float64), y.astype(np.float64)) if self.double else (x, y)


def pair(settings: recipe.Recipe, *, double: bool = False, seed: int = 0) -> Pair:
    """Returns the networks of a recipe with PyTorch's start. Running statistics are those of a
    batch, gamma and beta are drawn, so that none of them is 0 or 1 and outputs are about 1."""
    blocks = tuple(dataclasses.replace(block, dropout=0.0) for block in settings.model.blocks)
    model = dataclasses.replace(settings.model, blocks=blocks, dense_dropout=0.0)
    settings = dataclasses.replace(settings, model=model)
    channels, length = sequence.channels(settings.data.encoding), settings.data.length
    torch.manual_seed(seed)
    theirs = torch_model.Camformer(model, length=length, channels=channels)
    ours = rescnn.build(model, length=length, channels=channels)
    made = Pair(ours, theirs, settings, False)
    norms = [m for m in theirs.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0, 0.2)
        norm.momentum = 1.0
    with torch.no_grad():
        theirs(_torch(made.batch(16, seed)[0]))
    for norm in norms:
        norm.momentum = 0.1
    if double:
        made = Pair(_in_float64(ours), theirs.double(), settings, True)
    for layer, values in torch_import.weights(_state(theirs), made.ours).items():
        made.ours.get_layer(layer).set_weights(values)
    return made


def outputs(made: Pair, size: int, *, training: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Returns the predictions of a batch, ours and theirs; in training they move the statistics."""
    x, _ = made.batch(size, seed=1)
    made.theirs.train(training)
    with torch.no_grad():
        theirs = made.theirs(_torch(x)).numpy()
    made.theirs.train()
    return made.ours(x, training=training).numpy()[:, 0], theirs


def gradients(
    made: Pair, size: int, loss: str, *, seed: int = 2
) -> tuple[tuple[float, Arrays], tuple[float, Arrays]]:
    """Returns the loss and the gradients of a batch in training, ours and theirs."""
    x, y = made.batch(size, seed)
    with tf.GradientTape() as tape:
        ours = tf.reduce_mean(optimizers.loss(loss)(y, made.ours(x, training=True)[:, 0]))
    variables = made.ours.trainable_variables
    found = tape.gradient(ours, variables)
    made.theirs.zero_grad()
    theirs = TORCH_LOSSES[loss](made.theirs(_torch(x)), torch.tensor(y))
    theirs.backward()
    mine = {v.path: g.numpy() for v, g in zip(variables, found, strict=True)}
    state = {name: p.grad.numpy() for name, p in made.theirs.named_parameters()}
    mapped = _by_path(made, {**_state(made.theirs), **state})
    return (float(ours), mine), (theirs.item(), {path: mapped[path] for path in mine})


def steps(made: Pair, size: int, count: int) -> tuple[Arrays, Arrays]:
    """Trains both by the recipe's loss and AdamW; returns all variables, ours and theirs."""
    train = made.settings.train
    made.ours.optimizer = optimizers.build(train)
    loss = optimizers.loss(train.loss)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss(y, made.ours(x, training=True)[:, 0]))
        variables = made.ours.trainable_variables
        made.ours.optimizer.apply(tape.gradient(value, variables), variables)

    made.ours.optimizer.build(made.ours.trainable_variables)
    adamw = torch.optim.AdamW(
        made.theirs.parameters(),
        lr=float(np.float32(train.learning_rate)),  # Keras keeps it in float32
        weight_decay=float(np.float32(train.weight_decay)),
        betas=(0.9, 0.999),
        eps=1e-8,
    )
    for index in range(count):
        x, y = made.batch(size, seed=100 + index)
        step(tf.constant(x), tf.constant(y))
        adamw.zero_grad()
        TORCH_LOSSES[train.loss](made.theirs(_torch(x)), torch.tensor(y)).backward()
        adamw.step()
    return variables(made)


def variables(made: Pair) -> tuple[Arrays, Arrays]:
    """Returns all variables, ours and theirs, statistics included."""
    layers = made.ours.layers
    ours = {v.path: keras.ops.convert_to_numpy(v) for layer in layers for v in layer.weights}
    return ours, _by_path(made, _state(made.theirs))


def noise(path: str) -> bool:
    """Returns whether a variable's true gradient is 0: a bias before a normalisation, which takes
    it off again. Its gradient is rounding noise, and AdamW makes full steps of noise."""
    return path.startswith("conv_") and path.endswith("/bias")


def largest(ours: Arrays, theirs: Arrays) -> Arrays:
    """Returns the largest |difference| of each variable."""
    return {path: float(np.abs(ours[path] - value).max()) for path, value in theirs.items()}


def largest_of_layers(ours: Arrays, theirs: Arrays) -> Arrays:
    """Returns the largest |difference| in each layer, over the largest |value| in it."""
    found = {}
    for layer in {path.partition("/")[0] for path in theirs}:
        paths = [path for path in theirs if path.startswith(layer + "/")]
        difference = max(np.abs(ours[path] - theirs[path]).max() for path in paths)
        found[layer] = float(difference / max(np.abs(theirs[path]).max() for path in paths))
    return found


def as_biased(made: Pair, before: Arrays, after: Arrays, size: int, count: int) -> Arrays:
    """Returns PyTorch's variables after `count` batches, running variances as Keras has them.

    Both keep 0.9 of the variance and add 0.1 of the batch's; PyTorch's is the unbiased one,
    n / (n - 1) times the biased, n = batch times positions (torch.nn.BatchNorm2d).
    """
    found = dict(after)
    for path in after:
        if path.endswith("moving_variance"):
            n = size * made.ours.get_layer(path.partition("/")[0]).input.shape[1]
            kept = 0.9**count * before[path]
            found[path] = kept + (after[path] - kept) * (n - 1) / n
    return found


def _torch(x: np.ndarray) -> torch.Tensor:
    """one-hot (N, L, C) → (N, C, L, 1), as the originals read it."""
    return torch.tensor(x.transpose(0, 2, 1)[..., None])


def _state(network: torch.nn.Module) -> Arrays:
    return {name: value.detach().numpy() for name, value in network.state_dict().items()}


def _by_path(made: Pair, state: Arrays) -> Arrays:
    return {
        variable.path: value.copy()
        for layer, values in torch_import.weights(state, made.ours).items()
        for variable, value in zip(made.ours.get_layer(layer).weights, values, strict=True)
    }


def _in_float64(model: keras.Model) -> keras.Model:
    def clone(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": "float64"})

    return keras.models.clone_model(model, clone_function=clone)
