"""Recipes with ranges in place of values: from YAML to a template, and to plain values.

A range replaces a value: `{choice: [a, b]}`, `{int: [low, high]}` or `{float: [low, high]}`, with
an optional third number, the step, or `{log: [low, high]}`, which samples the logarithm uniformly.
A list may be `{count: …, each: …, all: …}`: `count` items, where the values in `each` are separate
for every item and those in `all` are shared. Blocks may have `pool: {at: …, size: …, stride: …}`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from camformer_tf import errors

_KINDS = ("choice", "int", "float", "log")
_LIST_KEYS = {"count", "each", "all", "pool"}
_POOL_KEYS = {"at", "size", "stride"}

Value = str | int | float | bool | None


@dataclasses.dataclass(frozen=True)
class Range:
    """The values that a key may have.

    Attributes:
        kind: "choice", "int", "float" or "log".
        values: those of a choice.
        low, high: bounds, both included, of a range of numbers.
        step: distance between values, from `low`; None for any number.
    """

    kind: str
    values: tuple[Value, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None

    def __contains__(self, value: object) -> bool:
        if self.kind == "choice":  # True is not 1 here
            return any(value == choice and type(value) is type(choice) for choice in self.values)
        if isinstance(value, bool) or not isinstance(value, int if self.kind == "int" else float):
            return False
        steps = (value - self.low) / self.step if self.step else 0
        return self.low <= value <= self.high and abs(steps - round(steps)) < 1e-9

    def ends(self) -> tuple[Value, ...]:
        """Returns values that represent the range: if they are legal, all of its values are."""
        return self.values if self.kind == "choice" else (self.low, self.high)


@dataclasses.dataclass(frozen=True)
class ListTemplate:
    """A list of `count` items.

    Attributes:
        count: number of items.
        items: template of each item, as many as the largest count.
        common: values of all items, or None.
        pool: templates of at, size and stride, or None.
    """

    count: Range | int
    items: tuple[Any, ...]
    common: Any
    pool: Mapping[str, Any] | None


class Parser:
    """Makes templates of plain values, and collects their ranges by dotted key."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.ranges: dict[str, Range] = {}
        self.conditions: dict[str, tuple[str, int]] = {}

    def parse(self, raw: Any, key: str) -> Any:
        """Returns the template of plain values."""
        if isinstance(raw, list):
            return [self.parse(value, f"{key}.{i}") for i, value in enumerate(raw)]
        if not isinstance(raw, dict):
            return raw
        if len(raw) == 1 and next(iter(raw)) in _KINDS:
            self.ranges[key] = _range(raw, key, self.source)
            return self.ranges[key]
        if "count" in raw:
            return self._list(raw, key)
        return {
            name: self.parse(value, f"{key}.{name}" if key else str(name))
            for name, value in raw.items()
        }

    def _list(self, raw: dict[str, Any], key: str) -> ListTemplate:
        if unknown := set(raw) - _LIST_KEYS:
            raise errors.UserError(
                f"{self.source}: {key}: a list with a count has the keys count, each, all and "
                f"pool, found {', '.join(sorted(map(str, unknown)))}."
            )
        if "each" not in raw and "all" not in raw:
            raise errors.UserError(f"{self.source}: {key}: add the items, as each or all.")
        count = self.parse(raw["count"], f"{key}.count")
        counts = count.ends() if isinstance(count, Range) else (count,)
        if not all(type(number) is int and number >= 0 for number in counts):
            raise errors.UserError(
                f"{self.source}: {key}.count: expected whole numbers, found {counts}."
            )
        common = self.parse(raw["all"], f"{key}.all") if "all" in raw else None
        items = []
        for i in range(max(counts)):
            earlier_keys = set(self.ranges)  # new ones belong to item i
            items.append(self.parse(raw.get("each"), f"{key}.{i}"))
            if isinstance(count, Range):
                new_keys = [name for name in self.ranges if name not in earlier_keys]
                self.conditions |= {name: (f"{key}.count", i + 1) for name in new_keys}
        pool = raw.get("pool")
        if pool is not None:
            if not isinstance(pool, dict) or set(pool) != _POOL_KEYS:
                raise errors.UserError(
                    f"{self.source}: {key}.pool: expected the keys at, size and stride."
                )
            pool = self.parse(pool, f"{key}.pool")
        return ListTemplate(count, tuple(items), common, pool)


def _range(raw: dict[str, Any], key: str, source: str) -> Range:
    ((kind, values),) = raw.items()
    if not isinstance(values, list) or not values:
        raise errors.UserError(f"{source}: {key}: the range {kind} is empty.")
    if kind == "choice":
        if any(isinstance(value, list | dict) for value in values):
            raise errors.UserError(
                f"{source}: {key}: a choice is between single values, found {values}."
            )
        return Range(kind, values=tuple(values))
    number = int if kind == "int" else (int, float)
    lengths = (2,) if kind == "log" else (2, 3)
    are_numbers = all(isinstance(v, number) and not isinstance(v, bool) for v in values)
    if len(values) not in lengths or not are_numbers or not all(map(math.isfinite, values)):
        form = "[low, high]" if kind == "log" else "[low, high] or [low, high, step]"
        raise errors.UserError(f"{source}: {key}: expected {kind}: {form}, found {values}.")
    # YAML writes 1 for 1.0, so numbers of a float range are converted
    low, high, *step = values if kind == "int" else map(float, values)
    if low > high or (kind == "log" and low <= 0) or (step and step[0] <= 0):
        raise errors.UserError(f"{source}: {key}: the range {kind} {values} contains no number.")
    return Range(kind, low=low, high=high, step=step[0] if step else 1 if kind == "int" else None)


# === From a template to plain values of a recipe ===


def fill(template: Any, key: str, values: Mapping[str, Value]) -> Any:
    """Returns the template with values in place of its ranges."""
    if isinstance(template, Range):
        return values[key]
    if isinstance(template, ListTemplate):
        return _fill_list(template, key, values)
    if isinstance(template, list):
        return [fill(item, f"{key}.{i}", values) for i, item in enumerate(template)]
    if isinstance(template, dict):
        return {
            name: fill(item, f"{key}.{name}" if key else str(name), values)
            for name, item in template.items()
        }
    return template


def _fill_list(template: ListTemplate, key: str, values: Mapping[str, Value]) -> list[Any]:
    count = template.count
    if isinstance(count, Range):
        count = integer(values[f"{key}.count"])
    common = fill(template.common, f"{key}.all", values)
    items = [fill(item, f"{key}.{i}", values) for i, item in enumerate(template.items[:count])]
    if isinstance(common, dict):
        items = [common | (item or {}) for item in items]
    elif common is not None:
        items = [common] * count
    if template.pool:
        pool = fill(template.pool, f"{key}.pool", values)
        position = pool.pop("at")
        if position is not None:
            if not -count <= position < count:
                raise errors.UserError(
                    f"{key}.pool.at is {position}, but there are {count} blocks."
                )
            items[position] = items[position] | {"pool": pool}
    return items


def integer(value: Value) -> int:
    """Returns the value of a count, which `Parser` has checked to be a whole number."""
    assert isinstance(value, int)
    return value
