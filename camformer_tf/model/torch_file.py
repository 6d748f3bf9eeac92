"""The state dict in a PyTorch checkpoint, read without running code of the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from camformer_tf import errors

_WRAPPERS = ("state_dict", "model_state_dict")  # keys under which a state dict may lie
_SAFE_TORCH = (2, 6)  # before it, a file could run code in spite of weights_only: CVE-2025-32434

_HOW_TO_SAVE = """\
Where PyTorch and the original's code are, and only if you trust the file, save its weights alone:

    import torch
    model = torch.load("{name}", map_location="cpu", weights_only=False)
    torch.save(model.state_dict(), "state_dict.pt")"""


def read(path: Path) -> dict[str, np.ndarray]:
    """Returns the state dict in a checkpoint: name → array.

    It may lie under `state_dict` or `model_state_dict`. No code in the file is run.

    Raises:
        errors.UserError: there is no such file, no state dict in it, or the package that reads it
            is not installed.
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
    minimum = ".".join(map(str, _SAFE_TORCH))
    try:
        import torch
    except ImportError as error:
        raise errors.UserError(
            f'{path}: PyTorch, which reads this file, is not installed. Run: pip install "torch>='
            f'{minimum}", or save the weights as .safetensors, which needs no PyTorch.'
        ) from error
    if torch.__version__ < _SAFE_TORCH:
        raise errors.UserError(
            f"{path}: PyTorch {torch.__version__} may run code in a file (CVE-2025-32434)."
            f' Run: pip install "torch>={minimum}", or save the weights as .safetensors.'
        )
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch documents none; damaged files raise a dozen kinds
        raise _unreadable(path, error) from error
    for key in _WRAPPERS:
        if isinstance(contents, Mapping) and isinstance(contents.get(key), Mapping):
            contents = contents[key]
    _check_tensors(path, contents, torch.Tensor)
    return {name: value.detach().to(torch.float32).numpy() for name, value in contents.items()}


def _check_tensors(path: Path, contents: Any, tensor: type) -> None:
    expected = "Expected a state dict: what torch.save(model.state_dict(), …) writes."
    if not isinstance(contents, Mapping):
        raise errors.UserError(f"{path}: contains a single {type(contents).__name__}. {expected}")
    for name, value in contents.items():
        if not isinstance(name, str) or not isinstance(value, tensor):
            raise errors.UserError(
                f"{path}: its entry {name!r} is not a tensor but {type(value).__name__}. {expected}"
            )


def _unreadable(path: Path, error: Exception) -> errors.UserError:
    """Returns the error for a file that torch.load refused.

    torch's own message is not passed on, since it advises to run the code in the file.
    """
    name = re.search(r"GLOBAL ([\w.]+)", str(error))
    if not name:
        return errors.UserError(
            f"{path}: is damaged or not a file of torch.save ({type(error).__name__}). Expected a "
            "state dict: what torch.save(model.state_dict(), …) writes."
        )
    return errors.UserError(
        f"{path}: contains more than weights. To open it, the code of {name[1]} would have to be "
        f"run, which this program does not do. {_HOW_TO_SAVE.format(name=path.name)}"
    )
