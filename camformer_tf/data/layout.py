"""The bytes of one serialized example, filled in and read as arrays."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Layout:
    """A serialized tf.train.Example of one sequence length. Records differ only in the letters and
    in the four bytes of each number.
    """

    template: np.ndarray  # uint8 (S,)
    letters: slice
    expression: slice
    weight: slice | None


def of(length: int, *, weighted: bool = False) -> Layout:
    """Returns the layout: what tf.train.Example serializes to with its features in sorted order."""
    names = ["expression", "sequence", *(["weight"] if weighted else [])]
    parts, places = [], {}
    for name in names:
        value = bytes(length if name == "sequence" else 4)
        kind = 1 if name == "sequence" else 2  # Feature.bytes_list, Feature.float_list
        feature = _field(kind, _field(1, value))  # BytesList.value; FloatList.value, packed
        parts.append(_field(1, _field(1, name.encode()) + _field(2, feature)))  # one map entry
        places[name] = len(value)
    features = b"".join(parts)
    data = _field(1, features)  # Example.features
    start = len(data) - len(features)
    for name, part in zip(names, parts, strict=True):
        start += len(part)  # a value ends its entry
        places[name] = slice(start - places[name], start)
    template = np.frombuffer(data, np.uint8)
    return Layout(template, places["sequence"], places["expression"], places.get("weight"))


def _field(number: int, payload: bytes) -> bytes:
    """Returns one length-delimited field of a protocol buffer."""
    head, size = bytearray([number << 3 | 2]), len(payload)
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes(head) + bytes([size]) + payload
