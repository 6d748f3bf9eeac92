import gzip
import hashlib

import numpy as np
import pytest
from support import record_sets

from camformer_tf import errors, recipe
from camformer_tf.data import rules, spool, text, writer

LABELS = np.array([0, 1, 0, 0, 1, 0, 0, 1], np.uint8)


def write(folder, compression: str = "none", shards: int = 2, report=lambda *_: None):
    """Writes the rows of `record_sets` with these labels; the names, and the entries."""
    folder.joinpath("library.txt").write_text(record_sets.GOOD)
    library = spool.gather(
        [folder / "library.txt"],
        folder / "rows",
        rules.Rule(length=8),
        42,
        None,
        map,
        lambda *_: None,
    )
    np.save(folder / "labels.npy", LABELS)
    config = recipe.RecordsConfig(compression=compression, shards=shards)
    names = writer.names(LABELS, ["train", "val"], config)
    parts = list(library.parts(folder / "labels.npy"))
    return names, writer.write(parts, LABELS, folder, names, map, report)


def test_names_have_the_split_the_shard_and_their_number():
    config = recipe.RecordsConfig(shards=4, compression="gzip")
    assert writer.names(LABELS, ["train", "val"], config) == {
        "train": [f"train-0000{i}-of-00004.tfrecord.gz" for i in range(4)],
        "val": [f"val-0000{i}-of-00003.tfrecord.gz" for i in range(3)],  # one example each
    }


def test_a_split_without_an_example_is_refused():
    with pytest.raises(errors.UserError, match="8 sequences are too few: no sequence falls into t"):
        writer.names(LABELS, ["train", "val", "test"], recipe.RecordsConfig())


@pytest.mark.parametrize("chunk", [40, 1 << 20])
def test_example_i_of_a_split_is_in_shard_i_modulo_their_number(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(text, "_CHUNK", chunk)
    monkeypatch.setattr(spool, "_BLOCKS_PER_PART", 1)
    names, _ = write(tmp_path)
    for label, files in enumerate(names.values()):
        rows = [record_sets.ROWS[row] for row in np.flatnonzero(np.equal(LABELS, label))]
        for i, file in enumerate(files):
            assert record_sets.read_shard(tmp_path / file) == rows[i::2]


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_the_entries_describe_the_files(tmp_path, compression):
    names, entries = write(tmp_path, compression)
    assert {name: entry["examples"] for name, entry in entries.items()} == {"train": 5, "val": 3}
    for name, files in names.items():
        assert [shard["file"] for shard in entries[name]["shards"]] == files
        for shard in entries[name]["shards"]:
            data = (tmp_path / shard["file"]).read_bytes()
            assert shard["bytes"] == len(data)
            assert shard["sha256"] == hashlib.sha256(data).hexdigest()


def test_a_packed_shard_has_the_bytes_of_a_plain_one_and_no_time(tmp_path):
    for name in ("plain", "packed"):
        (tmp_path / name).mkdir()
    names, _ = write(tmp_path / "plain")
    write(tmp_path / "packed", "gzip")
    for name in names["train"]:
        archive = (tmp_path / "packed" / f"{name}.gz").read_bytes()
        assert gzip.decompress(archive) == (tmp_path / "plain" / name).read_bytes()
        assert archive[4:8] == bytes(4)  # the time stamp of RFC 1952
        assert not (tmp_path / "packed" / name).exists()


def test_progress_counts_the_examples(tmp_path):
    reports = []
    write(tmp_path, report=lambda *report: reports.append(report))
    assert reports[-1] == ("writing", 8, 8)
