"""Text becomes examples, or rejects with a reason and FILE:LINE, a block of lines at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from camformer_tf import errors
from camformer_tf.data import lines, rules

_CHUNK = 1 << 20  # bytes of text parsed at a time: 8,600 lines of 110 letters
_LONGEST_LINE = 1 << 24
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ROWS = 1 << 14  # of a table with a header, read at a time


@dataclasses.dataclass
class Counts:
    """What became of the lines: lines = malformed + dropped_n + dropped_length + kept.

    Blank lines are not counted.
    """

    lines: int = 0
    malformed: int = 0
    dropped_n: int = 0
    dropped_length: int = 0
    kept: int = 0

    def add(self, other: Counts) -> None:
        for name, value in dataclasses.asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclasses.dataclass(frozen=True)
class Block:
    """Whole lines of a text: the number of the first, how many, and the lines themselves, or where
    they lie in a file on this machine, for another process to read.
    """

    first: int
    lines: int
    data: bytes | None
    path: Path | None = None
    offset: int = 0
    size: int = 0

    def read(self) -> bytes:
        if self.data is not None:
            return self.data
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclasses.dataclass(frozen=True)
class Examples:
    """N kept examples: letters uint8 (N, L), expression float32 (N,), weight float32 (N,) or None,
    and the split that the text gives each, N words, or None.
    """

    letters: np.ndarray
    expression: np.ndarray
    weight: np.ndarray | None = None
    split: list[str] | None = None


class Source(io.RawIOBase):
    """A text file, .gz file or standard input ("-") that counts and hashes its bytes as read."""

    def __init__(self, path: Path):
        self.name = "standard input" if str(path) == "-" else str(path)
        self.size, self.lines, self.digest = 0, 0, hashlib.sha256()
        if str(path) != "-" and (path.is_dir() or not path.exists()):
            what = "is not a file" if path.exists() else "no such file"
            raise errors.UserError(f"{path}: {what}. Check the path.")
        try:
            self._file = sys.stdin.buffer if str(path) == "-" else path.open("rb")
        except OSError as error:
            raise errors.UserError(f"{path}: cannot be opened ({error.strerror}).") from error
        self._path, self._gzip = path, path.suffix == ".gz"
        local = isinstance(path, Path) and str(path) != "-" and path.is_file()
        self._in_place = local and not self._gzip

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        view = memoryview(buffer)
        if isinstance(self._file, io.BufferedIOBase):
            size = self._file.readinto(view)
        else:  # TensorFlow's files can only read
            read = self._file.read(len(view))
            size = len(read)
            view[:size] = read
        self.size += size
        self.digest.update(view[:size])
        return size

    def blocks(self) -> Iterator[Block]:
        """Yields the lines, about `_CHUNK` bytes at a time."""
        with self._opened() as stream:
            yield from self._lines(stream)

    def named_blocks(self, names: dict[str, str]) -> Iterator[Block]:
        """Yields the rows of a table with a header as lines of the columns asked for, in the order
        of `names` (ours → the table's).

        Commas part the columns of a .csv file (quotes are understood), tabs those of a .tsv file,
        white space those of any other.
        """
        import pandas as pd  # here, since a text without a header does without it

        kind = Path(self.name.removesuffix(".gz")).suffix
        separator = {".csv": ",", ".tsv": "\t"}.get(kind, r"\s+")
        wanted = list(names.values())
        with self._opened() as stream:
            try:
                tables = pd.read_csv(
                    io.BufferedReader(stream), sep=separator, dtype=str, keep_default_na=False,
                    encoding_errors="replace", skip_blank_lines=False, chunksize=_ROWS,
                )  # fmt: skip
                for table in tables:
                    if missing := [name for name in wanted if name not in table]:
                        raise errors.UserError(
                            f"{self.name}:1: has no column {missing[0]!r}. Its columns: "
                            f"{', '.join(map(str, table.columns))}."
                        )
                    fields = zip(*(table[name].fillna("") for name in wanted), strict=True)
                    rows = ["\t".join(row).replace("\n", " ") for row in fields]
                    first = int(table.index[0]) + 2
                    yield Block(first, len(rows), "\n".join(rows).encode())
                    self.lines = int(table.index[-1]) + 2
            except pd.errors.EmptyDataError:
                return
            except pd.errors.ParserError as error:
                raise errors.UserError(f"{self.name}: is no table ({error}).") from error

    @contextlib.contextmanager
    def _opened(self) -> Iterator[io.RawIOBase]:
        try:
            yield gzip.GzipFile(fileobj=self) if self._gzip else self
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise errors.UserError(f"{self.name}: is no whole .gz file ({error}).") from error
        finally:
            if self._file is not sys.stdin.buffer:
                self._file.close()

    def _lines(self, stream: io.RawIOBase) -> Iterator[Block]:
        chunk, rest, offset = bytearray(_CHUNK), b"", 0
        while size := stream.readinto(chunk):
            start = 0
            if not self.lines and not rest and chunk.startswith(_BYTE_ORDER_MARK):
                start = offset = len(_BYTE_ORDER_MARK)
            end = chunk.rfind(b"\n", start, size) + 1
            if end:
                whole = np.frombuffer(chunk, np.uint8, end - start, start)
                count = int(np.count_nonzero(whole == ord("\n")))
                yield self._block(rest, whole, count, offset)
                offset, rest = offset + len(rest) + len(whole), b""
            rest += chunk[max(start, end) : size]
            if len(rest) > _LONGEST_LINE:
                raise errors.UserError(
                    f"{self.name}:{self.lines + 1}: a line of more than {_LONGEST_LINE:,} "
                    "bytes. This is no text of SEQUENCE<TAB>EXPRESSION lines."
                )
        if rest:
            yield self._block(rest, np.empty(0, np.uint8), 1, offset)

    def _block(self, rest: bytes, whole: np.ndarray, lines: int, offset: int) -> Block:
        first = self.lines + 1
        self.lines += lines
        if self._in_place:
            return Block(first, lines, None, self._path, offset, len(rest) + len(whole))
        return Block(first, lines, rest + whole.tobytes())


def parse(
    block: bytes,
    rule: rules.Rule,
    where: str,
    first: int,
    columns: tuple[str, ...] = rules.PLAIN,
    shown: int | None = None,
) -> tuple[Examples, Counts, list[str]]:
    """Returns what whole lines hold: the kept examples, the counts, and a reason for each malformed
    line.

    All is read as arrays but a number that looks odd: that is read by itself, by `rules.no_number`,
    which has the last word. Odd numbers cost time and not correctness.

    Args:
        block: `SEQUENCE EXPRESSION` lines with any white space between, either case; more columns
            if `columns` says so; blank lines are ignored.
        rule: which sequences to keep, and at what length.
        where, first: the file's name and the number of the first line, for the reasons.
        shown: how many malformed lines get a reason; all of them without it.
    """
    rows = lines.rows(block, len(columns))
    starts, ends = rows.starts.T, rows.ends.T
    good, n = lines.letters(rows.data, starts[0], ends[0])
    good &= rows.columns == len(columns)
    values = {}
    for place, name in enumerate(columns):
        if name in rules.LEAST:
            values[name], understood = lines.numbers(rows.data, starts[place], ends[place])
            understood &= values[name] >= rules.LEAST[name]
            for row in np.flatnonzero(good & ~understood).tolist():
                field = block[starts[place, row] : ends[place, row]]
                if rules.no_number(name, field):
                    good[row] = False
                else:
                    values[name][row] = float(field)
    malformed = np.flatnonzero(~good)
    rejects = []
    for row in malformed[:shown].tolist():
        number = first + int(rows.number[row])
        reason = _reason(block[starts[0, row] : rows.last[row]].split(), columns, number)
        rejects.append(f"{where}:{number}: {reason}")
    rich = good & rule.too_many_n(n)
    off = good & ~rich & rule.wrong_length(ends[0] - starts[0])
    kept = np.flatnonzero(good & ~rich & ~off)
    counts = Counts(len(good), len(malformed), int(rich.sum()), int(off.sum()), len(kept))
    place = columns.index("split") if "split" in columns else None
    examples = Examples(
        lines.fitted(rows.data, starts[0, kept], ends[0, kept], rule.length),
        values["expression"][kept].astype(np.float32),
        values["weight"][kept].astype(np.float32) if "weight" in values else None,
        place and [_word(block[starts[place, i] : ends[place, i]]) for i in kept],
    )
    return examples, counts, rejects


def _reason(fields: list[bytes], columns: tuple[str, ...], number: int) -> str:
    if number == 1 and rules.is_header(fields):
        return (
            "a header line, where none is expected; remove it (tail -n +2), or name its "
            "columns: --sequence-column, --expression-column"
        )
    return rules.malformed(fields, columns)


def _word(field: bytes) -> str:
    return sys.intern(field.decode("utf-8", "replace"))  # few words, many lines
