import hashlib
import json
import re

import pytest

from camformer_tf import errors
from camformer_tf.data import manifest

MANIFEST = manifest.Manifest(
    schema_version=1,
    sequence_length=110,
    features={"sequence": "bytes", "expression": "float"},
    rule={"length": 110, "length_margin": 3, "max_n": 3, "keep_all": False},
    counts={"lines": 6370, "malformed": 1, "dropped_n": 24, "dropped_length": 107, "kept": 6238},
    split={"by": "random", "seed": 42, "fractions": {"train": 0.9, "val": 0.1}},
    splits={
        "train": {"examples": 5614, "shards": [{"file": "a"}, {"file": "b"}]},
        "val": {"examples": 624, "shards": [{"file": "c"}]},
    },
    expression={"min": 0.0, "max": 17.0, "mean": 11.15, "std": 2.35, "integer_fraction": 0.58},
    source=[{"name": "train.txt", "bytes": 1, "sha256": "0" * 64, "lines": 6370}],
    duplicates=3,
    near_neighbours={"mismatches": 3, "in_training": {"val": 78}},
    created_by={"version": "1.0.0"},
)


def save(folder, **changes) -> None:
    manifest.save(MANIFEST, folder)
    values = json.loads((folder / manifest.FILE).read_text()) | changes
    values = {name: value for name, value in values.items() if value != "absent"}
    (folder / manifest.FILE).write_text(json.dumps(values))


def refusal(folder) -> str:
    with pytest.raises(errors.UserError) as error:
        manifest.load(folder)
    return str(error.value)


def test_a_manifest_is_read_back_as_it_was_saved(tmp_path):
    manifest.save(MANIFEST, tmp_path)
    assert manifest.load(tmp_path) == MANIFEST


def test_a_manifest_is_json_with_the_documented_keys_in_their_order(tmp_path):
    manifest.save(MANIFEST, tmp_path)
    keys = "schema_version sequence_length features rule counts split splits expression source"
    values = json.loads((tmp_path / "manifest.json").read_text())
    assert list(values) == [
        *keys.split(),
        *("duplicates", "near_neighbours", "created_by", "checksum"),
    ]


def test_a_manifest_has_the_examples_and_shards_of_a_split():
    assert MANIFEST.examples("val") == 624 and MANIFEST.shards("train") == ["a", "b"]


def test_a_number_that_json_lacks_is_never_written(tmp_path):
    description = manifest.Manifest(**(vars(MANIFEST) | {"expression": {"mean": float("nan")}}))
    with pytest.raises(ValueError, match="not JSON compliant"):
        manifest.save(description, tmp_path)
    assert not (tmp_path / manifest.FILE).exists()


def test_the_summary_has_every_count():
    summary = MANIFEST.summary()
    assert "6,370 lines: 6,238 kept, 1 malformed, 24 with more than 3 N, 107 of wrong" in summary
    assert "sequences of 110 nt, 3 of them repeat another" in summary
    assert "mean 11.1500, sd 2.3500, 58.0% integers" in summary
    assert "split by random (seed 42)" in summary and "train: 5,614 in 2 shards" in summary
    assert "78 (12.5%) have a neighbour within 3 letters in train" in summary


def test_the_summary_is_right_in_number():
    changes = {
        "counts": MANIFEST.counts | {"lines": 1},
        "duplicates": 1,
        "near_neighbours": {"mismatches": 1, "in_training": {"val": 1}},
    }
    summary = manifest.Manifest(**(vars(MANIFEST) | changes)).summary()
    assert summary.startswith("1 line: ") and "1 of them repeats another" in summary
    assert "val: 624 in 1 shard; 1 (0.2%) has a neighbour within 1 letter in train" in summary


def test_a_manifest_is_shown_as_its_summary():
    assert repr(MANIFEST) == MANIFEST.summary()


def test_keys_of_a_later_release_are_ignored(tmp_path):
    values = {key: value for key, value in vars(MANIFEST).items() if key != "weight"}
    values["colour"] = "blue"
    plain = json.dumps(values, sort_keys=True, separators=(",", ":"))  # as tfrecords/README.md says
    save(tmp_path, colour="blue", checksum=hashlib.sha256(plain.encode()).hexdigest())
    assert manifest.load(tmp_path) == MANIFEST


@pytest.mark.parametrize("change", [{"duplicates": 4}, {"colour": "blue"}, {"checksum": "absent"}])
def test_a_manifest_edited_by_hand_is_refused(tmp_path, change):
    save(tmp_path, **change)
    assert "does not match its checksum, so it was changed after it was written" in refusal(
        tmp_path
    )


def test_a_folder_without_a_manifest_is_not_a_record_set(tmp_path):
    problem = "not a record set: there is no manifest.json in it. Build one: camformer-tf build-"
    assert refusal(tmp_path).startswith(f"{tmp_path}: {problem}")


def test_a_missing_folder_is_named(tmp_path):
    folder = tmp_path / "absent"
    assert refusal(folder).startswith(f"{folder}: not a record set: there is no such folder.")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "{}", '"schema_version"', "\xff"])
def test_a_broken_manifest_is_named(tmp_path, text):
    (tmp_path / manifest.FILE).write_text(text, encoding="latin-1")
    expected = f"{tmp_path / manifest.FILE}: not a readable manifest (.*). Build the records again."
    assert re.fullmatch(expected.replace("(.*)", r"\(.*\)"), refusal(tmp_path), re.DOTALL)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_version_is_refused(tmp_path, version):
    save(tmp_path, schema_version=version)
    message = refusal(tmp_path)
    assert f"has schema version {version}, but this version of camformer_tf reads 1." in message
    assert str(tmp_path / manifest.FILE) in message


def test_a_newer_schema_version_is_refused_before_its_other_keys(tmp_path):
    save(tmp_path, schema_version=2, splits="absent")
    assert "schema version 2" in refusal(tmp_path)


def test_a_missing_key_is_named(tmp_path):
    save(tmp_path, splits="absent", rule="absent")
    assert (
        refusal(tmp_path) == f"{tmp_path / manifest.FILE}: lacks rule, splits. {manifest._REBUILD}"
    )
