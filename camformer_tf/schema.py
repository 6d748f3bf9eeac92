"""Plain values become frozen dataclasses; unknown keys and wrong types are refused by name."""

from __future__ import annotations

import contextlib
import dataclasses
import decimal
import difflib
import math
import sys
import types
import typing
from typing import Annotated, Any, Literal

from camformer_tf import errors


@dataclasses.dataclass(frozen=True)
class Bound:
    """The range of a number: at_least <= value <= at_most, above < value < below."""

    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    at_most: float | None = None

    def allows(self, value: float) -> bool:
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )

    def __str__(self) -> str:
        words = {
            "at least": self.at_least,
            "above": self.above,
            "below": self.below,
            "at most": self.at_most,
        }
        return " and ".join(
            f"{word} {limit:g}" for word, limit in words.items() if limit is not None
        )


def parse(value: Any, kind: Any, where: str, name: str = "") -> Any:
    """Returns a plain value as `kind`: a dataclass, tuple, Literal, union, bounded or plain number.

    Args:
        value: what YAML gave: dict, list, str, int, float, bool or None.
        where: the file, for messages; name: the value's dotted key, empty for the whole.

    Raises:
        errors.UserError: an unknown or missing key, a wrong type, a number out of range.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _section(value, kind, where, name)
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(where, name, "a list", value)
        return tuple(parse(v, arguments[0], where, f"{name}.{i}") for i, v in enumerate(value))
    if origin is Annotated:
        number = parse(value, arguments[0], where, name)
        if not arguments[1].allows(number):
            raise _wrong(where, name, f"a number {arguments[1]}", value)
        return number
    if origin is Literal:
        if value not in arguments or type(value) is not str:
            raise _wrong(where, name, "one of " + ", ".join(arguments), value)
        return value
    if origin in (types.UnionType, typing.Union):
        return _union(value, arguments, where, name)
    if kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if kind is not float and type(value) is kind:
        return value
    raise _wrong(
        where,
        name,
        {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind],
        value,
    )


def _union(value: Any, kinds: tuple, where: str, name: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    text = next((kind for kind in kinds if typing.get_origin(kind) is Literal), None)
    if isinstance(value, str) and text is not None and value not in typing.get_args(text):
        words = " or ".join([*typing.get_args(text), "a whole number"])
        raise _wrong(where, name, words, value)
    if isinstance(value, str) and text is not None:
        return value
    return parse(value, next(kind for kind in kinds if kind is not text), where, name)


def _section(value: Any, kind: type, where: str, name: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(where, name, "a section of keys", value)
    hints = typing.get_type_hints(kind, include_extras=True)
    dotted = {key: f"{name}.{key}" if name else str(key) for key in [*value, *hints]}
    for key in value:
        if key not in hints:
            close = difflib.get_close_matches(str(key), hints, n=1)
            hint = (
                f"Did you mean {dotted[close[0]]}?" if close else f"Known keys: {', '.join(hints)}."
            )
            raise errors.UserError(f"{where}: unknown key {dotted[key]}. {hint}")
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING and field.name not in value:
            raise errors.UserError(
                f"{where}: the key {dotted[field.name]} is missing and has no default."
            )
    return kind(**{key: parse(v, hints[key], where, dotted[key]) for key, v in value.items()})


def _wrong(where: str, name: str, expected: str, value: Any) -> errors.UserError:
    hint = ""
    if isinstance(value, str) and "number" in expected:
        with contextlib.suppress(ValueError):
            plain = _plain(float(value), whole="a whole number" in expected)
            hint = f" YAML reads {value} as text: write {plain}."
    return errors.UserError(f"{where}: {name}: expected {expected}, found {value!r}.{hint}")


def _plain(number: float, *, whole: bool) -> str:
    """Returns a number as YAML reads it as one, without an exponent.

    Raises:
        ValueError: there is no such number: it is not finite, or not whole where it should be.
    """
    if not math.isfinite(number) or (whole and number % 1):
        raise ValueError(number)
    return str(int(number)) if whole else f"{decimal.Decimal(repr(number)):f}"
