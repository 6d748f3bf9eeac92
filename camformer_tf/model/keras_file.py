"""A network as a .keras file with its recipe inside: what `fit` writes and all others read."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras

from camformer_tf import errors, files, recipe, rundir
from camformer_tf.model import rescnn

_CUSTOM = "custom_network.json"  # in the archive of a network that is not its recipe's


@dataclasses.dataclass(frozen=True)
class SavedNetwork:
    """A network that was read from a file, with the recipe in it.

    Attributes:
        network: float32 (B, length, channels) → float32 (B, 1); also (B,) of a custom network.
        settings: the recipe, of a custom network for its data and training alone.
        is_custom: whether the network is a user's own and not that of the recipe.
    """

    network: keras.Model
    settings: recipe.Recipe
    is_custom: bool = False


def save(
    network: keras.Model,
    path: Path,
    settings: recipe.Recipe,
    *,
    custom: bool = False,
    overwrite: bool = True,
) -> None:
    """Saves a network as a .keras file that also holds its recipe, whole or not at all.

    The file has neither the optimiser's state nor a configuration for `compile`.

    Args:
        network: the network to save; it is not changed.
        path: the file to write.
        settings: the recipe that is stored with it.
        custom: whether the network is a user's own and not that of the recipe. It is then loaded
            as Keras saved it, and predicts as it is.
        overwrite: whether an existing file is replaced.

    Raises:
        errors.UserError: the file exists (unless overwrite), or its folder does not.
    """
    with files.new_file(path, overwrite=overwrite) as temporary:
        archive_path = temporary.with_suffix(".keras")  # Keras refuses any other suffix
        try:
            with _without_training(network):
                network.save(archive_path)
            with zipfile.ZipFile(archive_path, "a") as archive:
                archive.writestr(zipfile.ZipInfo(rundir.RECIPE), recipe.dump(settings))
                if custom:
                    archive.writestr(zipfile.ZipInfo(_CUSTOM), json.dumps({"custom": True}))
            archive_path.rename(temporary)
        finally:
            archive_path.unlink(missing_ok=True)


def load(path: Path) -> SavedNetwork:
    """Returns the float32 network of a run directory or of a .keras file that `save` wrote.

    Raises:
        errors.UserError: there is no such file, or it is not one that `save` wrote.
    """
    file = _file(path)
    try:
        with zipfile.ZipFile(file) as archive:
            text = archive.read(rundir.RECIPE).decode()
            is_custom = _CUSTOM in archive.namelist()
    except (zipfile.BadZipFile, KeyError) as error:
        raise errors.UserError(
            f"{file}: not a model of camformer_tf ({error}). Expected a file that "
            "`camformer-tf fit` saved, with its recipe inside."
        ) from error
    settings = recipe.parse(text, source=f"{file}:{rundir.RECIPE}")
    if is_custom:
        return SavedNetwork(_load_custom(file), settings, is_custom=True)
    network = rescnn.from_recipe(settings)
    original = keras.models.load_model(file, compile=False)
    rescnn.copy_weights(original, network)  # perhaps trained in another precision
    return SavedNetwork(network, settings)


@contextlib.contextmanager
def _without_training(network: keras.Model) -> Iterator[None]:
    """Hides from Keras what `save` would write besides the network: optimiser and `compile`."""
    hidden = {"optimizer": None, "compiled": False}
    present = {name: getattr(network, name) for name in hidden if hasattr(network, name)}
    try:
        for name in present:
            setattr(network, name, hidden[name])
        yield
    finally:
        for name, value in present.items():
            setattr(network, name, value)


def _file(path: Path) -> Path:
    file = path / rundir.BEST if path.is_dir() else path
    if file.is_file():
        return file
    raise errors.UserError(
        f"{path}: there is no {rundir.BEST} in it. Expected a run directory of `camformer-tf fit`, "
        "a .keras file or an export directory."
        if path.is_dir()
        else f"{path}: no such file or directory. Expected a run, a .keras file or an export."
    )


def _load_custom(file: Path) -> keras.Model:
    try:
        return keras.models.load_model(file, compile=False)
    except (TypeError, ValueError) as error:  # Keras raises either for a class it does not know
        reason = str(error).partition(" Full object config")[0]
        raise errors.UserError(
            f"{file}: its own network cannot be built ({reason}). Import the module that registers "
            "its classes with keras.saving.register_keras_serializable first."
        ) from error
