import click
import pytest
from click.testing import CliRunner

from camformer_tf import errors
from camformer_tf.cli import group


def test_the_command_line_shows_a_users_mistake_as_one_message():
    @click.command()
    def fail():
        raise errors.UserError("a.txt: no such file.")

    result = CliRunner().invoke(group.Commands(commands={"fail": fail}), ["fail"])
    assert (result.exit_code, result.output) == (1, "Error: a.txt: no such file.\n")


def test_other_errors_pass_through():
    @click.command()
    def fail():
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        group.Commands(commands={"fail": fail}).main(["fail"], standalone_mode=False)
