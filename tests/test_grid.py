import csv

import pytest

from camformer_tf import errors, grid, recipe
from camformer_tf.data import sequence
from camformer_tf.model import rescnn

# base/train_rep.py:27-31, Bornelov-lab/Camformer@feaa529: the published recipe of each size
CHOICES = {9: "original", 14: "large", 141: "small", 219: "mini"}


@pytest.mark.parametrize("run_id", CHOICES)
def test_a_published_choice_is_the_shipped_recipe_of_its_size(run_id):
    assert recipe.load(f"grid-270/{run_id}") == recipe.load(CHOICES[run_id])


def test_names_are_the_published_ones():
    # <ID>_<encoding>_<loss>_<optimizer>_<schedule>, with the words of the tables
    assert grid.run(1).name == "1_onehot_MSE_AdamW_None"
    assert grid.run(14).name == "14_onehot_Huber_AdamW_OneCycleLR"
    assert grid.run(270).name == "270_onehotWithBoth_Huber_Lion_ReduceLROnPlateau"


def test_the_runs_are_270_different_recipes():
    texts = {recipe.dump(recipe.load(f"grid-270/{run_id}")) for run_id in range(1, 271)}
    assert len(texts) == grid.RUNS == 270


def test_every_run_has_the_values_of_the_published_tables(shared_data):
    # manuscript_figures/Figure_S4/data/score_board_*.csv, Bornelov-lab/Camformer@feaa529
    folder = shared_data / "dream2022" / "published" / "grid_270"
    files = sorted(folder.glob("*.csv"))
    if not files:
        pytest.skip(f"no published tables in {folder}")
    rows = [row for file in files for row in csv.DictReader(file.open())]
    assert sorted(int(row["RunID"]) for row in rows) == list(range(1, 271))
    encodings = dict(
        zip(["onehot", "onehotWithN", "onehotWithP", "onehotWithInt", "onehotWithBoth"],
            sequence.ENCODINGS, strict=True)
    )  # fmt: skip
    schedules = {"None": "none", "OneCycleLR": "onecycle", "ReduceLROnPlateau": "plateau"}
    for row in rows:
        settings = recipe.load(f"grid-270/{row['RunID']}")
        assert settings.data.encoding == encodings[row["Seq_Enc"]]
        assert settings.train.loss == row["LossFn"].lower()
        assert settings.train.optimizer == row["Optimizer"].lower()
        assert settings.train.schedule == schedules[row["LRScheduler"]]
        assert f"{settings.expect.parameters / 1e6}M" == row["ModelSize"]


@pytest.mark.parametrize("base", ["large", "small", "mini"])
def test_the_network_of_every_size_and_encoding_has_the_expected_parameters(base):
    runs = [grid.run(run_id) for run_id in range(1, 271)]
    encodings = set()
    for run in (run for run in runs if run.base == base):
        settings = recipe.load(f"grid-270/{run.run_id}")
        if settings.data.encoding not in encodings:
            encodings.add(settings.data.encoding)
            model = rescnn.build(settings.model, channels=sequence.channels(settings.data.encoding))
            assert settings.expect.parameters == rescnn.count_trainable(model)
    assert encodings == set(sequence.ENCODINGS)


@pytest.mark.parametrize("run_id", [0, -1, 271])
def test_an_id_out_of_range_is_refused(run_id):
    with pytest.raises(errors.UserError, match="run IDs go from 1 to 270"):
        grid.run(run_id)


@pytest.mark.parametrize("name", ["grid-270/", "grid-270/x", "grid-270/-1", "grid-270/²"])
def test_a_name_without_an_id_is_refused(name):
    with pytest.raises(errors.UserError, match=f"{name}: expected grid-270/ID with an ID from 1"):
        recipe.load(name)


def test_other_names_do_not_name_a_run():
    assert grid.parse_name("large") is None and grid.parse_name("grid/14") is None
