"""Which lines are examples, which sequences are kept or can be read, and at what length."""

from __future__ import annotations

import dataclasses

from camformer_tf import recipe

_LETTERS = b"ACGTNacgtn"
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

    def too_many_n(self, sequence: bytes) -> bool:
        return sequence.count(b"N") > self.max_n

    def wrong_length(self, sequence: bytes) -> bool:
        return not self.keep_all and abs(len(sequence) - self.length) > self.length_margin

    def fit_length(self, sequence: bytes) -> bytes:
        return sequence[: self.length].ljust(self.length, b"N")


def malformed(fields: list[bytes]) -> str | None:
    """Returns why the fields of a line are no example, or None if they are one."""
    if len(fields) != 2:
        return f"expected SEQUENCE and EXPRESSION, found {len(fields)} column" + "s" * (
            len(fields) > 1
        )
    if strange := fields[0].translate(None, _LETTERS):
        return f"letter {_show(strange[:1])} is none of ACGTN"
    try:
        value = float(fields[1])
    except ValueError:
        value = None
    if value is None or b"_" in fields[1]:
        return f"expression {_show(fields[1])} is not a number"
    if not abs(value) <= _FLOAT32_MAX:
        return f"expression {_show(fields[1])} is not a finite number"
    return None


def unreadable(sequence: bytes, rule: Rule) -> str | None:
    """Returns why the model cannot read a raw sequence (either case), or None if it can."""
    if strange := sequence.translate(None, _LETTERS):
        return f"letter {_show(strange[:1])} is none of ACGTN"
    sequence = sequence.upper()
    if rule.too_many_n(sequence):
        return f"{sequence.count(b'N')} N, more than {rule.max_n}"
    if rule.wrong_length(sequence):
        return f"length {len(sequence)}, further than {rule.length_margin} from {rule.length}"
    return None


def is_header(fields: list[bytes]) -> bool:
    """Whether a malformed first line is words: its sequence is none, and nor is its expression."""
    words = [field.strip(b"\"'").replace(b"_", b"").isalpha() for field in fields]
    return all(words) and bool(fields[0].translate(None, _LETTERS))


def _show(field: bytes) -> str:
    return repr(field[:40].decode("utf-8", "replace"))
