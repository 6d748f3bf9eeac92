"""Which lines are examples, which sequences are kept or can be read, and at what length."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from camformer_tf import recipe

PLAIN_COLUMNS = ("sequence", "expression")  # of a text; "weight" and "split" may follow
MINIMUM = {"expression": -math.inf, "weight": 0.0}  # the columns of numbers, and their minima

_LETTERS = b"ACGTNacgtn"
_PLAIN_LETTERS = bytes.maketrans(b"acgtnUu", b"ACGTNTT")
_FLOAT32_MAX = 3.4028234663852886e38  # the largest float32


@dataclasses.dataclass(frozen=True)
class Rule:
    """Which sequences are kept, and the length that they are fitted to.

    The rule works in this order: drop sequences with more than `max_n` N; drop lengths further than
    `length_margin` from `length` (unless `keep_all`); pad with N on the right, or cut on the right,
    to `length`. The N of the padding do not count.

    Source: script:482-536, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69; `keep_all` is its
    `drop = False`. There, padding stops at the longest kept sequence; here it always reaches
    `length`.
    """

    length: recipe.Count = recipe.DataConfig.length
    length_margin: recipe.Natural = recipe.DataConfig.length_margin
    max_n: recipe.Natural = recipe.DataConfig.max_n
    keep_all: bool = False

    def too_many_n(self, n: Any) -> Any:
        """Returns whether sequences with n N are dropped; n is a number, an array or a tensor."""
        return n > self.max_n

    def wrong_length(self, length: Any) -> Any:
        """Returns whether sequences of a length are dropped; it is a number, array or tensor."""
        return (abs(length - self.length) > self.length_margin) & (not self.keep_all)

    def fit_length(self, sequence: bytes) -> bytes:
        """Returns a sequence cut, or padded with N, on the right to `length`."""
        return sequence[: self.length].ljust(self.length, b"N")


def malformed(fields: list[bytes], columns: tuple[str, ...] = PLAIN_COLUMNS) -> str | None:
    """Returns why the fields of a line are not an example, or None if they are one."""
    if len(fields) != len(columns):
        names = " and ".join(name.upper() for name in columns)
        plural = "s" * (len(fields) != 1)
        return f"expected {names}, found {len(fields)} column{plural}"
    if strange := fields[0].translate(None, _LETTERS):
        return f"letter {_show(strange[:1])} is not one of A, C, G, T, N"
    for name, field in zip(columns, fields, strict=True):
        if name in MINIMUM and (reason := number_problem(name, field)):
            return reason
    return None


def number_problem(name: str, field: bytes) -> str | None:
    """Returns why a field is not a number of that column, or None if it is one."""
    try:
        value = float(field)
    except ValueError:
        value = None
    if value is None or b"_" in field:  # Python's float() reads 1_000
        return f"{name} {_show(field)} is not a number"
    if not abs(value) <= _FLOAT32_MAX:
        return f"{name} {_show(field)} is not a finite number"
    if value < MINIMUM[name]:
        return f"{name} {_show(field)} is below {MINIMUM[name]:g}"
    return None


def plain(sequence: bytes) -> bytes:
    """Returns a raw sequence to predict in the model's letters: upper case, U as T."""
    return sequence.translate(_PLAIN_LETTERS)


def reasons(rule: Rule) -> tuple[str, ...]:
    """Returns what the numbers of `judge` mean, "" first."""
    return (
        "",
        "a letter is not one of A, C, G, T, N, U",
        f"more than {rule.max_n} N",
        f"length further than {rule.length_margin} from {rule.length}",
    )


def judge(sequence: bytes, rule: Rule) -> int:
    """Returns 0 if the model can read a raw sequence, else the index of the first of `reasons`.

    Args:
        sequence: letters of either case, U for T.
        rule: the rule of the model.
    """
    sequence = plain(sequence)
    problems = (  # in the order of `reasons`
        bool(sequence.translate(None, _LETTERS)),
        rule.too_many_n(sequence.count(b"N")),
        rule.wrong_length(len(sequence)),
    )
    return problems.index(True) + 1 if True in problems else 0


def unreadable(sequence: bytes, rule: Rule) -> str | None:
    """Returns why the model cannot read a raw sequence, with what was found, or None if it can."""
    code, sequence = judge(sequence, rule), plain(sequence)
    if not code:
        return None
    messages = (
        f"letter {_show(sequence.translate(None, _LETTERS)[:1])} is not one of A, C, G, T, N",
        f"{sequence.count(b'N')} N, more than {rule.max_n}",
        f"length {len(sequence)}, further than {rule.length_margin} from {rule.length}",
    )
    return messages[code - 1]


def is_header(fields: list[bytes]) -> bool:
    """Returns whether a malformed first line has words for a sequence and an expression."""
    words = [field.strip(b"\"'").replace(b"_", b"").isalpha() for field in fields]
    return all(words) and bool(fields[0].translate(None, _LETTERS))


def _show(field: bytes) -> str:
    return repr(field[:40].decode("utf-8", "replace"))
