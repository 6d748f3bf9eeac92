"""A PyTorch checkpoint of Camformer becomes a .keras file.

PyTorch's names, for block i and dense layer j counted from 0: `CNN_layers.i.0.conv.*` (residual) or
`CNN_layers.i.0.*` (plain), `CNN_layers.i.1.*` and `linear_layers.j.0.*`. They follow from
script:188-349, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69, and from base/model.py and
base/model_basic.py, Bornelov-lab/Camformer@feaa529.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from camformer_tf import errors, files
from camformer_tf import recipe as recipes
from camformer_tf.model import keras_file, rescnn, torch_file

_PREFIX = "module."  # of torch.nn.DataParallel
_COUNTER = ".num_batches_tracked"  # PyTorch reads it only where BatchNorm has no momentum
_NAMES_IN_MESSAGE = 6  # names in a message

# The PyTorch names of a layer's weights, in the order in which Keras keeps them.
_PARTS = {
    "Conv1D": ("weight", "bias"),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
    "Dense": ("weight", "bias"),
}


def import_torch(
    checkpoint: files.PathLike,
    recipe: files.PathLike,
    out: files.PathLike,
    *,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
) -> keras.Model:
    """Writes a PyTorch checkpoint as a .keras file with its recipe inside, and returns the network.

    Args:
        checkpoint: a state dict: a .safetensors file, or by any other name what `torch.save` wrote.
            No code in it is run.
        recipe: the recipe of the network that the checkpoint was trained with: a path, or the
            name of one of this package.
        out: the .keras file to write.
        overrides: changes to the recipe, such as "model.dense=[128]".
        overwrite: whether `out` is replaced if it exists.

    Returns:
        The network, float32 (N, length, channels) → float32 (N, 1).

    Raises:
        errors.UserError: an unreadable checkpoint, one of another network, or an `out` that exists
            (unless overwrite).
    """
    settings = recipes.load(str(recipe), overrides)
    path = Path(out)
    if path.suffix != ".keras":
        raise errors.UserError(f"{path}: expected a name that ends in .keras, as Keras demands.")
    files.refuse_existing(path, overwrite=overwrite)
    state = torch_file.read(Path(checkpoint))
    network = rescnn.from_recipe(settings)
    for layer, values in weights(state, network, source=str(checkpoint)).items():
        network.get_layer(layer).set_weights(values)
    keras_file.save(network, path, settings, overwrite=overwrite)
    return network


def weights(
    state: Mapping[str, np.ndarray], network: keras.Model, *, source: str = "state dict"
) -> dict[str, list[np.ndarray]]:
    """Returns a PyTorch state dict as the weights of a network.

    Args:
        state: PyTorch's name → array. All names may begin with `module.`, and
            `num_batches_tracked` may be there; it is not used.
        network: what `rescnn.build` returned; it is not changed.
        source: what messages call the state dict.

    Returns:
        Layer name → arrays in the state's precision, as the layer's `set_weights` takes them.

    Raises:
        errors.UserError: names or shapes are not the network's, or a weight is not finite.
    """
    if all(name.startswith(_PREFIX) for name in state):
        state = {name.removeprefix(_PREFIX): value for name, value in state.items()}
    state = {name: value for name, value in state.items() if not name.endswith(_COUNTER)}
    _compare({name: np.shape(value) for name, value in state.items()}, shapes(network), source)
    arrays = {}
    for layer, names in _names(network).items():
        kernel, *vectors = (_finite(name, state[name], source) for name in names)
        arrays[layer] = [_kernel(kernel, network.get_layer(layer), network), *vectors]
    return arrays


def shapes(network: keras.Model) -> dict[str, tuple[int, ...]]:
    """Returns the state dict that PyTorch would have of a network: name → shape.

    Axes are in PyTorch's order; `num_batches_tracked` is left out.
    """
    state = {}
    for layer, names in _names(network).items():
        for name, value in zip(names, network.get_layer(layer).weights, strict=True):
            shape = tuple(reversed(value.shape))
            state[name] = (*shape, 1) if len(shape) == 3 else shape  # kernels are (k, 1) there
    return state


def _names(network: keras.Model) -> dict[str, list[str]]:
    """Returns our layer name → PyTorch's names of its weights, in Keras' order."""
    layers = [layer for layer in network.layers if type(layer).__name__ in _PARTS]
    inner = ".conv" if any(layer.name.startswith("add_") for layer in network.layers) else ""
    names, dense = {}, 0
    for layer in layers:
        kind = type(layer).__name__
        if kind == "Dense":
            stem = f"linear_layers.{dense}.0"
            dense += 1
        else:
            block = int(layer.name.rpartition("_")[2]) - 1
            stem = f"CNN_layers.{block}." + (f"0{inner}" if kind == "Conv1D" else "1")
        names[layer.name] = [f"{stem}.{part}" for part in _PARTS[kind]]
    return names


def _compare(
    actual: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], source: str
) -> None:
    """Raises UserError, with all differences, unless names and shapes are the same."""
    differences = {
        "missing": [f"{name} {shape}" for name, shape in expected.items() if name not in actual],
        "unexpected": [f"{name} {shape}" for name, shape in actual.items() if name not in expected],
        "of another shape": [
            f"{name} is {actual[name]}, expected {shape}"
            for name, shape in expected.items()
            if name in actual and actual[name] != shape
        ],
    }
    if not any(differences.values()):
        return
    lines = [f"  {len(x)} {kind}: {_abridge(x)}" for kind, x in differences.items() if x]
    residual = [any(".0.conv." in name for name in names) for names in (actual, expected)]
    advice = "Choose the recipe that it was trained with, or adapt one with --set model.…."
    if differences["missing"] and differences["unexpected"] and residual[0] != residual[1]:
        kind, value = ("residual", "true") if residual[0] else ("plain", "false")
        advice = f"Its names are those of a {kind} network (model.residual: {value})."
    raise errors.UserError(
        "\n".join(
            [f"{source}: is not the recipe's network (shapes as in PyTorch):", *lines, advice]
        )
    )


def _abridge(names: list[str]) -> str:
    """Returns the first names, and how many more there are."""
    count = len(names) - _NAMES_IN_MESSAGE
    return "; ".join(names[:_NAMES_IN_MESSAGE] + ([f"and {count} more"] if count > 0 else []))


def _finite(name: str, value: np.ndarray, source: str) -> np.ndarray:
    """Returns a weight whose values are all finite as float32."""
    value = np.asarray(value)
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(value.astype(np.float32))
    if count := value.size - np.count_nonzero(is_finite):
        raise errors.UserError(
            f"{source}: {count:,} of {value.size:,} values of {name} are not finite as float32. "
            "Use the checkpoint of an earlier epoch."
        )
    return value


def _kernel(value: np.ndarray, layer: keras.Layer, network: keras.Model) -> np.ndarray:
    """Returns a layer's first weight in Keras' order of axes.

    PyTorch flattens channel by channel (index c L + p), Keras position by position (p C + c).
    """
    if value.ndim == 4:  # (out, in, k, 1) → (k, in, out); neither flips its kernels
        return value[..., 0].transpose(2, 1, 0)
    flatten = network.get_layer("flatten")
    if value.ndim == 2 and layer.input is flatten.output:
        _, length, channels = flatten.input.shape
        by_channel = value.reshape(-1, channels, length)  # (out, C, L)
        return by_channel.transpose(2, 1, 0).reshape(length * channels, -1)  # (L C, out)
    return value.T
