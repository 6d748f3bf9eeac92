"""The commands as a user types them: outputs, messages of mistakes, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click.testing
import pytest

import camformer_tf
from camformer_tf import cli
from camformer_tf.batches import dataset
from camformer_tf.training import strategies

SEQUENCE = "TGCATTTTTTTCACATC" + "ACGT" * 20 + "GGTTACGGCTGTT"
GOOD = "".join(f"{SEQUENCE[:-2]}{a}{b}\t{len(a + b)}.5\n" for a in "ACGT" for b in "ACGT")


def call(*arguments, **options) -> click.testing.Result:
    """Runs a command in this process; an exception that is not a message fails the test."""
    runner = click.testing.CliRunner()
    return runner.invoke(cli.main, [str(a) for a in arguments], catch_exceptions=False, **options)


@pytest.fixture(scope="module")
def tour(library, tmp_path_factory) -> Path:
    """A folder after all steps: run (on `library`), predictions, scores, export."""
    folder = tmp_path_factory.mktemp("tour")
    quick = ["--set", "train.epochs=1", "--quiet"]
    for arguments in [
        ("fit", "smoke", library, folder / "run", *quick),
        ("predict", folder / "run", library, folder / "p.tsv", "--split", "val", "--quiet"),
        ("evaluate", folder / "p.tsv", "--out", folder / "scores.json"),
        ("export", folder / "run", folder / "export"),
    ]:
        result = call(*arguments)
        assert result.exit_code == 0, result.output
    return folder


def test_the_commands_of_the_tour_write_every_file(tour):
    assert {p.name for p in tour.iterdir()} == {"run", "p.tsv", "scores.json", "export"}
    assert (tour / "export" / "1" / "saved_model.pb").is_file()


def test_evaluate_writes_the_scores_that_it_prints(tour):
    scores = json.loads((tour / "scores.json").read_text())
    output = call("evaluate", tour / "p.tsv").output
    assert f"{scores['pearson']:.6f}" in output and f"{scores['spearman']:.6f}" in output


def test_inspect_records_shows_manifest_and_examples(library):
    output = call("inspect-records", library, "--head", 2).output
    assert "3,000 kept" in output and "train: 2,700 in 16 shards" in output
    assert output.count("train\tTGCATTTTTTTCACATC") == 2
    as_json = json.loads(call("inspect-records", library, "--json").output)
    assert as_json["counts"]["kept"] == 3000


def test_head_shows_the_first_lines_of_the_text(library_text, tmp_path):
    result = call("build-records", library_text, tmp_path / "r", "--split", "all=1", "--quiet")
    assert result.exit_code == 0
    rows = call("inspect-records", tmp_path / "r", "--head", 20).output.splitlines()[-20:]
    lines = library_text.read_text().splitlines()[:20]
    assert [row.split("\t")[1] for row in rows] == [line.split("\t")[0] for line in lines]
    assert [float(row.split("\t")[2]) for row in rows] == pytest.approx(
        [float(line.split("\t")[1]) for line in lines]
    )


def test_build_records_reads_standard_input(tmp_path):
    result = call("build-records", "-", tmp_path / "r", "--quiet", input=GOOD)
    assert result.exit_code == 0 and "16 kept" in result.output


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
    "no manifest": (
        ["fit", "smoke", "there", "out"],
        "there: not a record set: there is no manifest.json in it",
    ),
    "no records": (
        ["fit", "smoke", "absent", "out"],
        "absent: not a record set: there is no such folder",
    ),
    "unknown recipe": (["fit", "smoky", "there", "out"], "Did you mean smoke?"),
    "unknown key": (
        ["fit", "typo.yaml", "there", "out"],
        "typo.yaml: unknown key train.epoch. Did you mean train.epochs?",
    ),
    "text for a number": (
        ["fit", "smoke", "there", "out", "--set", "train.learning_rate=1e-3"],
        "train.learning_rate: expected a number, found '1e-3'. "
        "YAML reads 1e-3 as text: write 0.001",
    ),
    "wrong type": (
        ["fit", "smoke", "there", "out", "--set", "train.epochs=many"],
        "train.epochs: expected a whole number, found 'many'",
    ),
    "no checkpoint": (["import-torch", "absent.pt", "smoke", "m.keras"], "absent.pt: no such file"),
    "unknown network": (["import-torch", "x.pt", "smoky", "m.keras"], "Did you mean smoke?"),
    "no run": (["export", "there", "out"], "there: there is no best.keras in it"),
    "no table": (["evaluate", "absent.tsv"], "absent.tsv: cannot be read"),
    "no model": (["predict", "absent", "good.txt", "out"], "absent: no such file or directory"),
}


@pytest.fixture
def mistakes(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    for name, text in {
        "good.txt": GOOD,
        "empty.txt": "",
        "header.txt": "sequence\texpression\n" + GOOD,
        "x.txt": "\n".join([*GOOD.splitlines()[:2], f"{SEQUENCE[:-1]}X\t1"]),
        "column.txt": f"{SEQUENCE}\t1\n{SEQUENCE}\n",
        "nan.txt": f"{SEQUENCE}\tnan\n",
        "typo.yaml": "model: {blocks: [{filters: 8, kernel: 3}, {filters: 8, kernel: 3}]}\n"
        "train: {epoch: 3}\n",
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_message_and_leaves_no_file(mistakes, mistake):
    arguments, message = MISTAKES[mistake]
    names = sorted(path.name for path in mistakes.rglob("*"))
    result = call(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ") and message in result.stderr
    assert sorted(path.name for path in mistakes.rglob("*")) == names


def test_records_of_another_length_than_the_recipe_are_refused(mistakes):
    assert call("build-records", "good.txt", "r", "--length", 112, "--quiet").exit_code == 0
    result = call("fit", "smoke", "r", "out")
    assert result.exit_code == 1
    assert "112 letters, the recipe's data.length is 110" in result.stderr


def test_all_malformed_lines_are_counted_and_the_first_five_shown(mistakes):
    Path("bad.txt").write_text(GOOD + "ACGT\n" * 7)
    result = call("build-records", "bad.txt", "out")
    assert "7 of 23 lines are malformed" in result.stderr
    lines = [line for line in range(17, 24) if f"bad.txt:{line}:" in result.stderr]
    assert lines == [17, 18, 19, 20, 21]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["fit", "--help"], 0),
        (["evaluate", "absent.tsv"], 1),
        (["evaluate"], 2),
        (["evaluate", "absent.tsv", "--boot", "x"], 2),
        (["evaluates"], 2),
        ([], 2),
    ],
)
def test_the_exit_code_is_0_after_success_1_after_a_mistake_and_2_after_wrong_options(
    arguments, code
):
    assert call(*arguments).exit_code == code


def test_python_m_camformer_tf_is_the_command_line():
    command = [sys.executable, "-m", "camformer_tf", "--version"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert process.stdout == f"camformer-tf, version {camformer_tf.__version__}\n"


def test_wrong_options_exit_with_two(mistakes):
    assert call("fit", "smoke").exit_code == 2
    assert call("build-records", "good.txt", "out", "--split-by", "luck").exit_code == 2


def test_choices_on_the_command_line_are_those_of_the_library():
    options = {option.name: option for option in cli.main.commands["fit"].params}
    assert tuple(options["strategy"].type.choices) == strategies.KINDS
    assert tuple(options["data"].type.choices) == dataset.MODES


def test_quiet_silences_standard_error_but_not_results(library, tmp_path):
    command = [sys.executable, "-m", "camformer_tf", "fit", "smoke", str(library)]
    verbose, quiet = (
        subprocess.run(
            [*command, str(tmp_path / name), "--set", "train.epochs=1", *options],
            capture_output=True,
            text=True,
            timeout=240,
            check=True,
            env=_clean(),
        )
        for name, options in (("verbose", []), ("quiet", ["--quiet"]))
    )
    assert quiet.stderr == ""
    assert "best epoch 1 of 1" in quiet.stdout and "best epoch 1 of 1" in verbose.stdout
    lines = verbose.stderr.splitlines()
    assert lines[0].startswith("training on CPU:0") and any(s.startswith("Epoch 1:") for s in lines)
    assert not [line for line in lines if "cuda" in line.lower()]  # start-up notices


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
