"""The served functions: strings, channels or serialized examples in, expressions out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from camformer_tf.data import rules, sequence
from camformer_tf.model import calibration, lookup

Forward = Callable[[tf.Tensor], tf.Tensor]  # channels (N, L, C) or letters (N, L) → (N, 1)
Values = Sequence[tf.Tensor]  # of a network's variables, in order


@dataclasses.dataclass(frozen=True)
class Served:
    """What one export serves: the folded networks of its members, the lookup of each that has one,
    what they read, and the scale and the intervals of their answers, if these are calibrated.
    """

    networks: tuple[keras.Model, ...]
    lookups: tuple[lookup.Lookup | None, ...]
    encoding: str
    rule: rules.Rule
    known: calibration.Calibration | None = None

    @property
    def outputs(self) -> list[str]:
        """The names of `answer`'s values."""
        spread = ["spread"] * (len(self.networks) > 1)
        return ["expression", *spread, *(["lower", "upper"] if self.known else [])]


def of_channels(served: Served, values: Sequence[Values]) -> list[Forward]:
    """Returns the networks of the members with these values, which read channels."""

    def forward(network: keras.Model, held: Values) -> Forward:
        return lambda onehot: network.stateless_call([], held, onehot, training=False)[0]

    return [forward(*both) for both in zip(served.networks, values, strict=True)]


def of_letters(
    served: Served, values: Sequence[Values], tables: Sequence[tf.Tensor | None]
) -> list[Forward]:
    """Returns the networks of the members with these values and tables, which read letters."""
    channels = tf.constant(sequence.table(served.encoding))

    def forward(whole: Forward, parts: lookup.Lookup | None, held: Values, table) -> Forward:
        def call(letters):
            onehot = tf.gather(channels, tf.cast(letters, tf.int32))
            if parts is None:
                return whole(onehot)
            inputs = [onehot, parts.outputs(table, letters)]
            own = parts.values_of_rest(held)
            return parts.rest.stateless_call([], own, inputs, training=False)[0]

        return call

    wholes = of_channels(served, values)
    return [forward(*one) for one in zip(wholes, served.lookups, values, tables, strict=True)]


def answer(
    forwards: Sequence[Forward], known: calibration.Calibration | None, rows: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns what `calibration.answer` has, float32 (N,) each, of channels or letters."""
    each = [tf.squeeze(forward(rows), -1) for forward in forwards]
    scale = known.scale if known else calibration.Scale()
    mean = each[0] if len(each) == 1 else tf.reduce_mean(tf.stack(each), 0)
    found = {"expression": rescale(mean, scale)}
    if len(each) > 1:
        scaled = rescale(tf.stack(each), scale)
        squares = tf.square(scaled - tf.reduce_mean(scaled, 0))
        found["spread"] = tf.sqrt(tf.reduce_sum(squares, 0) / (len(each) - 1))
    if known:
        unit = known.band.floor + found.get("spread", tf.zeros_like(mean))
        half = known.band.quantile * unit
        found |= {"lower": found["expression"] - half, "upper": found["expression"] + half}
    return found


def rescale(values: tf.Tensor, scale: calibration.Scale) -> tf.Tensor:
    """Returns values, float32 of any shape, on a scale, by operations that every runtime has."""
    if scale.kind == "model":
        return values
    x, y = np.array(scale.x), np.array(scale.y)
    slopes = np.diff(y) / np.diff(x)
    if scale.kind == "affine":
        return y[0] + slopes[0] * (values - x[0])
    x, y, slopes = (tf.constant(part, tf.float32) for part in (x, y, slopes))
    values = tf.clip_by_value(values, x[0], x[-1])
    # A value's piece is how many inner points lie at or below it.
    piece = tf.reduce_sum(tf.cast(values[..., None] >= x[1:-1], tf.int32), -1)
    return tf.gather(y, piece) + tf.gather(slopes, piece) * (values - tf.gather(x, piece))


def of_any_number(answer: Callable[[tf.Tensor], dict], rows: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns `answer` of channels (N, L, C) or letters (N, L), where N may be 0, which crashes
    convolutions on CPU.
    """
    count = tf.shape(rows)[0]
    lacking = [[0, tf.cast(count < 1, tf.int32)], *[[0, 0]] * (rows.shape.rank - 1)]
    return {name: values[:count] for name, values in answer(tf.pad(rows, lacking)).items()}


def of_sequences(
    answer: Callable[[tf.Tensor], dict], served: Served, sequences: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns `answer` of the letters of strings (N,), NaN where the model cannot read one; `valid`
    bool (N,); and `reason` int32 (N,), which of `rules.reasons` holds. White space around a string
    is ignored.
    """
    trimmed = tf.strings.strip(sequences)
    # Shorter strings are padded with zero bytes, which are read as N; longer ones are cut.
    letters = tf.io.decode_raw(trimmed, tf.uint8, fixed_length=served.rule.length)
    letters = tf.where(tf.equal(letters | 32, ord("u")), np.uint8(ord("T")), letters)
    reason = _judge(trimmed, served.rule)
    found = of_any_number(answer, letters)
    valid = tf.equal(reason, 0)
    found = {name: tf.where(valid, one, np.float32(np.nan)) for name, one in found.items()}
    return {**found, "valid": valid, "reason": reason}


def of_examples(
    answer: Callable[[tf.Tensor], dict], served: Served, serialized: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns `outputs`, the expressions, of serialized tf.Examples (N,) that hold one `sequence`
    each; of others it is an error.
    """
    feature = tf.io.FixedLenFeature([], tf.string)
    parsed = tf.io.parse_example(serialized, {"sequence": feature})
    return {"outputs": of_sequences(answer, served, parsed["sequence"])["expression"]}


def _judge(trimmed: tf.Tensor, rule: rules.Rule) -> tf.Tensor:
    """Returns what `rules.judge` does, int32 (N,)."""
    size = tf.strings.length(trimmed)
    strange = ~tf.strings.regex_full_match(trimmed, "[ACGTUNacgtun]*")
    n = size - tf.strings.length(tf.strings.regex_replace(trimmed, "[Nn]", ""))
    holds = [strange, rule.too_many_n(n), tf.abs(size - rule.length) > rule.length_margin]
    reason = tf.zeros_like(size)
    for number, one in reversed(list(enumerate(holds, 1))):  # so that the first stands
        reason = tf.where(one, number, reason)
    return reason
