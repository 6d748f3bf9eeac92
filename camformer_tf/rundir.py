"""The only place that knows the names of a run's files, and how files come into place whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from camformer_tf import errors

RECIPE = "recipe.yaml"
RUN = "run.json"
HISTORY = "history.csv"
LOG = "log.txt"
BEST = "best.keras"
TENSORBOARD = "tensorboard"
VAL_PREDICTIONS = "val_predictions.tsv"
MODEL_CARD = "assets.extra/model_card.json"  # in an export


@contextlib.contextmanager
def new_file(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields a temporary sibling that takes the name `path` if the block ends without an error.

    Raises:
        errors.UserError: `path` exists already (unless overwrite), or its folder does not.
    """
    refuse_existing(path, overwrite=overwrite)
    temporary = _sibling(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path, *, overwrite: bool = False, marker: str = "") -> Iterator[Path]:
    """Yields a temporary sibling folder that takes the name `path` if the block ends well.

    Args:
        path: the folder to come.
        overwrite: whether a folder already there may be replaced, at the end and not before.
        marker: the file by which a folder is known to be one of ours; none other is replaced.

    Raises:
        errors.UserError: `path` exists already, or is not ours to replace.
    """
    refuse_existing(path, overwrite=overwrite, marker=marker)
    given, path = path, path.resolve()  # a link stays, and "." has a name
    temporary = _sibling(path)
    temporary.mkdir()
    try:
        yield temporary
        refuse_existing(given, overwrite=overwrite, marker=marker)  # made by another meanwhile
        if path.exists():
            old = temporary.with_suffix(".old")
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_existing(path: Path, *, overwrite: bool = False, marker: str = "") -> None:
    """Raises UserError unless `path` may be written: free, or ours and to be overwritten."""
    if not path.parent.is_dir():
        raise errors.UserError(f"{path}: the folder {path.parent} does not exist. Make it first.")
    if not path.exists():
        return
    if not overwrite:
        raise errors.UserError(
            f"{path}: exists already. Choose another name, or pass --overwrite where the command "
            "has it."
        )
    if marker and not (path / marker).is_file() and (path.is_file() or any(path.iterdir())):
        raise errors.UserError(
            f"{path}: holds no {marker}, so it is not replaced even with --overwrite. "
            "Choose another name, or remove it yourself."
        )


def _sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
