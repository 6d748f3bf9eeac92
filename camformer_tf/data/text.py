"""Text as examples, or as rejects with a reason and FILE:LINE, one block of lines after another."""

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
from typing import IO, Any

import numpy as np

from camformer_tf import errors, remote
from camformer_tf.data import lines, rules

_CHUNK = 1 << 20  # bytes of text per block: 8,600 lines of 110 letters
_LONGEST_LINE = 1 << 24
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ROWS = 1 << 14  # of a table with a header, per block


@dataclasses.dataclass
class Counts:
    """What became of the lines: lines = malformed + dropped_n + dropped_length + examples.

    Blank lines are not counted. An example is a line that is kept.
    """

    lines: int = 0
    malformed: int = 0
    dropped_n: int = 0
    dropped_length: int = 0
    examples: int = 0

    def add(self, counts: Counts) -> None:
        """Adds the counts of more lines."""
        for name, value in dataclasses.asdict(counts).items():
            setattr(self, name, getattr(self, name) + value)

    def manifest_keys(self) -> dict[str, int]:
        """Returns the counts under their names in manifest.json, where examples are `kept`."""
        values = dataclasses.asdict(self)
        return {"kept" if name == "examples" else name: value for name, value in values.items()}


@dataclasses.dataclass(frozen=True)
class LineBlock:
    """Whole lines of a text, here or in a file on this machine for another process to read.

    Attributes:
        first: the number of the first line.
        lines: the number of lines.
        data: the lines themselves, or None if they are in a file.
        path: the file.
        offset: where the lines begin in it.
        size: their bytes in it.
    """

    first: int
    lines: int
    data: bytes | None
    path: Path | None = None
    offset: int = 0
    size: int = 0

    def read(self) -> bytes:
        """Returns the lines."""
        if self.data is not None or self.path is None:
            return self.data or b""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclasses.dataclass(frozen=True)
class Examples:
    """N kept examples.

    Attributes:
        letters: uint8 (N, L), ASCII upper case.
        expression: float32 (N,).
        weight: float32 (N,), or None in a set without weights.
        split: the split that the text names for each, or None if it names none.
    """

    letters: np.ndarray
    expression: np.ndarray
    weight: np.ndarray | None = None
    split: list[str] | None = None


class Source(io.RawIOBase):
    """A text file, .gz file or standard input ("-") that counts and hashes the bytes read.

    Attributes:
        name: the path, or "standard input".
        size: the bytes read so far.
        line_count: the lines read so far.
        digest: the SHA-256 of the bytes read so far.
    """

    def __init__(self, path: remote.AnyPath) -> None:
        self.name = "standard input" if str(path) == "-" else str(path)
        self.size, self.line_count, self.digest = 0, 0, hashlib.sha256()
        if str(path) != "-" and (path.is_dir() or not path.exists()):
            problem = "not a file" if path.exists() else "no such file"
            raise errors.UserError(f"{path}: {problem}. Check the path.")
        try:
            self._file: IO[bytes] = sys.stdin.buffer if str(path) == "-" else path.open("rb")
        except OSError as error:
            raise errors.UserError(f"{path}: cannot be opened ({error.strerror}).") from error
        self._gzip = path.suffix == ".gz"
        is_local = isinstance(path, Path) and str(path) != "-" and path.is_file()
        # A plain file on this machine is read again by another process, at the lines' place.
        self._local = path if isinstance(path, Path) and is_local and not self._gzip else None

    def description(self) -> dict[str, Any]:
        """Returns the entry of the manifest for this source, after all of it has been read."""
        digest = self.digest.hexdigest()
        name = Path(self.name).name
        return {"name": name, "bytes": self.size, "sha256": digest, "lines": self.line_count}

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads bytes into a buffer, and returns their number."""
        view = memoryview(buffer)
        if isinstance(self._file, io.BufferedIOBase):
            size = self._file.readinto(view)
        else:  # TensorFlow's files have no readinto
            data = self._file.read(len(view))
            size = len(data)
            view[:size] = data
        self.size += size
        self.digest.update(view[:size])
        return size

    def blocks(self) -> Iterator[LineBlock]:
        """Yields the lines, in blocks of about `_CHUNK` bytes."""
        with self._open() as stream:
            yield from self._split_lines(stream)

    def named_blocks(self, names: dict[str, str]) -> Iterator[LineBlock]:
        """Yields the rows of a table with a header as lines of fields with a tab between them.

        Columns are separated by commas in a .csv file (which may have quotes), by tabs in a .tsv
        file, and by white space in any other.

        Args:
            names: our name of a column → its name in the table; the fields are in this order.

        Raises:
            errors.UserError: the table lacks a column, or is not a table.
        """
        import pandas as pd  # here, since a text without a header does without it

        kind = Path(self.name.removesuffix(".gz")).suffix
        separator = {".csv": ",", ".tsv": "\t"}.get(kind, r"\s+")
        columns = list(names.values())
        with self._open() as stream:
            try:
                tables = pd.read_csv(
                    io.BufferedReader(stream), sep=separator, dtype=str, keep_default_na=False,
                    encoding_errors="replace", skip_blank_lines=False, chunksize=_ROWS,
                )  # fmt: skip
                for table in tables:
                    if missing := [name for name in columns if name not in table]:
                        raise errors.UserError(
                            f"{self.name}:1: there is no column {missing[0]!r}. Its columns: "
                            f"{', '.join(map(str, table.columns))}."
                        )
                    fields = zip(*(table[name].fillna("") for name in columns), strict=True)
                    rows = ["\t".join(row).replace("\n", " ") for row in fields]
                    first = int(table.index[0]) + 2
                    yield LineBlock(first, len(rows), "\n".join(rows).encode())
                    self.line_count = int(table.index[-1]) + 2
            except pd.errors.EmptyDataError:
                return
            except pd.errors.ParserError as error:
                raise errors.UserError(f"{self.name}: not a table ({error}).") from error

    @contextlib.contextmanager
    def _open(self) -> Iterator[io.RawIOBase]:
        """Yields the text, unpacked, and closes the file."""
        try:
            stream: Any = gzip.GzipFile(fileobj=self) if self._gzip else self
            yield stream
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise errors.UserError(f"{self.name}: not a whole .gz file ({error}).") from error
        finally:
            if self._file is not sys.stdin.buffer:
                self._file.close()

    def _split_lines(self, stream: io.RawIOBase) -> Iterator[LineBlock]:
        """Yields blocks of whole lines. A line that a chunk cuts goes to the next block."""
        chunk, cut_line, offset = bytearray(_CHUNK), b"", 0
        while size := stream.readinto(chunk):
            start = 0
            if not self.line_count and not cut_line and chunk.startswith(_BYTE_ORDER_MARK):
                start = offset = len(_BYTE_ORDER_MARK)
            end = chunk.rfind(b"\n", start, size) + 1
            if end:
                data = np.frombuffer(chunk, np.uint8, end - start, start)  # (bytes,), a view
                number = int(np.count_nonzero(data == ord("\n")))
                yield self._block(cut_line, data, number, offset)
                offset, cut_line = offset + len(cut_line) + len(data), b""
            cut_line += chunk[max(start, end) : size]
            if len(cut_line) > _LONGEST_LINE:
                raise errors.UserError(
                    f"{self.name}:{self.line_count + 1}: a line of more than {_LONGEST_LINE:,} "
                    "bytes. Expected SEQUENCE<TAB>EXPRESSION lines."
                )
        if cut_line:
            yield self._block(cut_line, np.empty(0, np.uint8), 1, offset)

    def _block(self, head: bytes, data: np.ndarray, number: int, offset: int) -> LineBlock:
        """Returns the block of `number` lines that has the bytes of head and data."""
        first = self.line_count + 1
        self.line_count += number
        if self._local is not None:
            return LineBlock(first, number, None, self._local, offset, len(head) + len(data))
        return LineBlock(first, number, head + data.tobytes())


def parse(
    block: bytes,
    rule: rules.Rule,
    source: str,
    first: int,
    columns: tuple[str, ...] = rules.PLAIN_COLUMNS,
    max_rejects: int | None = None,
) -> tuple[Examples, Counts, list[str]]:
    """Returns the kept examples of whole lines, the counts, and a reason for each malformed line.

    Everything is read as arrays, except for numbers in an unusual form. Those go to
    `rules.number_problem` one by one, which decides; they cost time and not correctness.

    Args:
        block: `SEQUENCE EXPRESSION` lines with any white space between, either case. Blank lines
            are ignored.
        rule: which sequences to keep, and at what length.
        source: the file's name, for the reasons.
        first: the number of the first line, for the reasons.
        columns: the columns of the lines.
        max_rejects: how many malformed lines get a reason; all of them by default.
    """
    fields = lines.fields(block, len(columns))
    starts, ends = fields.starts.T, fields.ends.T  # (C, R)
    good, n = lines.letters(fields.data, starts[0], ends[0])  # (R,), (R,)
    good &= fields.columns == len(columns)
    values = {}
    for place, name in enumerate(columns):  # float64 (R,) for each column of numbers
        if name in rules.MINIMUM:
            values[name], readable = lines.numbers(fields.data, starts[place], ends[place])
            readable &= values[name] >= rules.MINIMUM[name]
            for row in np.flatnonzero(good & ~readable).tolist():  # few
                field = block[starts[place, row] : ends[place, row]]
                if rules.number_problem(name, field):
                    good[row] = False
                else:
                    values[name][row] = float(field)
    malformed = np.flatnonzero(~good)
    rejects = []
    for row in malformed[:max_rejects].tolist():
        number = first + int(fields.number[row])
        reason = _reason(block[starts[0, row] : fields.last[row]].split(), columns, number)
        rejects.append(f"{source}:{number}: {reason}")
    # The filters in their order: a line that the first one drops is not counted by the second.
    rich_in_n = good & rule.too_many_n(n)
    misfit = good & ~rich_in_n & rule.wrong_length(ends[0] - starts[0])
    kept_rows = np.flatnonzero(good & ~rich_in_n & ~misfit)  # (N,)
    counts = Counts(
        len(good), len(malformed), int(rich_in_n.sum()), int(misfit.sum()), len(kept_rows)
    )
    split = None
    if "split" in columns:
        place = columns.index("split")
        split = [_word(block[starts[place, row] : ends[place, row]]) for row in kept_rows]
    examples = Examples(
        lines.fit(fields.data, starts[0, kept_rows], ends[0, kept_rows], rule.length),
        values["expression"][kept_rows].astype(np.float32),
        values["weight"][kept_rows].astype(np.float32) if "weight" in values else None,
        split,
    )
    return examples, counts, rejects


def _reason(fields: list[bytes], columns: tuple[str, ...], number: int) -> str:
    """Returns why the fields of a line are not an example."""
    if number == 1 and rules.is_header(fields):
        return (
            "a header line, but no header is expected; remove it (tail -n +2), or name its "
            "columns: --sequence-column, --expression-column"
        )
    return rules.malformed(fields, columns) or "not an example"


def _word(field: bytes) -> str:
    return sys.intern(field.decode("utf-8", "replace"))  # few words, many lines
