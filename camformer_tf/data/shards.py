"""One shard: the frames of a TFRecord file, filled in and read as arrays."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import google_crc32c
import numpy as np

from camformer_tf import errors
from camformer_tf.data import layout, text

_HEAD, _TAIL = 12, 4  # bytes before a record (its length, a checksum of that) and after (checksum)
_MASK = 0xA282EAD8  # TFRecord's mask of a CRC-32C: rotate right by 15 bits, add this
_CHUNK = 1 << 11  # records whose checksums are taken at a time: they stay in the processor's cache


def frames(examples: text.Examples, shape: layout.Layout) -> np.ndarray:
    """Returns N examples as the bytes of a TFRecord file: uint8 (N, S + 16)."""
    size = len(shape.template)
    rows = np.empty((len(examples.expression), _HEAD + size + _TAIL), np.uint8)
    rows[:, :_HEAD] = np.frombuffer(_head(size), np.uint8)
    rows[:, _HEAD:-_TAIL] = shape.template
    data = rows[:, _HEAD:-_TAIL]
    data[:, shape.letters] = examples.letters
    data[:, shape.expression] = _bytes(examples.expression)
    if shape.weight:
        data[:, shape.weight] = _bytes(examples.weight)
    rows[:, -_TAIL:] = masked_crcs(data).astype("<u4").view(np.uint8).reshape(-1, 4)
    return rows


def masked_crcs(rows: np.ndarray) -> np.ndarray:
    """Returns TFRecord's checksum of each row: uint8 (N, S) → uint32 (N,)."""
    crcs = np.empty(len(rows), np.uint32)
    for start in range(0, len(rows), _CHUNK):
        chunk = np.ascontiguousarray(rows[start : start + _CHUNK])
        records = chunk.view(f"V{rows.shape[1]}").reshape(-1).tolist()  # bytes
        found = map(google_crc32c.value, records)
        crcs[start : start + _CHUNK] = np.fromiter(found, np.uint32, len(records))
    return ((crcs >> np.uint32(15)) | (crcs << np.uint32(17))) + np.uint32(_MASK)


def read_bytes(path: Path) -> bytes:
    """Returns a shard's bytes, unpacked if it is a .gz file.

    Raises:
        errors.UserError: no such file, or a .gz file that is not whole.
    """
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except FileNotFoundError as error:
        raise errors.UserError(f"{path}: no such file. {REBUILD}") from error
    except (OSError, EOFError, gzip.zlib.error) as error:
        raise errors.UserError(f"{path}: cannot be read ({error}). {REBUILD}") from error


def parse(data: bytes, shape: layout.Layout, where: str) -> text.Examples:
    """Returns the examples in a TFRecord file, or in a part of one that begins with a record.

    Every checksum is compared.

    Raises:
        errors.UserError: a record that is damaged, cut or of another layout, by its number from 0.
    """
    size, framed = len(shape.template), record_bytes(shape)
    count, rest = divmod(len(data), framed)
    rows = np.frombuffer(data, np.uint8)[: count * framed].reshape(count, framed)
    inside = rows[:, _HEAD:-_TAIL]
    fixed = np.ones(size, bool)
    for place in (shape.letters, shape.expression, shape.weight):
        if place:
            fixed[place] = False
    good = (rows[:, :_HEAD] == np.frombuffer(_head(size), np.uint8)).all(axis=1)
    good &= (inside[:, fixed] == shape.template[fixed]).all(axis=1)
    good &= masked_crcs(inside) == np.ascontiguousarray(rows[:, -_TAIL:]).view("<u4").reshape(-1)
    if not good.all():
        record = int(np.argmin(good))
        raise errors.UserError(
            f"{where}: record {record} is damaged, or of another layout than the manifest says. "
            + REBUILD
        )
    if rest:
        raise errors.UserError(f"{where}: is cut short within record {count}. {REBUILD}")
    return text.Examples(
        inside[:, shape.letters],
        _floats(inside[:, shape.expression]),
        _floats(inside[:, shape.weight]) if shape.weight else None,
    )


def record_bytes(shape: layout.Layout) -> int:
    """Returns how many bytes a record takes in a shard that is not packed."""
    return _HEAD + len(shape.template) + _TAIL


def _head(size: int) -> bytes:
    length = struct.pack("<Q", size)
    crc = masked_crcs(np.frombuffer(length, np.uint8)[None])
    return length + crc.astype("<u4").tobytes()


def _bytes(values: np.ndarray) -> np.ndarray:
    return values.astype("<f4").view(np.uint8).reshape(-1, 4)


def _floats(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows).view("<f4").reshape(-1).astype(np.float32)


REBUILD = "Build the records again."
