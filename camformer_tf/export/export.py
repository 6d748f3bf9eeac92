"""Runs become one served model, as a SavedModel, ONNX or LiteRT, whose answers are checked."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from camformer_tf import errors, exportdir, files, recipe
from camformer_tf.data import rows, sequence
from camformer_tf.export import card, formats, golden, graph, savedmodel, warmup
from camformer_tf.model import calibration, lookup, predict, predictors, rescnn

FORMATS = ("savedmodel", *formats.FILES)


def export(
    models: Sequence[Path],
    out_dir: Path,
    *,
    version: int | None = None,
    calibrated: Path | None = None,
    kind: str = "savedmodel",
) -> Path:
    """Writes models as one, in OUT_DIR/VERSION, and returns that folder.

    A SavedModel needs TensorFlow alone. Its signatures: `serving_default`, `sequence`: strings
    (N,) → `expression` float32 (N,), of several models also `spread`, calibrated also `lower` and
    `upper`, all NaN where `valid` bool (N,) is false, and `reason` int32 (N,), its place among the
    card's reasons; `onehot`: float32 (N, L, C) → the same numbers; and `regress`: serialized
    tf.Examples with a `sequence` → `outputs`. Beside it lie `assets.extra/model_card.json`, golden
    predictions and warm-up requests. The other formats have `onehot` alone, and card and golden
    predictions.

    The version folder appears when it is whole and its answers are the models'.

    Args:
        models: run directories, runs of replicates or .keras files.
        version: the folder's number; one above the newest there by default.
        calibrated: a calibration of these models; by default the one in the run, if there is one.
        kind: one of `FORMATS`.

    Raises:
        errors.UserError: no model there, models that do not go together, another ensemble's
            calibration, a version that exists, an extra that is not installed, or answers that
            are off.
    """
    target = _target(out_dir, version)
    known = predict.calibration_of(models, calibrated)
    paths = predict.members(models)
    networks, settings = zip(*map(_trained, paths), strict=True)
    served = _served(paths, networks, settings, known)
    validation = card.validation(paths[0])
    expected = golden.make(
        [_unfolded(*both) for both in zip(networks, settings, strict=True)],
        known,
        card.flanks(validation),
    )
    told = card.make(served, settings[0], validation)
    with _home(out_dir), files.new_folder(target) as folder:
        extra = (folder / exportdir.MODEL_CARD).parent
        if kind == "savedmodel":
            savedmodel.write(folder, served)
            extra.mkdir()
            warmup.write(folder / exportdir.WARM_UP, expected.readable())
            expected.check(_answers(folder, "serving_default", sequence=expected.sequences))
            runtime = functools.partial(_answers, folder, "onehot")
        else:
            extra.mkdir()
            runtime = formats.write(folder / formats.FILES[kind], served, kind)
        expected.check(_encoded_answers(runtime, served, expected))
        card.save(told, folder / exportdir.MODEL_CARD)
        expected.save(folder / exportdir.GOLDEN)
    return target


def _target(out_dir: Path, version: int | None) -> Path:
    files.require_parent(out_dir)
    if version is None:
        version = max(exportdir.versions(out_dir) if out_dir.is_dir() else (), default=0) + 1
    target = out_dir / str(version)
    if out_dir.is_dir():
        files.refuse_existing(target)
    return target


@contextlib.contextmanager
def _home(out_dir: Path) -> Iterator[None]:
    """Makes the folder of the versions, and removes it if none came to be."""
    made = not out_dir.is_dir()
    out_dir.mkdir(exist_ok=True)
    try:
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):  # it is not empty
                out_dir.rmdir()


def _trained(path: Path) -> tuple[keras.Model, recipe.Recipe]:
    if exportdir.newest(path):
        raise errors.UserError(
            f"{path}: is an export already. Export the run or .keras file that it was made from."
        )
    return predict.load_keras(path)


def _served(
    paths: Sequence[Path],
    networks: Sequence[keras.Model],
    settings: Sequence[recipe.Recipe],
    known: calibration.Calibration | None,
) -> graph.Served:
    """Returns the folded networks of members that read the same."""
    predict.check_rules(paths, [predict.rule(one) for one in settings])
    encoding = settings[0].data.encoding
    for path, one in zip(paths, settings, strict=True):
        if one.data.encoding != encoding:
            raise errors.UserError(
                f"{path}: its encoding is {one.data.encoding}, the first model's {encoding}. "
                "Models of one export share it; export them one by one."
            )
    folded = []
    for network, one in zip(networks, settings, strict=True):
        folded.append(rescnn.from_recipe(one, folded=True))
        rescnn.fold(network, folded[-1])
        folded[-1].trainable = False
    parts = map(lookup.of, folded, settings)
    return graph.Served(tuple(folded), tuple(parts), encoding, predict.rule(settings[0]), known)


def _unfolded(network: keras.Model, settings: recipe.Recipe) -> predict.Model:
    """Returns a network as it was trained, which shares no short cut with what is exported."""
    predictor = predictors.plain(network, settings.data.encoding)
    return predict.Model(predictor, predict.rule(settings))


def _answers(folder: Path, signature: str, **inputs: Sequence) -> dict[str, np.ndarray]:
    """Returns what a SavedModel answers, on CPU as the golden predictions are made."""
    with tf.device("CPU:0"):
        loaded = tf.saved_model.load(str(folder))
        given = {name: tf.constant(values) for name, values in inputs.items()}
        found = loaded.signatures[signature](**given)
    return {name: values.numpy() for name, values in found.items()}


def _encoded_answers(
    runtime: formats.Runtime, served: graph.Served, expected: golden.Golden
) -> dict[str, np.ndarray]:
    """Returns what another runtime answers, NaN where it is not to be asked."""
    raw = [one.strip().encode() for one in expected.sequences]
    letters = rows.of_sequences(raw, None, served.rule).letters
    found = runtime(onehot=sequence.table(served.encoding)[letters])
    valid = expected.answers["valid"]
    return {name: np.where(valid, values, np.nan) for name, values in found.items()}
