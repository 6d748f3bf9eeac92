"""The committed sample is what its text and the commands in tfrecords/README.md make of it."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from camformer_tf import recipe
from camformer_tf.data import manifest, records, rules
from camformer_tf.simulation import simulate

FOLDER = Path(__file__).parents[1] / "tfrecords"


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sample") / "sample"
    config = recipe.RecordsConfig(shards=2)
    records.write([FOLDER / "sample.txt"], out, rule=rules.Rule(), config=config)
    return out


def test_the_sample_records_are_built_from_the_sample_text(rebuilt):
    shards = {path.name: path.read_bytes() for path in rebuilt.glob("*.tfrecord")}
    assert shards == {p.name: p.read_bytes() for p in (FOLDER / "sample").glob("*.tfrecord")}
    ours, theirs = (
        json.loads((folder / manifest.FILE).read_text()) for folder in (rebuilt, FOLDER / "sample")
    )
    assert ours | {"created_by": theirs["created_by"]} == theirs


def test_the_sample_is_read_as_its_readme_says_by_plain_python():
    # Example j is in shard j modulo their count; a frame has 171 bytes, the expression at 35, the
    # letters at 57.
    described = json.loads((FOLDER / "sample" / "manifest.json").read_text())
    shards = [
        (FOLDER / "sample" / shard["file"]).read_bytes()
        for shard in described["splits"]["train"]["shards"]
    ]
    found = []
    for j in range(described["splits"]["train"]["examples"]):
        start = 171 * (j // len(shards))
        frame = shards[j % len(shards)][start : start + 171]
        assert struct.unpack("<Q", frame[:8]) == (155,)
        found.append((frame[57:167].decode(), struct.unpack("<f", frame[35:39])[0]))
    rows = [line.split("\t") for line in (FOLDER / "sample.txt").read_text().splitlines()]
    places = {letters: i for i, (letters, _) in enumerate(rows)}
    order = [places[letters] for letters, _ in found]
    assert order == sorted(order) and len(order) == 3600
    for i, (_, value) in zip(order, found, strict=True):
        assert value == struct.unpack("<f", struct.pack("<f", float(rows[i][1])))[0]


def test_the_sample_text_is_simulated(tmp_path):
    simulate.simulate(tmp_path / "sample.txt", 4000)
    ours, theirs = (
        [line.split("\t") for line in (folder / "sample.txt").read_text().splitlines()]
        for folder in (tmp_path, FOLDER)
    )
    assert [row[0] for row in ours] == [row[0] for row in theirs]
    same = np.isclose([float(row[1]) for row in ours], [float(row[1]) for row in theirs])
    # Another processor's last bits of exp() may move a cell or two to the next bin.
    assert same.mean() > 0.999
