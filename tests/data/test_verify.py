import shutil
from pathlib import Path

import pytest
from support import record_sets

from camformer_tf import errors, recipe
from camformer_tf.data import layout, manifest, shards, verify


def build(folder: Path, compression: str) -> Path:
    lines = (f"{a}{b}GTACG{c}\t{i}\n" for i, (a, b, c) in enumerate(("ACG", "TGA", "CCT") * 10))
    options = {"split": "train=0.7,val=0.3", "compression": compression}
    return record_sets.build(folder, "".join(lines), **options)


@pytest.fixture(scope="module", params=["none", "gzip"])
def intact(tmp_path_factory, request) -> Path:
    return build(tmp_path_factory.mktemp("verify"), request.param)


def swap_records(data: bytes) -> bytes:
    size = shards.record_bytes(layout.example_layout(8))
    return data[size : 2 * size] + data[:size] + data[2 * size :]


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


RECORD = shards.record_bytes(layout.example_layout(8))
# Damage of a shard that is not packed, and its message.
SHARD_DAMAGE = {
    "a flipped letter": (lambda data: flip(data, 3 * RECORD + 45), "record 3 is damaged"),
    "a flipped length": (lambda data: flip(data, 2 * RECORD), "record 2 is damaged"),
    "a flipped checksum": (lambda data: flip(data, RECORD - 1), "record 0 is damaged"),
    "cut within a record": (
        lambda data: data[: 4 * RECORD + 9],
        "the file is cut short in record 4",
    ),
    "cut between records": (
        lambda data: data[: 4 * RECORD],
        "holds 4 examples, but the manifest says",
    ),
    "a record twice": (lambda data: data + data[:RECORD], "examples, but the manifest says"),
    "two records swapped": (swap_records, "every record is whole, but the records are not"),
    "empty": (lambda data: b"", "holds 0 examples"),
    "other data": (lambda data: b"hello" * 100, "record 0 is damaged"),
}


@pytest.fixture
def copy(intact, tmp_path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "set"))


def test_an_intact_set_has_no_problem(intact):
    assert verify.verify_records(intact) == []


@pytest.mark.parametrize("damage", SHARD_DAMAGE)
def test_damage_is_named_by_shard_and_record(tmp_path, damage):
    copy = build(tmp_path, "none")
    change, message = SHARD_DAMAGE[damage]
    (*_, shard) = sorted(copy.glob("train-*"))
    shard.write_bytes(change(shard.read_bytes()))
    problems = verify.verify_records(copy)
    assert any(str(shard) in problem and message in problem for problem in problems)
    assert all(str(shard) in problem for problem in problems)  # no other file is named


@pytest.mark.parametrize("place", [0, 30, -5])
def test_a_flipped_bit_of_any_shard_is_found(copy, place):
    (shard, *_) = sorted(copy.glob("val-*"))
    data = shard.read_bytes()
    shard.write_bytes(flip(data, place % len(data)))
    assert [str(shard) in problem for problem in verify.verify_records(copy)] == [True]


def test_a_missing_shard_is_named(copy):
    (shard, *_) = sorted(copy.glob("val-*"))
    shard.unlink()
    assert verify.verify_records(copy) == [f"{shard}: is missing"]


def test_a_shard_that_is_not_in_the_manifest_is_named(copy):
    (copy / "val-00000-of-00003.tfrecord").write_bytes(b"")
    assert verify.verify_records(copy) == [
        f"{copy / 'val-00000-of-00003.tfrecord'}: not a shard of the manifest"
    ]


def test_a_manifest_edited_by_hand_is_refused(copy):
    text = (copy / manifest.FILE).read_text()
    (copy / manifest.FILE).write_text(text.replace('"kept": 30', '"kept": 31'))
    with pytest.raises(errors.UserError, match="does not match its checksum"):
        verify.verify_records(copy)


def test_counts_that_contradict_each_other_are_named(copy):
    description = manifest.load(copy)
    description.counts["kept"] = 31
    description.splits["val"]["examples"] = 10
    manifest.save(description, copy)
    problems = "\n".join(verify.verify_records(copy))
    assert "shards of val sum to 9, not 10" in problems
    assert "counts do not sum to the 30 lines" in problems


def test_the_listing_reads_no_shard_and_finds_sizes(copy):
    description = manifest.load(copy)
    (shard, *_) = sorted(copy.glob("val-*"))
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[:-1])
    assert verify.listing(copy, description) == [
        f"{shard}: has {size - 1:,} bytes, but the manifest says {size:,}"
    ]


def test_fit_refuses_a_set_that_differs_from_its_manifest(copy, tmp_path):
    from camformer_tf.training import fit

    (copy / "train-00007-of-00009.tfrecord").write_bytes(b"")
    settings = recipe.load("smoke", ["data.length=8"])
    with pytest.raises(errors.UserError, match="not a shard of the manifest"):
        fit.fit(settings, copy, tmp_path / "run")


def test_letters_and_numbers_are_checked_too(tmp_path):
    copy = build(tmp_path, "none")
    (shard, *_) = sorted(copy.glob("val-*"))
    shape = layout.example_layout(8)
    examples = shards.parse(shard.read_bytes(), shape, "")
    letters = examples.letters.copy()
    letters[2, 3] = ord("X")
    changes = type(examples)(letters, examples.expression)
    shard.write_bytes(shards.frames(changes, shape).tobytes())
    assert verify.verify_records(copy) == [
        f"{shard}: record 2 is not a sequence with its expression"
    ]
