"""Predictions in batches: from letters, from text and from records, by a run or an export."""

from __future__ import annotations

import dataclasses
import json
import logging
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from camformer_tf import errors, progress, recipe, rundir
from camformer_tf.data import manifest, predictions, records, rules, sequence, text
from camformer_tf.model import rescnn

_log = logging.getLogger(__name__)
_SHOWN_REASONS = 5

Predictor = Callable[[np.ndarray], np.ndarray]  # letters uint8 (N, L) → prediction float32 (N,)


@dataclasses.dataclass(frozen=True)
class Model:
    """A loaded model: how it predicts, and which sequences it can read."""

    predict: Predictor
    rule: rules.Rule


def letters_predictor(
    model: keras.Model, encoding: str, batch_size: int = recipe.PREDICT_BATCH_SIZE
) -> Predictor:
    """Returns a function that predicts with the model's weights of the moment it is called, on one
    replica whatever the strategy."""
    table = tf.constant(sequence.table(encoding))

    @tf.function(reduce_retracing=True)
    def forward(batch):
        return tf.reshape(model(tf.gather(table, tf.cast(batch, tf.int32)), training=False), [-1])

    return _batched(forward, batch_size)


def folding_predictor(
    model: keras.Model,
    settings: recipe.Recipe,
    precision: str = "float32",
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
) -> Predictor:
    """Returns a function that predicts with the weights of the moment it is called, normalisations
    folded into convolutions; on one replica whatever the strategy, and in `precision` whatever the
    model was trained in."""
    folded = rescnn.from_recipe(settings, precision, folded=True)
    forward = letters_predictor(folded, settings.data.encoding, batch_size)

    def predict(letters: np.ndarray) -> np.ndarray:
        rescnn.fold(model, folded)
        return forward(letters)

    return predict


def _batched(forward: Callable[[tf.Tensor], tf.Tensor], batch_size: int) -> Predictor:
    """Returns `forward` over letters of any number, in batches of one size. The last is padded,
    since an odd one costs a trace, and an empty one crashes convolutions on CPU."""

    def predict(letters: np.ndarray) -> np.ndarray:
        size = min(batch_size, max(len(letters), 1))
        parts = [np.empty(0, np.float32)]
        for start in range(0, len(letters), size):
            batch = letters[start : start + size]
            padded = np.pad(batch, [(0, size - len(batch)), (0, 0)], constant_values=ord("N"))
            parts.append(forward(tf.constant(padded)).numpy()[: len(batch)])
        return np.concatenate(parts)

    return predict


def save(
    model: keras.Model, path: Path, settings: recipe.Recipe, *, overwrite: bool = True
) -> None:
    """Saves a model as a .keras file that also holds its recipe, whole or not at all."""
    with rundir.new_file(path, overwrite=overwrite) as temporary:
        whole = temporary.with_suffix(".keras")
        try:
            model.save(whole)
            with zipfile.ZipFile(whole, "a") as archive:
                archive.writestr(zipfile.ZipInfo(rundir.RECIPE), recipe.dump(settings))
            whole.rename(temporary)
        finally:
            whole.unlink(missing_ok=True)


def load_keras(path: Path) -> tuple[keras.Model, recipe.Recipe]:
    """Returns the float32 network and the recipe of a run directory or of a .keras file that `save`
    wrote.

    Raises:
        errors.UserError: nothing of that kind is there.
    """
    file = path / rundir.BEST if path.is_dir() else path
    if not file.is_file():
        raise errors.UserError(
            f"{path}: no {rundir.BEST} in it; expected a run directory of `camformer-tf fit`, a "
            ".keras file or an export directory."
            if path.is_dir()
            else f"{path}: no such file or directory. Expected a run, a .keras file or an export."
        )
    try:
        with zipfile.ZipFile(file) as archive:
            settings = recipe.parse(
                archive.read(rundir.RECIPE).decode(), where=f"{file}:{rundir.RECIPE}"
            )
    except (zipfile.BadZipFile, KeyError) as error:
        raise errors.UserError(
            f"{file}: is no model of camformer_tf ({error}). Expected a file that "
            "`camformer-tf fit` saved, with its recipe inside."
        ) from error
    saved = keras.models.load_model(file, compile=False)
    network = rescnn.from_recipe(settings)
    rescnn.copy_weights(saved, network)  # trained in another precision, perhaps
    return network, settings


def load(
    path: Path, batch_size: int = recipe.PREDICT_BATCH_SIZE, precision: str = "float32"
) -> Model:
    """Returns the model of a run directory, a .keras file or an export directory.

    Args:
        precision: the policy of the convolutions; an export has float32 only.

    Raises:
        errors.UserError: nothing of that kind is there, or an export in another precision.
    """
    exported = _export_version(path)
    if exported and precision != "float32":
        raise errors.UserError(
            f"{path}: an export predicts in float32, found --precision {precision}. Give the run "
            "or .keras file that it was made from."
        )
    if exported:
        card = json.loads((exported / rundir.MODEL_CARD).read_text(encoding="utf-8"))
        predictor = _export_predictor(exported, card["encoding"], batch_size)
        return Model(predictor, rules.Rule(**card["rule"]))
    network, settings = load_keras(path)
    predictor = folding_predictor(network, settings, precision, batch_size)
    return Model(predictor, rule(settings))


def rule(settings: recipe.Recipe) -> rules.Rule:
    """Returns which raw sequences a recipe's model can read."""
    data = settings.data
    return rules.Rule(length=data.length, length_margin=data.length_margin, max_n=data.max_n)


def to_file(
    model_path: Path,
    source: Path,
    out: Path,
    *,
    split: str | None = None,
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
    precision: str = "float32",
    report: progress.Report = progress.silent,
) -> int:
    """Writes a predictions table, one row an input row in order, and returns the number of rows.

    Args:
        model_path: run directory, .keras file or export directory.
        source: text (`SEQUENCE` or `SEQUENCE EXPRESSION` a line), or a records directory.
        out: the table to write; rows that the model cannot read get an empty prediction.
        split: which split of a records directory.
        precision: the policy of the convolutions.

    Raises:
        errors.UserError: an unreadable model or input, or an `out` that exists.
    """
    model = load(model_path, batch_size, precision)
    count, failed, shown = 0, 0, []
    with rundir.new_file(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for rows in _rows(source, split, model.rule):
            if not count:
                predictions.write_header(file, with_expression=rows.expressions is not None)
            values = model.predict(rows.letters)
            bad = [i for i, reason in enumerate(rows.reasons) if reason]
            values[bad] = np.nan
            predictions.write_rows(file, rows.sequences, values, rows.expressions)
            shown += [f"  row {count + i + 1}: {rows.reasons[i]}" for i in bad[:_SHOWN_REASONS]]
            count, failed = count + len(values), failed + len(bad)
            report("predicting", count, 0)
        if not count:
            raise errors.UserError(f"{source}: no sequence to predict.")
    if failed:
        _log.warning(
            "%d of %d sequences cannot be read and have no prediction; the first:\n%s",
            failed, count, "\n".join(shown[:_SHOWN_REASONS]),
        )  # fmt: skip
    return count


def _rows(source: Path, split: str | None, rule: rules.Rule) -> Iterator[text.Rows]:
    if not source.is_dir():
        if split:
            raise errors.UserError(f"{source}: --split is for a records directory, this is a file.")
        yield from (rows for rows in text.read_rows(text.Source(source), rule) if rows.sequences)
        return
    described = manifest.load(source)
    if split is None:
        names = ", ".join(described.splits)
        raise errors.UserError(f"{source}: say which split to predict: --split, one of {names}.")
    if described.sequence_length != rule.length:
        raise errors.UserError(
            f"{source}: its sequences have {described.sequence_length} letters, the model reads "
            f"{rule.length}. Build records with --length {rule.length}."
        )
    examples = records.read(source, split)
    yield rows_of(examples)


def rows_of(examples: text.Examples) -> text.Rows:
    """Returns examples of records as rows of a predictions table."""
    expressions = [str(value) for value in examples.expression]
    names = sequence.text(examples.letters)
    return text.Rows(names, examples.letters, expressions, [None] * len(names))


def _export_version(path: Path) -> Path | None:
    """Returns the newest version folder of an export directory, or the version folder itself."""
    if (path / "saved_model.pb").is_file():
        return path
    folders = [f for f in path.glob("*") if f.name.isdigit() and (f / "saved_model.pb").is_file()]
    return max(folders, key=lambda folder: int(folder.name), default=None)


def _export_predictor(folder: Path, encoding: str, batch_size: int) -> Predictor:
    exported = tf.saved_model.load(str(folder))  # kept alive by the function, which needs it
    table = tf.constant(sequence.table(encoding))

    def forward(batch):
        channels = tf.gather(table, tf.cast(batch, tf.int32))
        return exported.signatures["onehot"](onehot=channels)["expression"]

    return _batched(forward, batch_size)
