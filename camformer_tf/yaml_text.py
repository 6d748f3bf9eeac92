"""YAML text to plain values and back, with `key=value` overrides."""

from __future__ import annotations

from typing import Any

import yaml

from camformer_tf import errors


def parse(text: str, source: str) -> dict[str, Any]:
    """Returns the unchecked values in a YAML text; `source` names the text in messages.

    Raises:
        errors.UserError: the text is not YAML, not a section of keys, or repeats a key.
    """
    try:
        values = yaml.load(text, Loader=_UniqueKeys)
    except (yaml.YAMLError, ValueError) as error:
        raise errors.UserError(f"{source}: not a YAML recipe: {_one_line(error)}") from error
    if not isinstance(values, dict):
        raise errors.UserError(
            f"{source}: expected the sections data, model, train, tricks and expect, "
            f"found {'nothing' if values is None else type(values).__name__}."
        )
    return values


def override(values: dict[str, Any], assignment: str) -> None:
    """Sets one value: `train.epochs=2`, or `model.blocks.4.pool.size=5` in a list.

    Raises:
        errors.UserError: no key=value, a place that does not exist, or a value that is not YAML.
    """
    source = f"--set {assignment}"
    name, equals, text = assignment.partition("=")
    if not equals or not name:
        raise errors.UserError(f"{source}: expected key=value, such as train.epochs=2.")
    *parents, last = name.split(".")
    place: Any = values
    for parent in parents:
        if isinstance(place, dict) and place.get(parent) is None:
            place[parent] = {}  # a section that the recipe leaves at its defaults
        place = place[_index(place, parent, source)]
    try:
        place[_index(place, last, source)] = yaml.load(text, Loader=_UniqueKeys)
    except (yaml.YAMLError, ValueError) as error:
        raise errors.UserError(f"{source}: the value is not YAML: {_one_line(error)}") from error


def dump(values: dict[str, Any]) -> str:
    """Returns values as YAML, in their order; tuples become lists."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=100)


def _index(place: Any, key: str, source: str) -> str | int:
    if isinstance(place, dict):
        return key
    if not isinstance(place, list):
        raise errors.UserError(
            f"{source}: there is no key {key!r} in {place!r}, which is a single value."
        )
    if not key.isdecimal() or int(key) >= len(place):
        raise errors.UserError(
            f"{source}: expected a number below {len(place)} in place of {key!r}."
        )
    return int(key)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a repeated key, where plain YAML silently uses the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Returns the mapping of a node.

        Raises:
            yaml.YAMLError: a key is repeated.
        """
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                line = node.start_mark.line + 1
                raise yaml.YAMLError(f"the key {key!r} is repeated in the section at line {line}")
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes tuples as lists."""


_Dumper.add_representer(tuple, yaml.SafeDumper.represent_list)
