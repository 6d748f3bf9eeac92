"""The public functions of record sets: tables in, splits read, inspection, tables out."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from support import record_sets

from camformer_tf import errors
from camformer_tf.data import manifest, records, sequence, verify

ROWS = record_sets.ROWS


# --- build_records ---


def test_build_records_returns_the_manifest_that_it_saves(tmp_path):
    (tmp_path / "library.txt").write_text(record_sets.GOOD)
    description = records.build_records(
        tmp_path / "library.txt", tmp_path / "records", **record_sets.SHORT
    )
    assert description == manifest.load(tmp_path / "records")


def test_paths_may_be_strings_and_several(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(record_sets.GOOD)
    texts = [f"{tmp_path}/a.txt", f"{tmp_path}/b.txt"]
    description = records.build_records(texts, f"{tmp_path}/records", **record_sets.SHORT)
    assert description.counts["kept"] == 16


def test_a_script_without_a_guard_builds_a_large_text_in_one_process(tmp_path):
    (tmp_path / "library.txt").write_text(record_sets.GOOD)
    program = (
        "from camformer_tf.data import build\n"
        "build._SMALL_TEXT = 0\n"
        "import camformer_tf as cf\n"
        "cf.build_records('library.txt', 'records', length=8)\n"
    )
    (tmp_path / "script.py").write_text(program)
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True, timeout=120)
    assert manifest.load(tmp_path / "records").counts["kept"] == 8


def table(folder: Path) -> Path:
    rows = [f"{letters},{value},{'val' if value > 5 else 'train'}" for letters, value in ROWS]
    (folder / "library.csv").write_text("\n".join(["oligo,ratio,fold", *rows]))
    return folder / "library.csv"


def test_a_table_is_split_by_its_column(tmp_path):
    description = records.build_records(
        table(tmp_path),
        tmp_path / "records",
        sequence="oligo",
        expression="ratio",
        split_by="column",
        split_column="fold",
        **record_sets.SHORT,
    )
    sizes = {name: description.examples(name) for name in description.splits}
    assert sizes == {"train": 6, "val": 2}
    fractions = {"train": 0.75, "val": 0.25}
    assert description.split == {"by": "column", "seed": 42, "fractions": fractions}
    assert record_sets.pairs(records.read(tmp_path / "records", "val")) == ROWS[6:]


@pytest.mark.parametrize(
    "options",
    [{"split_by": "column"}, {"split_column": "fold"}],
    ids=["no column", "another way to split"],
)
def test_a_split_column_and_the_split_by_column_go_together(tmp_path, options):
    columns = {"sequence": "oligo", "expression": "ratio"}
    with pytest.raises(errors.UserError, match="--split-column go together: give both"):
        records.build_records(table(tmp_path), tmp_path / "records", **columns, **options)


@pytest.mark.parametrize("role", ["sequence", "expression", "weight"])
def test_a_column_of_sequences_and_a_column_of_expressions_go_together(tmp_path, role):
    with pytest.raises(errors.UserError, match="--expression-column go together: give both"):
        records.build_records(table(tmp_path), tmp_path / "records", **{role: "oligo"})


# --- weights ---

COLUMNS = {"sequence": "oligo", "expression": "ratio", "weight": "cells"}


def set_with_weights(folder: Path, **options) -> Path:
    """A set of `ROWS` with the weights 0, 0.1, 0.2, …"""
    rows = [f"{letters},{value},{i / 10}" for i, (letters, value) in enumerate(ROWS)]
    (folder / "weights.csv").write_text("\n".join(["oligo,ratio,cells", *rows]))
    out = folder / "weights"
    options = record_sets.SHORT | COLUMNS | {"split": "all=1"} | options
    records.build_records(folder / "weights.csv", out, **options)
    return out


def test_weights_are_stored_with_their_examples(tmp_path):
    folder = set_with_weights(tmp_path, shards=3)
    examples = records.read(folder, "all")
    assert record_sets.pairs(examples) == ROWS
    np.testing.assert_array_equal(examples.weight, np.float32(np.arange(len(ROWS)) / 10))
    description = manifest.load(folder)
    assert list(description.features) == ["sequence", "expression", "weight"]
    expected = {"min": 0.0, "max": pytest.approx(0.7), "mean": pytest.approx(0.35)}
    assert description.weight == expected
    assert "weights 0 to 0.7, mean 0.3500" in description.summary()
    assert verify.verify_records(folder) == []


def test_shards_with_weights_are_those_that_tensorflow_writes(tmp_path):
    folder = set_with_weights(tmp_path, shards=1)
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for i, (letters, value) in enumerate(ROWS):
            example = tf.train.Example()
            example.features.feature["sequence"].bytes_list.value.append(letters.encode())
            example.features.feature["expression"].float_list.value.append(value)
            example.features.feature["weight"].float_list.value.append(i / 10)
            writer.write(example.SerializeToString(deterministic=True))
    assert next(folder.glob("all-*")).read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("weight", ["-1", "nan", "heavy", ""])
def test_a_weight_that_is_not_a_weight_makes_the_line_malformed(tmp_path, weight):
    (tmp_path / "w.csv").write_text(f"oligo,ratio,cells\nAACCGGTT,1,{weight}\n")
    with pytest.raises(errors.UserError, match="w.csv:2: "):
        records.build_records(tmp_path / "w.csv", tmp_path / "records", **COLUMNS)


def test_weights_that_are_all_0_are_refused(tmp_path):
    (tmp_path / "w.csv").write_text("oligo,ratio,cells\nAACCGGTT,1,0\nAACCGGTA,1,0\n")
    options = record_sets.SHORT | COLUMNS
    with pytest.raises(errors.UserError, match="every weight is 0"):
        records.build_records(tmp_path / "w.csv", tmp_path / "records", **options)


# --- reading a split ---


@pytest.mark.parametrize("shards", [1, 3, 16])
def test_a_split_is_read_in_order_from_any_number_of_shards(tmp_path, shards):
    examples = records.read(record_sets.build(tmp_path, shards=shards, split="all=1"), "all")
    assert record_sets.pairs(examples) == ROWS


@pytest.mark.parametrize("shards", [1, 3, 16])
@pytest.mark.parametrize("count", [0, 1, 5, 8, 100])
def test_the_first_examples_are_the_beginning_of_the_split(tmp_path, shards, count):
    folder = record_sets.build(tmp_path, split="all=1", shards=shards)
    assert record_sets.pairs(records.read(folder, "all", count)) == ROWS[:count]


def test_expressions_alone_are_those_of_the_split(library):
    expression = records.read_expression(library, "train")
    expected = records.read(library, "train").expression
    assert expression.dtype == np.float32
    np.testing.assert_array_equal(np.sort(expression), np.sort(expected))


def test_a_missing_split_is_refused_and_the_splits_are_named(tmp_path):
    folder = record_sets.build(tmp_path)
    for first in (None, 1):
        with pytest.raises(errors.UserError, match="no split 'test'. Its splits: train, val."):
            records.read(folder, "test", first)


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGE = {
    "missing": lambda data: None,
    "empty": lambda data: b"",
    "cut within a record": lambda data: data[:-5],
    "cut between records": lambda data: data[: len(data) // 2],
    "a record more": lambda data: data + data[: len(data) // 2],
    "a wrong length": lambda data: flip(data, 3),
    "a wrong letter": lambda data: flip(data, len(data) - 5),
    "no records": lambda data: b"hello",
}


@pytest.mark.parametrize("first", [None, 8])
@pytest.mark.parametrize("case", DAMAGE)
def test_a_broken_shard_is_named(tmp_path, case, first):
    folder = record_sets.build(tmp_path, split="all=1", shards=4)  # two examples a shard
    shard = folder / manifest.load(folder).shards("all")[1]
    data = DAMAGE[case](shard.read_bytes())
    shard.unlink() if data is None else shard.write_bytes(data)
    with pytest.raises(errors.UserError, match=f"{shard}: .*Build the records again") as error:
        records.read(folder, "all", first)
    assert "\n" not in str(error.value)


def test_a_shard_of_another_layout_is_named(tmp_path):
    folder = record_sets.build(tmp_path, split="all=1", shards=1)
    with tf.io.TFRecordWriter(str(folder / "all-00000-of-00001.tfrecord")) as writer:
        for _ in range(8):
            writer.write(b"AACCGGTT")
    message = "all-00000-of-00001.tfrecord: record 0 is damaged, or has another layout"
    with pytest.raises(errors.UserError, match=message):
        records.read(folder, "all")


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    folder = record_sets.build(tmp_path)
    (folder / manifest.FILE).unlink()
    for function in (records.inspect_records, lambda path: records.read(path, "train")):
        with pytest.raises(errors.UserError, match=f"{folder}: not a record set: there is no man"):
            function(folder)


def test_a_newer_schema_is_refused(tmp_path):
    folder = record_sets.build(tmp_path)
    values = json.loads((folder / manifest.FILE).read_text())
    (folder / manifest.FILE).write_text(json.dumps(values | {"schema_version": 2}))
    with pytest.raises(errors.UserError, match=f"{folder}/manifest.json: has schema version 2"):
        records.read(folder, "train")


# --- inspect_records ---


def test_an_inspection_is_shown_as_its_folder_and_summary(tmp_path):
    folder = record_sets.build(tmp_path)
    inspection = records.inspect_records(str(folder))
    assert inspection.manifest == manifest.load(folder) and inspection.examples is None
    assert repr(inspection) == f"{folder}: {inspection.manifest.summary()}"
    assert inspection.to_json() == (folder / manifest.FILE).read_text()


def test_an_inspection_has_the_first_examples_of_each_split(tmp_path):
    folder = record_sets.build(tmp_path)
    inspection = records.inspect_records(folder, head=3)
    expected = [
        {"split": name, "sequence": letters, "expression": value}
        for name in ("train", "val")
        for letters, value in record_sets.pairs(records.read(folder, name))[:3]
    ]
    assert inspection.examples.to_dict("records") == expected
    assert inspection.examples["expression"].dtype == np.float32
    lines = [f"{row['split']}\t{row['sequence']}\t{row['expression']}" for row in expected]
    assert repr(inspection).splitlines()[-6:] == lines


def test_the_json_of_an_inspection_has_numbers_in_the_fewest_digits(tmp_path):
    folder = set_with_weights(tmp_path)
    values = json.loads(records.inspect_records(folder, head=2).to_json())
    letters = [row for row, _ in ROWS]
    assert values.pop("examples") == [
        {"split": "all", "sequence": letters[0], "expression": 0.0, "weight": 0.0},
        {"split": "all", "sequence": letters[1], "expression": 1.0, "weight": 0.1},
    ]
    assert values == json.loads((folder / manifest.FILE).read_text())


# --- export_records ---


def test_exported_text_builds_the_same_split_again(tmp_path):
    folder = record_sets.build(tmp_path)
    count = records.export_records(folder, tmp_path / "train.txt", split="train")
    copy = tmp_path / "copy"
    options = record_sets.SHORT | {"split": "train=1"}
    records.build_records(tmp_path / "train.txt", copy, **options)
    assert count == 4
    expected = record_sets.pairs(records.read(folder, "train"))
    assert record_sets.pairs(records.read(copy, "train")) == expected


@pytest.mark.parametrize("suffix", [".txt", ".tsv"])
def test_all_splits_are_exported_one_after_another(library, tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(records, "_ROWS_PER_BLOCK", 1000)
    out = tmp_path / f"all{suffix}"
    count = records.export_records(library, out)
    lines = []
    for name in ("train", "val"):
        examples = records.read(library, name)
        letters, values = sequence.text(examples.letters), map(str, examples.expression)
        lines += [f"{row}\t{value}\n" for row, value in zip(letters, values, strict=True)]
    assert out.read_text() == "".join(lines)
    assert count == len(lines) == manifest.load(library).counts["kept"]


def test_a_set_with_weights_is_exported_as_a_table_that_builds_it_again(tmp_path):
    folder, out = set_with_weights(tmp_path), tmp_path / "table.tsv"
    assert records.export_records(folder, out) == len(ROWS)
    assert out.read_text().startswith("sequence\texpression\tweight\nAACCGGTT\t0.0\t0.0\n")
    columns = {name: name for name in ("sequence", "expression", "weight")}
    copy = tmp_path / "copy"
    records.build_records(out, copy, split="all=1", **record_sets.SHORT, **columns)
    shards = [{p.name: p.read_bytes() for p in f.glob("all-*")} for f in (folder, copy)]
    assert shards[0] == shards[1]


def test_a_csv_has_commas_and_a_header_and_builds_the_set_again(tmp_path):
    folder, out = record_sets.build(tmp_path, split="all=1"), tmp_path / "all.csv"
    records.export_records(str(folder), str(out))
    with out.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["sequence", "expression"]
    assert [(letters, float(value)) for letters, value in rows] == ROWS
    copy = tmp_path / "copy"
    columns = {"sequence": "sequence", "expression": "expression"}
    records.build_records(out, copy, split="all=1", **record_sets.SHORT, **columns)
    assert record_sets.pairs(records.read(copy, "all")) == ROWS


def test_a_parquet_export_has_float32_columns(tmp_path):
    pytest.importorskip("pyarrow")
    out = tmp_path / "all.parquet"
    records.export_records(set_with_weights(tmp_path), out)
    table = pd.read_parquet(out)
    assert table["sequence"].tolist() == [letters for letters, _ in ROWS]
    assert table.dtypes.astype(str).tolist()[1:] == ["float32", "float32"]
    assert table["weight"].tolist() == pytest.approx([i / 10 for i in range(8)])


def test_an_export_to_standard_output_is_that_to_a_file(tmp_path, capsys):
    folder = record_sets.build(tmp_path)
    records.export_records(folder, tmp_path / "all.txt")
    assert records.export_records(folder, "-") == 8
    assert capsys.readouterr().out == (tmp_path / "all.txt").read_text()


def test_an_export_replaces_a_file_only_on_request(tmp_path):
    folder = record_sets.build(tmp_path)
    with pytest.raises(errors.UserError, match="library.txt: exists already"):
        records.export_records(folder, tmp_path / "library.txt")
    assert (tmp_path / "library.txt").read_text() == record_sets.GOOD
    records.export_records(folder, tmp_path / "library.txt", split="val", overwrite=True)
    assert len((tmp_path / "library.txt").read_text().splitlines()) == 4


def test_an_export_that_fails_leaves_no_file(tmp_path):
    folder = record_sets.build(tmp_path)
    with pytest.raises(errors.UserError, match="no split 'test'"):
        records.export_records(folder, tmp_path / "out.txt", split="test")
    assert sorted(os.listdir(tmp_path)) == ["library.txt", "records"]


def test_progress_of_an_export_ends_with_all_of_its_examples(tmp_path):
    folder, reports = record_sets.build(tmp_path), []
    records.export_records(
        folder,
        tmp_path / "val.txt",
        split="val",
        report=lambda *report: reports.append(report),
    )
    assert reports == [("exporting", 4, 4)]
