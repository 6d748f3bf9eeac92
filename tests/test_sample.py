"""The sample in the repository follows from its text and the commands of tfrecords/README.md."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from camformer_tf.data import manifest, records
from camformer_tf.simulation import simulate

FOLDER = Path(__file__).parents[1] / "tfrecords"


@pytest.fixture(scope="module")
def records_folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sample") / "sample"
    records.build_records(FOLDER / "sample.txt", out, shards=2)
    return out


def test_the_sample_records_are_built_from_the_sample_text(records_folder):
    shards = {path.name: path.read_bytes() for path in records_folder.glob("*.tfrecord")}
    assert shards == {p.name: p.read_bytes() for p in (FOLDER / "sample").glob("*.tfrecord")}
    summary, expected = (
        json.loads((folder / manifest.FILE).read_text())
        for folder in (records_folder, FOLDER / "sample")
    )
    assert summary | {"created_by": expected["created_by"]} == expected


def test_plain_python_reads_the_sample_by_the_layout_in_its_readme():
    # Example j is in shard j modulo their count; a frame has 171 bytes, the expression at 35, the
    # letters at 57.
    description = json.loads((FOLDER / "sample" / "manifest.json").read_text())
    shards = [
        (FOLDER / "sample" / shard["file"]).read_bytes()
        for shard in description["splits"]["train"]["shards"]
    ]
    examples = []
    for j in range(description["splits"]["train"]["examples"]):
        start = 171 * (j // len(shards))
        frame = shards[j % len(shards)][start : start + 171]
        assert struct.unpack("<Q", frame[:8]) == (155,)
        examples.append((frame[57:167].decode(), struct.unpack("<f", frame[35:39])[0]))
    rows = [line.split("\t") for line in (FOLDER / "sample.txt").read_text().splitlines()]
    places = {letters: i for i, (letters, _) in enumerate(rows)}
    order = [places[letters] for letters, _ in examples]
    assert order == sorted(order) and len(order) == 3600
    for i, (_, value) in zip(order, examples, strict=True):
        assert value == struct.unpack("<f", struct.pack("<f", float(rows[i][1])))[0]


def test_the_sample_text_is_simulated(tmp_path):
    simulate.simulate(tmp_path / "sample.txt", 4000)
    rows, expected_rows = (
        [line.split("\t") for line in (folder / "sample.txt").read_text().splitlines()]
        for folder in (tmp_path, FOLDER)
    )
    assert [row[0] for row in rows] == [row[0] for row in expected_rows]
    values, expected = ([float(row[1]) for row in table] for table in (rows, expected_rows))
    # The last bits of exp() differ between processors, which may move a cell or two by one bin.
    assert np.isclose(values, expected).mean() > 0.999
