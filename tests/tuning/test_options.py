import dataclasses
import inspect

import click
import pytest

from camformer_tf import cli, errors
from camformer_tf.tuning import options, tune

COMMAND = cli.main.commands["tune"]


def parameters() -> dict[str, click.Parameter]:
    return {parameter.name: parameter for parameter in COMMAND.params}


def test_the_defaults_pass_their_own_check():
    options.SearchOptions().check()
    assert options.SearchOptions().direction == "max"
    assert options.SearchOptions(objective="loss").direction == "min"


def test_function_and_command_have_the_defaults_of_the_options():
    signature = inspect.signature(tune.tune).parameters
    defaults = COMMAND.make_context("tune", ["search", "records", "out"]).params
    for field in dataclasses.fields(options.SearchOptions):
        assert signature[field.name].default == field.default, field.name
        assert defaults[field.name] == field.default, field.name


def test_the_command_offers_every_algorithm_and_objective():
    assert parameters()["algorithm"].type.choices == options.ALGORITHMS
    assert parameters()["objective"].type.choices == tuple(options.OBJECTIVES)


def test_every_keyword_of_the_function_is_an_option_of_the_command():
    assert set(inspect.signature(tune.tune).parameters) == set(parameters()) - {"quiet", "help"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"algorithm": "annealing"}, "algorithm: expected one of random, .* found 'annealing'"),
        ({"objective": "speed"}, "objective: expected one of score, "),
        ({"trials": 0}, "trials: expected 1 or more, found 0"),
        ({"epochs": 0}, "epochs: expected 1 or more"),
        ({"fraction": 1.5}, "fraction: expected more than 0 and at most 1, found 1.5"),
        ({"tenfold": 0}, "tenfold: expected more than 0"),
        ({"hours": -1}, "hours: expected more than 0"),
    ],
)
def test_values_out_of_range_are_refused_by_name(values, message):
    with pytest.raises(errors.UserError, match=message):
        options.SearchOptions(**values).check()


def test_the_precision_is_passed_on_to_fit():
    assert options.SearchOptions().fit_arguments == []
    assert options.SearchOptions(precision="float32").fit_arguments == ["--precision", "float32"]
