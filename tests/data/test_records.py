import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import struct
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import camformer_tf
from camformer_tf import errors, recipe
from camformer_tf.data import manifest, records, rules, sequence, spool, text, verify
from camformer_tf.simulation import simulate

SHORT = rules.Rule(length=8, length_margin=2, max_n=1)  # lets tests have short lines
ROWS = [("".join(np.roll(list("AACCGGTT"), i)), float(i)) for i in range(8)]
GOOD = "".join(f"{letters}\t{value}\n" for letters, value in ROWS)


def config(**changes) -> recipe.RecordsConfig:
    return recipe.RecordsConfig(**{"split": "train=0.5,val=0.5", "shards": 2} | changes)


def write(tmp_path: Path, content: str = GOOD, rule: rules.Rule = SHORT, **changes) -> Path:
    """Records of a text, in tmp_path/records."""
    (tmp_path / "library.txt").write_text(content)
    folder = tmp_path / "records"
    records.write([tmp_path / "library.txt"], folder, rule=rule, config=config(**changes))
    return folder


def refusal(*arguments, **options) -> str:
    with pytest.raises(errors.UserError) as caught:
        records.write(*arguments, rule=SHORT, **options)
    return str(caught.value)


def pairs(examples: text.Examples) -> list[tuple[str, float]]:
    return list(zip(sequence.text(examples.letters), examples.expression.tolist(), strict=True))


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """500 promoters among dirty lines, in two files of which one is packed: folder and lines."""
    folder = tmp_path_factory.mktemp("made")
    simulate.simulate(folder / "a.txt", 300, seed=1, dirty=True)
    simulate.simulate(folder / "plain.txt", 200, seed=2)
    (folder / "b.txt.gz").write_bytes(gzip.compress((folder / "plain.txt").read_bytes(), mtime=0))
    records.write(
        [folder / "a.txt", folder / "b.txt.gz"],
        folder / "records",
        rule=rules.Rule(),
        config=config(split="train=0.8,val=0.1,test=0.1", shards=3, on_malformed="skip"),
    )
    lines = [folder.joinpath(name).read_bytes() for name in ("a.txt", "plain.txt")]
    return folder / "records", b"".join(lines).split(b"\n")


# --- what is written ---


def plain_kept(lines: list[bytes]) -> list[tuple[str, float]]:
    """The kept examples in the order of the text, by a plain reading of interface.md."""
    kept = []
    for line in lines:
        fields = line.decode().split()
        if len(fields) == 2 and fields[1] not in ("high", "nan") and "X" not in fields[0].upper():
            letters = fields[0].upper()
            if letters.count("N") <= 3 and abs(len(letters) - 110) <= 3:
                kept.append(((letters + "NNN")[:110], float(np.float32(fields[1]))))
    return kept


def test_the_splits_hold_every_kept_example_once(made):
    folder, lines = made
    found = [
        pair for split in ("train", "val", "test") for pair in pairs(records.read(folder, split))
    ]
    assert sorted(found) == sorted(plain_kept(lines)) and len(found) > 500


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_keeps_the_order_of_the_text(made, split):
    folder, lines = made
    found = pairs(records.read(folder, split))
    place = iter(plain_kept(lines))
    assert all(pair in place for pair in found)


@pytest.mark.parametrize("shards", [1, 3, 16])
def test_whatever_the_shards_a_split_is_read_in_order(tmp_path, shards):
    found = records.read(write(tmp_path, shards=shards, split="all=1"), "all")
    assert pairs(found) == ROWS


@pytest.mark.parametrize("shards, files", [(1, 1), (3, 3), (8, 8), (16, 8)])
def test_there_are_as_many_shards_as_asked_but_none_is_empty(tmp_path, shards, files):
    folder = write(tmp_path, shards=shards, split="all=1")
    names = [f"all-{i:05d}-of-{files:05d}.tfrecord" for i in range(files)]
    assert sorted(os.listdir(folder)) == [*names, "manifest.json"]


def test_example_i_lies_in_shard_i_modulo_their_count(tmp_path):
    folder = write(tmp_path, shards=3, split="all=1")
    for i, file in enumerate(manifest.load(folder).shards("all")):
        assert [letters for letters, _ in read_plainly(folder / file)] == [s for s, _ in ROWS[i::3]]


def read_plainly(path: Path) -> list[tuple[str, float]]:
    """A shard by its format alone: length (8 bytes), crc (4), tf.train.Example, crc (4)."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack_from("<Q", data)
        example, data = data[12 : 12 + length], data[16 + length :]
        protobuf = rb".*\nexpression\x12\x08\x12\x06\n\x04(.{4}).*\x08sequence.*?([ACGTN]+)"
        number, letters = re.fullmatch(protobuf, example, re.DOTALL).groups()
        found.append((letters.decode(), struct.unpack("<f", number)[0]))
    return found


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_shards_are_read_without_tensorflow(made, split):
    folder, _ = made
    plain = [read_plainly(folder / file) for file in manifest.load(folder).shards(split)]
    found = pairs(records.read(folder, split))
    assert [found[i::3] for i in range(3)] == plain


def test_shards_are_those_that_tensorflow_writes(made, tmp_path):
    folder, _ = made
    found = pairs(records.read(folder, "train"))
    for i, file in enumerate(manifest.load(folder).shards("train")):
        with tf.io.TFRecordWriter(str(tmp_path / file)) as writer:
            for letters, value in found[i::3]:
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
    rows = [(letters, i) for i in range(3) for letters, _ in ROWS]
    content = "".join(f"{letters}\t{value}\n" for letters, value in rows)
    folder = write(tmp_path, content, split_by="hash")
    train, val = ({s for s, _ in pairs(records.read(folder, name))} for name in ("train", "val"))
    assert train and val and not train & val
    assert manifest.load(folder).examples("train") == 3 * len(train)
    assert manifest.load(folder).split["by"] == "hash"


# --- the manifest ---


def test_the_manifest_has_the_documented_keys(made):
    values = json.loads((made[0] / "manifest.json").read_text())
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


def test_the_manifest_tells_what_was_asked(made):
    told = manifest.load(made[0])
    assert (told.schema_version, told.sequence_length) == (1, 110)
    assert told.features == {"sequence": "bytes", "expression": "float"}
    assert told.rule == {"length": 110, "length_margin": 3, "max_n": 3, "keep_all": False}
    fractions = {"train": 0.8, "val": 0.1, "test": 0.1}
    assert told.split == {"by": "random", "seed": 42, "fractions": fractions}
    assert told.created_by == {"version": camformer_tf.__version__}


def test_the_manifest_counts_the_lines(made):
    folder, lines = made
    counts = manifest.load(folder).counts
    assert counts["kept"] == len(plain_kept(lines))
    # 300 promoters with 3 lines of each of 15 kinds, of which one is blank, and 200 promoters
    assert counts == {
        **{"lines": 300 + 14 * 3 + 200, "malformed": 5 * 3, "dropped_n": 3},
        **{"dropped_length": 2 * 3, "kept": 500 + 6 * 3},
    }


def test_the_manifest_describes_every_shard(made):
    folder, _ = made
    told = manifest.load(folder)
    shards = [shard for split in told.splits.values() for shard in split["shards"]]
    assert {"manifest.json", *(shard["file"] for shard in shards)} == set(os.listdir(folder))
    for shard in shards:
        data = (folder / shard["file"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert shard["examples"] == len(read_plainly(folder / shard["file"]))
    for split in told.splits.values():
        assert split["examples"] == sum(shard["examples"] for shard in split["shards"])
    assert sum(split["examples"] for split in told.splits.values()) == told.counts["kept"]


def test_the_manifest_names_sources_without_their_folders(made):
    folder, _ = made
    for told, name in zip(manifest.load(folder).source, ("a.txt", "b.txt.gz"), strict=True):
        data = (folder.parent / name).read_bytes()
        lines = 200 if name == "b.txt.gz" else data.count(b"\n")
        digest = hashlib.sha256(data).hexdigest()
        assert told == {"name": name, "bytes": len(data), "sha256": digest, "lines": lines}


def test_the_manifest_describes_the_kept_expression(made):
    folder, lines = made
    values = np.array([value for _, value in plain_kept(lines)])
    told = manifest.load(folder).expression
    assert told["min"] == values.min() and told["max"] == values.max()
    assert told["mean"] == pytest.approx(values.mean(), rel=1e-12)
    assert told["std"] == pytest.approx(values.std(), rel=1e-12)
    assert told["integer_fraction"] == np.mean([value.is_integer() for value in values.tolist()])


def test_duplicates_are_sequences_that_repeat_another(tmp_path):
    content = GOOD + "AACCGGTT 3\naaccggtt 4\nAACCGGTTC 5\n"  # the last is cut to the same
    assert manifest.load(write(tmp_path, content)).duplicates == 3


def test_standard_input_is_named_as_such(tmp_path, monkeypatch):
    stdin = types.SimpleNamespace(buffer=io.BytesIO(GOOD.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    told = records.write([Path("-")], tmp_path / "records", rule=SHORT, config=config())
    assert told.source[0]["name"] == "standard input" and told.source[0]["lines"] == 8


def test_write_returns_the_manifest_that_it_saves(tmp_path):
    (tmp_path / "library.txt").write_text(GOOD)
    told = records.write(
        [tmp_path / "library.txt"], tmp_path / "records", rule=SHORT, config=config()
    )
    assert told == manifest.load(tmp_path / "records")


# --- the same bytes ---


@pytest.mark.parametrize("split_by", ["random", "hash"])
def test_the_same_text_and_seed_give_the_same_bytes(tmp_path, split_by):
    trees = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        trees.append(tree(write(tmp_path / name, split_by=split_by)))
    assert trees[0] == trees[1]


def test_any_number_of_workers_gives_the_same_bytes(made, tmp_path, monkeypatch):
    folder, _ = made
    monkeypatch.setattr(text, "_CHUNK", 5000)
    monkeypatch.setattr(records, "_workers", lambda *_: 3)
    records.write(
        [folder.parent / "a.txt", folder.parent / "b.txt.gz"],
        tmp_path / "again",
        rule=rules.Rule(),
        config=config(split="train=0.8,val=0.1,test=0.1", shards=3, on_malformed="skip"),
    )
    assert tree(tmp_path / "again") == tree(folder)


def test_a_mistake_found_by_a_worker_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_workers", lambda *_: 2)
    (tmp_path / "library.txt").write_text(GOOD + "ACGT\tnan\n")
    with pytest.raises(errors.UserError, match="library.txt:9: expression 'nan' is not a finite"):
        records.write([tmp_path / "library.txt"], tmp_path / "records", rule=SHORT)
    assert [path.name for path in tmp_path.iterdir()] == ["library.txt"]


def test_packed_shards_hold_the_same_examples(tmp_path):
    plain = records.read(write(tmp_path), "train")
    folder = tmp_path / "packed"
    packing = config(compression="gzip")
    records.write([tmp_path / "library.txt"], folder, rule=SHORT, config=packing)
    assert all(path.suffix == ".gz" for path in folder.glob("train-*"))
    packed = records.read(folder, "train")
    np.testing.assert_array_equal(packed.letters, plain.letters)
    np.testing.assert_array_equal(packed.expression, plain.expression)
    (file, *_) = sorted(folder.glob("train-*"))
    read = list(tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator())
    assert len(read) == manifest.load(folder).splits["train"]["shards"][0]["examples"]


def test_another_seed_gives_another_split(tmp_path):
    found = []
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        found.append(pairs(records.read(write(tmp_path / str(seed), seed=seed), "train")))
    assert found[0] != found[1]


def test_chunks_and_blocks_make_no_difference(made, tmp_path, monkeypatch):
    folder, _ = made
    monkeypatch.setattr(text, "_CHUNK", 1000)
    monkeypatch.setattr(spool, "_RUNS", 3)
    records.write(
        [folder.parent / "a.txt", folder.parent / "b.txt.gz"],
        tmp_path / "records",
        rule=rules.Rule(),
        config=config(split="train=0.8,val=0.1,test=0.1", shards=3, on_malformed="skip"),
    )
    assert tree(tmp_path / "records") == tree(folder)
    assert pairs(records.read(folder, "train")) == pairs(
        records.read(tmp_path / "records", "train")
    )


# --- refusals that leave nothing ---


def test_an_existing_folder_is_refused_and_stays(tmp_path):
    folder = write(tmp_path)
    before = tree(folder)
    assert "records: exists already" in refusal([tmp_path / "library.txt"], folder)
    assert tree(folder) == before


def test_overwrite_replaces_a_record_set(tmp_path):
    folder = write(tmp_path, shards=4)
    records.write(
        [tmp_path / "library.txt"], folder, rule=SHORT, config=config(shards=1), overwrite=True
    )
    names = [f"{split}-00000-of-00001.tfrecord" for split in ("train", "val")]
    assert sorted(os.listdir(folder)) == ["manifest.json", *names]
    assert sorted(os.listdir(tmp_path)) == ["library.txt", "records"]


def test_overwrite_leaves_a_set_whose_successor_fails(tmp_path):
    folder = write(tmp_path)
    before = tree(folder)
    (tmp_path / "bad.txt").write_text("ACGX 1\n")
    refusal([tmp_path / "bad.txt"], folder, overwrite=True)
    assert tree(folder) == before and len(os.listdir(tmp_path)) == 3


def test_overwrite_never_replaces_a_folder_without_a_manifest(tmp_path):
    (tmp_path / "library.txt").write_text(GOOD)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years of work")
    message = refusal([tmp_path / "library.txt"], tmp_path / "thesis", overwrite=True)
    assert "there is no manifest.json in it, so it is not replaced even with --over" in message
    assert tree(tmp_path / "thesis") == {"chapter": b"years of work"}


BAD = "ACGTACGX 1\n" * 6 + "ACGTACGT\n"


def test_malformed_lines_are_refused_and_the_first_five_listed(tmp_path):
    for name, content in (("good.txt", GOOD), ("bad.txt", GOOD + BAD)):
        (tmp_path / name).write_text(content)
    paths = [tmp_path / "good.txt", tmp_path / "bad.txt"]
    lines = refusal(paths, tmp_path / "records").splitlines()
    assert lines[0] == "7 of 23 lines are malformed:"
    expected = [f"  {paths[1]}:{n}: letter 'X' is none of ACGTN" for n in range(9, 14)]
    assert lines[1:] == [*expected, "  …", lines[-1]]
    assert lines[-1] == "Mend them, or pass --on-malformed skip to leave such lines out."
    assert sorted(os.listdir(tmp_path)) == ["bad.txt", "good.txt"]


def test_malformed_lines_are_skipped_and_counted_if_asked(tmp_path):
    folder = write(tmp_path, GOOD + BAD, on_malformed="skip", split="all=1")
    counts = manifest.load(folder).counts
    assert (counts["lines"], counts["malformed"], counts["kept"]) == (15, 7, 8)
    assert pairs(records.read(folder, "all")) == ROWS


NOTHING = {
    "an empty file": ("", {}, "library.txt: no line to read. Expected SEQUENCE<TAB>EXPRESSION"),
    "blank lines": ("\n \n", {}, "library.txt: no line to read."),
    "nothing kept": (
        "NNNNNNNN 1\nA 1\nA 2\n",
        {},
        "library.txt: none of 3 lines is kept (0 malformed, 1 with too many N, 2 of wrong length). "
        "See --length, --length-margin and --max-n.",
    ),
    "all malformed": ("X 1\n", {"on_malformed": "skip"}, "none of 1 lines is kept (1 malformed, 0"),
    "too few": ("AACCGGTT 1\n", {}, "1 sequences are too few to fill the splits train, val."),
    "too few by hash": (
        "AACCGGTT 1\n",
        {"split_by": "hash"},
        "1 sequences are too few: no sequence falls into",
    ),
    "wrong fractions": (GOOD, {"split": "train=0.9"}, "--split train=0.9: the fractions must be"),
}


@pytest.mark.parametrize("case", NOTHING)
def test_what_fills_no_split_is_refused_and_leaves_nothing(tmp_path, case):
    content, changes, expected = NOTHING[case]
    (tmp_path / "library.txt").write_text(content)
    paths = [tmp_path / "library.txt"]
    assert expected in refusal(paths, tmp_path / "records", config=config(**changes))
    assert os.listdir(tmp_path) == ["library.txt"]


def test_a_missing_second_file_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "library.txt").write_text(GOOD)
    paths = [tmp_path / "library.txt", tmp_path / "absent.txt"]
    assert "absent.txt: no such file" in refusal(paths, tmp_path / "records")
    assert os.listdir(tmp_path) == ["library.txt"]


def test_progress_ends_with_every_line_read_and_every_example_written(tmp_path):
    reports = []
    (tmp_path / "library.txt").write_text(GOOD)
    records.write(
        [tmp_path / "library.txt"],
        tmp_path / "records",
        rule=SHORT,
        config=config(),
        report=lambda *report: reports.append(report),
    )
    assert reports == [
        ("reading", 8, 0),
        ("splitting", 0, 8),
        ("writing", 8, 8),
    ]


# --- sets that are broken ---


def test_a_split_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    folder = write(tmp_path)
    for function in (records.read, lambda *place: records.head(*place, 1)):
        with pytest.raises(errors.UserError, match="no split 'test'. Its splits: train, val."):
            function(folder, "test")


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


BROKEN = {
    "missing": lambda data: None,
    "emptied": lambda data: b"",
    "cut within a record": lambda data: data[:-5],
    "cut between records": lambda data: data[: len(data) // 2],
    "a record more": lambda data: data + data[: len(data) // 2],
    "a flipped length": lambda data: flip(data, 3),
    "a flipped letter": lambda data: flip(data, len(data) - 5),
    "no records": lambda data: b"hello",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_shard_is_named(tmp_path, case):
    folder = write(tmp_path, split="all=1", shards=4)  # two examples a shard
    shard = folder / manifest.load(folder).shards("all")[1]
    data = BROKEN[case](shard.read_bytes())
    shard.unlink() if data is None else shard.write_bytes(data)
    with pytest.raises(errors.UserError, match=f"{shard}: .*Build the records again") as caught:
        records.read(folder, "all")
    assert "\n" not in str(caught.value)


def test_a_shard_of_another_layout_is_named(tmp_path):
    folder = write(tmp_path, split="all=1", shards=1)
    with tf.io.TFRecordWriter(str(folder / "all-00000-of-00001.tfrecord")) as writer:
        for _ in range(8):
            writer.write(b"AACCGGTT")
    with pytest.raises(
        errors.UserError, match="all-00000-of-00001.tfrecord: record 0 is damaged, or of"
    ):
        records.read(folder, "all")


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    folder = write(tmp_path)
    (folder / manifest.FILE).unlink()
    for function in (records.read, lambda *place: records.head(*place, 1)):
        with pytest.raises(errors.UserError, match=f"{folder}: holds no manifest.json"):
            function(folder, "train")


def test_a_newer_schema_is_refused(tmp_path):
    folder = write(tmp_path)
    values = json.loads((folder / manifest.FILE).read_text())
    (folder / manifest.FILE).write_text(json.dumps(values | {"schema_version": 2}))
    with pytest.raises(errors.UserError, match=f"{folder}/manifest.json: schema version 2"):
        records.read(folder, "train")


# --- head ---


@pytest.mark.parametrize("shards", [1, 3, 16])
@pytest.mark.parametrize("count", [0, 1, 5, 8, 100])
def test_head_is_the_beginning_of_the_split(tmp_path, shards, count):
    folder = write(tmp_path, split="all=1", shards=shards)
    assert records.head(folder, "all", count) == [f"{row}\t{value}" for row, value in ROWS[:count]]


@pytest.mark.parametrize("case", ["missing", "cut within a record", "a flipped letter"])
def test_head_names_a_broken_shard(tmp_path, case):
    folder = write(tmp_path, split="all=1", shards=4)
    shard = folder / manifest.load(folder).shards("all")[1]
    data = BROKEN[case](shard.read_bytes())
    shard.unlink() if data is None else shard.write_bytes(data)
    with pytest.raises(errors.UserError, match=f"{shard}: .*Build the records again"):
        records.head(folder, "all", 8)


# --- killed ---


@pytest.mark.slow
def test_a_killed_build_leaves_nothing_that_fit_would_take(library_text, tmp_path):
    text_file = tmp_path / "library.txt"
    text_file.write_text(library_text.read_text() * 100)  # 300,000 lines
    command = [sys.executable, "-m", "camformer_tf.cli", "build-records", str(text_file)]
    start = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole"), "--quiet"], check=True)
    killed, whole = 0, time.monotonic() - start
    for wait in np.random.default_rng().uniform(0.2, 1.0, 10) * whole:
        out = tmp_path / f"{wait:.6f}"
        build = subprocess.Popen([*command, str(out), "--quiet"], stdout=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            build.wait(wait)
        killed += build.poll() is None
        build.kill()
        build.wait()
        if out.exists():
            assert verify.verify(out) == []
        else:
            with pytest.raises(errors.UserError, match="is no directory"):
                manifest.load(out)
    assert killed


# --- tables with a header ---


def table(tmp_path: Path) -> Path:
    rows = [f"{letters},{value},{'val' if value > 5 else 'train'}" for letters, value in ROWS]
    (tmp_path / "library.csv").write_text("\n".join(["oligo,ratio,fold", *rows]))
    return tmp_path / "library.csv"


def test_a_table_is_split_as_its_column_says(tmp_path):
    columns = {"sequence": "oligo", "expression": "ratio", "split": "fold"}
    made = records.write(
        [table(tmp_path)], tmp_path / "records", rule=SHORT, columns=columns,
        config=config(split_by="column"),
    )  # fmt: skip
    assert {name: made.examples(name) for name in made.splits} == {"train": 6, "val": 2}
    assert made.split == {"by": "column", "seed": 42, "fractions": {"train": 0.75, "val": 0.25}}
    assert pairs(records.read(tmp_path / "records", "val")) == ROWS[6:]


@pytest.mark.parametrize("split_by", ["column", "random"])
def test_a_split_column_and_the_split_by_column_go_together(tmp_path, split_by):
    columns = {"sequence": "oligo", "expression": "ratio"}
    columns |= {"split": "fold"} if split_by == "random" else {}
    options = {"columns": columns, "config": config(split_by=split_by)}
    assert "go together" in refusal([table(tmp_path)], tmp_path / "records", **options)


# --- weights ---


def weighted(tmp_path: Path, **options) -> Path:
    """A set of `ROWS` with the weights 0, 0.1, 0.2, …"""
    rows = [f"{letters},{value},{i / 10}" for i, (letters, value) in enumerate(ROWS)]
    (tmp_path / "weighted.csv").write_text("\n".join(["oligo,ratio,cells", *rows]))
    columns = {"sequence": "oligo", "expression": "ratio", "weight": "cells"}
    files, out = [tmp_path / "weighted.csv"], tmp_path / "weighted"
    records.write(files, out, rule=SHORT, columns=columns, config=config(**options))
    return out


def test_weights_are_kept_beside_their_examples(tmp_path):
    folder = weighted(tmp_path, split="all=1", shards=3)
    examples = records.read(folder, "all")
    assert pairs(examples) == ROWS
    np.testing.assert_array_equal(examples.weight, np.float32(np.arange(len(ROWS)) / 10))
    told = manifest.load(folder)
    assert list(told.features) == ["sequence", "expression", "weight"]
    assert told.weight == {"min": 0.0, "max": pytest.approx(0.7), "mean": pytest.approx(0.35)}
    assert "weights 0 to 0.7, mean 0.3500" in told.summary()
    assert verify.verify(folder) == []


def test_shards_with_weights_are_those_that_tensorflow_writes(tmp_path):
    folder = weighted(tmp_path, split="all=1", shards=1)
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for i, (letters, value) in enumerate(ROWS):
            example = tf.train.Example()
            example.features.feature["sequence"].bytes_list.value.append(letters.encode())
            example.features.feature["expression"].float_list.value.append(value)
            example.features.feature["weight"].float_list.value.append(i / 10)
            writer.write(example.SerializeToString(deterministic=True))
    assert next(folder.glob("all-*")).read_bytes() == (tmp_path / "theirs").read_bytes()


def test_a_set_with_weights_is_exported_as_a_table_that_builds_it_again(tmp_path):
    folder, out = weighted(tmp_path, split="all=1"), tmp_path / "table.tsv"
    assert records.export(folder, out) == len(ROWS)
    columns = {name: name for name in ("sequence", "expression", "weight")}
    again = tmp_path / "again"
    records.write([out], again, rule=SHORT, columns=columns, config=config(split="all=1"))
    shards = [{p.name: p.read_bytes() for p in f.glob("all-*")} for f in (folder, again)]
    assert shards[0] == shards[1]


@pytest.mark.parametrize("weight", ["-1", "nan", "heavy", ""])
def test_a_weight_that_is_none_makes_the_line_malformed(tmp_path, weight):
    text_file = tmp_path / "w.csv"
    text_file.write_text(f"s,e,w\nAACCGGTT,1,{weight}\n")
    columns = {"sequence": "s", "expression": "e", "weight": "w"}
    assert "w.csv:2: " in refusal([text_file], tmp_path / "records", columns=columns)


def test_weights_that_are_all_0_are_refused(tmp_path):
    text_file = tmp_path / "w.csv"
    text_file.write_text("s,e,w\nAACCGGTT,1,0\nAACCGGTA,1,0\n")
    columns = {"sequence": "s", "expression": "e", "weight": "w"}
    assert "every weight is 0" in refusal([text_file], tmp_path / "records", columns=columns)


# --- near neighbours ---


@pytest.fixture(scope="module")
def variants(tmp_path_factory) -> Path:
    """200 promoters, each followed by two variants of one letter: 600 lines."""
    folder = tmp_path_factory.mktemp("variants")
    simulate.simulate(folder / "plain.txt", 200)
    rows = []
    for line in (folder / "plain.txt").read_text().splitlines():
        letters = line.split("\t")[0]
        for place in (None, 40, 60):
            if place:
                other = "A" if letters[place] != "A" else "C"
                letters = letters[:place] + other + letters[place + 1 :]
            rows.append(f"{letters}\t{len(rows) // 3}\n")
    (folder / "text.txt").write_text("".join(rows))
    return folder / "text.txt"


def test_a_family_split_keeps_variants_together_and_leaks_none(variants, tmp_path):
    folder = tmp_path / "records"
    family = config(split="train=0.8,val=0.1,test=0.1", split_by="family")
    made = records.write([variants], folder, rule=rules.Rule(), config=family)
    homes = [set(records.read(folder, name).expression.tolist()) for name in made.splits]
    assert sum(len(home) for home in homes) == 200  # no promoter is in two splits
    assert [made.examples(name) for name in made.splits] == [480, 60, 60]
    assert made.near_neighbours == {"mismatches": 3, "in_training": {"val": 0, "test": 0}}


def test_a_random_split_of_variants_is_told_to_leak(variants, tmp_path):
    folder = tmp_path / "records"
    by_chance = config(split="train=0.9,val=0.1")
    made = records.write([variants], folder, rule=rules.Rule(), config=by_chance)
    training = set(records.read(folder, "train").expression.tolist())
    expected = sum(value in training for value in records.read(folder, "val").expression.tolist())
    assert made.near_neighbours["in_training"] == {"val": expected} and expected > 50


def test_the_search_for_neighbours_can_be_left_out(tmp_path):
    folder = write(tmp_path, leakage=False)
    assert manifest.load(folder).near_neighbours is None


# --- back to text ---


def test_exported_text_builds_the_same_split_again(tmp_path):
    folder = write(tmp_path)
    count = records.export(folder, tmp_path / "train.txt", "train")
    again = tmp_path / "again"
    records.write([tmp_path / "train.txt"], again, rule=SHORT, config=config(split="train=1"))
    assert count == 4
    assert pairs(records.read(again, "train")) == pairs(records.read(folder, "train"))


def test_all_splits_are_exported_one_after_another(made, tmp_path):
    folder, _ = made
    count = records.export(folder, tmp_path / "all.txt")
    lines = (tmp_path / "all.txt").read_text().splitlines()
    assert count == len(lines) == manifest.load(folder).counts["kept"]
    expected = [
        pair for name in ("train", "val", "test") for pair in pairs(records.read(folder, name))
    ]
    assert [line.split("\t")[0] for line in lines] == [letters for letters, _ in expected]
    values = np.array([line.split("\t")[1] for line in lines], np.float32)
    np.testing.assert_array_equal(values, np.float32([value for _, value in expected]))


def test_an_export_replaces_nothing(tmp_path):
    folder = write(tmp_path)
    with pytest.raises(errors.UserError, match="library.txt: exists already"):
        records.export(folder, tmp_path / "library.txt")


def test_expressions_alone_are_those_of_the_split(library):
    y = records.expression(library, "train")
    expected = records.read(library, "train").expression
    assert y.dtype == np.float32
    np.testing.assert_array_equal(np.sort(y), np.sort(expected))
