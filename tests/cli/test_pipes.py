"""Real pipes: tables to another program, and a reader that stops early, as in `… | head -1`."""

import os
import subprocess
import sys

import pytest
from support import record_sets

from camformer_tf.data import manifest, records

COMMAND = [sys.executable, "-m", "camformer_tf"]


def run_and_close(*arguments: object, lines: int) -> tuple[list[str], int, str]:
    """Runs a command whose output is closed after some lines: the lines, exit code and errors."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    head = [process.stdout.readline() for _ in range(lines)]
    process.stdout.close()
    messages = process.stderr.read()
    process.stderr.close()
    return head, process.wait(timeout=120), messages


def run(*arguments: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options
    )


@pytest.fixture(scope="module")
def large_set(tmp_path_factory):
    """A set whose export, 1.6 MB, is larger than the buffer of a pipe."""
    folder = tmp_path_factory.mktemp("large")
    return record_sets.build(folder, record_sets.GOOD * 20_000, leakage=False)


def test_an_export_ends_quietly_when_its_reader_stops(large_set):
    head, status, messages = run_and_close("export-records", large_set, "-", lines=1)
    letters, value = head[0].split("\t")
    assert letters in dict(record_sets.ROWS) and float(value) < 8
    assert (status, messages) == (0, "")


@pytest.mark.parametrize(
    "arguments", [("--head", 30_000), ("--head", 5), ("--json",)], ids=["large", "small", "json"]
)
def test_an_inspection_ends_quietly_when_its_reader_stops(large_set, arguments):
    head, status, messages = run_and_close("inspect-records", large_set, *arguments, lines=1)
    assert len(head) == 1 and (status, messages) == (0, "")


def test_an_output_that_nobody_reads_at_all_is_quiet(large_set):
    for arguments in (["inspect-records", large_set], ["export-records", large_set, "-"]):
        _, status, messages = run_and_close(*arguments, lines=0)
        assert (status, messages) == (0, "")


def test_help_ends_quietly_when_its_reader_stops():
    for arguments in (["--help"], ["build-records", "--help"]):
        _, _, messages = run_and_close(*arguments, lines=0)
        assert messages == ""


def test_an_export_to_a_pipe_builds_the_same_set_again(large_set, tmp_path):
    text = run("export-records", large_set, "-", "--split", "train").stdout
    options = ["--length", 8, "--split", "train=1", "--no-leakage", "--shards", 2]
    result = run("build-records", "-", tmp_path / "copy", *options, input=text)
    assert result.returncode == 0, result.stderr
    names = manifest.load(large_set).shards("train")
    assert manifest.load(tmp_path / "copy").shards("train") == names
    for name in names:
        assert (tmp_path / "copy" / name).read_bytes() == (large_set / name).read_bytes()


def test_an_export_to_standard_output_prints_the_table_alone(large_set, tmp_path):
    records.export_records(large_set, tmp_path / "val.txt", split="val")
    result = run("export-records", large_set, "-", "--split", "val")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (tmp_path / "val.txt").read_text()


def test_a_mistake_before_a_closed_pipe_is_still_reported(tmp_path):
    _, status, messages = run_and_close("export-records", tmp_path / "absent", "-", lines=0)
    assert status == 1 and "absent: not a record set" in messages


def test_a_command_works_without_a_standard_output(large_set, tmp_path):
    out = tmp_path / "val.txt"
    command = [*COMMAND, "export-records", str(large_set), str(out), "--split", "val"]
    shell = 'exec "$@" >&-'
    result = subprocess.run(
        ["sh", "-c", shell, "sh", *command], stderr=subprocess.PIPE, text=True, timeout=120
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert os.path.getsize(out)


def test_a_broken_connection_is_not_taken_for_a_closed_pipe(tmp_path):
    program = (
        "from camformer_tf import cli\n"
        "from camformer_tf.data import records\n"
        "def fail(*_, **__): raise BrokenPipeError(32, 'Broken pipe')\n"
        "records.inspect_records = fail\n"
        f"cli.main(['inspect-records', {str(tmp_path)!r}])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 1
    assert result.stderr == "Error: a connection broke ([Errno 32] Broken pipe). Try again.\n"
