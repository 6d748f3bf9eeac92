"""One shard: examples as the bytes of a TFRecord file, and those bytes as examples again."""

from __future__ import annotations

import gzip
import struct
import zlib

import google_crc32c
import numpy as np

from camformer_tf import errors, remote
from camformer_tf.data import layout, text

REBUILD = "Build the records again."

_HEAD, _TAIL = 12, 4  # bytes before a record (its length, a checksum of that) and after (checksum)
_MASK = 0xA282EAD8  # TFRecord's mask of a CRC-32C: rotate right by 15 bits, add this
_CHUNK = 1 << 11  # records per round of checksums: they stay in the processor's cache


def frames(examples: text.Examples, shape: layout.Layout) -> np.ndarray:
    """Returns N examples as the bytes of a TFRecord file: uint8 (N, S + 16)."""
    size = len(shape.template)
    rows = np.empty((len(examples.expression), _HEAD + size + _TAIL), np.uint8)
    rows[:, :_HEAD] = np.frombuffer(_head(size), np.uint8)
    rows[:, _HEAD:-_TAIL] = shape.template
    data = rows[:, _HEAD:-_TAIL]  # (N, S), a view
    data[:, shape.letters] = examples.letters
    data[:, shape.expression] = _bytes(examples.expression)
    if shape.weight is not None and examples.weight is not None:
        data[:, shape.weight] = _bytes(examples.weight)
    rows[:, -_TAIL:] = masked_crcs(data).astype("<u4").view(np.uint8).reshape(-1, 4)  # (N, 4)
    return rows


def masked_crcs(rows: np.ndarray) -> np.ndarray:
    """Returns TFRecord's checksum of each row: uint8 (N, S) → uint32 (N,)."""
    crcs = np.empty(len(rows), np.uint32)
    for start in range(0, len(rows), _CHUNK):
        chunk = np.ascontiguousarray(rows[start : start + _CHUNK])
        records = chunk.view(f"V{rows.shape[1]}").reshape(-1).tolist()  # one bytes object per row
        values = map(google_crc32c.value, records)
        crcs[start : start + _CHUNK] = np.fromiter(values, np.uint32, len(records))
    return ((crcs >> np.uint32(15)) | (crcs << np.uint32(17))) + np.uint32(_MASK)


def read_bytes(path: remote.AnyPath) -> bytes:
    """Returns the bytes of a shard, unpacked if it is a .gz file.

    Raises:
        errors.UserError: the file is missing, or a .gz file is not whole.
    """
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except FileNotFoundError as error:
        raise errors.UserError(f"{path}: no such file. {REBUILD}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise errors.UserError(f"{path}: cannot be read ({error}). {REBUILD}") from error


def parse(data: bytes, shape: layout.Layout, source: str) -> text.Examples:
    """Returns the examples in a TFRecord file, or in a section of one that begins with a record.

    Every checksum is compared.

    Args:
        data: the bytes of N records.
        shape: the layout that each record must have.
        source: the file's name, for messages.

    Raises:
        errors.UserError: a record is damaged, cut or of another layout; it is named by its number,
            from 0.
    """
    size, frame = len(shape.template), record_bytes(shape)
    count, excess = divmod(len(data), frame)
    rows = np.frombuffer(data, np.uint8)[: count * frame].reshape(count, frame)  # (N, S + 16)
    records = rows[:, _HEAD:-_TAIL]  # (N, S)
    constant = np.ones(size, bool)  # the bytes that are those of the template in every record
    for place in (shape.letters, shape.expression, shape.weight):
        if place:
            constant[place] = False
    good = (rows[:, :_HEAD] == np.frombuffer(_head(size), np.uint8)).all(axis=1)  # (N,)
    good &= (records[:, constant] == shape.template[constant]).all(axis=1)
    crcs = np.ascontiguousarray(rows[:, -_TAIL:]).view("<u4").reshape(-1)  # (N,)
    good &= masked_crcs(records) == crcs
    if not good.all():
        record = int(np.argmin(good))
        raise errors.UserError(
            f"{source}: record {record} is damaged, or has another layout than the manifest "
            f"describes. {REBUILD}"
        )
    if excess:
        raise errors.UserError(f"{source}: the file is cut short in record {count}. {REBUILD}")
    return text.Examples(
        records[:, shape.letters],
        _floats(records[:, shape.expression]),
        _floats(records[:, shape.weight]) if shape.weight else None,
    )


def record_bytes(shape: layout.Layout) -> int:
    """Returns how many bytes a record takes in a shard that is not packed."""
    return _HEAD + len(shape.template) + _TAIL


def _head(size: int) -> bytes:
    """Returns the bytes before a record of that size: the size, and a checksum of it."""
    length = struct.pack("<Q", size)
    crc = masked_crcs(np.frombuffer(length, np.uint8)[None])
    return length + crc.astype("<u4").tobytes()


def _bytes(values: np.ndarray) -> np.ndarray:
    return values.astype("<f4").view(np.uint8).reshape(-1, 4)  # (N,) → (N, 4)


def _floats(rows: np.ndarray) -> np.ndarray:
    values = np.ascontiguousarray(rows).view("<f4").reshape(-1)  # (N, 4) → (N,)
    return values.astype(np.float32)
