"""A search space: a recipe in which values may be ranges.

A range stands where a value would: `{choice: [a, b]}`, `{int: [low, high]}` or `{float: …}`, each
with a step if wanted, or `{log: [low, high]}`, in which small numbers are as likely as large ones.
A list may be `{count: …, each: …, all: …}`: so many items; of the values in `each` every item has
its own, those in `all` are one value for all. Blocks may have `pool: {at: …, size: …, stride: …}`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from camformer_tf import errors, recipe, schema
from camformer_tf.data import sequence
from camformer_tf.model import rescnn

_KINDS = ("choice", "int", "float", "log")
_LIST = {"count", "each", "all", "pool"}
_POOL = {"at", "size", "stride"}

Value = str | int | float | bool | None


@dataclasses.dataclass(frozen=True)
class Range:
    """What a value may be: one of `values`, or from `low` to `high`, both included, in steps of
    `step` from `low` (None: any number). `kind`: "choice", "int", "float" or "log".
    """

    kind: str
    values: tuple[Value, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None

    def __contains__(self, value: object) -> bool:
        if self.kind == "choice":
            return any(value == one and type(value) is type(one) for one in self.values)
        if isinstance(value, bool) or not isinstance(value, int if self.kind == "int" else float):
            return False
        steps = (value - self.low) / self.step if self.step else 0
        return self.low <= value <= self.high and abs(steps - round(steps)) < 1e-9

    def ends(self) -> tuple[Value, ...]:
        """Returns values that are legal if all are."""
        return self.values if self.kind == "choice" else (self.low, self.high)


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """How to search: recipes that are tried first, and how many parameters a network may have."""

    start_from: tuple[str, ...] = ()
    max_parameters: Annotated[int, schema.Bound(at_least=1)] | None = None


@dataclasses.dataclass(frozen=True)
class Space:
    """The ranges by their dotted keys, in the order of the recipe; and of those that only count in
    longer lists, the key of the count and the least count at which they do. `where`: the file.
    """

    ranges: Mapping[str, Range]
    needs: Mapping[str, tuple[str, int]]
    search: SearchConfig
    where: str
    template: Mapping[str, Any]

    @property
    def epochs(self) -> int:
        """How many the recipe trains for at most; a range of them is none."""
        train = self.template.get("train", {})
        epochs = train.get("epochs", recipe.TrainConfig.epochs)
        if isinstance(epochs, Range):
            raise errors.UserError(f"{self.where}: train.epochs: a search needs one number.")
        return epochs

    def active(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Returns the values that count, those of items beyond the end of a list left out."""
        found = {}
        for key in self.ranges:
            count, least = self.needs.get(key, (None, 0))
            if count is None or values[count] >= least:
                found[key] = values[key]
        return found

    def recipe(self, values: Mapping[str, Value]) -> recipe.Recipe:
        """Returns the recipe that has these values in place of the ranges.

        Raises:
            errors.UserError: they make no recipe, or a network that cannot be.
        """
        made = recipe.from_values(_filled(self.template, "", values), self.where)
        found = rescnn.parameters(
            made.model, made.data.length, sequence.channels(made.data.encoding)
        )
        if self.search.max_parameters and found > self.search.max_parameters:
            raise errors.UserError(
                f"{self.where}: {found:,} parameters, where search.max_parameters is "
                f"{self.search.max_parameters:,}."
            )
        expect = dataclasses.replace(made.expect, parameters=found)
        return dataclasses.replace(made, expect=expect)

    def values(self, name: str) -> dict[str, Value]:
        """Returns the values with which the space makes the network of a recipe, and trains it as
        that does where it leaves the choice.

        Raises:
            errors.UserError: the space does not hold it.
        """
        wanted = dataclasses.asdict(recipe.load(name))
        found = {}
        for key, one in self.ranges.items():
            value = _found(wanted, key)
            if value is _BEYOND:
                value = one.ends()[0]
            elif one.kind in ("float", "log") and type(value) is int:
                value = float(value)
            if value not in one:
                raise errors.UserError(
                    f"{self.where}: start_from {name} has {key} {value}, which is not in the range."
                )
            found[key] = value
        made = self.recipe(found)
        if made.model != recipe.load(name).model:
            raise errors.UserError(
                f"{self.where}: start_from {name} is another network than any of the space: "
                "a value that is no range here is another there."
            )
        return found


def load(source: str | Path) -> Space:
    """Returns the space of a search recipe: a path, or the name of a shipped one.

    Raises:
        errors.UserError: no such recipe, an empty range, or a range of values that no recipe has.
    """
    path = recipe.find(source)
    raw = recipe.read(path)
    search = schema.parse(raw.pop("search", {}), SearchConfig, str(path), "search")
    ranges: dict[str, Range] = {}
    needs: dict[str, tuple[str, int]] = {}
    template = _parsed(raw, "", str(path), ranges, needs)
    if not ranges:
        raise errors.UserError(f"{path}: there is no range in it, so there is nothing to search.")
    space = Space(ranges, needs, search, str(path), template)
    _check_ends(space)
    for name in search.start_from:
        space.values(name)
    return space


# === From YAML to a template ===


@dataclasses.dataclass(frozen=True)
class _List:
    """A list of so many items. Item i is made from the template `own[i]`, with what `shared` gives
    to all; `pool`: templates of at, size and stride.
    """

    count: Range | int
    own: tuple[Any, ...]
    shared: Any
    pool: Mapping[str, Any] | None


def _parsed(raw: Any, key: str, where: str, ranges: dict, needs: dict) -> Any:
    """Returns a template, in which ranges stand; and notes those in `ranges` and `needs`."""
    if isinstance(raw, list):
        return [_parsed(v, f"{key}.{i}", where, ranges, needs) for i, v in enumerate(raw)]
    if not isinstance(raw, dict):
        return raw
    if len(raw) == 1 and next(iter(raw)) in _KINDS:
        ranges[key] = _range(raw, key, where)
        return ranges[key]
    if "count" in raw:
        return _list(raw, key, where, ranges, needs)
    dotted = {name: f"{key}.{name}" if key else str(name) for name in raw}
    return {name: _parsed(v, dotted[name], where, ranges, needs) for name, v in raw.items()}


def _list(raw: dict, key: str, where: str, ranges: dict, needs: dict) -> _List:
    if unknown := set(raw) - _LIST:
        raise errors.UserError(
            f"{where}: {key}: a list of so many items has count, each, all and pool, found "
            f"{', '.join(sorted(map(str, unknown)))}."
        )
    if "each" not in raw and "all" not in raw:
        raise errors.UserError(f"{where}: {key}: say what the items are: each, or all.")
    count = _parsed(raw["count"], f"{key}.count", where, ranges, needs)
    numbers = count.ends() if isinstance(count, Range) else (count,)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise errors.UserError(f"{where}: {key}.count: expected whole numbers, found {numbers}.")
    shared = _parsed(raw["all"], f"{key}.all", where, ranges, needs) if "all" in raw else None
    own = []
    for i in range(max(numbers)):
        before = set(ranges)
        own.append(_parsed(raw.get("each"), f"{key}.{i}", where, ranges, needs))
        if isinstance(count, Range):
            needs |= {name: (f"{key}.count", i + 1) for name in ranges if name not in before}
    pool = raw.get("pool")
    if pool is not None:
        if not isinstance(pool, dict) or set(pool) != _POOL:
            raise errors.UserError(f"{where}: {key}.pool: expected the keys at, size and stride.")
        pool = _parsed(pool, f"{key}.pool", where, ranges, needs)
    return _List(count, tuple(own), shared, pool)


def _range(raw: dict, key: str, where: str) -> Range:
    ((kind, given),) = raw.items()
    if not isinstance(given, list) or not given:
        raise errors.UserError(f"{where}: {key}: the range {kind} is empty.")
    if kind == "choice":
        if any(isinstance(value, list | dict) for value in given):
            raise errors.UserError(f"{where}: {key}: a choice is of single values, found {given}.")
        return Range(kind, values=tuple(given))
    wanted = int if kind == "int" else (int, float)
    lengths = (2,) if kind == "log" else (2, 3)
    numbers = all(isinstance(v, wanted) and not isinstance(v, bool) for v in given)
    if len(given) not in lengths or not numbers or not all(map(math.isfinite, given)):
        form = "[low, high]" if kind == "log" else "[low, high] or [low, high, step]"
        raise errors.UserError(f"{where}: {key}: expected {kind}: {form}, found {given}.")
    low, high, *step = given if kind == "int" else map(float, given)
    if low > high or (kind == "log" and low <= 0) or (step and step[0] <= 0):
        raise errors.UserError(f"{where}: {key}: the range {kind} {given} holds no number.")
    return Range(kind, low=low, high=high, step=step[0] if step else 1 if kind == "int" else None)


# === From a template to a recipe ===


def _filled(template: Any, key: str, values: Mapping[str, Value]) -> Any:
    if isinstance(template, Range):
        return values[key]
    if isinstance(template, _List):
        count = values[f"{key}.count"] if isinstance(template.count, Range) else template.count
        shared = _filled(template.shared, f"{key}.all", values)
        items = [_filled(one, f"{key}.{i}", values) for i, one in enumerate(template.own[:count])]
        if shared is not None:
            items = [shared | (one or {}) if isinstance(shared, dict) else shared for one in items]
        if template.pool:
            pool = _filled(template.pool, f"{key}.pool", values)
            at = pool.pop("at")
            if at is not None:
                if not -count <= at < count:
                    raise errors.UserError(f"{key}.pool.at is {at}, with {count} blocks.")
                items[at] = items[at] | {"pool": pool}
        return items
    if isinstance(template, list):
        return [_filled(v, f"{key}.{i}", values) for i, v in enumerate(template)]
    if isinstance(template, dict):
        dotted = {name: f"{key}.{name}" if key else str(name) for name in template}
        return {name: _filled(v, dotted[name], values) for name, v in template.items()}
    return template


# === From a recipe back to values ===

_BEYOND = object()  # what stands for an item beyond the end of a list


def _found(wanted: Any, key: str) -> Any:
    """Returns the value that a recipe, as plain values, has for a key; `_BEYOND` where it has no
    such item.
    """
    first, _, rest = key.partition(".")
    if isinstance(wanted, list | tuple):
        if key == "count":
            return len(wanted)
        if first == "pool":
            pooled = [i for i, one in enumerate(wanted) if one["pool"]]
            if rest == "at":
                return pooled[0] - len(wanted) if len(pooled) == 1 else None
            return wanted[pooled[0]]["pool"][rest] if pooled else _BEYOND
        if first == "all":
            return _found(wanted[0], rest) if wanted and rest else wanted[0] if wanted else _BEYOND
        if int(first) >= len(wanted):
            return _BEYOND
        wanted = wanted[int(first)]
    else:
        wanted = wanted[first]
    return _found(wanted, rest) if rest else wanted


def _check_ends(space: Space) -> None:
    """Raises UserError unless every value of every range is one that a recipe may have."""
    usual = {key: one.ends()[-1] for key, one in space.ranges.items()}
    usual |= {key: None for key in usual if key.endswith(".pool.at")}
    for key, one in space.ranges.items():
        for value in one.ends():
            values = usual | {key: value}
            recipe.from_values(_filled(space.template, "", values), space.where)
