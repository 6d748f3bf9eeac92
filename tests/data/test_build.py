"""What is written: examples, splits, shards, manifest; the same bytes; what is refused."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import tensorflow as tf
from support import record_sets

import camformer_tf
from camformer_tf import errors
from camformer_tf.data import build, manifest, records, spool, text, verify
from camformer_tf.simulation import simulate

THREE_WAYS = {"split": "train=0.8,val=0.1,test=0.1", "shards": 3, "on_malformed": "skip"}


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """500 promoters among dirty lines, in two files of which one is packed: records and lines."""
    folder = tmp_path_factory.mktemp("dirty")
    simulate.simulate(folder / "a.txt", 300, seed=1, dirty=True)
    simulate.simulate(folder / "plain.txt", 200, seed=2)
    (folder / "b.txt.gz").write_bytes(gzip.compress((folder / "plain.txt").read_bytes(), mtime=0))
    records.build_records([folder / "a.txt", folder / "b.txt.gz"], folder / "records", **THREE_WAYS)
    lines = [folder.joinpath(name).read_bytes() for name in ("a.txt", "plain.txt")]
    return folder / "records", b"".join(lines).split(b"\n")


# --- examples and splits ---


def examples_of_lines(lines: list[bytes]) -> list[tuple[str, float]]:
    """The examples in the order of the text, by a plain reading of the documented filters."""
    examples = []
    for line in lines:
        fields = line.decode().split()
        if len(fields) == 2 and fields[1] not in ("high", "nan") and "X" not in fields[0].upper():
            letters = fields[0].upper()
            if letters.count("N") <= 3 and abs(len(letters) - 110) <= 3:
                examples.append(((letters + "NNN")[:110], float(np.float32(fields[1]))))
    return examples


def test_the_splits_hold_every_example_once(dirty):
    folder, lines = dirty
    pairs = [
        pair
        for split in ("train", "val", "test")
        for pair in record_sets.pairs(records.read(folder, split))
    ]
    assert sorted(pairs) == sorted(examples_of_lines(lines)) and len(pairs) > 500


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_keeps_the_order_of_the_text(dirty, split):
    folder, lines = dirty
    pairs = record_sets.pairs(records.read(folder, split))
    place = iter(examples_of_lines(lines))
    assert all(pair in place for pair in pairs)


@pytest.mark.parametrize("shards, files", [(1, 1), (3, 3), (8, 8), (16, 8)])
def test_there_are_as_many_shards_as_asked_for_but_no_shard_is_empty(tmp_path, shards, files):
    folder = record_sets.build(tmp_path, shards=shards, split="all=1")
    names = [f"all-{i:05d}-of-{files:05d}.tfrecord" for i in range(files)]
    assert sorted(os.listdir(folder)) == [*names, "manifest.json"]


def test_example_i_lies_in_shard_i_modulo_the_number_of_shards(tmp_path):
    folder = record_sets.build(tmp_path, shards=3, split="all=1")
    for i, file in enumerate(manifest.load(folder).shards("all")):
        letters = [letters for letters, _ in record_sets.read_shard(folder / file)]
        assert letters == [row for row, _ in record_sets.ROWS[i::3]]


def test_shards_are_those_that_tensorflow_writes(dirty, tmp_path):
    folder, _ = dirty
    pairs = record_sets.pairs(records.read(folder, "train"))
    for i, file in enumerate(manifest.load(folder).shards("train")):
        with tf.io.TFRecordWriter(str(tmp_path / file)) as writer:
            for letters, value in pairs[i::3]:
                features = {
                    "sequence": tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[letters.encode()])
                    ),
                    "expression": tf.train.Feature(float_list=tf.train.FloatList(value=[value])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString(deterministic=True))
        assert (folder / file).read_bytes() == (tmp_path / file).read_bytes()


def test_a_hash_split_keeps_equal_sequences_together(tmp_path):
    rows = [(letters, i) for i in range(3) for letters, _ in record_sets.ROWS]
    content = "".join(f"{letters}\t{value}\n" for letters, value in rows)
    folder = record_sets.build(tmp_path, content, split_by="hash")
    train, val = (
        {letters for letters, _ in record_sets.pairs(records.read(folder, name))}
        for name in ("train", "val")
    )
    assert train and val and not train & val
    assert manifest.load(folder).examples("train") == 3 * len(train)
    assert manifest.load(folder).split["by"] == "hash"


# --- the manifest ---


def test_the_manifest_has_the_documented_keys(dirty):
    values = json.loads((dirty[0] / "manifest.json").read_text())
    assert set(values) == {
        *("schema_version", "sequence_length", "features", "rule", "counts", "split", "splits"),
        *("expression", "source", "duplicates", "near_neighbours", "created_by", "checksum"),
    }
    assert set(values["counts"]) == {
        *("lines", "malformed", "dropped_n", "dropped_length", "kept"),
    }
    assert set(values["split"]) == {"by", "seed", "fractions"}
    assert set(values["expression"]) == {"min", "max", "mean", "std", "integer_fraction"}
    for split in values["splits"].values():
        assert set(split) == {"examples", "shards"}
        assert all(set(s) == {"file", "examples", "bytes", "sha256"} for s in split["shards"])
    assert all(set(source) == {"name", "bytes", "sha256", "lines"} for source in values["source"])


def test_the_manifest_repeats_the_options(dirty):
    description = manifest.load(dirty[0])
    assert (description.schema_version, description.sequence_length) == (1, 110)
    assert description.features == {"sequence": "bytes", "expression": "float"}
    rule = {"length": 110, "length_margin": 3, "max_n": 3, "keep_all": False}
    assert description.rule == rule
    fractions = {"train": 0.8, "val": 0.1, "test": 0.1}
    assert description.split == {"by": "random", "seed": 42, "fractions": fractions}
    assert description.created_by == {"version": camformer_tf.__version__}


def test_the_manifest_counts_the_lines(dirty):
    folder, lines = dirty
    counts = manifest.load(folder).counts
    assert counts["kept"] == len(examples_of_lines(lines))
    # 300 promoters with 3 lines of each of 15 kinds, of which one is blank, and 200 promoters
    assert counts == {
        **{"lines": 300 + 14 * 3 + 200, "malformed": 5 * 3, "dropped_n": 3},
        **{"dropped_length": 2 * 3, "kept": 500 + 6 * 3},
    }


def test_the_manifest_describes_every_shard(dirty):
    folder, _ = dirty
    description = manifest.load(folder)
    shards = [shard for split in description.splits.values() for shard in split["shards"]]
    assert {"manifest.json", *(shard["file"] for shard in shards)} == set(os.listdir(folder))
    for shard in shards:
        data = (folder / shard["file"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert shard["examples"] == len(record_sets.read_shard(folder / shard["file"]))
    for split in description.splits.values():
        assert split["examples"] == sum(shard["examples"] for shard in split["shards"])
    total = sum(split["examples"] for split in description.splits.values())
    assert total == description.counts["kept"]


def test_the_manifest_names_sources_without_their_folders(dirty):
    folder, _ = dirty
    entries = manifest.load(folder).source
    for entry, name in zip(entries, ("a.txt", "b.txt.gz"), strict=True):
        data = (folder.parent / name).read_bytes()
        lines = 200 if name == "b.txt.gz" else data.count(b"\n")
        digest = hashlib.sha256(data).hexdigest()
        assert entry == {"name": name, "bytes": len(data), "sha256": digest, "lines": lines}


def test_the_manifest_describes_the_expression_of_the_examples(dirty):
    folder, lines = dirty
    values = np.array([value for _, value in examples_of_lines(lines)])
    expression = manifest.load(folder).expression
    assert expression["min"] == values.min() and expression["max"] == values.max()
    assert expression["mean"] == pytest.approx(values.mean(), rel=1e-12)
    assert expression["std"] == pytest.approx(values.std(), rel=1e-12)
    integer_fraction = np.mean([value.is_integer() for value in values.tolist()])
    assert expression["integer_fraction"] == integer_fraction


def test_duplicates_are_sequences_that_repeat_another(tmp_path):
    # The last is cut to the same sequence.
    content = record_sets.GOOD + "AACCGGTT 3\naaccggtt 4\nAACCGGTTC 5\n"
    assert manifest.load(record_sets.build(tmp_path, content)).duplicates == 3


def test_standard_input_is_named_as_such(tmp_path, monkeypatch):
    stdin = types.SimpleNamespace(buffer=io.BytesIO(record_sets.GOOD.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    description = records.build_records("-", tmp_path / "records", **record_sets.SHORT)
    (source,) = description.source
    assert source["name"] == "standard input" and source["lines"] == 8


# --- the same bytes ---


@pytest.mark.parametrize("split_by", ["random", "hash"])
def test_the_same_text_and_seed_give_the_same_bytes(tmp_path, split_by):
    trees = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        trees.append(record_sets.tree(record_sets.build(tmp_path / name, split_by=split_by)))
    assert trees[0] == trees[1]


def test_any_number_of_workers_gives_the_same_bytes(dirty, tmp_path, monkeypatch):
    folder, _ = dirty
    monkeypatch.setattr(text, "_CHUNK", 5000)
    monkeypatch.setattr(build, "_SMALL_TEXT", 0)
    texts = [folder.parent / "a.txt", folder.parent / "b.txt.gz"]
    records.build_records(texts, tmp_path / "again", workers=3, **THREE_WAYS)
    assert record_sets.tree(tmp_path / "again") == record_sets.tree(folder)


def test_a_mistake_that_a_worker_finds_is_reported_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_SMALL_TEXT", 0)
    message = "library.txt:9: expression 'nan' is not a finite"
    with pytest.raises(errors.UserError, match=message):
        record_sets.build(tmp_path, record_sets.GOOD + "ACGT\tnan\n", workers=2)
    assert [path.name for path in tmp_path.iterdir()] == ["library.txt"]


def test_packed_shards_hold_the_same_examples(tmp_path):
    plain = records.read(record_sets.build(tmp_path), "train")
    (tmp_path / "packed").mkdir()
    folder = record_sets.build(tmp_path / "packed", compression="gzip")
    assert all(path.suffix == ".gz" for path in folder.glob("train-*"))
    examples = records.read(folder, "train")
    np.testing.assert_array_equal(examples.letters, plain.letters)
    np.testing.assert_array_equal(examples.expression, plain.expression)
    (file, *_) = sorted(folder.glob("train-*"))
    data = list(tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator())
    assert len(data) == manifest.load(folder).splits["train"]["shards"][0]["examples"]


def test_another_seed_gives_another_split(tmp_path):
    splits = []
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        folder = record_sets.build(tmp_path / str(seed), seed=seed)
        splits.append(record_sets.pairs(records.read(folder, "train")))
    assert splits[0] != splits[1]


def test_chunks_and_blocks_make_no_difference(dirty, tmp_path, monkeypatch):
    folder, _ = dirty
    monkeypatch.setattr(text, "_CHUNK", 1000)
    monkeypatch.setattr(spool, "_BLOCKS_PER_PART", 3)
    texts = [folder.parent / "a.txt", folder.parent / "b.txt.gz"]
    records.build_records(texts, tmp_path / "records", **THREE_WAYS)
    assert record_sets.tree(tmp_path / "records") == record_sets.tree(folder)


# --- what is refused, and leaves nothing ---


def refusal(texts, out, **options) -> str:
    with pytest.raises(errors.UserError) as error:
        records.build_records(texts, out, **record_sets.SHORT | options)
    return str(error.value)


def test_an_existing_folder_is_refused_and_stays(tmp_path):
    folder = record_sets.build(tmp_path)
    files = record_sets.tree(folder)
    assert "records: exists already" in refusal(tmp_path / "library.txt", folder)
    assert record_sets.tree(folder) == files


def test_overwrite_replaces_a_record_set(tmp_path):
    record_sets.build(tmp_path, shards=4)
    folder = record_sets.build(tmp_path, shards=1, overwrite=True)
    names = [f"{split}-00000-of-00001.tfrecord" for split in ("train", "val")]
    assert sorted(os.listdir(folder)) == ["manifest.json", *names]
    assert sorted(os.listdir(tmp_path)) == ["library.txt", "records"]


def test_overwrite_leaves_a_set_whose_successor_fails(tmp_path):
    folder = record_sets.build(tmp_path)
    files = record_sets.tree(folder)
    (tmp_path / "bad.txt").write_text("ACGX 1\n")
    refusal(tmp_path / "bad.txt", folder, overwrite=True)
    assert record_sets.tree(folder) == files and len(os.listdir(tmp_path)) == 3


def test_overwrite_never_replaces_a_folder_without_a_manifest(tmp_path):
    (tmp_path / "library.txt").write_text(record_sets.GOOD)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years of work")
    message = refusal(tmp_path / "library.txt", tmp_path / "thesis", overwrite=True)
    assert "manifest.json" in message and "--overwrite" in message
    assert record_sets.tree(tmp_path / "thesis") == {"chapter": b"years of work"}


BAD = "ACGTACGX 1\n" * 6 + "ACGTACGT\n"


def test_malformed_lines_are_refused_and_the_first_five_listed(tmp_path):
    for name, content in (("good.txt", ""), ("bad.txt", BAD)):
        (tmp_path / name).write_text(record_sets.GOOD + content)
    paths = [tmp_path / "good.txt", tmp_path / "bad.txt"]
    lines = refusal(paths, tmp_path / "records").splitlines()
    assert lines[0] == "7 of 23 lines are malformed:"
    expected = [f"  {paths[1]}:{n}: letter 'X' is not one of A, C, G, T, N" for n in range(9, 14)]
    assert lines[1:] == [*expected, "  …", lines[-1]]
    assert lines[-1] == "Fix them, or pass --on-malformed skip to leave such lines out."
    assert sorted(os.listdir(tmp_path)) == ["bad.txt", "good.txt"]


def test_malformed_lines_are_skipped_and_counted_on_request(tmp_path):
    folder = record_sets.build(tmp_path, record_sets.GOOD + BAD, on_malformed="skip", split="all=1")
    counts = manifest.load(folder).counts
    assert (counts["lines"], counts["malformed"], counts["kept"]) == (15, 7, 8)
    assert record_sets.pairs(records.read(folder, "all")) == record_sets.ROWS


REFUSALS = {
    "an empty file": ("", {}, "library.txt: no line to read. Expected SEQUENCE<TAB>EXPRESSION"),
    "blank lines": ("\n \n", {}, "library.txt: no line to read."),
    "nothing kept": (
        "NNNNNNNN 1\nA 1\nA 2\n",
        {},
        "library.txt: none of 3 lines is kept (0 malformed, 1 with too many N, 2 of wrong length). "
        "See --length, --length-margin and --max-n.",
    ),
    "one malformed line": ("X 1\n", {}, "1 of 1 line is malformed:"),
    "all malformed": ("X 1\n", {"on_malformed": "skip"}, "none of 1 line is kept (1 malformed, 0"),
    "too few": ("AACCGGTT 1\n", {}, "1 sequence is too few to fill the splits train, val."),
    "too few by hash": (
        "AACCGGTT 1\n",
        {"split_by": "hash"},
        "1 sequence is too few: no sequence falls into",
    ),
    "wrong fractions": (
        record_sets.GOOD,
        {"split": "train=0.9"},
        "--split train=0.9: the fractions must be",
    ),
    "an unknown way to split": (
        record_sets.GOOD,
        {"split_by": "luck"},
        "split_by: expected one of random, stratified, hash, family, column, found 'luck'",
    ),
    "a length of 0": (record_sets.GOOD, {"length": 0}, "length: expected a number at least 1"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_text_that_fills_no_split_is_refused_and_leaves_nothing(tmp_path, case):
    content, options, expected = REFUSALS[case]
    (tmp_path / "library.txt").write_text(content)
    message = refusal(tmp_path / "library.txt", tmp_path / "records", **options)
    assert expected in message
    assert os.listdir(tmp_path) == ["library.txt"]


def test_a_missing_second_file_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "library.txt").write_text(record_sets.GOOD)
    paths = [tmp_path / "library.txt", tmp_path / "absent.txt"]
    assert "absent.txt: no such file" in refusal(paths, tmp_path / "records")
    assert os.listdir(tmp_path) == ["library.txt"]


def test_progress_ends_with_every_line_read_and_every_example_written(tmp_path):
    reports = []
    record_sets.build(tmp_path, report=lambda *report: reports.append(report))
    assert reports == [("reading", 8, 0), ("splitting", 0, 8), ("writing", 8, 8)]


# --- killed ---


@pytest.mark.slow
def test_a_killed_build_leaves_nothing_that_fit_would_take(library_text, tmp_path):
    text_file = tmp_path / "library.txt"
    text_file.write_text(library_text.read_text() * 100)  # 300,000 lines
    command = [sys.executable, "-m", "camformer_tf.cli", "build-records", str(text_file)]
    start = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole"), "--quiet"], check=True)
    kills, seconds = 0, time.monotonic() - start
    for wait in np.random.default_rng().uniform(0.2, 1.0, 10) * seconds:
        out = tmp_path / f"{wait:.6f}"
        process = subprocess.Popen([*command, str(out), "--quiet"], stdout=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait)
        kills += process.poll() is None
        process.kill()
        process.wait()
        if out.exists():
            assert verify.verify_records(out) == []
        else:
            with pytest.raises(errors.UserError, match="not a record set"):
                manifest.load(out)
    assert kills


# --- near neighbours ---


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    """200 promoters, each followed by two variants of one letter: 600 lines."""
    folder = tmp_path_factory.mktemp("variants")
    simulate.simulate(folder / "plain.txt", 200)
    rows = []
    for line in (folder / "plain.txt").read_text().splitlines():
        letters = line.split("\t")[0]
        for place in (None, 40, 60):
            if place:
                substitute = "A" if letters[place] != "A" else "C"
                letters = letters[:place] + substitute + letters[place + 1 :]
            rows.append(f"{letters}\t{len(rows) // 3}\n")
    (folder / "text.txt").write_text("".join(rows))
    return folder / "text.txt"


def test_a_family_split_keeps_variants_together_and_leaks_none(variants, tmp_path):
    folder = tmp_path / "records"
    description = records.build_records(
        variants, folder, split="train=0.8,val=0.1,test=0.1", split_by="family"
    )
    splits = description.splits
    promoters = [set(records.read(folder, name).expression.tolist()) for name in splits]
    assert sum(map(len, promoters)) == 200  # no promoter is in two splits
    assert [description.examples(name) for name in splits] == [480, 60, 60]
    expected = {"mismatches": 3, "in_training": {"val": 0, "test": 0}}
    assert description.near_neighbours == expected


def test_the_leaks_of_a_random_split_of_variants_are_counted(variants, tmp_path):
    folder = tmp_path / "records"
    description = records.build_records(variants, folder)
    training = set(records.read(folder, "train").expression.tolist())
    expected = sum(value in training for value in records.read(folder, "val").expression.tolist())
    assert description.near_neighbours["in_training"] == {"val": expected} and expected > 50


def test_the_search_for_neighbours_can_be_left_out(tmp_path):
    folder = record_sets.build(tmp_path, leakage=False)
    assert manifest.load(folder).near_neighbours is None
