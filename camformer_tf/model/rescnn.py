"""The residual CNN, a Keras functional model built from a recipe.

Layer names are the checkpoint's contract: flanks where the recipe changes them; pad_I, conv_I,
norm_I, pool_I, relu_I (relu_dropout_I with dropout) and add_I for block I (counted from 1);
flatten, dense_J, dense_relu_J and dense_dropout_J for the head's layer J; and expression for the
last.
"""

from __future__ import annotations

import math

import keras
import numpy as np

from camformer_tf import recipe, shapes
from camformer_tf.data import sequence
from camformer_tf.model import flanks, layers

# PyTorch's BatchNorm momentum of 0.1 is 0.9 in Keras; epsilon is PyTorch's default.
# Source: base/model.py:36-52, Bornelov-lab/Camformer@feaa529 (nn.BatchNorm2d with its defaults).
_NORM_MOMENTUM = 0.9
_NORM_EPSILON = 1e-5


def from_recipe(
    settings: recipe.Recipe, dtype: str = "float32", *, is_folded: bool = False
) -> keras.Model:
    """Returns the network of a recipe: float32 (B, data.length, channels) → float32 (B, 1).

    Args:
        settings: the recipe.
        dtype: the policy of the blocks.
        is_folded: see `build`.

    Raises:
        errors.UserError: layers or flanks that do not go together.
    """
    return build(
        settings.model,
        length=settings.data.length,
        channels=sequence.channels(settings.data.encoding),
        seed=settings.train.seed,
        dtype=dtype,
        flanking=flanks.layer(settings),
        is_folded=is_folded,
    )


def build(
    config: recipe.ModelConfig,
    *,
    length: int = recipe.DataConfig.length,
    channels: int = 4,
    seed: int = recipe.TrainConfig.seed,
    dtype: str = "float32",
    flanking: flanks.Flanks | None = None,
    is_folded: bool = False,
) -> keras.Model:
    """Returns the network: float32 (B, length, channels) → float32 (B, 1).

    Source: script:188-349, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69 (residual);
    base_camformer.py:44-65, gautammalik-git/Camformer@5c5eb0b (plain, explicit padding).

    Args:
        config: the section `model` of a recipe.
        length: the number of letters.
        channels: the number of channels of a letter.
        seed: initial weights are drawn as PyTorch draws them by default, from sub-seeds of it;
            dropout draws from sub-seeds too.
        dtype: the policy of the blocks. Input and head are float32 whatever it is; variables are
            float32 with any policy.
        flanking: changes the ends of the sequences first.
        is_folded: whether the network is for prediction only: without normalisation, which `fold`
            puts into the convolutions, and without dropout.

    Raises:
        errors.UserError: residual blocks that do not pair up, or layers that leave nothing of the
            sequence.
    """
    inputs = x = keras.Input((length, channels), name="onehot", dtype="float32")  # (B, L, C)
    if flanking:
        x = flanking(x)  # (B, L', C)
    shapes.check_pairs(config, shapes.block_lengths(config, x.shape[1]))

    # === Blocks ===
    shortcut = None
    for i, block in enumerate(config.blocks, 1):
        x = _block(x, block, config.padding, i, seed, dtype, is_folded)  # (B, L_i, F_i)
        if config.residual and i % 2 == 0:
            x = keras.layers.Add(name=f"add_{i}", dtype=dtype)([x, shortcut])
        shortcut = x

    # === Head, in float32 ===
    dtype = "float32"
    x = keras.layers.Flatten(data_format="channels_last", name="flatten", dtype=dtype)(x)
    # (B, L_n F_n), position by position
    for j, units in enumerate(config.dense, 1):
        initializers = _torch_initializers(x, 1, f"dense_{j}", seed)
        x = keras.layers.Dense(units, name=f"dense_{j}", dtype=dtype, **initializers)(x)
        x = keras.layers.ReLU(name=f"dense_relu_{j}", dtype=dtype)(x)
        if not is_folded:
            x = _dropout(x, config.dense_dropout, f"dense_dropout_{j}", seed, dtype)
    outputs = keras.layers.Dense(
        1, name="expression", dtype="float32", **_torch_initializers(x, 1, "expression", seed)
    )(x)
    return keras.Model(inputs, outputs, name="rescnn")


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies all values to a network from another of the same recipe, whatever their policies."""
    for variable, value in zip(target.variables, source.variables, strict=True):
        variable.assign(keras.ops.convert_to_numpy(value))


def fold(source: keras.Model, target: keras.Model) -> None:
    """Sets a folded network to the values of a trained one of the same recipe.

    A normalisation is (x - mean) gamma / sqrt(variance + epsilon) + beta, which a convolution does
    with another kernel and bias. It is computed in float64, so that float32 is rounded once.
    """
    for layer in target.layers:
        if not layer.weights:
            continue
        values = source.get_layer(layer.name).get_weights()
        if isinstance(layer, layers.Conv1D):
            kernel, bias = (value.astype(np.float64) for value in values)
            norm = source.get_layer(layer.name.replace("conv", "norm"))
            gamma, beta, mean, variance = (v.astype(np.float64) for v in norm.get_weights())
            scale = gamma / np.sqrt(variance + norm.epsilon)
            values = [kernel * scale, (bias - mean) * scale + beta]  # (K, C, F), (F,)
        layer.set_weights(values)


def count_trainable(model: keras.Model) -> int:
    """Returns the number of trainable parameters, as PyTorch's sum over parameters() counts."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def _block(
    x: keras.KerasTensor,
    block: recipe.BlockConfig,
    padding: str | int,
    i: int,
    seed: int,
    dtype: str,
    is_folded: bool,
) -> keras.KerasTensor:
    """Returns x after convolution → batch normalisation → pooling → ReLU → dropout.

    The original pools after ReLU, which is the same: the largest of several is above 0 or not.
    """
    if padding != "same":
        x = keras.layers.ZeroPadding1D(
            padding, data_format="channels_last", name=f"pad_{i}", dtype=dtype
        )(x)
    x = layers.Conv1D(
        block.filters,
        block.kernel,
        padding="same" if padding == "same" else "valid",
        data_format="channels_last",
        activation="relu" if is_folded else None,
        name=f"conv_{i}",
        dtype=dtype,
        **_torch_initializers(x, block.kernel, f"conv_{i}", seed),
    )(x)
    if not is_folded:
        x = layers.BatchNormalization(
            axis=-1,
            momentum=_NORM_MOMENTUM,
            epsilon=_NORM_EPSILON,
            synchronized=True,  # else replicas' statistics drift apart and one replica's are saved
            name=f"norm_{i}",
            dtype=dtype,
        )(x)
    if block.pool:
        x = keras.layers.MaxPooling1D(
            block.pool.size,
            strides=block.pool.stride,
            padding="valid",
            data_format="channels_last",
            name=f"pool_{i}",
            dtype=dtype,
        )(x)
    if is_folded:
        return x
    if not block.dropout:
        return keras.layers.ReLU(name=f"relu_{i}", dtype=dtype)(x)
    name, sub_seed = f"relu_dropout_{i}", recipe.sub_seed(seed, f"dropout_{i}")
    return layers.ReLUDropout(block.dropout, seed=sub_seed, name=name, dtype=dtype)(x)


def _dropout(
    x: keras.KerasTensor, rate: float, name: str, seed: int, dtype: str
) -> keras.KerasTensor:
    if not rate:
        return x
    return layers.Dropout(rate, seed=recipe.sub_seed(seed, name), name=name, dtype=dtype)(x)


def _torch_initializers(
    x: keras.KerasTensor, kernel: int, name: str, seed: int
) -> dict[str, keras.initializers.Initializer]:
    """Returns PyTorch's default initializers of a convolution or dense layer on x.

    Weights and biases are uniform in ±1/sqrt(fan_in). Source: kaiming_uniform_(a=sqrt(5)) in
    torch.nn.Linear.reset_parameters.
    """
    limit = 1 / math.sqrt(x.shape[-1] * kernel)
    return {
        f"{part}_initializer": keras.initializers.RandomUniform(
            -limit, limit, seed=recipe.sub_seed(seed, f"{name}/{part}")
        )
        for part in ("kernel", "bias")
    }
