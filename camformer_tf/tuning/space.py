"""A search space: a recipe in which values may be ranges; see `template` for how they look."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Annotated, Any

from camformer_tf import errors, files, recipe, schema, shapes
from camformer_tf.data import sequence
from camformer_tf.tuning import template

_ABSENT = object()  # the value of an item beyond the end of a list


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """The section search of a search recipe.

    Attributes:
        start_from: recipes that are tried first.
        max_parameters: maximum number of parameters of a network.
    """

    start_from: tuple[str, ...] = ()
    max_parameters: Annotated[int, schema.Bound(at_least=1)] | None = None


@dataclasses.dataclass(frozen=True)
class Space:
    """A search space.

    Attributes:
        ranges: dotted key → range, in the order of the recipe.
        conditions: key of an item that only longer lists have → key of the list's count, and the
            smallest count at which the item exists.
        search: the section search.
        source: the file.
        tree: the recipe's values, with ranges and lists in their places.
    """

    ranges: Mapping[str, template.Range]
    conditions: Mapping[str, tuple[str, int]]
    search: SearchConfig
    source: str
    tree: Mapping[str, Any]

    @property
    def epochs(self) -> int:
        """The recipe's maximum number of epochs.

        Raises:
            errors.UserError: it is a range.
        """
        train = self.tree.get("train", {})
        epochs = train.get("epochs", recipe.TrainConfig.epochs)
        if isinstance(epochs, template.Range):
            raise errors.UserError(
                f"{self.source}: train.epochs: expected one number, not a range."
            )
        return epochs

    def active(self, values: Mapping[str, template.Value]) -> dict[str, template.Value]:
        """Returns the values in use: without those of items beyond the end of a list."""
        active = {}
        for key in self.ranges:
            count_key, minimum = self.conditions.get(key, (None, 0))
            if count_key is None or template.integer(values[count_key]) >= minimum:
                active[key] = values[key]
        return active

    def to_recipe(self, values: Mapping[str, template.Value]) -> recipe.Recipe:
        """Returns the recipe with these values in place of the ranges.

        Raises:
            errors.UserError: the values do not make a recipe, or the network is not possible.
        """
        settings = recipe.from_values(template.fill(self.tree, "", values), self.source)
        parameters = shapes.parameters(
            settings.model, settings.data.length, sequence.channels(settings.data.encoding)
        )
        if self.search.max_parameters and parameters > self.search.max_parameters:
            raise errors.UserError(
                f"{self.source}: {parameters:,} parameters, but search.max_parameters is "
                f"{self.search.max_parameters:,}."
            )
        expect = dataclasses.replace(settings.expect, parameters=parameters)
        return dataclasses.replace(settings, expect=expect)

    def from_recipe(self, name: str) -> dict[str, template.Value]:
        """Returns the values with which the space makes a recipe's network.

        Training values are those of the recipe where the space has a range for them.

        Raises:
            errors.UserError: the space does not contain the network.
        """
        settings = recipe.load(name)
        plain = dataclasses.asdict(settings)
        values: dict[str, template.Value] = {}
        for key, value_range in self.ranges.items():
            value = _lookup(plain, key)
            if value is _ABSENT:
                value = value_range.ends()[0]
            elif value_range.kind in ("float", "log") and type(value) is int:
                value = float(value)
            if value not in value_range:
                raise errors.UserError(
                    f"{self.source}: start_from {name} has {key} {value}, which is not in the "
                    "range."
                )
            values[key] = value
        if self.to_recipe(values).model != settings.model:
            raise errors.UserError(
                f"{self.source}: the space does not contain the network of start_from {name}: a "
                "value that is not a range here differs there."
            )
        return values


def load(source: files.PathLike) -> Space:
    """Returns the space of a search recipe: a path, or the name of a shipped one.

    Raises:
        errors.UserError: no such recipe, an empty range, or a range of values that no recipe has.
    """
    path = recipe.find(os.fspath(source))
    raw = recipe.read(path)
    search = schema.parse(raw.pop("search", {}), SearchConfig, str(path), "search")
    parser = template.Parser(str(path))
    tree = parser.parse(raw, "")
    if not parser.ranges:
        raise errors.UserError(f"{path}: there is no range in it, so there is nothing to search.")
    space = Space(parser.ranges, parser.conditions, search, str(path), tree)
    _check_ends(space)
    for name in search.start_from:
        space.from_recipe(name)
    return space


def _lookup(values: Any, key: str) -> Any:
    """Returns the plain value of a recipe at a dotted key, `_ABSENT` for an item it lacks."""
    first, _, remaining = key.partition(".")
    if isinstance(values, list | tuple):
        if key == "count":
            return len(values)
        if first == "pool":
            return _lookup_pool(values, remaining)
        if first == "all":
            if not values:
                return _ABSENT
            return _lookup(values[0], remaining) if remaining else values[0]
        if int(first) >= len(values):
            return _ABSENT
        value = values[int(first)]
    else:
        value = values[first]
    return _lookup(value, remaining) if remaining else value


def _lookup_pool(blocks: Any, key: str) -> Any:
    """Returns at, size or stride of the pooling of blocks."""
    positions = [i for i, block in enumerate(blocks) if block["pool"]]
    if key == "at":
        return positions[0] - len(blocks) if len(positions) == 1 else None
    return blocks[positions[0]]["pool"][key] if positions else _ABSENT


def _check_ends(space: Space) -> None:
    """Raises UserError unless every value of every range is legal in a recipe."""
    defaults = {key: value_range.ends()[-1] for key, value_range in space.ranges.items()}
    # pooling may not fit the largest network, so it is left out but for its own ranges
    defaults |= {key: None for key in defaults if key.endswith(".pool.at")}
    for key, value_range in space.ranges.items():
        for value in value_range.ends():
            values = defaults | {key: value}
            recipe.from_values(template.fill(space.tree, "", values), space.source)
