"""Remote records, on ram://, TensorFlow's file system in memory."""

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
    result = CliRunner().invoke(cli.main, [*map(str, arguments)])
    assert (result.exit_code == 1) == fails, result.output
    return result.output


def files(url: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in remote.path(url).iterdir()}


@pytest.fixture
def record_set(bucket, library_text) -> str:
    remote.path(f"{bucket}/in/library.txt").copy_from(library_text)
    run("build-records", f"{bucket}/in/library.txt", f"{bucket}/records", "--shards", 3)
    return f"{bucket}/records"


def test_a_remote_set_of_remote_text_has_the_bytes_of_a_local_one(
    record_set, library_text, tmp_path
):
    run("build-records", library_text, tmp_path / "records", "--shards", 3)
    assert files(record_set) == {p.name: p.read_bytes() for p in (tmp_path / "records").iterdir()}


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_remote_set_is_inspected_verified_exported_and_read(bucket, library_text, compression):
    url = f"{bucket}/records"
    run("build-records", library_text, url, "--compression", compression)
    assert "3,000 lines: 3,000 kept" in run("inspect-records", url, "--head", 1)
    assert "as it was written" in run("verify-records", url)
    run("export-records", url, f"{bucket}/out.txt")
    text = remote.path(f"{bucket}/out.txt").read_bytes().decode().splitlines()
    assert sorted(line.split("\t")[0] for line in text) == sorted(
        line.split("\t")[0] for line in library_text.read_text().splitlines()
    )
    for mode in dataset.MODES:
        batches = dataset.batches(remote.path(url), batch_size=100, seed=1, mode=mode)
        assert len(list(batches.epoch(0))) == 27


def test_a_run_trains_on_a_remote_set_and_predicts_it(record_set, tmp_path):
    out, table = tmp_path / "run", tmp_path / "table.tsv"
    run("fit", "smoke", record_set, out, "--set", "train.epochs=1", "--set", "train.batch_size=64")
    run("predict", out, record_set, table, "--split", "val")
    assert table.read_bytes() == (out / rundir.VAL_PREDICTIONS).read_bytes()


def test_damage_of_a_remote_set_is_named(record_set):
    contents = manifest.load(remote.path(record_set))
    shard = remote.path(record_set) / contents.shards("train")[1]
    data = bytearray(shard.read_bytes())
    data[400] ^= 1
    shard.unlink()  # since writing to ram:// appends
    with shard.open("wb") as file:
        file.write(bytes(data))
    (remote.path(record_set) / contents.shards("val")[0]).unlink()
    problems = verify.verify_records(record_set)
    assert any(f"{shard}: record 2 is damaged" in problem for problem in problems)
    assert any("val-00000-of-00003.tfrecord: is missing" in problem for problem in problems)
    with pytest.raises(errors.UserError, match="no such file"):
        records.read(remote.path(record_set), "val")


def test_a_remote_set_is_replaced_only_with_overwrite_and_another_folder_never(
    record_set, bucket, library_text
):
    files_before = files(record_set)
    assert "exists already" in run("build-records", library_text, record_set, fails=True)
    assert files(record_set) == files_before
    run("build-records", library_text, record_set, "--shards", 1, "--overwrite")
    assert len(files(record_set)) == 3
    remote.path(f"{bucket}/other/thesis.txt").copy_from(library_text)
    output = run("build-records", library_text, f"{bucket}/other", "--overwrite", fails=True)
    assert "there is no manifest.json in it" in output and list(files(f"{bucket}/other")) == [
        "thesis.txt"
    ]


def test_the_manifest_is_copied_last(record_set, library_text, monkeypatch):
    order, copy = [], remote.Remote.copy_from
    monkeypatch.setattr(
        remote.Remote, "copy_from", lambda self, file: order.append(self.name) or copy(self, file)
    )
    run("build-records", library_text, record_set, "--overwrite", "--shards", 2)
    assert order[-1] == manifest.FILE and len(order) == 5


def test_a_copy_that_fails_is_reported_and_leaves_nothing(bucket, library_text, monkeypatch):
    copy = remote.Remote.copy_from

    def fail_at_validation(self, file):
        copy(self, file)
        if self.name.startswith("val"):
            raise errors.UserError("disk quota exceeded")

    monkeypatch.setattr(remote.Remote, "copy_from", fail_at_validation)
    output = run("build-records", library_text, f"{bucket}/records", fails=True)
    assert "disk quota exceeded" in output
    assert not tf.io.gfile.glob(f"{bucket}/records/*")


@pytest.mark.parametrize("command", ["inspect-records", "verify-records"])
def test_a_missing_remote_set_is_reported(bucket, command):
    assert f"{bucket}/absent: not a record set: there is no such folder" in run(
        command, f"{bucket}/absent", fails=True
    )


def test_missing_remote_text_is_reported(bucket, tmp_path):
    output = run("build-records", f"{bucket}/absent.txt", tmp_path / "records", fails=True)
    assert f"{bucket}/absent.txt: no such file" in output


def test_an_unknown_scheme_is_reported(tmp_path):
    output = run("build-records", "nowhere://x/a.txt", tmp_path / "records", fails=True)
    assert "nowhere://x/a.txt: File system scheme 'nowhere' not implemented" in output


def test_a_path_without_a_scheme_is_on_this_machine():
    for name in ("tfrecords/mine", Path("tfrecords/mine")):
        assert remote.path(name) == Path("tfrecords/mine")


def test_a_remote_path_stays_as_it_is():
    path = remote.path("gs://bucket/records/")
    assert remote.path(path) is path and str(path) == "gs://bucket/records"
    assert (path / "a.txt.gz").suffix == ".gz" and (path / "a").name == "a"
