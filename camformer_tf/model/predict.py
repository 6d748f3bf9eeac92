"""Predictions in batches: from letters, from text and from records, by a run or an export."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from camformer_tf import errors, exportdir, files, progress, recipe, rundir
from camformer_tf.data import predictions, rows, rules, sequence
from camformer_tf.model import calibration, predictors, rescnn

OUTPUTS = ("expression", "spread", "lower", "upper")  # what models may say of a sequence


@dataclasses.dataclass(frozen=True)
class Model:
    """A loaded model: how it predicts, which sequences it can read, and, of an export, all that it
    says, by name.
    """

    predict: predictors.Predictor
    rule: rules.Rule
    answer: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None


def save(
    model: keras.Model, path: Path, settings: recipe.Recipe, *, overwrite: bool = True
) -> None:
    """Saves a model as a .keras file that also holds its recipe, whole or not at all."""
    with files.new_file(path, overwrite=overwrite) as temporary:
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
                archive.read(rundir.RECIPE).decode(), source=f"{file}:{rundir.RECIPE}"
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
    exported = None if (path / rundir.BEST).is_file() else exportdir.newest(path)
    if exported and not (exported / exportdir.SAVED_MODEL).is_file():
        raise errors.UserError(
            f"{exported}: the newest version is not a SavedModel: there is no "
            f"{exportdir.SAVED_MODEL} in it. Name the folder of another version."
        )
    if exported and precision != "float32":
        raise errors.UserError(
            f"{path}: an export predicts in float32, found --precision {precision}. Give the run "
            "or .keras file that it was made from."
        )
    if exported:
        card = json.loads((exported / exportdir.MODEL_CARD).read_text(encoding="utf-8"))
        return _of_export(exported, card["encoding"], rules.Rule(**card["rule"]), batch_size)
    return of_network(*load_keras(path), precision, batch_size)


def of_network(
    network: keras.Model,
    settings: recipe.Recipe,
    precision: str = "float32",
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
) -> Model:
    """Returns a network of a recipe as a model."""
    return Model(predictors.snapshots(network, settings, precision, batch_size)(), rule(settings))


def rule(settings: recipe.Recipe) -> rules.Rule:
    """Returns which raw sequences a recipe's model can read."""
    data = settings.data
    return rules.Rule(length=data.length, length_margin=data.length_margin, max_n=data.max_n)


def members(paths: Sequence[Path]) -> list[Path]:
    """Returns models, each run of replicates as the runs in it.

    Raises:
        errors.UserError: a replicate that is not finished.
    """
    found = []
    for path in paths:
        runs = rundir.replicates(path)
        if unfinished := [run.name for run in runs if not (run / rundir.RUN).is_file()]:
            raise errors.UserError(
                f"{path}: not finished: {', '.join(unfinished)}. Go on with fit --resume, or name "
                "the finished ones as models."
            )
        found += runs or [path]
    return found


def in_parts(
    models: Sequence[Path],
    source: Path,
    split: str | None = None,
    columns: dict[str, str] | None = None,
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
    precision: str = "float32",
) -> Iterator[tuple[rows.Rows, np.ndarray]]:
    """Yields the rows of a source, a part at a time, and what each of M models predicts of them:
    float64 (M, N), NaN where a sequence cannot be read. Arguments and errors as of `to_file`.
    """
    loaded = _loaded(models, batch_size, precision)
    for part in rows.of_source(source, split, columns, loaded[0].rule):
        yield part, each(loaded, part)


def each(models: Sequence[Model], part: rows.Rows) -> np.ndarray:
    """Returns what each of M models predicts of N rows: float64 (M, N), NaN where a sequence cannot
    be read.
    """
    found = np.stack([model.predict(part.letters) for model in models]).astype(np.float64)
    found[:, [reason is not None for reason in part.reasons]] = np.nan
    return found


def answer(
    models: Sequence[Model], part: rows.Rows, known: calibration.Calibration | None
) -> dict[str, np.ndarray]:
    """Returns what models, together and perhaps calibrated, say of N rows: see
    `calibration.answer`, NaN where a sequence cannot be read. What an export says by itself stands,
    unless a calibration of it is given.
    """
    if len(models) > 1 or known or not models[0].answer:
        return calibration.answer(each(models, part), known)
    unread = [reason is not None for reason in part.reasons]
    return {
        name: np.where(unread, np.nan, values)
        for name, values in models[0].answer(part.letters).items()
    }


def calibration_of(
    models: Sequence[Path], given: Path | None = None
) -> calibration.Calibration | None:
    """Returns a calibration of these models: the one given, or else the one in the run, if there
    is one.

    Raises:
        errors.UserError: it is of other models.
    """
    inside = models[0] / rundir.CALIBRATION
    path = given or (inside if len(models) == 1 and inside.is_file() else None)
    return calibration.load(path, members(models)) if path else None


def check_rules(paths: Sequence[Path], found: Sequence[rules.Rule]) -> None:
    """Raises UserError unless all models read the same sequences."""
    for path, rule in zip(paths, found, strict=True):
        if rule != found[0]:
            raise errors.UserError(
                f"{path}: reads {rule}, the first model {found[0]}. Take each by itself."
            )


def _loaded(models: Sequence[Path], batch_size: int, precision: str) -> list[Model]:
    paths = members(models)
    loaded = [load(path, batch_size, precision) for path in paths]
    check_rules(paths, [model.rule for model in loaded])
    return loaded


def to_file(
    models: Sequence[Path],
    source: Path,
    out: Path,
    *,
    kind: str = "tsv",
    split: str | None = None,
    columns: dict[str, str] | None = None,
    keys: Path | None = None,
    calibrated: Path | None = None,
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
    precision: str = "float32",
    report: progress.Report = progress.silent,
) -> int:
    """Writes a predictions table, one row an input row in order, and returns the number of rows.

    Of several models, the prediction is their mean, and `spread` their standard deviation (of a
    sample, n - 1). With a calibration, both are on its scale, and `lower` and `upper` are the ends
    of its intervals.

    Args:
        models: run directories, runs of replicates, .keras files or export directories.
        source: text (`SEQUENCE` or `SEQUENCE EXPRESSION` a line), FASTA, a .csv or .tsv table with
            a header, or a records directory.
        out: the table to write; rows that no model can read get an empty prediction and a reason.
        kind: see `predictions.writer`.
        split: which split of a records directory.
        columns: see `rows.read`; by default as the header names them.
        keys: a JSON of the challenge, whose keys are the rows to write as dream-json.
        calibrated: a calibration of these models; by default the one in the run, if there is one.
        precision: the policy of the convolutions.

    Raises:
        errors.UserError: an unreadable model or input, models that read other sequences, another
            ensemble's calibration, or an `out` that exists.
    """
    known = calibration_of(models, calibrated)
    loaded = _loaded(models, batch_size, precision)
    parts = rows.of_source(source, split, columns, loaded[0].rule)
    found = ((part, answer(loaded, part, known)) for part in parts)
    return predictions.save(found, source, out, kind, keys, report)


def _of_export(folder: Path, encoding: str, rule: rules.Rule, batch_size: int) -> Model:
    exported = tf.saved_model.load(str(folder))  # kept alive by the function, which needs it
    said = exported.signatures["onehot"].structured_outputs
    names = [name for name in OUTPUTS if name in said]
    table = tf.constant(sequence.table(encoding))

    def forward(batch):
        found = exported.signatures["onehot"](onehot=tf.gather(table, tf.cast(batch, tf.int32)))
        return tf.stack([found[name] for name in names], 1)

    whole = predictors.batched(forward, batch_size)

    def answer(letters: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, whole(letters).reshape(-1, len(names)).T, strict=True))

    return Model(lambda letters: answer(letters)["expression"], rule, answer)
