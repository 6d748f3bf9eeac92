import shutil
from pathlib import Path

import pytest

from camformer_tf import errors, recipe
from camformer_tf.data import layout, manifest, records, rules, shards, verify

RULE = rules.Rule(length=8, length_margin=2, max_n=1)


def build(folder: Path, compression: str) -> Path:
    lines = (f"{a}{b}GTACG{c}\t{i}\n" for i, (a, b, c) in enumerate(("ACG", "TGA", "CCT") * 10))
    (folder / "library.txt").write_text("".join(lines))
    config = recipe.RecordsConfig(split="train=0.7,val=0.3", shards=2, compression=compression)
    records.write([folder / "library.txt"], folder / "set", rule=RULE, config=config)
    return folder / "set"


@pytest.fixture(scope="module", params=["none", "gzip"])
def whole(tmp_path_factory, request) -> Path:
    return build(tmp_path_factory.mktemp("verify"), request.param)


def swap_records(data: bytes) -> bytes:
    size = shards.record_bytes(layout.of(8))
    return data[size : 2 * size] + data[:size] + data[2 * size :]


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


RECORD = shards.record_bytes(layout.of(8))
# What is done to a shard that is not packed, and what is said of it.
SHARD_DAMAGE = {
    "a flipped letter": (lambda data: flip(data, 3 * RECORD + 45), "record 3 is damaged"),
    "a flipped length": (lambda data: flip(data, 2 * RECORD), "record 2 is damaged"),
    "a flipped checksum": (lambda data: flip(data, RECORD - 1), "record 0 is damaged"),
    "cut within a record": (lambda data: data[: 4 * RECORD + 9], "is cut short within record 4"),
    "cut between records": (lambda data: data[: 4 * RECORD], "holds 4 examples, the manifest says"),
    "a record twice": (lambda data: data + data[:RECORD], "examples, the manifest says"),
    "two records swapped": (swap_records, "every record is whole, but they are not those"),
    "emptied": (lambda data: b"", "holds 0 examples"),
    "other data": (lambda data: b"hello" * 100, "record 0 is damaged"),
}


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "set"))


def test_a_whole_set_has_no_problem(whole):
    assert verify.verify(whole) == []


@pytest.mark.parametrize("damage", SHARD_DAMAGE)
def test_damage_is_named_by_shard_and_record(tmp_path, damage):
    copy = build(tmp_path, "none")
    change, message = SHARD_DAMAGE[damage]
    (*_, shard) = sorted(copy.glob("train-*"))
    shard.write_bytes(change(shard.read_bytes()))
    problems = verify.verify(copy)
    assert any(str(shard) in problem and message in problem for problem in problems)
    assert all(str(shard) in problem for problem in problems)  # and nothing else is blamed


@pytest.mark.parametrize("place", [0, 30, -5])
def test_a_flipped_bit_of_any_shard_is_found(copy, place):
    (shard, *_) = sorted(copy.glob("val-*"))
    data = shard.read_bytes()
    shard.write_bytes(flip(data, place % len(data)))
    assert [str(shard) in problem for problem in verify.verify(copy)] == [True]


def test_a_missing_shard_is_named(copy):
    (shard, *_) = sorted(copy.glob("val-*"))
    shard.unlink()
    assert verify.verify(copy) == [f"{shard}: is missing"]


def test_a_shard_too_many_is_named(copy):
    (copy / "val-00000-of-00003.tfrecord").write_bytes(b"")
    assert verify.verify(copy) == [
        f"{copy / 'val-00000-of-00003.tfrecord'}: is no shard of the manifest"
    ]


def test_a_manifest_edited_by_hand_is_refused(copy):
    text = (copy / manifest.FILE).read_text()
    (copy / manifest.FILE).write_text(text.replace('"kept": 30', '"kept": 31'))
    with pytest.raises(errors.UserError, match="does not match its checksum"):
        verify.verify(copy)


def test_counts_that_contradict_each_other_are_named(copy):
    described = manifest.load(copy)
    described.counts["kept"] = 31
    described.splits["val"]["examples"] = 10
    manifest.save(described, copy)
    said = "\n".join(verify.verify(copy))
    assert "shards of val sum to 9, not 10" in said
    assert "counts do not sum to the 30 lines" in said


def test_the_listing_reads_no_shard_and_finds_sizes(copy):
    described = manifest.load(copy)
    (shard, *_) = sorted(copy.glob("val-*"))
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[:-1])
    assert verify.listing(copy, described) == [
        f"{shard}: has {size - 1:,} bytes, the manifest says {size:,}"
    ]


def test_fit_refuses_a_set_that_its_manifest_does_not_describe(copy, tmp_path):
    from camformer_tf.training import fit

    (copy / "train-00007-of-00009.tfrecord").write_bytes(b"")
    settings = recipe.load("smoke", ["data.length=8"])
    with pytest.raises(errors.UserError, match="is no shard of the manifest .1 such findings"):
        fit.fit(settings, copy, tmp_path / "run")


def test_letters_and_numbers_are_looked_at_too(tmp_path):
    copy = build(tmp_path, "none")
    (shard, *_) = sorted(copy.glob("val-*"))
    shape = layout.of(8)
    examples = shards.parse(shard.read_bytes(), shape, "")
    letters = examples.letters.copy()
    letters[2, 3] = ord("X")
    made = type(examples)(letters, examples.expression)
    shard.write_bytes(shards.frames(made, shape).tobytes())
    assert verify.verify(copy) == [f"{shard}: record 2 is no sequence and expression"]
