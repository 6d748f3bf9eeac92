"""The served functions: strings, channels or serialized examples in, expressions out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from camformer_tf.data import rules, sequence
from camformer_tf.model import calibrations, lookup

Forward = Callable[[tf.Tensor], tf.Tensor]  # channels (N, L, C) or letters (N, L) → (N, 1)
Answer = Callable[[tf.Tensor], dict[str, tf.Tensor]]  # the same input → outputs by name, (N,)
Values = Sequence[tf.Tensor]  # the values of a network's variables, in order


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """The model of an export: one network, or several whose mean is the answer.

    Attributes:
        networks: the members, normalisation folded into the convolutions.
        lookups: for each member its table of k-mers, or None.
        encoding: of the channels that the members read.
        rule: the sequences that the model can read.
        calibration: the scale and the intervals of the answers.
    """

    networks: tuple[keras.Model, ...]
    lookups: tuple[lookup.Lookup | None, ...]
    encoding: str
    rule: rules.Rule
    calibration: calibrations.Calibration | None = None

    @property
    def outputs(self) -> list[str]:
        """The names of the values that `answer` returns."""
        spread = ["spread"] * (len(self.networks) > 1)
        return ["expression", *spread, *(["lower", "upper"] if self.calibration else [])]


def channel_forwards(model: ServedModel, values: Sequence[Values]) -> list[Forward]:
    """Returns the members' networks as functions of channels, with these values as weights."""

    def forward(network: keras.Model, weights: Values) -> Forward:
        return lambda onehot: network.stateless_call([], weights, onehot, training=False)[0]

    return [forward(*pair) for pair in zip(model.networks, values, strict=True)]


def letter_forwards(
    model: ServedModel, values: Sequence[Values], tables: Sequence[tf.Tensor | None]
) -> list[Forward]:
    """Returns the members' networks as functions of letters, with these values and tables."""
    channels = tf.constant(sequence.table(model.encoding))  # (256, C)

    def forward(
        network: Forward, parts: lookup.Lookup | None, weights: Values, table: tf.Tensor | None
    ) -> Forward:
        def call(letters: tf.Tensor) -> tf.Tensor:
            onehot = tf.gather(channels, tf.cast(letters, tf.int32))  # (N, L, C)
            if parts is None:
                return network(onehot)
            inputs = [onehot, parts.outputs(table, letters)]  # (N, L, C), (N, L2, F2)
            rest_weights = parts.tail_values(weights)
            return parts.tail.stateless_call([], rest_weights, inputs, training=False)[0]

        return call

    networks = channel_forwards(model, values)
    members = zip(networks, model.lookups, values, tables, strict=True)
    return [forward(*member) for member in members]


def answer(
    forwards: Sequence[Forward], calibration: calibrations.Calibration | None, rows: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns the outputs of `calibration.answer`, float32 (N,) each.

    Args:
        forwards: the M members.
        calibration: of these members.
        rows: channels (N, L, C) or letters (N, L), as the members read them.
    """
    predictions = [tf.squeeze(forward(rows), -1) for forward in forwards]  # M times (N,)
    scale = calibration.scale if calibration else calibrations.Scale()
    mean = predictions[0] if len(predictions) == 1 else tf.reduce_mean(tf.stack(predictions), 0)
    outputs = {"expression": rescale(mean, scale)}
    if len(predictions) > 1:
        on_scale = rescale(tf.stack(predictions), scale)  # (M, N)
        squares = tf.square(on_scale - tf.reduce_mean(on_scale, 0))
        outputs["spread"] = tf.sqrt(tf.reduce_sum(squares, 0) / (len(predictions) - 1))
    if calibration:
        unit = calibration.band.floor + outputs.get("spread", tf.zeros_like(mean))
        half = calibration.band.quantile * unit
        outputs |= {"lower": outputs["expression"] - half, "upper": outputs["expression"] + half}
    return outputs


def rescale(values: tf.Tensor, scale: calibrations.Scale) -> tf.Tensor:
    """Maps values, float32 of any shape, to a scale by operations that every runtime has."""
    if scale.kind == "model":
        return values
    x, y = np.array(scale.x), np.array(scale.y)  # (P,) points
    slopes = np.diff(y) / np.diff(x)  # (P - 1,)
    if scale.kind == "affine":
        return y[0] + slopes[0] * (values - x[0])
    x, y, slopes = (tf.constant(part, tf.float32) for part in (x, y, slopes))
    values = tf.clip_by_value(values, x[0], x[-1])
    # The piece of a value is the number of inner points at or below it.
    piece = tf.reduce_sum(tf.cast(values[..., None] >= x[1:-1], tf.int32), -1)
    return tf.gather(y, piece) + tf.gather(slopes, piece) * (values - tf.gather(x, piece))


def answer_any_count(answer: Answer, rows: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns `answer` of channels (N, L, C) or letters (N, L), where N may be 0.

    An empty batch crashes convolutions on CPU, so it is padded to one row.
    """
    count = tf.shape(rows)[0]
    padding = [[0, tf.cast(count < 1, tf.int32)], *[[0, 0]] * (rows.shape.rank - 1)]
    return {name: values[:count] for name, values in answer(tf.pad(rows, padding)).items()}


def answer_sequences(
    answer: Answer, model: ServedModel, sequences: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns `answer` of strings (N,), and why a string cannot be read.

    White space around a string is ignored.

    Returns:
        The outputs by name, NaN where the model cannot read a string; `valid` bool (N,); and
        `reason` int32 (N,), the place of the reason in `rules.reasons`.
    """
    strings = tf.strings.strip(sequences)
    # Shorter strings are padded with zero bytes, which are read as N; longer ones are cut.
    letters = tf.io.decode_raw(strings, tf.uint8, fixed_length=model.rule.length)  # (N, L)
    letters = tf.where(tf.equal(letters | 32, ord("u")), np.uint8(ord("T")), letters)
    reason = _judge(strings, model.rule)
    outputs = answer_any_count(answer, letters)
    valid = tf.equal(reason, 0)
    outputs = {
        name: tf.where(valid, values, np.float32(np.nan)) for name, values in outputs.items()
    }
    return {**outputs, "valid": valid, "reason": reason}


def answer_examples(
    answer: Answer, model: ServedModel, examples: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns `outputs`, the expressions (N,), of serialized tf.Examples (N,).

    Each has one `sequence`; anything else is an error of the whole request.
    """
    feature = tf.io.FixedLenFeature([], tf.string)
    features = tf.io.parse_example(examples, {"sequence": feature})
    return {"outputs": answer_sequences(answer, model, features["sequence"])["expression"]}


def _judge(strings: tf.Tensor, rule: rules.Rule) -> tf.Tensor:
    """Returns the reasons of `rules.judge` for strings (N,), int32 (N,)."""
    size = tf.strings.length(strings)
    unknown_letter = ~tf.strings.regex_full_match(strings, "[ACGTUNacgtun]*")
    n = size - tf.strings.length(tf.strings.regex_replace(strings, "[Nn]", ""))
    tests = [unknown_letter, rule.too_many_n(n), tf.abs(size - rule.length) > rule.length_margin]
    reason = tf.zeros_like(size)
    for number, test in reversed(list(enumerate(tests, 1))):  # so that the first one wins
        reason = tf.where(test, number, reason)
    return reason
