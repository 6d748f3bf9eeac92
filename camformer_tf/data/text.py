"""Lines of text become examples, or rejects with a reason and FILE:LINE."""

from __future__ import annotations

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
from camformer_tf.data import rules

_CHUNK = 1 << 23  # bytes of text parsed at a time


@dataclasses.dataclass
class Counts:
    """What became of the lines: lines = malformed + dropped_n + dropped_length + kept.

    Blank lines are not counted."""

    lines: int = 0
    malformed: int = 0
    dropped_n: int = 0
    dropped_length: int = 0
    kept: int = 0

    def add(self, other: Counts) -> None:
        for name, value in dataclasses.asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclasses.dataclass(frozen=True)
class Examples:
    """N kept examples: letters uint8 (N, L), expression float32 (N,)."""

    letters: np.ndarray
    expression: np.ndarray


@dataclasses.dataclass(frozen=True)
class Rows:
    """N rows to predict, in order: the sequences as given, uint8 letters (N, L) fitted to the rule,
    expressions as given (None where there are none), and why a sequence cannot be read (or None).
    The letters of an unreadable row are all N."""

    sequences: list[str]
    letters: np.ndarray
    expressions: list[str] | None
    reasons: list[str | None]


class Source(io.RawIOBase):
    """A text file, .gz file or standard input ("-") that counts and hashes its bytes as read."""

    def __init__(self, path: Path):
        self.name = "standard input" if str(path) == "-" else str(path)
        self.size, self.lines, self.digest = 0, 0, hashlib.sha256()
        if str(path) != "-" and not path.is_file():
            what = "is not a file" if path.exists() else "no such file"
            raise errors.UserError(f"{path}: {what}. Check the path.")
        try:
            self._file = sys.stdin.buffer if str(path) == "-" else path.open("rb")
        except OSError as error:
            raise errors.UserError(f"{path}: cannot be opened ({error.strerror}).") from error
        self._gzip = path.suffix == ".gz"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.size += len(data)
        self.digest.update(data)
        return len(data)

    def chunks(self) -> Iterator[tuple[list[bytes], int]]:
        """Yields whole lines, about `_CHUNK` bytes at a time, and the number of the first."""
        stream = gzip.GzipFile(fileobj=self) if self._gzip else self
        rest = b""
        try:
            while data := stream.read(_CHUNK):
                if not self.lines and not rest:
                    data = data.removeprefix(b"\xef\xbb\xbf")  # a byte order mark
                whole, newline, rest_of_data = data.rpartition(b"\n")
                lines = (rest + whole).split(b"\n") if newline else []
                rest = rest_of_data if newline else rest + data
                if len(rest) > _CHUNK:
                    raise errors.UserError(
                        f"{self.name}:{self.lines + len(lines) + 1}: a line of more than {_CHUNK} "
                        "bytes. This is no text of SEQUENCE<TAB>EXPRESSION lines."
                    )
                yield lines, self.lines + 1
                self.lines += len(lines)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise errors.UserError(f"{self.name}: is no whole .gz file ({error}).") from error
        finally:
            if self._file is not sys.stdin.buffer:
                self._file.close()
        if rest:
            yield [rest], self.lines + 1
            self.lines += 1


def parse(
    lines: list[bytes], rule: rules.Rule, where: str, first: int
) -> tuple[Examples, Counts, list[str]]:
    """Returns what lines hold: the kept examples, the counts, and a reason for each malformed line.

    Args:
        lines: `SEQUENCE EXPRESSION` with any white space between, either case; blank ones ignored.
        rule: which sequences to keep, and at what length.
        where, first: the file's name and the number of the first line, for the reasons.
    """
    kept: list[bytes] = []
    values: list[float] = []
    rejects: list[str] = []
    counts = Counts()
    for number, line in enumerate(lines, first):
        fields = line.split()
        if not fields:
            continue
        counts.lines += 1
        if reason := rules.malformed(fields):
            if number == 1 and rules.is_header(fields):
                reason = "a header line, where none is expected; remove it (tail -n +2)"
            rejects.append(f"{where}:{number}: {reason}")
            continue
        sequence = fields[0].upper()
        if rule.too_many_n(sequence):
            counts.dropped_n += 1
        elif rule.wrong_length(sequence):
            counts.dropped_length += 1
        else:
            kept.append(rule.fit_length(sequence))
            values.append(float(fields[1]))
    counts.malformed, counts.kept = len(rejects), len(kept)
    return Examples(_matrix(kept, rule), np.array(values, np.float32)), counts, rejects


def read_rows(source: Source, rule: rules.Rule) -> Iterator[Rows]:
    """Yields the rows of a text to predict, `SEQUENCE` or `SEQUENCE EXPRESSION` a line, in order.

    Whether there are expressions is decided by the first line. Nothing is dropped: what the rule
    does not admit gets a reason.
    """
    columns = 0
    for lines, _ in source.chunks():
        rows = [fields for line in lines if (fields := line.split())]
        if rows and not columns:
            if rows[0][0].startswith(b">"):
                raise errors.UserError(
                    f"{source.name}: looks like FASTA, which is not read. Put one sequence a line."
                )
            columns = min(len(rows[0]), 2)
        reasons = [rules.unreadable(fields[0], rule) for fields in rows]
        fitted = [
            rule.fit_length(b"" if reason else fields[0].upper())
            for fields, reason in zip(rows, reasons, strict=True)
        ]
        yield Rows(
            [fields[0].decode("utf-8", "replace") for fields in rows],
            _matrix(fitted, rule),
            [_second(fields) for fields in rows] if columns == 2 else None,
            reasons,
        )


def _matrix(rows: list[bytes], rule: rules.Rule) -> np.ndarray:
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), rule.length)


def _second(fields: list[bytes]) -> str:
    return fields[1].decode("utf-8", "replace") if len(fields) > 1 else ""
