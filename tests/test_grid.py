import csv

import pytest

from camformer_tf import errors, grid, recipe
from camformer_tf.data import sequence
from camformer_tf.model import rescnn

# base/train_rep.py:27-31, Bornelov-lab/Camformer@feaa529: the published choice for each size
PUBLISHED = {9: "original", 14: "large", 141: "small", 219: "mini"}


@pytest.mark.parametrize("run_id", PUBLISHED)
def test_a_published_choice_is_the_shipped_recipe_of_its_size(run_id):
    assert recipe.load(f"grid-270/{run_id}") == recipe.load(PUBLISHED[run_id])


def test_names_are_the_published_ones():
    # the form <ID>_<encoding>_<loss>_<optimiser>_<schedule>, with the words of the tables
    assert grid.run(1).name == "1_onehot_MSE_AdamW_None"
    assert grid.run(14).name == "14_onehot_Huber_AdamW_OneCycleLR"
    assert grid.run(270).name == "270_onehotWithBoth_Huber_Lion_ReduceLROnPlateau"


def test_the_runs_are_270_different_recipes():
    made = {recipe.dump(recipe.load(f"grid-270/{run_id}")) for run_id in range(1, 271)}
    assert len(made) == grid.RUNS == 270


def test_every_run_is_that_of_the_published_tables(shared_data):
    # manuscript_figures/Figure_S4/data/score_board_*.csv, Bornelov-lab/Camformer@feaa529
    folder = shared_data / "dream2022" / "published" / "grid_270"
    files = sorted(folder.glob("*.csv"))
    if not files:
        pytest.skip(f"the published tables are not here: {folder}")
    rows = [row for file in files for row in csv.DictReader(file.open())]
    assert sorted(int(row["RunID"]) for row in rows) == list(range(1, 271))
    encodings = dict(
        zip(["onehot", "onehotWithN", "onehotWithP", "onehotWithInt", "onehotWithBoth"],
            sequence.ENCODINGS, strict=True)
    )  # fmt: skip
    schedules = {"None": "none", "OneCycleLR": "onecycle", "ReduceLROnPlateau": "plateau"}
    for row in rows:
        made = recipe.load(f"grid-270/{row['RunID']}")
        assert made.data.encoding == encodings[row["Seq_Enc"]]
        assert made.train.loss == row["LossFn"].lower()
        assert made.train.optimizer == row["Optimizer"].lower()
        assert made.train.schedule == schedules[row["LRScheduler"]]
        assert f"{made.expect.parameters / 1e6}M" == row["ModelSize"]


@pytest.mark.parametrize("base", ["large", "small", "mini"])
def test_the_network_of_every_size_and_encoding_has_the_expected_parameters(base):
    runs = [grid.run(run_id) for run_id in range(1, 271)]
    seen = set()
    for run in (run for run in runs if run.base == base):
        made = recipe.load(f"grid-270/{run.run_id}")
        if made.data.encoding not in seen:
            seen.add(made.data.encoding)
            model = rescnn.build(made.model, channels=sequence.channels(made.data.encoding))
            assert made.expect.parameters == rescnn.count_trainable(model)
    assert seen == set(sequence.ENCODINGS)


@pytest.mark.parametrize("run_id", [0, -1, 271])
def test_an_id_outside_is_refused(run_id):
    with pytest.raises(errors.UserError, match="run IDs go from 1 to 270"):
        grid.run(run_id)


@pytest.mark.parametrize("name", ["grid-270/", "grid-270/x", "grid-270/-1", "grid-270/²"])
def test_a_name_without_an_id_is_refused(name):
    with pytest.raises(errors.UserError, match=f"{name}: expected grid-270/ID, an ID from 1"):
        recipe.load(name)


def test_other_names_are_not_of_the_grid():
    assert grid.named("large") is None and grid.named("grid/14") is None
