import csv
import json

import click.testing
import pandas as pd
import pytest
from support import runs as support_runs

from camformer_tf import cli, errors, recipe, rundir
from camformer_tf.evaluation import compare

HEADER = "epoch,train_loss,val_loss,train_pearson,val_pearson,train_spearman,val_spearman\n"


def run(path, epochs, overrides=(), *, is_finished=True):
    """Writes a run whose epochs have these pairs of r and rho on the validation set."""
    path.mkdir(parents=True)
    (path / rundir.RECIPE).write_text(recipe.dump(recipe.load("smoke", overrides)))
    rows = [f"{i},1,{2 / i},0.5,{r},0.5,{rho}\n" for i, (r, rho) in enumerate(epochs, 1)]
    (path / rundir.HISTORY).write_text(HEADER + "".join(rows))
    if is_finished:
        rundir.save(support_runs.run(sequences_per_second=12.5), path)
    return path


@pytest.fixture
def runs(tmp_path):
    return [
        run(tmp_path / "a", [(0.5, 0.6), (0.7, 0.7)]),
        run(tmp_path / "b", [(0.8, 0.9), (0.7, 0.7)], ["train.seed=7", "model.dense=[8]"]),
        run(tmp_path / "c", [(0.6, "")], ["model.blocks.2.pool.size=8"], is_finished=False),
    ]


def test_the_best_run_is_first_at_its_best_epoch(runs):
    comparison = compare.compare(runs)
    assert [row.run for row in comparison.rows] == [str(runs[i]) for i in (1, 0, 2)]
    best = comparison.rows[0]
    assert (best.epoch, best.epochs, best.pearson, best.loss) == (1, 2, 0.8, 2.0)
    assert best.score == pytest.approx(1.7)
    assert (best.parameters, best.sequences_per_second, best.status) == (59073, 12.5, "finished")


def test_the_values_that_differ_are_named_by_the_keys_of_set(runs):
    comparison = compare.compare(runs)
    assert comparison.keys == ["model.blocks.2.pool.size", "model.dense", "train.seed"]
    assert [row.values["train.seed"] for row in comparison.rows] == [7, 42, 42]
    assert compare.compare(runs[:1]).keys == []


def test_a_run_that_is_not_finished_says_so_and_undefined_correlations_count_0(runs, tmp_path):
    row = compare.compare(runs).rows[2]
    assert (row.status, row.score, row.spearman, row.parameters) == ("unfinished", 0.6, None, None)
    empty = run(tmp_path / "d", [], is_finished=False)
    (empty / rundir.HISTORY).write_text("")
    row = compare.compare([empty]).rows[0]
    assert (row.status, row.epoch, row.score, row.epochs) == ("no epoch yet", None, None, 0)


def test_the_summary_leaves_out_networks_that_differ_in_many_values(runs, tmp_path):
    overrides = [f"model.blocks.{i}.{key}=8" for i in range(4) for key in ("filters", "kernel")]
    comparison = compare.compare([*runs, run(tmp_path / "e", [(0.1, 0.1)], overrides)])
    assert "model.blocks differs in 9 values, which --out writes" in comparison.summary()
    assert "blocks.0.filters" not in comparison.summary() and "train.seed" in comparison.summary()
    assert "model.blocks.0.filters" in comparison.records()[0]


def test_each_replicate_counts_as_a_run(tmp_path):
    for seed in (42, 7):
        run(tmp_path / "many" / rundir.replicate(seed), [(0.5, seed / 100)])
    comparison = compare.compare([tmp_path / "many"])
    assert [row.run[-7:] for row in comparison.rows] == ["seed-42", "/seed-7"]


def test_the_command_prints_the_table_and_writes_it(runs, tmp_path):
    arguments = ["compare", *map(str, runs), "--out", str(tmp_path / "t.csv")]
    result = click.testing.CliRunner().invoke(cli.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    keys = ["model.blocks.2.pool.size", "model.dense", "train.seed"]
    assert lines[0].split() == ["run", "r", "+", "rho", "r", "rho", "epoch", *keys]
    assert lines[1].split()[1:] == ["1.7000", "0.8000", "0.9000", "1", "10", "[8]", "7"]
    assert "(unfinished)" in lines[3]
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["train.seed"] for row in rows] == ["7", "42", "42"]
    assert rows[2]["spearman"] == "" and rows[0]["score"].startswith("1.7")


def test_a_folder_that_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(errors.UserError, match="not a run"):
        compare.compare(tmp_path)


def test_the_suffix_gives_the_format_of_the_table(runs, tmp_path):
    comparison = compare.compare(runs, out=str(tmp_path / "t.json"))
    assert json.loads((tmp_path / "t.json").read_text()) == comparison.records()
    compare.compare(runs, out=tmp_path / "t.tsv")
    table = pd.read_csv(tmp_path / "t.tsv", sep="\t")
    pd.testing.assert_series_equal(table["score"], comparison.table()["score"])
    assert repr(comparison) == comparison.summary()


def test_parquet_holds_recipe_values_as_json(runs, tmp_path):
    pytest.importorskip("pyarrow")
    compare.compare(runs, out=tmp_path / "t.parquet")
    table = pd.read_parquet(tmp_path / "t.parquet")
    assert [json.loads(value) for value in table["model.dense"]] == [[8], [32], [32]]
    assert table["epochs"].tolist() == [2, 2, 1]


def test_standard_output_holds_the_table_alone(runs):
    runner = click.testing.CliRunner()
    result = runner.invoke(cli.main, ["compare", *map(str, runs), "--out", "-"])
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [row["train.seed"] for row in rows] == ["7", "42", "42"]
    result = runner.invoke(cli.main, ["compare", *map(str, runs), "--json"])
    assert json.loads(result.stdout) == compare.compare(runs).records()


def test_existing_files_stay_unless_they_may_be_replaced(runs, tmp_path):
    out, page = tmp_path / "t.csv", tmp_path / "t.html"
    page.write_text("old")
    with pytest.raises(errors.UserError, match="t.html: exists already"):
        compare.compare(runs, out=out, html=page)
    assert page.read_text() == "old" and not out.exists()
    out.write_text("old")
    compare.compare(runs, out=out, html=page, overwrite=True)
    assert out.read_text().startswith("run,") and "<img" in page.read_text()


def test_the_page_holds_table_and_picture_and_fetches_nothing(runs, tmp_path):
    out = tmp_path / "compare.html"
    result = click.testing.CliRunner().invoke(
        cli.main, ["compare", *map(str, runs), "--html", str(out)]
    )
    assert result.exit_code == 0, result.output
    text = out.read_text()
    assert text.count("<img") == text.count("data:image/png;base64,") == 1
    assert "http" not in text and "train.seed" in text and str(runs[1]) in text
    assert text.index(str(runs[1])) < text.index(str(runs[0])) < text.index(str(runs[2]))
