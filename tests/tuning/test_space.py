import click.testing
import numpy as np
import pytest

from camformer_tf import cli, errors, recipe
from camformer_tf.model import rescnn
from camformer_tf.tuning import space

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
{more}
"""
VALUES = {
    "model.blocks.count": 2, "model.blocks.all.dropout": 0.25,
    "model.blocks.0.filters": 4, "model.blocks.0.kernel": 3,
    "model.blocks.1.filters": 8, "model.blocks.1.kernel": 9,
    "model.blocks.2.filters": 8, "model.blocks.2.kernel": 5,
    "model.blocks.pool.at": -2, "model.blocks.pool.size": 3,
    "model.dense.count": 2, "model.dense.all": 16, "train.learning_rate": 0.002,
}  # fmt: skip


def of(tmp_path, text: str) -> space.Space:
    path = tmp_path / "search.yaml"
    path.write_text(text)
    return space.load(path)


def small(tmp_path, more: str = "") -> space.Space:
    return of(tmp_path, SMALL.format(more=more))


def drawn(one: space.Range, rng) -> space.Value:
    if one.kind == "choice":
        return one.values[rng.integers(len(one.values))]
    if one.kind == "int":
        return int(rng.integers(0, (one.high - one.low) // one.step + 1) * one.step + one.low)
    return float(rng.uniform(one.low, one.high))


def test_values_make_the_recipe_that_they_say(tmp_path):
    found = small(tmp_path)
    assert set(found.ranges) == set(VALUES)
    made = found.recipe(VALUES)
    first, second = made.model.blocks
    assert first == recipe.BlockConfig(4, 3, 0.25, recipe.PoolConfig(3, 2))
    assert second == recipe.BlockConfig(8, 9, 0.25)
    assert made.model.dense == (16, 16) and made.train.learning_rate == 0.002
    built = rescnn.from_recipe(made)
    assert made.expect.parameters == rescnn.count_trainable(built)
    assert recipe.parse(recipe.dump(made), source="best.yaml") == made


def test_values_beyond_the_end_of_a_list_do_not_count(tmp_path):
    found = small(tmp_path)
    active = found.active(VALUES)
    assert set(VALUES) - set(active) == {"model.blocks.2.filters", "model.blocks.2.kernel"}
    assert set(found.active(VALUES | {"model.blocks.count": 3})) == set(VALUES)


@pytest.mark.parametrize("name", ["original", "small", "mini"])
def test_the_shipped_space_holds_the_published_networks(name):
    shipped = space.load("search")
    assert shipped.search.start_from == ("original", "small", "mini")
    values, wanted = shipped.values(name), recipe.load(name)
    made = shipped.recipe(values)
    assert (made.model, made.data, made.expect) == (wanted.model, wanted.data, wanted.expect)
    for key in ("loss", "optimizer", "learning_rate", "weight_decay", "schedule", "batch_size"):
        assert getattr(made.train, key) == getattr(wanted.train, key), key


def test_the_shipped_space_covers_what_the_authors_searched():
    keys = set(space.load("search").ranges)
    assert keys >= {
        "train.batch_size", "train.learning_rate", "train.weight_decay", "train.loss",
        "train.optimizer", "train.schedule", "data.encoding", "model.blocks.count",
        "model.blocks.0.kernel", "model.blocks.0.filters", "model.blocks.0.dropout",
        "model.blocks.pool.at", "model.dense.count",
    }  # fmt: skip
    assert -2 in space.load("search").ranges["model.blocks.pool.at"]


def test_what_is_drawn_is_a_network_of_the_said_size_or_refused():
    shipped, rng, made = space.load("search"), np.random.default_rng(1), 0
    for _ in range(300):
        values = {key: drawn(one, rng) for key, one in shipped.ranges.items()}
        assert all(value in shipped.ranges[key] for key, value in values.items())
        try:
            found = shipped.recipe(values)
        except errors.UserError as error:
            assert any(word in str(error) for word in ("residual", "parameters", "left", "blocks"))
            continue
        made += 1
        assert found.expect.parameters <= 20_000_000
        if made <= 5:
            assert rescnn.count_trainable(rescnn.from_recipe(found)) == found.expect.parameters
    assert made > 50


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("data: {encoding: {choice: []}}", "data.encoding: the range choice is empty"),
        ("data: {max_n: {int: [3, 1]}}", r"data.max_n: the range int \[3, 1\] holds no number"),
        ("data: {max_n: {int: [1.5, 3]}}", "data.max_n: expected int"),
        ("data: {max_n: {float: [1, 3]}}", "data.max_n: expected a whole number"),
        ("data: {encoding: {choice: [onehot, twohot]}}", "data.encoding: expected one of .*twohot"),
        ("data: {encodign: {choice: [onehot]}}", "unknown key data.encodign. Did you mean"),
        ("tricks: {shift: {log: [0, 1]}}", r"the range log \[0, 1\] holds no number"),
        ("tricks: {shift: {int: [1]}}", r"expected int: \[low, high\]"),
        ("tricks: {flanks: {count: 2, some: 1}}", "count, each, all and pool, found some"),
        ("tricks: {flanks: {count: x, each: 1}}", "flanks.count: expected whole numbers"),
    ],
)
def test_what_is_no_space_is_refused_by_name(tmp_path, more, message):
    with pytest.raises(errors.UserError, match=message):
        small(tmp_path, more)


def test_a_recipe_without_ranges_and_a_start_outside_are_refused(tmp_path):
    with pytest.raises(errors.UserError, match="no range in it"):
        of(tmp_path, recipe.dump(recipe.load("smoke")))
    text = SMALL.format(more="").replace("max_parameters: 100000", "start_from: [mini]")
    with pytest.raises(errors.UserError, match="start_from mini has model.blocks.count 6"):
        of(tmp_path, text)
    with pytest.raises(errors.UserError, match="max_parameters is 100,000"):
        small(tmp_path).recipe(VALUES | {"model.dense.all": 10**6})


def test_a_search_recipe_is_none_that_fit_takes():
    with pytest.raises(errors.UserError, match="is a search recipe"):
        recipe.load("search")
    assert "search" not in recipe.shipped_files()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch", "."], "no such recipe file"),
        (["smoke", "."], "no range in it"),
        (["search", "nowhere"], "is no directory"),
        (["search", ".", "--algorithm", "annealing"], "'annealing' is not one of"),
    ],
)
def test_bad_arguments_of_tune_are_told_and_leave_nothing(arguments, message, tmp_path):
    words = ["tune", *arguments[:2], str(tmp_path / "out"), *arguments[2:]]
    done = click.testing.CliRunner().invoke(cli.main, words)
    assert done.exit_code in (1, 2) and message in done.output, done.output
    assert not list(tmp_path.iterdir())
