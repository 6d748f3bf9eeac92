"""Small record sets for tests, and readers of them that use nothing of the package."""

import re
import struct
from pathlib import Path

import numpy as np

from camformer_tf.data import records, sequence, text

SHORT = {"length": 8, "length_margin": 2, "max_n": 1}  # lets tests have short lines
ROWS = [("".join(np.roll(list("AACCGGTT"), i)), float(i)) for i in range(8)]
GOOD = "".join(f"{letters}\t{value}\n" for letters, value in ROWS)
HALVES = {"split": "train=0.5,val=0.5", "shards": 2}


def build(folder: Path, content: str = GOOD, **options) -> Path:
    """Builds records of a text in folder/records, in two halves unless options say otherwise."""
    (folder / "library.txt").write_text(content)
    records.build_records(folder / "library.txt", folder / "records", **SHORT | HALVES | options)
    return folder / "records"


def pairs(examples: text.Examples) -> list[tuple[str, float]]:
    """Returns examples as pairs of sequence and expression."""
    return list(zip(sequence.text(examples.letters), examples.expression.tolist(), strict=True))


def tree(folder: Path) -> dict[str, bytes]:
    """Returns the bytes of all files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_shard(path: Path) -> list[tuple[str, float]]:
    """Reads a shard by its format alone: length (8 bytes), crc (4), tf.train.Example, crc (4)."""
    data, examples = path.read_bytes(), []
    while data:
        (length,) = struct.unpack_from("<Q", data)
        example, data = data[12 : 12 + length], data[16 + length :]
        protobuf = rb".*\nexpression\x12\x08\x12\x06\n\x04(.{4}).*\x08sequence.*?([ACGTN]+)"
        number, letters = re.fullmatch(protobuf, example, re.DOTALL).groups()
        examples.append((letters.decode(), struct.unpack("<f", number)[0]))
    return examples
