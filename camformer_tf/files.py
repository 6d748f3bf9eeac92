"""Files and folders that appear whole or not at all, and locks.

A remote file or folder is written on this machine first and then copied, its marker last.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TextIO, TypeVar

from camformer_tf import errors, remote

PathLike = str | os.PathLike[str]  # the type of paths in public functions
File = TypeVar("File", Path, remote.Remote)
STANDARD_OUTPUT = Path("-")  # of `text_output`


@contextlib.contextmanager
def new_file(path: Path | remote.Remote, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields a temporary sibling that is renamed to `path` if the block ends without an error.

    Raises:
        errors.UserError: `path` exists and overwrite is false, or its folder does not exist.
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
    """Yields a text file to write, as `new_file` does, in UTF-8 with LF; standard output for `-`.

    Raises:
        errors.UserError: see `new_file`.
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
    """Returns the format of a file by its suffix.

    Args:
        path: the file; the case of its suffix does not matter.
        formats: suffix, such as ".csv" → format.
        default: the format for any other suffix, and for standard output.
    """
    return formats.get(Path(path.name).suffix.lower(), default)


@contextlib.contextmanager
def new_folder(
    path: Path | remote.Remote, *, overwrite: bool = False, marker: str = ""
) -> Iterator[Path]:
    """Yields a temporary sibling folder that is renamed to `path` at the end of the block.

    After an error, the temporary folder is removed and `path` stays as it was.

    Args:
        path: the new folder.
        overwrite: whether to replace an existing folder, at the end of the block.
        marker: a file that every folder of this kind has; a folder without it is not replaced.

    Raises:
        errors.UserError: `path` exists, or has no marker and so is not replaced.
    """
    refuse_existing(path, overwrite=overwrite, marker=marker)
    if isinstance(path, remote.Remote):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
            refuse_existing(path, overwrite=overwrite, marker=marker)
            if path.is_dir():
                for old in _marker_first(path.iterdir(), marker):
                    old.unlink()
            parts = _marker_first(Path(folder).iterdir(), marker)[::-1]
            _copy(parts, [path / part.name for part in parts])
        return
    target = path.resolve()  # so that a link stays, and "." has a name
    temporary = _sibling(target)
    temporary.mkdir()
    try:
        yield temporary
        # Again, since another process may have written the folder in the meantime.
        refuse_existing(path, overwrite=overwrite, marker=marker)
        if target.exists():
            backup = temporary.with_suffix(".old")
            target.rename(backup)
            temporary.rename(target)
            shutil.rmtree(backup)
        else:
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Locks a path against other processes on this machine while the block runs.

    The lock ends with the process, even if it is killed.

    Raises:
        errors.UserError: another process has locked the path.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    lock_file = _lock_file(path)
    with lock_file.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise errors.UserError(
                f"{path}: another process is training it. Wait until it ends, or choose another "
                "name."
            ) from error
        try:
            yield
        finally:
            lock_file.unlink(missing_ok=True)


def is_locked(path: Path) -> bool:
    """Returns whether another process on this machine has the path locked."""
    try:
        import fcntl

        with _lock_file(path).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):  # Windows; no lock
        pass
    return False


def check_text_output(path: Path | remote.Remote, *, overwrite: bool = False) -> None:
    """Raises UserError where `text_output` would: see `refuse_existing`; `-` is always free."""
    if path != STANDARD_OUTPUT:
        refuse_existing(path, overwrite=overwrite)


def refuse_existing(
    path: Path | remote.Remote, *, overwrite: bool = False, marker: str = ""
) -> None:
    """Refuses to write `path` if it exists, or if its folder does not.

    Args:
        path: a file or folder.
        overwrite: whether an existing one may be replaced.
        marker: a file that every folder of this kind has; a folder without it is not replaced,
            unless it is empty.

    Raises:
        errors.UserError: `path` may not be written.
    """
    if path == STANDARD_OUTPUT:
        raise errors.UserError("-: standard output cannot hold this output. Name a file or folder.")
    require_parent(path)
    if not path.exists():
        return
    if not overwrite:
        raise errors.UserError(f"{path}: exists already. Choose another name, or pass --overwrite.")
    if marker and not (path / marker).is_file() and (path.is_file() or any(path.iterdir())):
        raise errors.UserError(
            f"{path}: there is no {marker} in it, so it is not replaced even with --overwrite. "
            "Choose another name, or remove it yourself."
        )


def require_parent(path: Path | remote.Remote) -> None:
    """Refuses a path whose folder does not exist.

    Raises:
        errors.UserError: the folder does not exist.
    """
    if isinstance(path, Path) and not path.parent.is_dir():
        raise errors.UserError(f"{path}: the folder {path.parent} does not exist. Create it first.")


def _marker_first(files: Iterable[File], marker: str) -> list[File]:
    return sorted(files, key=lambda file: (file.name != marker, file.name))


def _copy(files: list[Path], targets: list[remote.Remote]) -> None:
    """Copies all files; if one fails, removes those already copied."""
    for i, (file, target) in enumerate(zip(files, targets, strict=True)):
        try:
            target.copy_from(file)
        except errors.UserError:
            for part in targets[: i + 1]:
                with contextlib.suppress(OSError, errors.UserError):
                    part.unlink()
            raise


def _lock_file(path: Path) -> Path:
    return path.resolve().with_name(f".{path.resolve().name}.lock")


def _sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
