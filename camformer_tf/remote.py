"""Paths beyond this machine, such as gs://bucket/records, through TensorFlow's file systems."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from camformer_tf import errors


def path(text: str) -> Path | Remote:
    """Returns what a name means: a path on this machine, or `scheme://…`."""
    return Remote(text.rstrip("/")) if "://" in text else Path(text)


@dataclasses.dataclass(frozen=True)
class Remote:
    """What this package uses of `pathlib.Path`, for a URL. What is not there is FileNotFoundError
    here too; any other failure (no right, no such scheme) is UserError.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> Remote:
        return Remote(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    def exists(self) -> bool:
        with _system(self.url) as files:
            return files.exists(self.url)

    def is_dir(self) -> bool:
        with _system(self.url) as files:
            return files.isdir(self.url)

    def is_file(self) -> bool:
        return self.exists() and not self.is_dir()

    def iterdir(self) -> Iterator[Remote]:
        with _system(self.url) as files:
            names = files.listdir(self.url)
        yield from (self / name.rstrip("/") for name in names)

    def stat(self) -> Any:
        """Returns an object whose `st_size` is the size in bytes."""
        with _system(self.url) as files:
            return _Size(files.stat(self.url).length)

    def open(self, mode: str) -> IO:
        with _system(self.url) as files:
            opened = files.GFile(self.url, mode)
            if mode == "rb":
                opened.size()  # now, not at the first read, it is said that there is no such file
            return opened

    def read_bytes(self) -> bytes:
        with _system(self.url), self.open("rb") as file:
            return file.read()

    def read_text(self, encoding: str) -> str:
        return self.read_bytes().decode(encoding)

    def unlink(self) -> None:
        with _system(self.url) as files:
            files.remove(self.url)

    def copy_from(self, local: Path) -> None:
        """Takes the contents of a file on this machine."""
        with _system(self.url) as files:
            files.makedirs(self.url.rpartition("/")[0])
            files.copy(str(local), self.url, overwrite=True)


@dataclasses.dataclass(frozen=True)
class _Size:
    st_size: int


@contextlib.contextmanager
def _system(url: str) -> Iterator[Any]:
    import tensorflow as tf  # here, since paths on this machine do without its seconds of import

    try:
        yield tf.io.gfile
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, error.message) from error
    except tf.errors.OpError as error:
        raise errors.UserError(f"{url}: {error.message}.") from error
