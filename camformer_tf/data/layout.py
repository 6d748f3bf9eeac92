"""The bytes of one serialized example: a template, and the places in which records differ."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Layout:
    """The serialized tf.train.Example of one sequence length.

    Records differ only in the letters and in the four bytes of each number.

    Attributes:
        template: uint8 (S,), an example whose letters and numbers are all zero bytes.
        letters: the place of the letters in it.
        expression: the place of the expression, a float32.
        weight: the place of the weight, a float32, or None if there is none.
    """

    template: np.ndarray
    letters: slice
    expression: slice
    weight: slice | None


def example_layout(length: int, *, has_weight: bool = False) -> Layout:
    """Returns what tf.train.Example serializes to, with its features in sorted order."""
    sizes = {"expression": 4, "sequence": length} | ({"weight": 4} if has_weight else {})  # bytes
    entries = []
    for name, size in sizes.items():
        kind = 1 if name == "sequence" else 2  # Feature.bytes_list, Feature.float_list
        feature = _field(kind, _field(1, bytes(size)))  # BytesList.value; FloatList.value, packed
        entries.append(_field(1, _field(1, name.encode()) + _field(2, feature)))  # one map entry
    features = b"".join(entries)
    data = _field(1, features)  # Example.features
    end, places = len(data) - len(features), {}
    for (name, size), entry in zip(sizes.items(), entries, strict=True):
        end += len(entry)  # the value is the last part of its entry
        places[name] = slice(end - size, end)
    template = np.frombuffer(data, np.uint8)
    return Layout(template, places["sequence"], places["expression"], places.get("weight"))


def _field(number: int, payload: bytes) -> bytes:
    """Returns one length-delimited field of a protocol buffer."""
    head, size = bytearray([number << 3 | 2]), len(payload)
    while size > 127:  # a varint: seven bits per byte, the eighth says that more follow
        head.append(size & 127 | 128)
        size >>= 7
    return bytes(head) + bytes([size]) + payload
