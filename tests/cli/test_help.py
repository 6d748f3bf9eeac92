"""Help: short lines, help for every option, an example for every command, completion of names."""

import inspect
import shlex

import click
import click.shell_completion
import click.testing
import pytest

import camformer_tf
from camformer_tf import cli, recipe

COMMANDS = cli.main.commands
SHELL_ONLY = {"as_json", "help", "opens", "quiet", "server"}  # no parameter in Python
PYTHON_ONLY = {"report"}  # progress
PYTHON_ONLY_OF = {  # of one command; the command line has --set for what a recipe holds
    "fit": {
        *("callbacks", "model", "epochs", "batch_size", "learning_rate", "weight_decay", "loss"),
        *("optimizer", "schedule", "fraction", "patience", "seed"),
    },
}


def parse_example(name: str, line: str) -> click.Context:
    """Parses a line of an example; a pipe or a redirection ends it."""
    words = shlex.split(line, comments=True)
    end = min([words.index(word) for word in ("|", ">") if word in words], default=len(words))
    assert words[:2] == ["camformer-tf", name]
    return COMMANDS[name].make_context(name, words[2:end])


def keywords(name: str) -> set[str]:
    """Returns the parameters of the public function of a command."""
    function = getattr(camformer_tf, name.replace("-", "_"))
    return set(inspect.signature(function).parameters)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_no_line_of_help_is_wider_than_80_columns(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    output = click.testing.CliRunner().invoke(cli.main, [*command.split(), "--help"]).output
    assert not [line for line in output.splitlines() if len(line) > 80]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_of_a_command_is_complete_in_the_list(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    output = click.testing.CliRunner().invoke(cli.main, ["--help"]).output
    (line,) = [line for line in output.splitlines() if line.startswith(f"  {name} ")]
    summary = inspect.cleandoc(COMMANDS[name].help).splitlines()[0]
    assert line.split(maxsplit=1)[1] == summary
    assert len(summary) <= 45


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name):
    options = [param for param in COMMANDS[name].params if isinstance(param, click.Option)]
    assert not [param.name for param in options if not (param.help or param.hidden)]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_command_parses(name):
    lines = COMMANDS[name].example.strip().replace("\\\n", " ").splitlines()
    assert lines
    for line in lines:
        parse_example(name, line)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_the_parameters_of_its_public_function(name):
    assert name.replace("-", "_") in camformer_tf.__all__
    parameters = {param.name for param in COMMANDS[name].params} - SHELL_ONLY
    assert parameters == keywords(name) - PYTHON_ONLY - PYTHON_ONLY_OF.get(name, set())


def complete(*words: str) -> list[str]:
    """Returns what the shell proposes for the last word."""
    completion = click.shell_completion.ShellComplete(cli.main, {}, "camformer-tf", "")
    return [item.value for item in completion.get_completions(list(words[:-1]), words[-1])]


def test_names_of_commands_options_and_choices_are_completed():
    assert complete("ex") == ["export-records", "export"]
    assert "--resume" in complete("fit", "--res")
    assert complete("fit", "--precision", "mixed_b") == ["mixed_bfloat16"]


@pytest.mark.parametrize("command", ["fit", "recipes"])
def test_names_of_recipes_are_completed(command):
    names = recipe.shipped_files()
    assert set(complete(command, "")) >= {"mini", "original", "smoke"}
    assert complete(command, "sm") == [*(name for name in names if name.startswith("sm")), "sm"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_of_completion_exists_for(shell):
    runner = click.testing.CliRunner()
    result = runner.invoke(
        cli.main, env={"_CAMFORMER_TF_COMPLETE": f"{shell}_source"}, prog_name="camformer-tf"
    )
    assert result.exit_code == 0 and "_CAMFORMER_TF_COMPLETE" in result.output
