"""The network that a run trains, with its optimizer: the recipe's, or a user's own keras.Model."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator

import keras
import numpy as np

from camformer_tf import errors, recipe
from camformer_tf.data import sequence
from camformer_tf.model import rescnn
from camformer_tf.training import optimizers
from camformer_tf.training import options as fit_options

_NOTE = (
    "# The network is not this recipe's. It is a custom keras.Model of {parameters:,} parameters,\n"
    "# kept in best.keras; so model.blocks is empty, and the rest of the section is not used.\n"
)
_log = logging.getLogger(__name__)


def from_recipe(settings: recipe.Recipe, precision: str) -> keras.Model:
    """Returns the recipe's network with its optimizer; call it within the strategy's scope."""
    model = rescnn.from_recipe(settings, precision)
    expected, actual = settings.expect.parameters, rescnn.count_trainable(model)
    if expected is not None and expected != actual:
        _log.warning(f"the recipe expects {expected:,} parameters, the network has {actual:,}")
    return with_optimizer(model, settings, precision)


def with_optimizer(model: keras.Model, settings: recipe.Recipe, precision: str) -> keras.Model:
    """Gives a network the recipe's optimizer, with loss scaling in float16, and returns it."""
    optimizer = optimizers.build(settings.train)
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.optimizer = optimizer
    optimizer.build(model.trainable_variables)
    return model


# === A user's own network ===


def recipe_without_network(settings: recipe.Recipe) -> recipe.Recipe:
    """Returns a recipe without its network and its expectations, for a run with a custom one."""
    return dataclasses.replace(
        settings,
        model=dataclasses.replace(settings.model, blocks=()),
        expect=recipe.ExpectConfig(),
    )


def recipe_text(settings: recipe.Recipe, model: keras.Model | None) -> str:
    """Returns the contents of a run's recipe.yaml, which say so if the network is not the recipe's.

    Args:
        settings: the recipe.
        model: the user's own network, if there is one.
    """
    if model is None:
        return recipe.dump(settings)
    note = _NOTE.format(parameters=rescnn.count_trainable(model))
    return note + recipe.dump(recipe_without_network(settings))


def options_for(model: keras.Model, options: fit_options.FitOptions) -> fit_options.FitOptions:
    """Returns the options of a run with a custom network: one device, and the network's precision.

    XLA compiles it only on request, since it may hold operations that XLA lacks.

    Raises:
        errors.UserError: several devices, or another precision.
    """
    if options.strategy not in ("auto", "one") or (options.devices or 1) > 1:
        raise errors.UserError(
            "model= is trained on one device, since its variables belong to the device on which "
            'it was built. Leave strategy and devices out, or pass strategy="one".'
        )
    precision = own_precision(model)
    if options.precision not in ("auto", precision):
        raise errors.UserError(
            f"precision {options.precision}: the layers of model= have the policy {precision}. "
            "Leave precision out, or build the model with another dtype policy."
        )
    xla = "off" if options.xla == "auto" else options.xla
    return dataclasses.replace(options, strategy="one", precision=precision, xla=xla)


def own_precision(model: keras.Model) -> str:
    """Returns the dtype policy of a network's layers: a mixed one if any layer has it."""
    policies = {layer.dtype_policy.name for layer in _layers(model)}
    for policy in ("mixed_float16", "mixed_bfloat16"):
        if policy in policies:
            return policy
    return "float32"


def _layers(layer: keras.Layer) -> Iterator[keras.Layer]:
    yield layer
    for child in getattr(layer, "layers", ()):
        yield from _layers(child)


def check_own(model: keras.Model, settings: recipe.Recipe) -> None:
    """Raises UserError unless a network maps (B, L, C) to (B, 1) or (B,) and can be trained.

    L is the recipe's data.length and C the number of channels of data.encoding. A network that is
    not built yet is built.
    """
    if not isinstance(model, keras.Model):
        raise errors.UserError(f"model={model!r}: expected a keras.Model.")
    if settings.tricks.flanks != recipe.FlanksConfig():
        raise errors.UserError(
            "tricks.flanks changes the recipe's network, and so does not go with model=. Leave "
            "tricks.flanks out, or change the flanks within the model."
        )
    length, channels = settings.data.length, sequence.channels(settings.data.encoding)
    needs = (
        f"It must read float32 (batch, {length}, {channels}), sequences in the encoding "
        f"{settings.data.encoding}, and return (batch, 1) or (batch,)."
    )
    input_shape = getattr(model, "input_shape", None) if model.built else None
    if input_shape is not None and not _fits(input_shape, (None, length, channels)):
        raise errors.UserError(f"model= reads inputs of shape {input_shape}. {needs}")
    batch = np.zeros((2, length, channels), np.float32)  # two, since layers may squeeze one
    try:
        output = model(batch, training=False)
    except Exception as error:  # whatever the layers of a user raise
        text = " ".join(str(error).split())[:300]
        raise errors.UserError(f"model= cannot read such inputs ({text}). {needs}") from error
    shape = getattr(output, "shape", None)
    if shape is None or tuple(shape) not in ((2, 1), (2,)):
        actual = type(output).__name__ if shape is None else f"shape {('batch', *shape[1:])}"
        raise errors.UserError(f"model= returns {actual}. {needs}")
    if not sum(math.prod(variable.shape) for variable in model.trainable_variables):
        raise errors.UserError("model= has no trainable parameters.")


def _fits(actual: object, expected: tuple[int | None, ...]) -> bool:
    """Returns whether a shape, None where it is free, allows another one."""
    return (
        isinstance(actual, tuple)
        and len(actual) == len(expected)
        and all(a in (None, b) or b is None for a, b in zip(actual, expected, strict=True))
    )
