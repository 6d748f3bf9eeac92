"""A YAML recipe as frozen dataclasses, which hold every default."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib.resources
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from camformer_tf import errors, grid, schema, yaml_text

SCHEMA = 1
SEARCH = "search"  # the name of the shipped search recipe, and the section that marks one
PREDICT_BATCH_SIZE = 1024

Count = Annotated[int, schema.Bound(at_least=1)]
Natural = Annotated[int, schema.Bound(at_least=0)]
Positive = Annotated[float, schema.Bound(above=0)]
NotNegative = Annotated[float, schema.Bound(at_least=0)]
Rate = Annotated[float, schema.Bound(at_least=0, below=1)]
Share = Annotated[float, schema.Bound(at_least=0, at_most=1)]
Fraction = Annotated[float, schema.Bound(above=0, at_most=1)]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """How letters become the model's input, and which raw sequences the model can read.

    The defaults of `length_margin` and `max_n` are the filters of the 2022 submission
    (script:58-64, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69): lengths of 110 ± 3 nt, at most
    3 N.

    Attributes:
        encoding: the channels of a letter, see `data.sequence`.
        length: the length of the model's input.
        length_margin: largest difference of a readable sequence's length from `length`.
        max_n: largest number of N in a readable sequence.
    """

    encoding: Literal[
        "onehot", "onehot_n", "onehot_purine", "onehot_integer", "onehot_integer_purine"
    ] = "onehot"
    length: Count = 110
    length_margin: Natural = 3
    max_n: Natural = 3


@dataclasses.dataclass(frozen=True)
class RecordsConfig:
    """How `build-records` splits and shards; not part of a recipe, as recipes share records."""

    split: str = "train=0.9,val=0.1"
    split_by: Literal["random", "stratified", "hash", "family", "column"] = "random"
    seed: Natural = 42
    shards: Count = 16
    on_malformed: Literal["error", "skip"] = "error"
    compression: Literal["none", "gzip"] = "none"
    workers: Count = 1  # processes; a script needs `if __name__ == "__main__":` for several
    mismatches: Natural = 3  # letters in which sequences of one family may differ
    leakage: bool = True  # whether to count sequences with near neighbours in training


@dataclasses.dataclass(frozen=True)
class PoolConfig:
    """Max pooling over `size` positions every `stride` positions, without padding."""

    size: Count
    stride: Count


@dataclasses.dataclass(frozen=True)
class BlockConfig:
    """Convolution, batch normalisation, ReLU, pooling (if there is a pool), dropout."""

    filters: Count
    kernel: Count
    dropout: Rate = 0.0
    pool: PoolConfig | None = None


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The residual CNN.

    Attributes:
        blocks: the convolutional blocks, from input to output.
        residual: whether blocks 1+2, 3+4, … form pairs, in which the output of the first block is
            added to that of the second.
        padding: "same", or the number of zeros added on each side.
        dense: the units of the dense layers after the blocks.
        dense_dropout: the dropout rate after each dense layer.
    """

    blocks: tuple[BlockConfig, ...]
    residual: bool = True
    padding: Literal["same"] | Natural = "same"
    dense: tuple[Count, ...] = (256, 256)
    dense_dropout: Rate = 0.0


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Training rules; the defaults are those of the 2022 submission (script:58-72).

    Attributes:
        loss: mean absolute error (l1), mean squared error (mse) or Huber loss.
        optimizer: AdamW or Lion.
        learning_rate: of the optimizer, before the schedule.
        weight_decay: of the optimizer, decoupled.
        schedule: how the learning rate changes.
        batch_size: sequences per training step, on all devices together.
        fraction: the fraction of the training sequences used, the same in every epoch.
        epochs: the maximum number of epochs.
        patience: epochs without a better one after which training stops.
        seed: of weights, dropout and the order of sequences.
    """

    loss: Literal["l1", "mse", "huber"] = "l1"
    optimizer: Literal["adamw", "lion"] = "adamw"
    learning_rate: Positive = 0.001
    weight_decay: NotNegative = 0.001
    schedule: Literal["none", "plateau", "onecycle"] = "plateau"
    batch_size: Count = 256
    fraction: Fraction = 1.0
    epochs: Count = 50
    patience: Count = 10
    seed: Natural = 42


@dataclasses.dataclass(frozen=True)
class TailsConfig:
    """Which examples of extreme expression are repeated in an epoch.

    Attributes:
        below: quantile of the training set's expression; lower examples are repeated.
        above: quantile of the training set's expression; higher examples are repeated.
        times: how many times an epoch holds such an example.
    """

    below: Share = 0.0
    above: Share = 1.0
    times: Count = 1


@dataclasses.dataclass(frozen=True)
class FlanksConfig:
    """Letters that the network removes from the ends of every sequence, and adds in their place.

    Attributes:
        cut_left: number of letters removed on the left.
        cut_right: number of letters removed on the right.
        add_left: letters added on the left.
        add_right: letters added on the right.
    """

    cut_left: Natural = 0
    cut_right: Natural = 0
    add_left: str = ""
    add_right: str = ""


@dataclasses.dataclass(frozen=True)
class TricksConfig:
    """What the authors tried without success; all of it is off by default.

    Source: Camformers_poster.pdf p.9, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69, which names
    the tricks and gives no settings.

    Attributes:
        quantile_targets: whether expressions become normal quantiles of their rank in training.
        target_noise: standard deviation of the normal noise on training expressions.
        shift: number of N added on both sides of a training sequence before a random window is
            cut out.
        reverse_complement: the share of training sequences that are reverse-complemented.
        tails: repetition of examples of extreme expression.
        flanks: replacement of the ends of sequences.
    """

    quantile_targets: bool = False
    target_noise: NotNegative = 0.0
    shift: Natural = 0
    reverse_complement: Share = 0.0
    tails: TailsConfig = TailsConfig()
    flanks: FlanksConfig = FlanksConfig()


@dataclasses.dataclass(frozen=True)
class ExpectConfig:
    """What a run of this recipe should show; a test compares it, and training ignores it."""

    parameters: Count | None = None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that determines a run, except its records."""

    model: ModelConfig
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    tricks: TricksConfig = TricksConfig()
    expect: ExpectConfig = ExpectConfig()
    schema: int = SCHEMA


def load(source: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Returns a recipe, with `key=value` overrides.

    Args:
        source: a file, the name of a shipped recipe, or a run of the 2025 grid (grid-270/1 to
            grid-270/270, see `grid`).
        overrides: such as "train.epochs=2" or "model.blocks.4.pool.size=5".

    Raises:
        errors.UserError: no such recipe, not YAML, an unknown or repeated key, a wrong value.
    """
    grid_run = None if Path(source).is_file() else grid.parse_name(str(source))
    path = shipped_files()[grid_run.base] if grid_run else find(source)
    if grid_run:
        overrides = [*grid_run.overrides, *overrides]
    values = read(path)
    for override in overrides:
        yaml_text.override(values, override)
    return from_values(values, str(path))


def parse(text: str, *, source: str, overrides: Iterable[str] = ()) -> Recipe:
    """Returns the recipe in a YAML text; `source` names the text in messages.

    Raises:
        errors.UserError: not YAML, an unknown or repeated key, a wrong value.
    """
    values = yaml_text.parse(text, source)
    for override in overrides:
        yaml_text.override(values, override)
    return from_values(values, source)


def read(path: Path) -> dict[str, Any]:
    """Returns the unchecked values in a YAML file.

    Raises:
        errors.UserError: the file cannot be read, or is not a section of keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UserError(f"{path}: cannot be read as text ({error}).") from error
    return yaml_text.parse(text, str(path))


def from_values(values: dict[str, Any], source: str) -> Recipe:
    """Returns the recipe of plain values; `source` names them in messages.

    Raises:
        errors.UserError: an unknown or missing key, a wrong value.
    """
    if SEARCH in values:
        raise errors.UserError(
            f"{source}: this is a search recipe, which stands for many recipes. Pass it to "
            "`camformer-tf tune`."
        )
    version = values.get("schema", SCHEMA)
    if type(version) is int and version != SCHEMA:
        raise errors.UserError(
            f"{source}: schema is {version}, but this version of camformer_tf reads schema "
            f"{SCHEMA}. Upgrade camformer_tf, or rewrite the recipe."
        )
    return schema.parse(values, Recipe, source)


def dump(recipe: Recipe) -> str:
    """Returns the recipe as YAML with every value; `parse` reads it back unchanged."""
    values = dataclasses.asdict(recipe)
    sections = ("schema", "data", "model", "train", "tricks", "expect")
    values = {name: values[name] for name in sections}
    return yaml_text.dump(values)


def sub_seed(seed: int, name: str) -> int:
    """Returns the seed, 0 <= value < 2**31, of one use of randomness, by SHA-256 of its name."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


def choices(section: type, key: str) -> tuple[str, ...]:
    """Returns the words that a key of a section (a dataclass) accepts."""
    return typing.get_args(typing.get_type_hints(section)[key])


def shipped_files() -> dict[str, Path]:
    """Returns the recipes in this package: name → file."""
    return {name: path for name, path in _files().items() if name != SEARCH}


def find(source: str | Path) -> Path:
    """Returns the file of a recipe: a path, or the name of a shipped one.

    Raises:
        errors.UserError: there is no such file or name.
    """
    if Path(source).is_file():
        return Path(source)
    names = shipped_files()
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
    folder = Path(str(importlib.resources.files("camformer_tf"))) / "configs"  # of a wheel
    return folder if folder.is_dir() else folder.parent.parent / "configs"  # of a checkout
