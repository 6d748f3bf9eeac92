"""Plain values to frozen dataclasses; messages name unknown keys and wrong types."""

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
        """Returns whether the value lies in the range."""
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


def parse(value: Any, kind: Any, source: str, name: str = "") -> Any:
    """Returns a plain value, as YAML reads it, converted to a type.

    Args:
        value: dict, list, str, int, float, bool or None.
        kind: a dataclass, tuple, Literal, union, Annotated number with a `Bound`, or plain type.
        source: the file, for messages.
        name: the value's dotted key, for messages; empty for the outermost section.

    Raises:
        errors.UserError: an unknown or missing key, a wrong type, a number out of range.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _section(value, kind, source, name)
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(source, name, "a list", value)
        return tuple(parse(v, arguments[0], source, f"{name}.{i}") for i, v in enumerate(value))
    if origin is Annotated:
        number = parse(value, arguments[0], source, name)
        if not arguments[1].allows(number):
            raise _wrong(source, name, f"a number {arguments[1]}", value)
        return number
    if origin is Literal:
        if value not in arguments or type(value) is not str:
            raise _wrong(source, name, "one of " + ", ".join(arguments), value)
        return value
    if origin in (types.UnionType, typing.Union):
        return _union(value, arguments, source, name)
    if kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if kind is not float and type(value) is kind:
        return value
    raise _wrong(
        source,
        name,
        {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind],
        value,
    )


def _union(value: Any, kinds: tuple[Any, ...], source: str, name: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    # What remains is one kind, or words beside a number: Literal["same"] | int.
    text = next((kind for kind in kinds if typing.get_origin(kind) is Literal), None)
    if isinstance(value, str) and text is not None and value not in typing.get_args(text):
        words = " or ".join([*typing.get_args(text), "a whole number"])
        raise _wrong(source, name, words, value)
    if isinstance(value, str) and text is not None:
        return value
    return parse(value, next(kind for kind in kinds if kind is not text), source, name)


def _section(value: Any, kind: type, source: str, name: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(source, name, "a section of keys", value)
    hints = typing.get_type_hints(kind, include_extras=True)
    dotted_keys = {key: f"{name}.{key}" if name else str(key) for key in [*value, *hints]}
    for key in value:
        if key not in hints:
            close = difflib.get_close_matches(str(key), hints, n=1)
            hint = (
                f"Did you mean {dotted_keys[close[0]]}?"
                if close
                else f"Known keys: {', '.join(hints)}."
            )
            raise errors.UserError(f"{source}: unknown key {dotted_keys[key]}. {hint}")
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING and field.name not in value:
            raise errors.UserError(
                f"{source}: the key {dotted_keys[field.name]} is missing and has no default."
            )
    return kind(**{key: parse(v, hints[key], source, dotted_keys[key]) for key, v in value.items()})


def _wrong(source: str, name: str, expected: str, value: Any) -> errors.UserError:
    hint = ""
    if isinstance(value, str) and "number" in expected:
        with contextlib.suppress(ValueError):
            plain = _plain(float(value), integer="a whole number" in expected)
            hint = f" YAML reads {value} as text: write {plain}."
    return errors.UserError(f"{source}: {name}: expected {expected}, found {value!r}.{hint}")


def _plain(number: float, *, integer: bool) -> str:
    """Returns a number without an exponent, so that YAML reads it as a number.

    Raises:
        ValueError: the number is not finite, or not whole where it should be.
    """
    if not math.isfinite(number) or (integer and number % 1):
        raise ValueError(number)
    return str(int(number)) if integer else f"{decimal.Decimal(repr(number)):f}"
