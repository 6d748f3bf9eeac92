"""Which lines are examples, which sequences are kept or can be read, and at what length."""

from __future__ import annotations

import dataclasses
import math

from camformer_tf import recipe

PLAIN = ("sequence", "expression")  # the columns of a text; "weight" and "split" may follow
LEAST = {"expression": -math.inf, "weight": 0.0}  # the columns of numbers, and their least values

_LETTERS = b"ACGTNacgtn"
_PLAIN = bytes.maketrans(b"acgtnUu", b"ACGTNTT")
_FLOAT32_MAX = 3.4028234663852886e38  # the largest float32


@dataclasses.dataclass(frozen=True)
class Rule:
    """Which sequences are kept, and at what length they leave.

    In this order: more than `max_n` N is dropped; a length further than `length_margin` from
    `length` is dropped (unless `keep_all`); what is left is padded on the right with N and cut on
    the right to `length`. Padding does not count as N.

    Source: script:482-536, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69; `keep_all` is its
    `drop = False`. There, padding stops at the longest kept sequence; here it always reaches
    `length`.
    """

    length: int = recipe.DataConfig.length
    length_margin: int = recipe.DataConfig.length_margin
    max_n: int = recipe.DataConfig.max_n
    keep_all: bool = False

    def too_many_n(self, n):
        """Whether sequences with n N, a number or an array of numbers, are dropped."""
        return n > self.max_n

    def wrong_length(self, length):
        """Whether sequences of a length, a number or an array of numbers, are dropped."""
        return (abs(length - self.length) > self.length_margin) & (not self.keep_all)

    def fit_length(self, sequence: bytes) -> bytes:
        return sequence[: self.length].ljust(self.length, b"N")


def malformed(fields: list[bytes], columns: tuple[str, ...] = PLAIN) -> str | None:
    """Returns why the fields of a line are no example, or None if they are one."""
    if len(fields) != len(columns):
        names = " and ".join(name.upper() for name in columns)
        plural = "s" * (len(fields) > 1)
        return f"expected {names}, found {len(fields)} column{plural}"
    if strange := fields[0].translate(None, _LETTERS):
        return f"letter {_show(strange[:1])} is none of ACGTN"
    for name, field in zip(columns, fields, strict=True):
        if name in LEAST and (reason := no_number(name, field)):
            return reason
    return None


def no_number(name: str, field: bytes) -> str | None:
    """Returns why a field is no number of that column, or None if it is one."""
    try:
        value = float(field)
    except ValueError:
        value = None
    if value is None or b"_" in field:
        return f"{name} {_show(field)} is not a number"
    if not abs(value) <= _FLOAT32_MAX:
        return f"{name} {_show(field)} is not a finite number"
    if value < LEAST[name]:
        return f"{name} {_show(field)} is below {LEAST[name]:g}"
    return None


def plain(sequence: bytes) -> bytes:
    """Returns a raw sequence to predict in the model's letters: upper case, U as T."""
    return sequence.translate(_PLAIN)


def reasons(rule: Rule) -> tuple[str, ...]:
    """Returns what the numbers of `judge` mean, "" first."""
    return (
        "",
        "a letter is none of ACGTN, nor U",
        f"more than {rule.max_n} N",
        f"length further than {rule.length_margin} from {rule.length}",
    )


def judge(sequence: bytes, rule: Rule) -> int:
    """Returns 0 if the model can read a raw sequence (either case, U for T), else which of
    `reasons` it has, the first that holds.
    """
    sequence = plain(sequence)
    holds = (
        bool(sequence.translate(None, _LETTERS)),
        rule.too_many_n(sequence.count(b"N")),
        rule.wrong_length(len(sequence)),
    )
    return holds.index(True) + 1 if True in holds else 0


def unreadable(sequence: bytes, rule: Rule) -> str | None:
    """Returns why the model cannot read a raw sequence, with what was found, or None if it can."""
    code, sequence = judge(sequence, rule), plain(sequence)
    if not code:
        return None
    told = (
        f"letter {_show(sequence.translate(None, _LETTERS)[:1])} is none of ACGTN",
        f"{sequence.count(b'N')} N, more than {rule.max_n}",
        f"length {len(sequence)}, further than {rule.length_margin} from {rule.length}",
    )
    return told[code - 1]


def is_header(fields: list[bytes]) -> bool:
    """Whether a malformed first line is words: its sequence is none, and nor is its expression."""
    words = [field.strip(b"\"'").replace(b"_", b"").isalpha() for field in fields]
    return all(words) and bool(fields[0].translate(None, _LETTERS))


def _show(field: bytes) -> str:
    return repr(field[:40].decode("utf-8", "replace"))
