"""Runs become one model for other programs, whose answers are checked."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from camformer_tf import errors, exportdir, files, progress
from camformer_tf.data import rows, sequence
from camformer_tf.export import card, formats, golden, graph, members, savedmodel, warmup

FORMATS = ("savedmodel", *formats.FILES)


def export(
    models: files.PathLike | Sequence[files.PathLike],
    out_dir: files.PathLike,
    *,
    version: int | None = None,
    calibration: files.PathLike | None = None,
    format: str = "savedmodel",
    overwrite: bool = False,
) -> Path:
    """Writes models as one in OUT_DIR/VERSION, and returns that folder.

    A SavedModel needs TensorFlow alone. Its signatures:

    - `serving_default`: `sequence`, strings (N,) → `expression` float32 (N,); of several models
      also `spread`; calibrated also `lower` and `upper`; all NaN where `valid` bool (N,) is false;
      and `reason` int32 (N,), the place of the reason in the card's list.
    - `onehot`: float32 (N, L, C) → the same numbers.
    - `regress`: serialized tf.Examples with a `sequence` → `outputs`.

    Beside it are `assets.extra/model_card.json`, golden predictions and warm-up requests. The other
    formats have `onehot` alone, the card and the golden predictions. The format keras needs Keras
    alone and holds one network of stock layers without calibration: channels → expression (N, 1).

    The folder appears when it is complete and its answers are those of the models.

    Args:
        models: one or several run directories, runs of replicates or .keras files.
        out_dir: the folder of the versions; it is made if its parent exists.
        version: the name of the version's folder; by default one above the newest there.
        calibration: a calibration of these models; by default the one in the run, if there is one.
        format: one of `FORMATS`.
        overwrite: whether `version` is replaced if it exists.

    Raises:
        errors.UserError: a path that is not a model, models that do not go together, a calibration
            of another ensemble, an unknown format, several models or a calibration for keras, a
            version that exists, an extra that is not installed, or answers that differ from the
            models'.
    """
    if format not in FORMATS:
        raise errors.UserError(f"format {format!r}: expected one of {', '.join(FORMATS)}.")
    if format == "keras" and calibration is not None:
        raise errors.UserError(
            f"{calibration}: a .keras file has neither scale nor intervals. Leave out "
            "--calibration, or export a SavedModel."
        )
    entries = [models] if isinstance(models, str | os.PathLike) else models
    model_paths = [Path(entry) for entry in entries]
    out_dir = Path(out_dir)
    target = _target(out_dir, version, overwrite)
    ensemble = members.load(model_paths, Path(calibration) if calibration else None)
    if format == "keras":
        ensemble = ensemble.single()
    model = ensemble.fold()
    validation = card.read_validation(ensemble.paths[0])
    golden_predictions = golden.build(
        ensemble.reference_engines(), ensemble.calibration, card.flanks(validation)
    )
    model_card = card.build(model, ensemble.settings[0], validation)
    new_version = files.new_folder(target, overwrite=overwrite, marker=exportdir.MODEL_CARD)
    with _versions_folder(out_dir), new_version as folder:
        _write_model(folder, ensemble, model, format, golden_predictions)
        card.save(model_card, folder / exportdir.MODEL_CARD)
        golden_predictions.save(folder / exportdir.GOLDEN)
    return target


def _target(out_dir: Path, version: int | None, overwrite: bool) -> Path:
    files.require_parent(out_dir)
    if version is None:
        version = max(exportdir.versions(out_dir) if out_dir.is_dir() else (), default=0) + 1
    target = out_dir / str(version)
    if out_dir.is_dir():
        files.refuse_existing(target, overwrite=overwrite, marker=exportdir.MODEL_CARD)
    return target


@contextlib.contextmanager
def _versions_folder(out_dir: Path) -> Iterator[None]:
    """Makes the folder of the versions, and removes it again if it stays empty."""
    is_new = not out_dir.is_dir()
    out_dir.mkdir(exist_ok=True)
    try:
        yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # it is not empty
                out_dir.rmdir()


def _write_model(
    folder: Path,
    ensemble: members.EnsembleMembers,
    model: graph.ServedModel,
    kind: str,
    expected: golden.GoldenPredictions,
) -> None:
    """Writes a version but for its card and golden predictions, and checks its answers."""
    if kind == "savedmodel":
        savedmodel.write(folder, model)  # first: it needs an empty folder
        (folder / exportdir.GOLDEN).parent.mkdir()
        warmup.write(folder / exportdir.WARM_UP, expected.readable())
        expected.check(_answers(folder, "serving_default", sequence=expected.sequences))
        runtime: formats.Runtime = functools.partial(_answers, folder, "onehot")
    else:
        (folder / exportdir.GOLDEN).parent.mkdir()
        path = folder / formats.FILES[kind]
        if kind == "keras":
            runtime = formats.write_keras(path, ensemble.networks[0], ensemble.settings[0])
        else:
            runtime = formats.write(path, model, kind)
    expected.check(_onehot_answers(runtime, model, expected))


def _answers(
    folder: Path, signature: str, **inputs: Sequence | np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the answers of a SavedModel, on CPU as the golden predictions are computed."""
    with tf.device("CPU:0"):
        with progress.quiet_tensorflow():
            saved_model = tf.saved_model.load(str(folder))
        tensors = {name: tf.constant(values) for name, values in inputs.items()}
        outputs = saved_model.signatures[signature](**tensors)
    return {name: values.numpy() for name, values in outputs.items()}


def _onehot_answers(
    runtime: formats.Runtime, model: graph.ServedModel, expected: golden.GoldenPredictions
) -> dict[str, np.ndarray]:
    """Returns the answers of a runtime to channels, NaN for sequences that are not to be sent."""
    raw = [text.strip().encode() for text in expected.sequences]
    letters = rows.from_sequences(raw, None, model.rule).letters  # (N, L)
    outputs = runtime(onehot=sequence.table(model.encoding)[letters])  # channels (N, L, C)
    valid = expected.answers["valid"]
    return {name: np.where(valid, values, np.nan) for name, values in outputs.items()}
