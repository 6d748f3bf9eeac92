"""The bytes of one serialized example, filled in and read as arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from camformer_tf import errors
from camformer_tf.data import text


@dataclasses.dataclass(frozen=True)
class Layout:
    """The bytes of a serialized example of one sequence length, which differ from record to record
    only in the letters and the four bytes of the expression."""

    template: np.ndarray  # uint8 (S,)
    letters: slice
    expression: slice


def of(length: int) -> Layout:
    """Returns the layout of a serialized example, taken from one that TensorFlow serializes."""
    letters, expression = b"\x01" * length, np.float32(3.0e38)
    feature = {
        "sequence": tf.train.Feature(bytes_list=tf.train.BytesList(value=[letters])),
        "expression": tf.train.Feature(float_list=tf.train.FloatList(value=[expression])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    data = example.SerializeToString(deterministic=True)
    places = [data.rindex(letters), data.index(expression.astype("<f4").tobytes())]
    return Layout(
        np.frombuffer(data, np.uint8),
        slice(places[0], places[0] + length),
        slice(places[1], places[1] + 4),
    )


def serialize(examples: text.Examples, shape: Layout) -> np.ndarray:
    """Returns N examples as the bytes of their tf.train.Example: uint8 (N, S)."""
    rows = np.tile(shape.template, (len(examples.expression), 1))
    rows[:, shape.letters] = examples.letters
    rows[:, shape.expression] = examples.expression.astype("<f4").view(np.uint8).reshape(-1, 4)
    return rows


def parse(records: Sequence[bytes], shape: Layout, where: str) -> text.Examples:
    """Returns what N serialized examples of one layout hold: the inverse of `serialize`.

    Raises:
        errors.UserError: a record of another layout; `where` names its file.
    """
    rows = np.frombuffer(b"".join(records), np.uint8)
    size = len(shape.template)
    if {len(record) for record in records} == {size}:
        rows = rows.reshape(len(records), size)
        fixed = np.ones(size, bool)
        fixed[shape.letters] = fixed[shape.expression] = False
        if (rows[:, fixed] == shape.template[fixed]).all():
            expression = np.ascontiguousarray(rows[:, shape.expression]).view("<f4").reshape(-1)
            return text.Examples(rows[:, shape.letters], expression.astype(np.float32))
    raise errors.UserError(
        f"{where}: holds records of another layout than this version writes. "
        "Build the records again."
    )
