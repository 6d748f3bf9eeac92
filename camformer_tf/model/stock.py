"""The network of a recipe in Keras' own layers, for use without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from camformer_tf import recipe
from camformer_tf.data import sequence
from camformer_tf.model import flanks, keras_file, layers

Tensor = Any  # a symbolic tensor of Keras

_DTYPE = "float32"  # named everywhere, so that a user's settings of Keras change nothing


def build(network: keras.Model, settings: recipe.Recipe) -> keras.Model:
    """Returns the network of a recipe in layers of `keras.layers` alone, with the same weights.

    Its layers have the names of the network's; `relu_dropout_I` becomes `relu_I` and `dropout_I`.
    It can be trained further: normalisation and dropout are those of the recipe. It draws other
    dropout masks, and predictions differ by float32 rounding (of the order of 1e-6).

    Args:
        network: the network that `rescnn.from_recipe` built, with any policy.
        settings: its recipe.

    Returns:
        A network float32 (B, length, channels) → float32 (B, 1).
    """
    copy = keras.models.clone_model(
        network, clone_function=lambda layer: layer, call_function=_call_counterpart
    )
    for layer in network.layers:
        if layer.weights:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy


def save(
    network: keras.Model, path: Path, settings: recipe.Recipe, *, overwrite: bool = False
) -> keras.Model:
    """Writes `build` of a network as a .keras file, and returns it.

    The file loads with `keras.models.load_model` where this package is not installed; where it is,
    `cf.load` reads it too.

    Raises:
        errors.UserError: the file exists (unless overwrite), or its folder does not.
    """
    copy = build(network, settings)
    keras_file.save(copy, path, settings, custom=True, overwrite=overwrite)
    return copy


def _call_counterpart(
    layer: keras.Layer,
    source: Tensor | list[Tensor],
    training: bool | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Returns the output of a layer's counterpart in `keras.layers` for one tensor or several.

    Keras passes the arguments of a call; `training` and `mask` are of that call alone.
    """
    if isinstance(layer, flanks.Flanks):
        return _copy_flanks(layer, source)
    if isinstance(layer, layers.ReLUDropout):
        name = layer.name.removeprefix("relu_dropout_")
        source = keras.layers.ReLU(name=f"relu_{name}", dtype=_DTYPE)(source)
        return keras.layers.Dropout(
            layer.rate, seed=layer.seed, name=f"dropout_{name}", dtype=_DTYPE
        )(source)
    kind: Any = next(base for base in type(layer).__mro__ if base.__module__.startswith("keras."))
    config = layer.get_config() | {"dtype": _DTYPE}
    if kind is keras.layers.BatchNormalization:
        config["synchronized"] = False  # which plain Keras does not need on one device
    return kind.from_config(config)(source)


def _copy_flanks(layer: flanks.Flanks, source: Tensor) -> Tensor:
    """Returns sequences (B, L, C) with letters cut off and others added: (B, L', C).

    Added letters take the channel of whole numbers, where there is one, from the sequence's first
    position; the other channels are constant.
    """
    x = source
    if any(layer.cut):
        x = keras.layers.Cropping1D(layer.cut, name="flanks_cut", dtype=_DTYPE)(x)
    parts = [x]
    if layer.add[0]:
        parts.insert(0, _constant(layer, source, 0))
    if layer.add[1]:
        parts.append(_constant(layer, source, 1))
    if len(parts) == 1:
        return x
    return keras.layers.Concatenate(axis=1, name="flanks", dtype=_DTYPE)(parts)


def _constant(layer: flanks.Flanks, source: Tensor, end: int) -> Tensor:
    """Returns the letters that are added at one end: (B, number of letters, C)."""
    letters, name = layer.add[end], f"flanks_{('left', 'right')[end]}"
    rows = sequence.table(layer.encoding)[np.frombuffer(letters.encode(), np.uint8)]  # (n, C)
    is_copied = np.arange(rows.shape[1]) == sequence.integer_channel(layer.encoding)  # (C,)
    first = keras.layers.Cropping1D((0, source.shape[1] - 1), name=f"{name}_first", dtype=_DTYPE)(
        source
    )  # (B, 1, C)
    repeats = keras.layers.UpSampling1D(len(letters), name=f"{name}_repeat", dtype=_DTYPE)(first)
    return keras.layers.Rescaling(
        scale=is_copied.astype(
            float
        ).tolist(),  # lists, since Keras writes them to the file as such
        offset=np.where(is_copied, 0.0, rows).tolist(),
        name=name,
        dtype=_DTYPE,
    )(repeats)
