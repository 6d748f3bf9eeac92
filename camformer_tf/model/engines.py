"""What computes a model's predictions: a network, an export; elsewhere a served model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from camformer_tf import errors, exportdir, progress, recipe, rundir
from camformer_tf.data import rows, rules, sequence
from camformer_tf.model import keras_file, predictors, rescnn

OUTPUTS = ("expression", "spread", "lower", "upper")  # what a model may answer for a sequence

Answer = Mapping[str, np.ndarray]  # of OUTPUTS those that the model has: (N,) each


class Engine(Protocol):
    """What computes the predictions of one member of a `Model`.

    Attributes:
        name: its path or URL, for messages.
        rule: which sequences it can read.
        encoding: how letters become its channels; None where that is not known.
        parameters: the number of its trainable parameters; None where that is not known.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def rule(self) -> rules.Rule: ...  # noqa: D102

    @property
    def encoding(self) -> str | None: ...  # noqa: D102

    @property
    def parameters(self) -> int | None: ...  # noqa: D102

    def answer(self, part: rows.Rows) -> tuple[rows.Rows, Answer]:
        """Returns N rows, perhaps with other reasons, and its outputs for them.

        Outputs are (N,) each, always with `expression`; NaN where the row has a reason.
        """
        ...


@dataclasses.dataclass(frozen=True)
class NetworkEngine:
    """A network as an engine: see `Engine`; `predict` takes letters, (N, L) → float32 (N,)."""

    predict: predictors.Predictor
    rule: rules.Rule
    name: str = "network"
    encoding: str | None = None
    parameters: int | None = None

    def answer(self, part: rows.Rows) -> tuple[rows.Rows, Answer]:
        """Returns the rows and `expression` (N,), NaN where a row cannot be read."""
        return part, {"expression": _without_unreadable(self.predict(part.letters), part)}


class ExportEngine:
    """The SavedModel of an export as an engine: see `Engine`."""

    parameters = None

    def __init__(self, folder: Path, batch_size: int) -> None:
        """Loads the version in a folder.

        Raises:
            errors.UserError: the model card cannot be read.
        """
        self.name = str(folder)
        self.rule, self.encoding = _read_card(folder / exportdir.MODEL_CARD)
        with progress.quiet_tensorflow():
            self._export = tf.saved_model.load(str(folder))  # kept: its functions need it
        self._signature = self._export.signatures["onehot"]
        self._names = [name for name in OUTPUTS if name in self._signature.structured_outputs]
        self._table = tf.constant(sequence.table(self.encoding))  # (256, C)
        self._predict = predictors.in_batches(self._forward, batch_size)

    def answer(self, part: rows.Rows) -> tuple[rows.Rows, Answer]:
        """Returns the rows and all outputs of the export, (N,) each."""
        outputs = self._predict(part.letters).reshape(-1, len(self._names))  # (N, outputs)
        pairs = zip(self._names, outputs.T, strict=True)
        return part, {name: _without_unreadable(values, part) for name, values in pairs}

    def _forward(self, letters: tf.Tensor) -> tf.Tensor:
        """Returns the outputs (B, outputs) of letters uint8 (B, L)."""
        channels = tf.gather(self._table, tf.cast(letters, tf.int32))  # (B, L, C)
        outputs = self._signature(onehot=channels)
        return tf.stack([outputs[name] for name in self._names], 1)


def load(path: Path, batch_size: int, precision: str) -> Engine:
    """Returns the engine of a run directory, a .keras file or an export directory.

    Args:
        path: what to load; of an export directory, the newest version.
        batch_size: the number of sequences that are computed together.
        precision: the policy of the convolutions; an export has float32 only.

    Raises:
        errors.UserError: there is nothing of that kind, or it predicts in float32 only.
    """
    version = None if (path / rundir.BEST).is_file() else exportdir.newest(path)
    if version is None:
        return from_saved(keras_file.load(path), precision, batch_size, name=str(path))
    if not (version / exportdir.SAVED_MODEL).is_file():
        raise errors.UserError(
            f"{version}: the newest version is not a SavedModel: there is no "
            f"{exportdir.SAVED_MODEL} in it. Name the folder of another version."
        )
    if precision != "float32":
        raise errors.UserError(
            f"{path}: an export predicts in float32, found --precision {precision}. Name the run "
            "or .keras file that it was exported from."
        )
    return ExportEngine(version, batch_size)


def from_saved(
    stored_network: keras_file.SavedNetwork, precision: str, batch_size: int, name: str
) -> NetworkEngine:
    """Returns the engine of a network that was read from a file.

    Raises:
        errors.UserError: a custom network, and another precision than float32.
    """
    network, settings = stored_network.network, stored_network.settings
    if not stored_network.is_custom:
        return from_network(network, settings, precision, batch_size, name)
    if precision != "float32":
        raise errors.UserError(
            f"{name}: a custom network predicts as it was built, found --precision {precision}. "
            "Leave it out."
        )
    predictor = predictors.plain(network, settings.data.encoding, batch_size)
    return _engine(predictor, network, settings, name)


def from_network(
    network: keras.Model,
    settings: recipe.Recipe,
    precision: str = "float32",
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
    name: str = "network",
) -> NetworkEngine:
    """Returns a network of a recipe as an engine, with its weights of this moment."""
    predictor = predictors.snapshot(network, settings, precision, batch_size)
    return _engine(predictor, network, settings, name)


def rule(settings: recipe.Recipe) -> rules.Rule:
    """Returns which raw sequences a recipe's model can read."""
    data = settings.data
    return rules.Rule(length=data.length, length_margin=data.length_margin, max_n=data.max_n)


def _engine(
    predictor: predictors.Predictor, network: keras.Model, settings: recipe.Recipe, name: str
) -> NetworkEngine:
    count = rescnn.count_trainable(network)
    return NetworkEngine(predictor, rule(settings), name, settings.data.encoding, count)


def _read_card(path: Path) -> tuple[rules.Rule, str]:
    """Returns which sequences an export can read, and how letters become its channels."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return rules.Rule(**card["rule"]), card["encoding"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.UserError(
            f"{path}: cannot be read as a model card ({error}). Is it an export of "
            "`camformer-tf export`?"
        ) from error


def _without_unreadable(values: np.ndarray, part: rows.Rows) -> np.ndarray:
    """Returns outputs (N,) with NaN for each row that cannot be read."""
    unreadable = np.array([reason is not None for reason in part.reasons], bool)
    return np.where(unreadable, np.nan, values)
