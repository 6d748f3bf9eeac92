"""Remote paths, such as gs://bucket/records, through TensorFlow's file systems."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from camformer_tf import errors


def path(name: str | os.PathLike[str] | Remote) -> Path | Remote:
    """Returns a path on this machine, or a `Remote` for `scheme://…`."""
    if isinstance(name, Remote):
        return name
    text = os.fspath(name)
    return Remote(text.rstrip("/")) if "://" in text else Path(text)


@dataclasses.dataclass(frozen=True)
class Remote:
    """A URL with the methods of `pathlib.Path` that this package uses.

    A file that does not exist raises FileNotFoundError, as with a Path; every other failure (no
    permission, no such scheme) raises errors.UserError.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> Remote:
        return Remote(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """Returns the last part of the URL."""
        return self.url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """Returns the suffix of the name, such as ".gz"."""
        return Path(self.name).suffix

    def exists(self) -> bool:
        """Returns whether there is a file or folder."""
        with _system(self.url) as files:
            return files.exists(self.url)

    def is_dir(self) -> bool:
        """Returns whether this is a folder."""
        with _system(self.url) as files:
            return files.isdir(self.url)

    def is_file(self) -> bool:
        """Returns whether this is a file."""
        return self.exists() and not self.is_dir()

    def iterdir(self) -> Iterator[Remote]:
        """Yields the files and folders in this folder."""
        with _system(self.url) as files:
            names = files.listdir(self.url)
        yield from (self / name.rstrip("/") for name in names)

    def stat(self) -> Any:
        """Returns an object whose `st_size` is the size in bytes."""
        with _system(self.url) as files:
            return _Size(files.stat(self.url).length)

    def open(self, mode: str) -> IO[Any]:
        """Opens the file, with one of the modes of TensorFlow's GFile."""
        with _system(self.url) as files:
            file = files.GFile(self.url, mode)
            if mode == "rb":
                file.size()  # fails here, rather than at the first read, if there is no such file
            return file

    def read_bytes(self) -> bytes:
        """Returns the contents of the file."""
        with _system(self.url), self.open("rb") as file:
            return file.read()

    def read_text(self, encoding: str) -> str:
        """Returns the contents of a text file."""
        return self.read_bytes().decode(encoding)

    def unlink(self) -> None:
        """Removes the file."""
        with _system(self.url) as files:
            files.remove(self.url)

    def copy_from(self, local: Path) -> None:
        """Copies a file on this machine to this URL."""
        with _system(self.url) as files:
            files.makedirs(self.url.rpartition("/")[0])
            files.copy(str(local), self.url, overwrite=True)


AnyPath = Path | Remote  # what `path` returns


@dataclasses.dataclass(frozen=True)
class _Size:
    st_size: int


@contextlib.contextmanager
def _system(url: str) -> Iterator[Any]:
    import tensorflow as tf  # here, as its import takes seconds that local paths need not pay

    try:
        yield tf.io.gfile
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, error.message) from error
    except tf.errors.OpError as error:
        raise errors.UserError(f"{url}: {error.message}.") from error
