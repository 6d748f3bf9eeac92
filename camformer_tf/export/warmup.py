"""Warm-up requests, which TensorFlow Serving replays before it lets a version serve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

MODEL = "camformer"  # the name in the requests
_BATCHES = (1, 8, 64)


def write(path: Path, sequences: Sequence[str]) -> None:
    """Writes a TFRecord of PredictionLog messages.

    They ask `serving_default` in several batch sizes, and `regress` once.

    Args:
        path: the file to write.
        sequences: sequences that the model can read.
    """
    strings = np.array([sequence.encode() for sequence in sequences], object)  # (N,)
    batches = [np.resize(strings, size) for size in _BATCHES]
    with tf.io.TFRecordWriter(str(path)) as file:
        for batch in batches:
            file.write(predict_log(batch))
        file.write(regress_log(batches[0]))


def predict_log(sequences: np.ndarray) -> bytes:
    """Returns a PredictionLog of a PredictRequest for strings (N,).

    Fields: tensorflow_serving/apis/{prediction_log,predict,model}.proto, tensorflow/serving@2.21.0.
    """
    tensor = tf.make_tensor_proto(sequences, tf.string).SerializeToString()
    entry = _field(1, b"sequence") + _field(2, tensor)
    return _field(6, _field(1, _field(1, _spec("serving_default")) + _field(2, entry)))


def regress_log(sequences: np.ndarray) -> bytes:
    """Returns a PredictionLog of a RegressionRequest for strings (N,), an Example each.

    Fields: tensorflow_serving/apis/{regression,input}.proto besides.
    """
    examples = b"".join(_field(1, example(sequence)) for sequence in sequences)
    return _field(3, _field(1, _field(1, _spec("regress")) + _field(2, _field(1, examples))))


def example(sequence: bytes) -> bytes:
    """Returns a serialized tf.Example as `regress` reads it."""
    values = tf.train.BytesList(value=[sequence])
    features = tf.train.Features(feature={"sequence": tf.train.Feature(bytes_list=values)})
    return tf.train.Example(features=features).SerializeToString()


def _spec(signature: str) -> bytes:
    return _field(1, MODEL.encode()) + _field(3, signature.encode())


def _field(number: int, payload: bytes) -> bytes:
    """Returns a length-delimited protobuf field, its number below 16."""
    size, remainder = bytearray(), len(payload)
    while remainder > 127:  # a varint: seven bits a byte, the lowest first
        size.append(remainder & 127 | 128)
        remainder >>= 7
    return bytes([number << 3 | 2]) + bytes(size) + bytes([remainder]) + payload
