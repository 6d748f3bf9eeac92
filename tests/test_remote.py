"""Records beyond this machine, on TensorFlow's own file system in memory, ram://."""

import uuid
from pathlib import Path

import pytest
import tensorflow as tf
from click.testing import CliRunner

from camformer_tf import cli, errors, remote, rundir
from camformer_tf.batches import dataset
from camformer_tf.data import manifest, records, verify


@pytest.fixture
def bucket() -> str:
    return f"ram://bucket-{uuid.uuid4().hex}"


def run(*arguments, fails: bool = False) -> str:
    done = CliRunner().invoke(cli.main, [*map(str, arguments)])
    assert (done.exit_code == 1) == fails, done.output
    return done.output


def files(url: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in remote.path(url).iterdir()}


@pytest.fixture
def built(bucket, library_text) -> str:
    remote.path(f"{bucket}/in/library.txt").copy_from(library_text)
    run("build-records", f"{bucket}/in/library.txt", f"{bucket}/records", "--shards", 3)
    return f"{bucket}/records"


def test_a_set_built_there_from_text_there_has_the_bytes_of_one_built_here(
    built, library_text, tmp_path
):
    run("build-records", library_text, tmp_path / "records", "--shards", 3)
    assert files(built) == {p.name: p.read_bytes() for p in (tmp_path / "records").iterdir()}


@pytest.mark.parametrize("packed", ["none", "gzip"])
def test_a_set_there_is_inspected_verified_exported_and_read(bucket, library_text, packed):
    url = f"{bucket}/records"
    run("build-records", library_text, url, "--compression", packed)
    assert "3,000 lines: 3,000 kept" in run("inspect-records", url, "--head", 1)
    assert "as it was written" in run("verify-records", url)
    run("export-records", url, f"{bucket}/out.txt")
    text = remote.path(f"{bucket}/out.txt").read_bytes().decode().splitlines()
    assert sorted(line.split("\t")[0] for line in text) == sorted(
        line.split("\t")[0] for line in library_text.read_text().splitlines()
    )
    for mode in dataset.MODES:
        batches = dataset.load(remote.path(url), "train", 100, seed=1, mode=mode)
        assert len(list(batches.epoch(0))) == 27


def test_a_run_here_trains_on_a_set_there_and_predicts_it(built, tmp_path):
    out, table = tmp_path / "run", tmp_path / "table.tsv"
    run("fit", "smoke", built, out, "--set", "train.epochs=1", "--set", "train.batch_size=64")
    run("predict", out, built, table, "--split", "val")
    assert table.read_bytes() == (out / rundir.VAL_PREDICTIONS).read_bytes()


def test_damage_there_is_named(built):
    described = manifest.load(remote.path(built))
    shard = remote.path(built) / described.shards("train")[1]
    data = bytearray(shard.read_bytes())
    data[400] ^= 1
    shard.unlink()  # on ram://, to write means to append
    with shard.open("wb") as file:
        file.write(bytes(data))
    (remote.path(built) / described.shards("val")[0]).unlink()
    problems = verify.verify(remote.path(built))
    assert any(f"{shard}: record 2 is damaged" in problem for problem in problems)
    assert any("val-00000-of-00003.tfrecord: is missing" in problem for problem in problems)
    with pytest.raises(errors.UserError, match="no such file"):
        records.read(remote.path(built), "val")


def test_nothing_there_is_replaced_unasked_and_a_folder_of_others_never(
    built, bucket, library_text
):
    before = files(built)
    assert "exists already" in run("build-records", library_text, built, fails=True)
    assert files(built) == before
    run("build-records", library_text, built, "--shards", 1, "--overwrite")
    assert len(files(built)) == 3
    remote.path(f"{bucket}/other/thesis.txt").copy_from(library_text)
    said = run("build-records", library_text, f"{bucket}/other", "--overwrite", fails=True)
    assert "holds no manifest.json" in said and list(files(f"{bucket}/other")) == ["thesis.txt"]


def test_the_manifest_is_copied_last(built, library_text, monkeypatch):
    order, copy = [], remote.Remote.copy_from
    monkeypatch.setattr(
        remote.Remote, "copy_from", lambda self, file: order.append(self.name) or copy(self, file)
    )
    run("build-records", library_text, built, "--overwrite", "--shards", 2)
    assert order[-1] == manifest.FILE and len(order) == 5


def test_a_copy_that_fails_is_told_and_leaves_nothing(bucket, library_text, monkeypatch):
    copy = remote.Remote.copy_from

    def fail_at_validation(self, file):
        copy(self, file)
        if self.name.startswith("val"):
            raise errors.UserError("disk quota exceeded")

    monkeypatch.setattr(remote.Remote, "copy_from", fail_at_validation)
    said = run("build-records", library_text, f"{bucket}/records", fails=True)
    assert "disk quota exceeded" in said
    assert not tf.io.gfile.glob(f"{bucket}/records/*")


@pytest.mark.parametrize("command", ["inspect-records", "verify-records"])
def test_no_set_there_is_said(bucket, command):
    assert f"{bucket}/absent: is no directory" in run(command, f"{bucket}/absent", fails=True)


def test_text_that_is_not_there_is_said(bucket, tmp_path):
    said = run("build-records", f"{bucket}/absent.txt", tmp_path / "records", fails=True)
    assert f"{bucket}/absent.txt: no such file" in said


def test_a_scheme_that_tensorflow_does_not_know_is_said(tmp_path):
    said = run("build-records", "nowhere://x/a.txt", tmp_path / "records", fails=True)
    assert "nowhere://x/a.txt: File system scheme 'nowhere' not implemented" in said


def test_a_path_without_a_scheme_is_one_of_this_machine():
    assert remote.path("tfrecords/mine") == Path("tfrecords/mine")
