import csv
import json

import click.testing
import pytest

from camformer_tf import cli, errors, recipe, rundir
from camformer_tf.evaluation import compare

HEADER = "epoch,train_loss,val_loss,train_pearson,val_pearson,train_spearman,val_spearman\n"


def run(path, epochs, overrides=(), *, finished=True):
    """A run whose epochs have these pairs of r and rho on the validation set."""
    path.mkdir(parents=True)
    (path / rundir.RECIPE).write_text(recipe.dump(recipe.load("smoke", overrides)))
    rows = [f"{i},1,{2 / i},0.5,{r},0.5,{rho}\n" for i, (r, rho) in enumerate(epochs, 1)]
    (path / rundir.HISTORY).write_text(HEADER + "".join(rows))
    if finished:
        told = {"parameters": 59073, "sequences_per_second": 12.5}
        (path / rundir.RUN).write_text(json.dumps(told))
    return path


@pytest.fixture
def runs(tmp_path):
    return [
        run(tmp_path / "a", [(0.5, 0.6), (0.7, 0.7)]),
        run(tmp_path / "b", [(0.8, 0.9), (0.7, 0.7)], ["train.seed=7", "model.dense=[8]"]),
        run(tmp_path / "c", [(0.6, "")], ["model.blocks.2.pool.size=8"], finished=False),
    ]


def test_the_best_run_is_first_at_its_best_epoch(runs):
    found = compare.compare(runs)
    assert [row.run for row in found.rows] == [str(runs[i]) for i in (1, 0, 2)]
    best = found.rows[0]
    assert (best.epoch, best.epochs, best.pearson, best.loss) == (1, 2, 0.8, 2.0)
    assert best.score == pytest.approx(1.7)
    assert (best.parameters, best.sequences_per_second, best.status) == (59073, 12.5, "finished")


def test_the_values_that_differ_are_named_as_set_takes_them(runs):
    found = compare.compare(runs)
    assert found.keys == ["model.blocks.2.pool.size", "model.dense", "train.seed"]
    assert [row.values["train.seed"] for row in found.rows] == [7, 42, 42]
    assert compare.compare(runs[:1]).keys == []


def test_a_run_that_is_not_finished_says_so_and_undefined_correlations_count_0(runs, tmp_path):
    row = compare.compare(runs).rows[2]
    assert (row.status, row.score, row.spearman, row.parameters) == ("unfinished", 0.6, None, None)
    empty = run(tmp_path / "d", [], finished=False)
    (empty / rundir.HISTORY).write_text("")
    row = compare.compare([empty]).rows[0]
    assert (row.status, row.epoch, row.score, row.epochs) == ("no epoch yet", None, None, 0)


def test_networks_that_differ_in_many_values_are_left_to_the_csv(runs, tmp_path):
    other = [f"model.blocks.{i}.{key}=8" for i in range(4) for key in ("filters", "kernel")]
    found = compare.compare([*runs, run(tmp_path / "e", [(0.1, 0.1)], other)])
    assert "model.blocks differs in 9 values, which --out writes" in found.summary()
    assert "blocks.0.filters" not in found.summary() and "train.seed" in found.summary()
    assert "model.blocks.0.filters" in found.table()[0]


def test_replicates_are_runs_each(tmp_path):
    for seed in (42, 7):
        run(tmp_path / "many" / rundir.replicate(seed), [(0.5, seed / 100)])
    found = compare.compare([tmp_path / "many"])
    assert [row.run[-7:] for row in found.rows] == ["seed-42", "/seed-7"]


def test_the_command_prints_the_table_and_writes_it(runs, tmp_path):
    arguments = ["compare", *map(str, runs), "--out", str(tmp_path / "t.csv")]
    done = click.testing.CliRunner().invoke(cli.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    lines = done.output.splitlines()
    keys = ["model.blocks.2.pool.size", "model.dense", "train.seed"]
    assert lines[0].split() == ["run", "r", "+", "rho", "r", "rho", "epoch", *keys]
    assert lines[1].split()[1:] == ["1.7000", "0.8000", "0.9000", "1", "10", "[8]", "7"]
    assert "(unfinished)" in lines[3]
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["train.seed"] for row in rows] == ["7", "42", "42"]
    assert rows[2]["spearman"] == "" and rows[0]["score"].startswith("1.7")


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(errors.UserError, match="is no run"):
        compare.compare([tmp_path])


def test_the_page_holds_table_and_picture_and_fetches_nothing(runs, tmp_path):
    out = tmp_path / "compare.html"
    done = click.testing.CliRunner().invoke(
        cli.main, ["compare", *map(str, runs), "--html", str(out)]
    )
    assert done.exit_code == 0, done.output
    text = out.read_text()
    assert text.count("<img") == text.count("data:image/png;base64,") == 1
    assert "http" not in text and "train.seed" in text and str(runs[1]) in text
    assert text.index(str(runs[1])) < text.index(str(runs[0])) < text.index(str(runs[2]))
    with pytest.raises(errors.UserError, match="exists already"):
        compare.save_page(compare.compare(runs), out)
