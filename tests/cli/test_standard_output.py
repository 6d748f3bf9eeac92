"""`-` in place of an output: the text of every command that writes one, else a sentence."""

import json

import pytest
from click import testing

from camformer_tf import cli, rundir


def run(*words: object) -> testing.Result:
    return testing.CliRunner().invoke(cli.main, [str(word) for word in words])


@pytest.mark.parametrize(
    "words",
    [
        ("simulate", "-", "--sequences", 3),
        ("build-records", "LIBRARY", "-"),
        ("fit", "smoke", "RECORDS", "-"),
    ],
    ids=lambda words: words[0],
)
def test_an_output_that_is_no_text_is_refused_and_nothing_is_written(
    words, library, library_text, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    places = {"LIBRARY": library_text, "RECORDS": library}
    result = run(*(places.get(word, word) for word in words))
    assert result.exit_code == 1, result.output
    assert list(tmp_path.iterdir()) == []
    assert "-: standard output cannot hold this output" in result.stderr


def test_calibrate_writes_its_json_to_standard_output(replicates, library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("calibrate", replicates, library, "--split", "val", "--out", "-", "--quiet")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["members"] and result.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def run_dir(library, tmp_path_factory):
    path = tmp_path_factory.mktemp("standard_output") / "run"
    options = ("--set", "train.epochs=1", "--precision", "float32", "--quiet")
    assert run("fit", "smoke", library, path, *options).exit_code == 0
    return path


@pytest.mark.parametrize("command", [("report", "--out"), ("compare", "--html")])
def test_pages_are_written_to_standard_output(command, run_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, option = command
    result = run(name, run_dir, option, "-")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("<!") and result.stdout.rstrip().endswith("</html>")
    assert list(tmp_path.iterdir()) == [] and not (run_dir / rundir.REPORT).exists()


def test_two_results_for_standard_output_are_refused(run_dir):
    assert run("compare", run_dir, "--html", "-", "--json").exit_code == 2
    assert run("compare", run_dir, "--html", "-", "--out", "-").exit_code == 2
    assert run("report", run_dir, "--out", "-", "--open").exit_code == 2
