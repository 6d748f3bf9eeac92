"""The command `recipes`."""

import json

import pytest
from click import testing

from camformer_tf import cli, recipe, speed


def call(*words: str) -> testing.Result:
    return testing.CliRunner().invoke(cli.main, ["recipes", *words])


@pytest.fixture
def rates(monkeypatch):
    monkeypatch.setattr(speed, "rates", lambda: {"float32 on CPU:0": 100.0})


def test_it_lists_the_recipes_of_the_package():
    lines = call().stdout.splitlines()
    assert lines[0].split() == ["name", "parameters", "MFLOP", "description"]
    assert [line.split()[0] for line in lines[1:-1]] == list(recipe.shipped_files())
    assert "grid-270/270" in lines[-1]
    rows = json.loads(call("--json").stdout)
    assert {row["name"]: row["parameters"] for row in rows}["original"] == 16_611_073


def test_it_shows_a_recipe_that_can_be_used_as_a_file(rates, tmp_path):
    result = call("mini", "--set", "train.epochs=2")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("# parameters       1,446,721\n")
    (tmp_path / "r.yaml").write_text(result.stdout)
    assert recipe.load(tmp_path / "r.yaml") == recipe.load("mini", ["train.epochs=2"])


def test_json_has_the_costs(rates):
    values = json.loads(call("smoke", "--json").stdout)
    assert values["parameters"] == 59_073 and values["seconds_per_million"]["float32 on CPU:0"] > 0


def test_mistakes_are_named():
    assert "--set goes with NAME" in call("--set", "train.epochs=2").stderr
    assert "Did you mean mini" in call("mimi").stderr
