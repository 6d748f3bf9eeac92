"""A YAML recipe as frozen dataclasses: every default stands here and nowhere else."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib.resources
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from camformer_tf import errors, grid, schema

SCHEMA = 1
SEARCH = "search"  # the shipped search recipe, and the section by which one is known
PREDICT_BATCH_SIZE = 1024


Count = Annotated[int, schema.Bound(at_least=1)]
Whole = Annotated[int, schema.Bound(at_least=0)]
Positive = Annotated[float, schema.Bound(above=0)]
NotNegative = Annotated[float, schema.Bound(at_least=0)]
Rate = Annotated[float, schema.Bound(at_least=0, below=1)]
Share = Annotated[float, schema.Bound(at_least=0, at_most=1)]
Part = Annotated[float, schema.Bound(above=0, at_most=1)]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """How letters become the model's input, and which raw sequences the model can read.

    `length_margin` and `max_n` are the filters of the 2022 submission (script:58-64,
    FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69): lengths of 110 ± 3 nt, at most 3 N.
    """

    encoding: Literal[
        "onehot", "onehot_n", "onehot_purine", "onehot_integer", "onehot_integer_purine"
    ] = "onehot"
    length: Count = 110
    length_margin: Whole = 3
    max_n: Whole = 3


@dataclasses.dataclass(frozen=True)
class RecordsConfig:
    """How `build-records` splits and shards; no part of a recipe, since records serve many."""

    split: str = "train=0.9,val=0.1"
    split_by: Literal["random", "stratified", "hash", "family", "column"] = "random"
    seed: Whole = 42
    shards: Count = 16
    on_malformed: Literal["error", "skip"] = "error"
    compression: Literal["none", "gzip"] = "none"
    workers: Count = 1  # processes; more need a script with `if __name__ == "__main__":`
    mismatches: Whole = 3  # letters in which sequences of one family may differ
    leakage: bool = True  # whether to look for sequences with near neighbours in training


@dataclasses.dataclass(frozen=True)
class Pool:
    """Max pooling over `size` positions every `stride` positions, without padding."""

    size: Count
    stride: Count


@dataclasses.dataclass(frozen=True)
class Block:
    """Convolution, batch normalisation, ReLU, pooling (if given), dropout."""

    filters: Count
    kernel: Count
    dropout: Rate = 0.0
    pool: Pool | None = None


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The residual CNN. With `residual`, blocks 1+2, 3+4, … form pairs: the output of a pair's
    first block is added to that of its second. `padding`: "same", or zeros added on each side.
    """

    blocks: tuple[Block, ...]
    residual: bool = True
    padding: Literal["same"] | Whole = "same"
    dense: tuple[Count, ...] = (256, 256)
    dense_dropout: Rate = 0.0


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Training rules; the defaults are those of the 2022 submission (script:58-72).

    `fraction`: the part of the training sequences that is trained on, the same in every epoch.
    """

    loss: Literal["l1", "mse", "huber"] = "l1"
    optimizer: Literal["adamw", "lion"] = "adamw"
    learning_rate: Positive = 0.001
    weight_decay: NotNegative = 0.001
    schedule: Literal["none", "plateau", "onecycle"] = "plateau"
    batch_size: Count = 256
    fraction: Part = 1.0
    epochs: Count = 50
    patience: Count = 10
    seed: Whole = 42


@dataclasses.dataclass(frozen=True)
class Tails:
    """Which examples are seen `times` times an epoch: those whose expression is below the training
    set's quantile `below`, or above its quantile `above`.
    """

    below: Share = 0.0
    above: Share = 1.0
    times: Count = 1


@dataclasses.dataclass(frozen=True)
class Flanks:
    """Letters that are cut off each end of every sequence, and those that are put there instead,
    within the network.
    """

    cut_left: Whole = 0
    cut_right: Whole = 0
    add_left: str = ""
    add_right: str = ""


@dataclasses.dataclass(frozen=True)
class TricksConfig:
    """What the authors tried and found useless, all of it off. Source: Camformers_poster.pdf p.9,
    FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69, which names the tricks and gives no settings.

    quantile_targets: whether expressions become normal quantiles of their rank in training.
    target_noise: standard deviation of the normal noise on training expressions.
    shift: N that extend a training sequence on both sides before a random window is cut out.
    reverse_complement: the share of training sequences that are turned into it.
    """

    quantile_targets: bool = False
    target_noise: NotNegative = 0.0
    shift: Whole = 0
    reverse_complement: Share = 0.0
    tails: Tails = Tails()
    flanks: Flanks = Flanks()


@dataclasses.dataclass(frozen=True)
class ExpectConfig:
    """What a run of this recipe should show; compared with the run, never used by it."""

    parameters: Count | None = None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides a run besides its records."""

    model: ModelConfig
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    tricks: TricksConfig = TricksConfig()
    expect: ExpectConfig = ExpectConfig()
    schema: int = SCHEMA


def load(source: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Returns the recipe at a path, the shipped one of that name, or that of a run of the 2025 grid
    (grid-270/1 to grid-270/270, see `grid`), with `key=value` overrides.

    Raises:
        errors.UserError: no such recipe, not YAML, an unknown or repeated key, a wrong value.
    """
    of_grid = None if Path(source).is_file() else grid.named(str(source))
    path = shipped()[of_grid.base] if of_grid else find(source)
    if of_grid:
        overrides = [*of_grid.overrides, *overrides]
    values = read(path)
    for override in overrides:
        _override(values, override)
    return from_values(values, str(path))


def parse(text: str, *, where: str, overrides: Iterable[str] = ()) -> Recipe:
    """Returns the recipe that YAML text holds; `where` names it in messages."""
    values = _values(text, where)
    for override in overrides:
        _override(values, override)
    return from_values(values, where)


def read(path: Path) -> dict[str, Any]:
    """Returns what the YAML in a file holds, as plain values that nothing has checked.

    Raises:
        errors.UserError: it cannot be read, or is no section of keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UserError(f"{path}: cannot be read as text ({error}).") from error
    return _values(text, str(path))


def _values(text: str, where: str) -> dict[str, Any]:
    try:
        values = yaml.load(text, Loader=_UniqueKeys)
    except (yaml.YAMLError, ValueError) as error:
        raise errors.UserError(f"{where}: not a YAML recipe: {_one_line(error)}") from error
    if not isinstance(values, dict):
        raise errors.UserError(
            f"{where}: expected the sections data, model, train, tricks and expect, "
            f"found {'nothing' if values is None else type(values).__name__}."
        )
    return values


def from_values(values: dict[str, Any], where: str) -> Recipe:
    """Returns the recipe of plain values; `where` names it in messages.

    Raises:
        errors.UserError: an unknown or missing key, a wrong value.
    """
    if SEARCH in values:
        raise errors.UserError(f"{where}: is a search recipe, which holds many recipes.")
    version = values.get("schema", SCHEMA)
    if type(version) is int and version != SCHEMA:
        raise errors.UserError(
            f"{where}: schema is {version}, this version of camformer_tf reads schema "
            f"{SCHEMA}. Upgrade camformer_tf, or write the recipe anew."
        )
    return schema.parse(values, Recipe, where)


def dump(recipe: Recipe) -> str:
    """Returns the recipe as YAML with every value spelled out; `parse` reads it back unchanged."""
    values = dataclasses.asdict(recipe)
    sections = ("schema", "data", "model", "train", "tricks", "expect")
    ordered = {name: values[name] for name in sections}
    return yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=100)


def sub_seed(seed: int, name: str) -> int:
    """Returns the seed (0 <= value < 2**31) of one named use of randomness, derived by SHA-256."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


def choices(section: type, key: str) -> tuple[str, ...]:
    """Returns the words that one key of a section may have."""
    return typing.get_args(typing.get_type_hints(section)[key])


def shipped() -> dict[str, Path]:
    """Returns the recipes that come with the package: name → file."""
    return {name: path for name, path in _files().items() if name != SEARCH}


def find(source: str | Path) -> Path:
    """Returns the file that a path or the name of a shipped recipe means."""
    if Path(source).is_file():
        return Path(source)
    names = shipped()
    if str(source) in _files():
        return _files()[str(source)]
    close = difflib.get_close_matches(str(source), names, n=1)
    raise errors.UserError(
        f"{source}: no such recipe file, and no shipped recipe has that name. "
        + (f"Did you mean {close[0]}? " if close else "")
        + f"Shipped: {', '.join(names)}, and {grid.FOLDER}1 to {grid.FOLDER}{grid.RUNS}."
    )


def _files() -> dict[str, Path]:
    return {path.stem: path for path in sorted(_shipped_folder().glob("*.yaml"))}


def _shipped_folder() -> Path:
    installed = Path(str(importlib.resources.files("camformer_tf"))) / "configs"  # in a wheel
    return installed if installed.is_dir() else installed.parent.parent / "configs"  # in a checkout


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a repeated key, of which plain YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                line = node.start_mark.line + 1
                raise yaml.YAMLError(f"the key {key!r} stands twice in the section at line {line}")
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes tuples as lists."""


_Dumper.add_representer(tuple, yaml.SafeDumper.represent_list)


def _override(values: dict, override: str) -> None:
    """Sets one value of the raw recipe: `train.epochs=2`, `model.blocks.4.pool.size=5`."""
    where = f"--set {override}"
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise errors.UserError(f"{where}: expected key=value, such as train.epochs=2.")
    *parents, last = name.split(".")
    place: Any = values
    for parent in parents:
        if isinstance(place, dict) and place.get(parent) is None:
            place[parent] = {}
        place = place[_index(place, parent, where)]
    try:
        place[_index(place, last, where)] = yaml.load(text, Loader=_UniqueKeys)
    except (yaml.YAMLError, ValueError) as error:
        raise errors.UserError(f"{where}: the value is not YAML: {_one_line(error)}") from error


def _index(place: Any, key: str, where: str) -> str | int:
    if isinstance(place, dict):
        return key
    if not isinstance(place, list):
        raise errors.UserError(f"{where}: {key!r} is asked of {place!r}, which has no keys.")
    if not key.isdecimal() or int(key) >= len(place):
        raise errors.UserError(
            f"{where}: expected a number below {len(place)} in place of {key!r}."
        )
    return int(key)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
