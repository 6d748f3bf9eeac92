"""A run becomes a SavedModel that TensorFlow Serving loads: strings in, expression out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import camformer_tf
from camformer_tf import errors, recipe, rundir
from camformer_tf.data import rules, sequence
from camformer_tf.model import predict, rescnn


def export(run_dir: Path, out_dir: Path, *, version: int | None = None) -> Path:
    """Writes the model of a run (or .keras file) to OUT_DIR/VERSION and returns that folder.

    The SavedModel needs TensorFlow alone. Its signatures: `serving_default`, `sequence`: strings
    (N,) → `expression` float32 (N,), NaN where `valid` bool (N,) is false; and `onehot`, `onehot`:
    float32 (N, L, C) → `expression`. The version folder appears when it is whole.

    Args:
        version: the folder's number; one above the newest there by default.

    Raises:
        errors.UserError: no model at `run_dir`, or the version exists.
    """
    trained, settings = predict.load_keras(run_dir)
    network = rescnn.from_recipe(settings, folded=True)
    rescnn.fold(trained, network)
    existing = [int(path.name) for path in out_dir.glob("*") if path.name.isdigit()]
    version = max(existing, default=0) + 1 if version is None else version
    if not out_dir.parent.is_dir():
        raise errors.UserError(f"{out_dir}: the folder {out_dir.parent} does not exist.")
    out_dir.mkdir(exist_ok=True)
    target = out_dir / str(version)
    with rundir.new_folder(target) as folder:
        rule = predict.rule(settings)
        archive = keras.export.ExportArchive()
        archive.track(network)
        archive.add_endpoint(
            "serving_default",
            sequence_signature(network, settings.data.encoding, rule),
            input_signature=[tf.TensorSpec([None], tf.string, name="sequence")],
        )
        channels = sequence.channels(settings.data.encoding)
        archive.add_endpoint(
            "onehot",
            lambda onehot: {"expression": tf.squeeze(network(onehot, training=False), -1)},
            input_signature=[tf.TensorSpec([None, rule.length, channels], tf.float32, "onehot")],
        )
        archive.write_out(str(folder), verbose=False)
        card = folder / rundir.MODEL_CARD
        card.parent.mkdir(exist_ok=True)
        card.write_text(json.dumps(_card(settings, rule), indent=2) + "\n", encoding="utf-8")
    return target


def sequence_signature(network: keras.Model, encoding: str, rule: rules.Rule):
    """Returns the served function of strings; it reads what `rules.unreadable` passes, no more.

    Only operations that older servers know: constants and gather, no lookup tables.
    """
    table = tf.constant(sequence.table(encoding))
    longest = rule.length + rule.length_margin
    letters = np.zeros(256, bool)
    letters[[ord(letter) for letter in sequence.ALPHABET + sequence.ALPHABET.lower()]] = True
    is_letter, is_n = tf.constant(letters), np.zeros(256, np.int32)
    is_n[[ord("N"), ord("n")]] = 1
    is_n = tf.constant(is_n)

    def serve(sequence):
        trimmed = tf.strings.strip(sequence)
        size = tf.strings.length(trimmed)
        # Shorter strings are padded with zero bytes, which the table reads as N; longer are cut.
        codes = tf.cast(tf.io.decode_raw(trimmed, tf.uint8, fixed_length=longest), tf.int32)
        inside = tf.sequence_mask(size, longest)
        valid = (
            (tf.abs(size - rule.length) <= rule.length_margin)
            & tf.reduce_all(tf.gather(is_letter, codes) | ~inside, axis=1)
            & (tf.reduce_sum(tf.gather(is_n, codes), axis=1) <= rule.max_n)
        )
        channels = tf.gather(table, codes[:, : rule.length])
        value = tf.squeeze(network(channels, training=False), -1)
        return {"expression": tf.where(valid, value, np.float32(np.nan)), "valid": valid}

    return serve


def _card(settings: recipe.Recipe, rule: rules.Rule) -> dict:
    return {
        "model": "camformer_tf residual CNN: promoter sequence → expression",
        "version": camformer_tf.__version__,
        "encoding": settings.data.encoding,
        "rule": dataclasses.asdict(rule),
        "recipe": dataclasses.asdict(settings),
    }
