"""A PyTorch checkpoint of Camformer becomes a .keras file.

PyTorch's names, for block i and dense layer j counted from 0: `CNN_layers.i.0.conv.*` (residual) or
`CNN_layers.i.0.*` (plain), `CNN_layers.i.1.*` and `linear_layers.j.0.*`. They follow from
script:188-349, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69, and from base/model.py and
base/model_basic.py, Bornelov-lab/Camformer@feaa529.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from camformer_tf import errors, files, recipe
from camformer_tf.model import keras_file, rescnn

_WRAPPINGS = ("state_dict", "model_state_dict")
_PREFIX = "module."  # of torch.nn.DataParallel
_UNUSED = ".num_batches_tracked"  # read by PyTorch only where BatchNorm has no momentum
_SAFE_TORCH = (2, 6)  # before it, a file could run code in spite of weights_only: CVE-2025-32434
_SHOWN = 6

# The PyTorch names of a layer's weights, in the order in which Keras keeps them.
_PARTS = {
    "Conv1D": ("weight", "bias"),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
    "Dense": ("weight", "bias"),
}

_HOW_TO_SAVE = """\
Where PyTorch and the original's code are, and only if you trust the file, save its weights alone:

    import torch
    model = torch.load("{name}", map_location="cpu", weights_only=False)
    torch.save(model.state_dict(), "state_dict.pt")"""


def convert(checkpoint: Path, settings: recipe.Recipe, out: Path) -> keras.Model:
    """Writes a checkpoint as a .keras file with its recipe inside, and returns the network.

    Args:
        checkpoint: a state dict, by its ending .safetensors or of torch.save.
        settings: the recipe of the network that the checkpoint was trained with.
        out: the .keras file to write, which must not be there yet.

    Raises:
        errors.UserError: an unreadable checkpoint, one of another network, or an `out` that exists.
    """
    if out.suffix != ".keras":
        raise errors.UserError(f"{out}: expected a name that ends in .keras, as Keras demands.")
    files.refuse_existing(out)
    state = read(checkpoint)
    model = rescnn.from_recipe(settings)
    for layer, values in weights(state, model, where=str(checkpoint)).items():
        model.get_layer(layer).set_weights(values)
    keras_file.save(model, out, settings, overwrite=False)
    return model


# === Names and shapes ===


def weights(
    state: Mapping[str, np.ndarray], model: keras.Model, *, where: str = "state dict"
) -> dict[str, list[np.ndarray]]:
    """Returns a PyTorch state dict as a network's weights: layer name → arrays of the state's
    precision, as the layer's `set_weights` takes them.

    Args:
        state: PyTorch's name → array. All names may begin with `module.`, and
            `num_batches_tracked` may be there; it is not used.
        model: the network that `rescnn.build` made; it is not changed.
        where: what messages call the state dict.

    Raises:
        errors.UserError: names or shapes are not the network's, or a weight is not finite.
    """
    if all(name.startswith(_PREFIX) for name in state):
        state = {name.removeprefix(_PREFIX): value for name, value in state.items()}
    state = {name: value for name, value in state.items() if not name.endswith(_UNUSED)}
    _compare({name: np.shape(value) for name, value in state.items()}, shapes(model), where)
    made = {}
    for layer, names in _names(model).items():
        first, *others = (_finite(name, state[name], where) for name in names)
        made[layer] = [_kernel(first, model.get_layer(layer), model), *others]
    return made


def shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Returns the state dict that PyTorch would have of a network: name → shape, axes in
    PyTorch's order; without `num_batches_tracked`.
    """
    found = {}
    for layer, names in _names(model).items():
        for name, value in zip(names, model.get_layer(layer).weights, strict=True):
            shape = tuple(reversed(value.shape))
            found[name] = (*shape, 1) if len(shape) == 3 else shape  # kernels are (k, 1) there
    return found


def _names(model: keras.Model) -> dict[str, list[str]]:
    """Returns our layer name → PyTorch's names of its weights, in Keras' order."""
    layers = [layer for layer in model.layers if type(layer).__name__ in _PARTS]
    inner = ".conv" if any(layer.name.startswith("add_") for layer in model.layers) else ""
    found, dense = {}, 0
    for layer in layers:
        kind = type(layer).__name__
        if kind == "Dense":
            stem = f"linear_layers.{dense}.0"
            dense += 1
        else:
            block = int(layer.name.rpartition("_")[2]) - 1
            stem = f"CNN_layers.{block}." + (f"0{inner}" if kind == "Conv1D" else "1")
        found[layer.name] = [f"{stem}.{part}" for part in _PARTS[kind]]
    return found


def _compare(found: Mapping[str, tuple], expected: Mapping[str, tuple], where: str) -> None:
    missing = [f"{name} {shape}" for name, shape in expected.items() if name not in found]
    unexpected = [f"{name} {shape}" for name, shape in found.items() if name not in expected]
    other = [
        f"{name} is {found[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": other}
    if not any(kinds.values()):
        return
    lines = [f"  {len(names)} {kind}: {_some(names)}" for kind, names in kinds.items() if names]
    residual = [any(".0.conv." in name for name in names) for names in (found, expected)]
    advice = "Choose the recipe that it was trained with, or fit one to it with --set model.…."
    if missing and unexpected and residual[0] != residual[1]:
        kind, value = ("residual", "true") if residual[0] else ("plain", "false")
        advice = f"Its names are those of a {kind} network (model.residual: {value})."
    raise errors.UserError(
        "\n".join([f"{where}: is not the recipe's network (shapes as in PyTorch):", *lines, advice])
    )


def _some(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return "; ".join(names[:_SHOWN] + ([f"and {rest} more"] if rest > 0 else []))


def _finite(name: str, value: np.ndarray, where: str) -> np.ndarray:
    value = np.asarray(value)
    with np.errstate(over="ignore"):
        finite = np.isfinite(value.astype(np.float32))
    if bad := value.size - np.count_nonzero(finite):
        raise errors.UserError(
            f"{where}: {bad:,} of {value.size:,} values of {name} are not finite as float32. "
            "Take the checkpoint of an earlier epoch."
        )
    return value


def _kernel(value: np.ndarray, layer: keras.Layer, model: keras.Model) -> np.ndarray:
    """Returns a layer's first weight in Keras' order of axes.

    PyTorch flattens channel by channel (index c L + p), Keras position by position (p C + c).
    """
    if value.ndim == 4:  # (out, in, k, 1) → (k, in, out); neither flips its kernels
        return value[..., 0].transpose(2, 1, 0)
    flatten = model.get_layer("flatten")
    if value.ndim == 2 and layer.input is flatten.output:
        _, length, channels = flatten.input.shape
        apart = value.reshape(-1, channels, length)
        return apart.transpose(2, 1, 0).reshape(length * channels, -1)
    return value.T


# === Files ===


def read(path: Path) -> dict[str, np.ndarray]:
    """Returns the state dict in a checkpoint, also one under `state_dict` or `model_state_dict`.
    No code that a file may hold is run.

    Raises:
        errors.UserError: no such file, no state dict in it, or what reads it is not installed.
    """
    if not path.is_file():
        raise errors.UserError(f"{path}: no such file. Expected a checkpoint of PyTorch.")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise errors.UserError(
            f"{path}: safetensors, which reads this file, is not installed. "
            "Run: pip install safetensors"
        ) from error
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, OSError, TypeError) as error:
        raise errors.UserError(
            f"{path}: cannot be read as safetensors with float32 weights ({error})."
        ) from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    least = ".".join(map(str, _SAFE_TORCH))
    try:
        import torch
    except ImportError as error:
        raise errors.UserError(
            f'{path}: PyTorch, which reads this file, is not installed. Run: pip install "torch>='
            f'{least}", or save the weights as .safetensors, which need no PyTorch.'
        ) from error
    if torch.__version__ < _SAFE_TORCH:
        raise errors.UserError(
            f"{path}: PyTorch {torch.__version__} may run code that a file holds (CVE-2025-32434)."
            f' Run: pip install "torch>={least}", or save the weights as .safetensors.'
        )
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch documents none; damaged files raise a dozen kinds
        raise _unreadable(path, error) from error
    for key in _WRAPPINGS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    _check_tensors(path, found, torch.Tensor)
    return {name: value.detach().to(torch.float32).numpy() for name, value in found.items()}


def _check_tensors(path: Path, found: Any, tensor: type) -> None:
    expected = "Expected a state dict: what torch.save(model.state_dict(), …) writes."
    if not isinstance(found, Mapping):
        raise errors.UserError(f"{path}: holds one {type(found).__name__}. {expected}")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, tensor):
            raise errors.UserError(
                f"{path}: its entry {name!r} is no tensor but {type(value).__name__}. {expected}"
            )


def _unreadable(path: Path, error: Exception) -> errors.UserError:
    """Returns what to say of a file that torch.load refused; torch's own message advises to run
    what the file holds.
    """
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    if not named:
        return errors.UserError(
            f"{path}: is damaged or no file of torch.save ({type(error).__name__}). Expected a "
            "state dict: what torch.save(model.state_dict(), …) writes."
        )
    return errors.UserError(
        f"{path}: is more than weights: to open it, {named[1]} would have to be run, which is not "
        f"done. {_HOW_TO_SAVE.format(name=path.name)}"
    )
