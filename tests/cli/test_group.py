"""What all commands share: exit codes, --quiet, how they start."""

import os
import subprocess
import sys

import pytest
from support import shell

import camformer_tf
from camformer_tf import errors
from camformer_tf.cli import group


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
    assert shell.call(*arguments).exit_code == code


def test_python_m_camformer_tf_is_the_command_line():
    command = [sys.executable, "-m", "camformer_tf", "--version"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert process.stdout == f"camformer-tf, version {camformer_tf.__version__}\n"


def test_wrong_options_exit_with_two(mistakes):
    assert shell.call("fit", "smoke").exit_code == 2
    assert shell.call("build-records", "good.txt", "out", "--split-by", "luck").exit_code == 2


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


def test_a_users_mistake_is_a_message_and_a_programming_error_a_traceback():
    @group.main.command("fail")
    @group.option("--wrong", is_flag=True, help="An error of the program.")
    def fail(wrong: bool) -> None:
        raise ValueError("a mistake of ours") if wrong else errors.UserError("a mistake of yours")

    try:
        result = shell.call("fail")
        assert (result.exit_code, result.stderr) == (1, "Error: a mistake of yours\n")
        with pytest.raises(ValueError, match="a mistake of ours"):
            shell.call("fail", "--wrong")
    finally:
        del group.main.commands["fail"]


def test_the_example_of_a_command_ends_its_help():
    output = shell.call("fit", "--help").output
    example = group.main.commands["fit"].example
    assert output.rstrip().endswith("Example:\n  " + example.replace("\n", "\n  "))
