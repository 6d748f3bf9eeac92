import click.testing
import numpy as np
import pytest

from camformer_tf import cli, errors, recipe
from camformer_tf.model import rescnn
from camformer_tf.tuning import space, template

SMALL = """
schema: 1
search: {{max_parameters: 100000}}
model:
  residual: false
  blocks:
    count: {{int: [1, 3]}}
    each: {{filters: {{choice: [4, 8]}}, kernel: {{int: [3, 9, 2]}}}}
    all: {{dropout: {{float: [0.0, 0.4]}}}}
    pool: {{at: {{choice: [null, -1, -2]}}, size: {{int: [2, 4]}}, stride: 2}}
  dense: {{count: {{int: [0, 2]}}, all: {{choice: [8, 16]}}}}
train: {{learning_rate: {{log: [0.0001, 0.01]}}}}
{extra}
"""
VALUES = {
    "model.blocks.count": 2, "model.blocks.all.dropout": 0.25,
    "model.blocks.0.filters": 4, "model.blocks.0.kernel": 3,
    "model.blocks.1.filters": 8, "model.blocks.1.kernel": 9,
    "model.blocks.2.filters": 8, "model.blocks.2.kernel": 5,
    "model.blocks.pool.at": -2, "model.blocks.pool.size": 3,
    "model.dense.count": 2, "model.dense.all": 16, "train.learning_rate": 0.002,
}  # fmt: skip


def load(tmp_path, text: str) -> space.Space:
    path = tmp_path / "search.yaml"
    path.write_text(text)
    return space.load(path)


def small(tmp_path, extra: str = "") -> space.Space:
    return load(tmp_path, SMALL.format(extra=extra))


def draw(value_range: template.Range, rng) -> template.Value:
    if value_range.kind == "choice":
        return value_range.values[rng.integers(len(value_range.values))]
    if value_range.kind == "int":
        return int(
            rng.integers(0, (value_range.high - value_range.low) // value_range.step + 1)
            * value_range.step
            + value_range.low
        )
    return float(rng.uniform(value_range.low, value_range.high))


def test_values_make_a_recipe_and_its_network(tmp_path):
    search_space = small(tmp_path)
    assert set(search_space.ranges) == set(VALUES)
    settings = search_space.to_recipe(VALUES)
    first, second = settings.model.blocks
    assert first == recipe.BlockConfig(4, 3, 0.25, recipe.PoolConfig(3, 2))
    assert second == recipe.BlockConfig(8, 9, 0.25)
    assert settings.model.dense == (16, 16) and settings.train.learning_rate == 0.002
    network = rescnn.from_recipe(settings)
    assert settings.expect.parameters == rescnn.count_trainable(network)
    assert recipe.parse(recipe.dump(settings), source="best.yaml") == settings


def test_values_beyond_the_end_of_a_list_are_not_used(tmp_path):
    search_space = small(tmp_path)
    active = search_space.active(VALUES)
    assert set(VALUES) - set(active) == {"model.blocks.2.filters", "model.blocks.2.kernel"}
    assert set(search_space.active(VALUES | {"model.blocks.count": 3})) == set(VALUES)


@pytest.mark.parametrize("name", ["original", "small", "mini"])
def test_the_shipped_space_contains_the_published_networks(name):
    search_space = space.load("search")
    assert search_space.search.start_from == ("original", "small", "mini")
    values, expected = search_space.from_recipe(name), recipe.load(name)
    settings = search_space.to_recipe(values)
    assert (settings.model, settings.data) == (expected.model, expected.data)
    assert settings.expect == expected.expect
    for key in ("loss", "optimizer", "learning_rate", "weight_decay", "schedule", "batch_size"):
        assert getattr(settings.train, key) == getattr(expected.train, key), key


def test_the_shipped_space_covers_what_the_authors_searched():
    keys = set(space.load("search").ranges)
    assert keys >= {
        "train.batch_size", "train.learning_rate", "train.weight_decay", "train.loss",
        "train.optimizer", "train.schedule", "data.encoding", "model.blocks.count",
        "model.blocks.0.kernel", "model.blocks.0.filters", "model.blocks.0.dropout",
        "model.blocks.pool.at", "model.dense.count",
    }  # fmt: skip
    assert -2 in space.load("search").ranges["model.blocks.pool.at"]


def test_random_values_make_a_network_of_the_stated_size_or_are_refused():
    search_space, rng, count = space.load("search"), np.random.default_rng(1), 0
    for _ in range(300):
        values = {key: draw(value_range, rng) for key, value_range in search_space.ranges.items()}
        assert all(value in search_space.ranges[key] for key, value in values.items())
        try:
            settings = search_space.to_recipe(values)
        except errors.UserError as error:
            assert any(word in str(error) for word in ("residual", "parameters", "left", "blocks"))
            continue
        count += 1
        assert settings.expect.parameters <= 20_000_000
        if count <= 5:
            assert (
                rescnn.count_trainable(rescnn.from_recipe(settings)) == settings.expect.parameters
            )
    assert count > 50


def test_a_recipe_without_ranges_and_a_start_outside_are_refused(tmp_path):
    with pytest.raises(errors.UserError, match="no range in it"):
        load(tmp_path, recipe.dump(recipe.load("smoke")))
    text = SMALL.format(extra="").replace("max_parameters: 100000", "start_from: [mini]")
    with pytest.raises(errors.UserError, match="start_from mini has model.blocks.count 6"):
        load(tmp_path, text)
    with pytest.raises(errors.UserError, match="max_parameters is 100,000"):
        small(tmp_path).to_recipe(VALUES | {"model.dense.all": 10**6})


def test_fit_refuses_a_search_recipe():
    with pytest.raises(errors.UserError, match="is a search recipe"):
        recipe.load("search")
    assert "search" not in recipe.shipped_files()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch", "."], "no such recipe file"),
        (["smoke", "."], "no range in it"),
        (["search", "nowhere"], "there is no such folder"),
        (["search", ".", "--algorithm", "annealing"], "'annealing' is not one of"),
    ],
)
def test_bad_arguments_of_tune_are_refused_and_leave_nothing(arguments, message, tmp_path):
    words = ["tune", *arguments[:2], str(tmp_path / "out"), *arguments[2:]]
    result = click.testing.CliRunner().invoke(cli.main, words)
    assert result.exit_code in (1, 2) and message in result.output, result.output
    assert not list(tmp_path.iterdir())
