"""Files and folders that appear whole or not at all, and locks.

A file or folder beyond this machine is made here and copied, its marker last.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from camformer_tf import errors, remote

PathLike = str | os.PathLike[str]  # what public functions take
STANDARD_OUTPUT = Path("-")


@contextlib.contextmanager
def new_file(path: Path | remote.Remote, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields a temporary sibling that takes the name `path` if the block ends without an error.

    Raises:
        errors.UserError: `path` exists already (unless overwrite), or its folder does not.
    """
    refuse_existing(path, overwrite=overwrite)
    if isinstance(path, remote.Remote):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder, path.name)
            _copy([Path(folder, path.name)], [path])
        return
    temporary = _sibling(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def text_output(path: Path | remote.Remote, *, overwrite: bool = False) -> Iterator[TextIO]:
    """Yields a text file as `new_file` makes it, in UTF-8 with LF; standard output for `-`.

    Raises:
        errors.UserError: as of `new_file`.
    """
    if path == STANDARD_OUTPUT:
        yield sys.stdout
        sys.stdout.flush()
        return
    with (
        new_file(path, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        yield file


def table_format(path: Path | remote.Remote, formats: Mapping[str, str], default: str) -> str:
    """Returns the format that a file's suffix stands for: suffix, such as ".csv", → format."""
    return formats.get(Path(path.name).suffix.lower(), default)


@contextlib.contextmanager
def new_folder(
    path: Path | remote.Remote, *, overwrite: bool = False, marker: str = ""
) -> Iterator[Path]:
    """Yields a temporary sibling folder that takes the name `path` if the block ends well.

    Args:
        path: the folder to come.
        overwrite: whether a folder already there may be replaced, at the end and not before.
        marker: the file by which a folder is known to be one of ours; none other is replaced.

    Raises:
        errors.UserError: `path` exists already, or is not ours to replace.
    """
    refuse_existing(path, overwrite=overwrite, marker=marker)
    if isinstance(path, remote.Remote):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
            refuse_existing(path, overwrite=overwrite, marker=marker)
            for file in _listed(path, marker):
                file.unlink()
            files = _listed(Path(folder), marker)[::-1]  # the marker last
            _copy(files, [path / file.name for file in files])
        return
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


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps the path from other processes of this kind meanwhile. What is killed keeps nothing.

    Raises:
        errors.UserError: another process has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    lock = _lock(path)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise errors.UserError(f"{path}: another process is training it just now.") from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def is_locked(path: Path) -> bool:
    """Returns whether another process on this machine has the path locked."""
    try:
        import fcntl

        with _lock(path).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):  # Windows; no lock
        pass
    return False


def refuse_existing(
    path: Path | remote.Remote, *, overwrite: bool = False, marker: str = ""
) -> None:
    """Raises UserError unless `path` may be written: free, or ours and to be overwritten."""
    require_parent(path)
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


def _listed(folder: Path | remote.Remote, marker: str) -> list:
    """Returns the files of a flat folder that may not be there, the marker first."""
    files = folder.iterdir() if folder.is_dir() else []
    return sorted(files, key=lambda file: (file.name != marker, file.name))


def _copy(files: list[Path], targets: list[remote.Remote]) -> None:
    """Copies all files, or removes those that came to be."""
    for i, (file, target) in enumerate(zip(files, targets, strict=True)):
        try:
            target.copy_from(file)
        except errors.UserError:
            for made in targets[: i + 1]:
                with contextlib.suppress(OSError, errors.UserError):
                    made.unlink()
            raise


def require_parent(path: Path | remote.Remote) -> None:
    """Raises UserError unless the folder is there in which `path` is to lie."""
    if isinstance(path, Path) and not path.parent.is_dir():
        raise errors.UserError(f"{path}: the folder {path.parent} does not exist. Make it first.")


def _lock(path: Path) -> Path:
    return path.resolve().with_name(f".{path.resolve().name}.lock")


def _sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
