"""What recipes cost, as a table and one by one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from camformer_tf import cost, errors, recipe, shapes, speed

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def rates(monkeypatch):
    monkeypatch.setattr(speed, "rates", lambda: {"float32 on CPU:0": 100.0})


def test_the_table_has_every_recipe_of_the_package():
    table = cost.recipes().set_index("name")
    assert list(table.index) == list(recipe.shipped_files())
    assert table.parameters["original"] == 16_611_073
    assert table.mflop["original"] == pytest.approx(2_455, abs=1)
    assert table.description["original"].startswith("Camformer (Original), DREAM 2022: three")
    assert table.description["small"] == "Camformer Small, run 141 of the 2025 grid"


def test_the_operations_are_those_in_the_headers_of_the_recipes():
    for row in cost.recipes().itertuples():
        figure = re.search(r"([\d.]+) GFLOP forward", recipe.find(row.name).read_text())
        if figure:
            assert float(figure[1]) == pytest.approx(row.mflop / 1e3, rel=0.1)


def test_a_recipe_is_shown_with_its_costs(rates):
    recipe_cost = cost.recipes("mini", overrides=["train.epochs=2", "train.optimizer=lion"])
    assert recipe.parse(recipe_cost.text, source="") == recipe.load(
        "mini", ["train.epochs=2", "train.optimizer=lion"]
    )
    assert recipe_cost.parameters == 1_446_721
    assert recipe_cost.flop == shapes.flop(recipe.load("mini").model, 110, 5)
    assert recipe_cost.weight_bytes == 4 * (1_446_721 + 2_304)  # with the moving statistics
    assert recipe_cost.seconds_per_million == {
        "float32 on CPU:0": 3 * recipe_cost.flop * 1e6 / 0.8 / 1e11
    }
    for word in ("1,446,721", "226.9 MFLOP", "5.5 MiB", "float32 on CPU:0"):
        assert word in recipe_cost.summary() and word in repr(recipe_cost)


def test_training_memory_is_counted_by_hand(rates, tmp_path):
    (tmp_path / "tiny.yaml").write_text(
        "data: {length: 10}\n"
        "model: {residual: true, padding: same, dense: [7], blocks: "
        "[{filters: 2, kernel: 3, pool: {size: 2, stride: 2}}, {filters: 2, kernel: 1}]}\n"
        "train: {batch_size: 5}\n"
    )
    recipe_cost = cost.recipes(tmp_path / "tiny.yaml")
    parameters = (12 + 3) * 2 + (2 + 3) * 2 + (10 + 1) * 7 + (7 + 1)
    variables = parameters + 2 * 2 + 2 * 2
    block_1 = 2 * 10 * 2 + 2 * 5 * 2  # convolution, normalisation; pooling, ReLU
    block_2 = 2 * 5 * 2 + 5 * 2 + 5 * 2  # and the addition
    batch = 10 * 4 + block_1 + block_2 + 2 * 7 + 2 * 1
    assert recipe_cost.parameters == parameters
    assert recipe_cost.training_bytes == 4 * (
        variables + 3 * parameters + 5 * batch
    )  # gradient, AdamW


def test_an_unknown_recipe_and_layers_that_do_not_fit_are_refused():
    with pytest.raises(errors.UserError, match="Did you mean mini"):
        cost.recipes("mimi")
    with pytest.raises(errors.UserError, match="nothing is left of the sequence"):
        cost.recipes("mini", overrides=["data.length=1", "model.padding=0"])


def test_the_table_needs_no_tensorflow():
    program = "import sys, camformer_tf as cf; cf.recipes(); print('tensorflow' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert process.stdout.strip() == "False", process.stderr
