"""A small SavedModel with the signatures of an export, for tests of servers.

The expression of a sequence depends on each of its letters and on the version, so that an answer
shows the row and the version it belongs to.
"""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from camformer_tf import exportdir, files

REGRESS = "tensorflow/serving/regress"


def write(folder: Path, version: int) -> Path:
    """Writes FOLDER/VERSION, which appears when it is complete."""
    target = folder / str(version)
    folder.mkdir(exist_ok=True)
    with files.new_folder(target) as temporary:
        _save(temporary, version)
        card = temporary / exportdir.MODEL_CARD
        card.parent.mkdir(exist_ok=True)
        card.write_text(json.dumps({"model": "toy", "version": str(version)}))
    return target


def random_sequences(n: int, seed: int = 0) -> list[str]:
    """Returns n sequences of 110 letters."""
    letters = np.random.default_rng(seed).choice(list("ACGT"), (n, 110))
    return ["".join(row) for row in letters]


def expression(sequences: list[str], version: int) -> np.ndarray:
    """Returns what a version predicts, computed with NumPy: float64 (N,)."""
    letters = np.frombuffer("".join(sequences).encode(), np.uint8).reshape(-1, 110)
    return letters @ np.arange(1.0, 111.0) / 4096 + version


def _save(path: Path, version: int) -> None:
    module = tf.Module()
    module.version = tf.Variable(float(version))

    def predict(sequence):
        letters = tf.cast(tf.io.decode_raw(sequence, tf.uint8, fixed_length=110), tf.float32)
        return tf.linalg.matvec(letters, tf.range(1.0, 111.0)) / 4096.0 + module.version

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "sequence")])
    def serving_default(sequence):
        valid = tf.strings.length(sequence) == 110
        value = tf.where(valid, predict(sequence), float("nan"))
        return {"expression": value, "valid": valid, "reason": tf.where(valid, 0, 1)}

    @tf.function(input_signature=[tf.TensorSpec([None, 110, 4], tf.float32, "onehot")])
    def onehot(onehot):
        return {"expression": tf.reduce_sum(onehot, [1, 2]) + module.version}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress(inputs):
        spec = {"sequence": tf.io.FixedLenFeature([], tf.string)}
        return {"outputs": predict(tf.io.parse_example(inputs, spec)["sequence"])}

    @tf.function(
        input_signature=[tf.TensorSpec([], tf.float32, "a"), tf.TensorSpec([None], tf.int32, "b")]
    )
    def pair(a, b):
        return {"sum": tf.cast(b, tf.float32) + a, "name_bytes": tf.as_string(b)}

    signatures = {"serving_default": serving_default, "onehot": onehot, "regress": regress}
    tf.saved_model.save(module, str(path), signatures=signatures | {"pair": pair})
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(path))
    updater.replace_method_name(signature_key="regress", method_name=REGRESS, tags="serve")
    updater.save()
