"""Commands of training: options, and messages of mistakes."""

import pytest
from support import shell

from camformer_tf import cli
from camformer_tf.batches import dataset
from camformer_tf.training import strategies

MISTAKES = {
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
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_message_and_leaves_no_file(mistakes, mistake):
    shell.check_mistake(mistakes, *MISTAKES[mistake])


def test_records_of_another_length_than_the_recipe_are_refused(mistakes):
    assert shell.call("build-records", "good.txt", "r", "--length", 112, "--quiet").exit_code == 0
    result = shell.call("fit", "smoke", "r", "out")
    assert result.exit_code == 1
    assert "112 letters, the recipe's data.length is 110" in result.stderr


def test_choices_on_the_command_line_are_those_of_the_library():
    options = {option.name: option for option in cli.main.commands["fit"].params}
    assert tuple(options["strategy"].type.choices) == strategies.KINDS
    assert tuple(options["data"].type.choices) == dataset.MODES
