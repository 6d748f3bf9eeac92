"""Commands of records: what they print, and messages of mistakes."""

import json
from pathlib import Path

import pytest
from support import shell

MISTAKES = {
    "missing file": (["build-records", "absent.txt", "out"], "absent.txt: no such file"),
    "empty file": (["build-records", "empty.txt", "out"], "empty.txt: no line to read"),
    "header line": (["build-records", "header.txt", "out"], "header.txt:1: a header line"),
    "letter X": (
        ["build-records", "x.txt", "out"],
        "x.txt:3: letter 'X' is not one of A, C, G, T, N",
    ),
    "missing column": (
        ["build-records", "column.txt", "out"],
        "column.txt:2: expected SEQUENCE and EXPRESSION, found 1 column",
    ),
    "nan expression": (
        ["build-records", "nan.txt", "out"],
        "nan.txt:1: expression 'nan' is not a finite number",
    ),
    "output that exists": (["build-records", "good.txt", "there"], "there: exists already"),
    "splits": (
        ["build-records", "good.txt", "out", "--split", "train=0.5,val=0.6"],
        "sum to 1, not to 1.1",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_message_and_leaves_no_file(mistakes, mistake):
    shell.check_mistake(mistakes, *MISTAKES[mistake])


def test_inspect_records_shows_manifest_and_examples(library):
    output = shell.call("inspect-records", library, "--head", 2).output
    assert "3,000 kept" in output and "train: 2,700 in 16 shards" in output
    assert output.count("train\tTGCATTTTTTTCACATC") == 2
    as_json = json.loads(shell.call("inspect-records", library, "--json").output)
    assert as_json["counts"]["kept"] == 3000


def test_head_shows_the_first_lines_of_the_text(library_text, tmp_path):
    result = shell.call(
        "build-records", library_text, tmp_path / "r", "--split", "all=1", "--quiet"
    )
    assert result.exit_code == 0
    rows = shell.call("inspect-records", tmp_path / "r", "--head", 20).output.splitlines()[-20:]
    lines = library_text.read_text().splitlines()[:20]
    assert [row.split("\t")[1] for row in rows] == [line.split("\t")[0] for line in lines]
    assert [float(row.split("\t")[2]) for row in rows] == pytest.approx(
        [float(line.split("\t")[1]) for line in lines]
    )


def test_build_records_reads_standard_input(tmp_path):
    result = shell.call("build-records", "-", tmp_path / "r", "--quiet", input=shell.GOOD)
    assert result.exit_code == 0 and "16 kept" in result.output


def test_all_malformed_lines_are_counted_and_the_first_five_shown(mistakes):
    Path("bad.txt").write_text(shell.GOOD + "ACGT\n" * 7)
    result = shell.call("build-records", "bad.txt", "out")
    assert "7 of 23 lines are malformed" in result.stderr
    lines = [line for line in range(17, 24) if f"bad.txt:{line}:" in result.stderr]
    assert lines == [17, 18, 19, 20, 21]
