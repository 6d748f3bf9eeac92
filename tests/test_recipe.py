import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camformer_tf import errors, recipe

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
MINIMAL = "model: {blocks: [{filters: 8, kernel: 3}]}\n"


def parse(text: str, *overrides: str) -> recipe.Recipe:
    return recipe.parse(text, source="my.yaml", overrides=overrides)


def refusal(text: str, *overrides: str) -> str:
    with pytest.raises(errors.UserError) as info:
        parse(text, *overrides)
    return str(info.value)


# --- shipped recipes ---


@pytest.mark.parametrize(
    "path", sorted(recipe.shipped_files().values()), ids=lambda path: path.stem
)
def test_every_shipped_recipe_is_found_by_name_and_loads(path):
    assert recipe.find(path.stem) == path
    assert recipe.load(path.stem) == recipe.load(path)


def test_every_file_of_configs_is_shipped():
    assert {*recipe.shipped_files(), recipe.SEARCH} == {path.stem for path in CONFIGS.iterdir()}
    assert {"original", "small", "mini", "smoke"} <= set(recipe.shipped_files())


@pytest.mark.parametrize("name", sorted(recipe.shipped_files()))
def test_every_shipped_recipe_has_a_header_with_command_cost_result_and_source(name):
    header = recipe.find(name).read_text().split("schema:")[0]
    for entry in (f"# Run:    camformer-tf fit {name} ", "# Expect: ", "# Cost:   ", "# Source: "):
        assert entry in header


@pytest.mark.parametrize("name", sorted(recipe.shipped_files()))
def test_every_shipped_recipe_is_read_back_from_its_dump(name):
    settings = recipe.load(name)
    assert parse(recipe.dump(settings)) == settings


def test_original_has_the_rules_of_the_2022_submission():
    # script:58-83, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69
    settings = recipe.load("original")
    data, train = settings.data, settings.train
    assert (data.encoding, data.length, data.length_margin, data.max_n) == ("onehot", 110, 3, 3)
    assert (train.loss, train.learning_rate, train.weight_decay) == ("l1", 0.001, 0.001)
    assert (train.batch_size, train.epochs, train.patience, train.seed) == (256, 50, 10, 42)
    assert [(b.filters, b.kernel, b.dropout) for b in settings.model.blocks] == [(512, 10, 0.3)] * 6
    pools = [block.pool for block in settings.model.blocks]
    assert pools == [None, None, None, None, recipe.PoolConfig(10, 4), None]


# --- reading ---


def test_every_key_but_the_blocks_has_a_default():
    blocks = (recipe.BlockConfig(filters=8, kernel=3),)
    assert parse(MINIMAL) == recipe.Recipe(model=recipe.ModelConfig(blocks))


def test_defaults_are_those_of_the_2022_submission():
    original = recipe.load("original")
    assert parse(MINIMAL).data == original.data and parse(MINIMAL).train == original.train


def test_an_unknown_key_is_refused_with_a_suggestion():
    message = refusal(MINIMAL + "train: {epoch: 3}")
    assert message == "my.yaml: unknown key train.epoch. Did you mean train.epochs?"


def test_an_unknown_key_within_a_list_is_named_with_its_place():
    message = refusal("model: {blocks: [{filters: 8, kernel: 3, pol: {size: 5}}]}")
    assert message == "my.yaml: unknown key model.blocks.0.pol. Did you mean model.blocks.0.pool?"


@pytest.mark.parametrize(
    "text, key",
    [
        ("data: {}", "model"),
        ("model: {}", "model.blocks"),
        ("model: {blocks: [{filters: 8}]}", "model.blocks.0.kernel"),
        (
            "model: {blocks: [{filters: 8, kernel: 3, pool: {size: 2}}]}",
            "model.blocks.0.pool.stride",
        ),
    ],
)
def test_a_missing_key_is_named(text, key):
    assert refusal(text) == f"my.yaml: the key {key} is missing and has no default."


@pytest.mark.parametrize(
    "text, key, line",
    [
        (MINIMAL + MINIMAL, "model", 1),
        (MINIMAL + "train:\n  epochs: 3\n  seed: 1\n  epochs: 4\n", "epochs", 3),
        ("model: {blocks: [{filters: 8, kernel: 3, filters: 9}]}", "filters", 1),
    ],
)
def test_a_repeated_key_is_refused(text, key, line):
    message = refusal(text)
    assert f"the key '{key}' is repeated in the section at line {line}" in message


WRONG = {
    "learning_rate: 1e-3": "expected a number, found '1e-3'. YAML reads 1e-3 as text: write 0.001.",
    "learning_rate: .nan": "expected a number, found nan.",
    "learning_rate: .inf": "expected a number, found inf.",
    "learning_rate: 0": "expected a number above 0, found 0.",
    "learning_rate: true": "expected a number, found True.",
    "weight_decay: -0.1": "expected a number at least 0, found -0.1.",
    "epochs: true": "expected a whole number, found True.",
    "epochs: on": "expected a whole number, found True.",
    "epochs: 1.5": "expected a whole number, found 1.5.",
    "epochs: 0": "expected a number at least 1, found 0.",
    "epochs: ten": "expected a whole number, found 'ten'.",
    "epochs:": "expected a whole number, found None.",
    "epochs: [3]": "expected a whole number, found [3].",
    "seed: -1": "expected a number at least 0, found -1.",
    "loss: L1": "expected one of l1, mse, huber, found 'L1'.",
    "loss: 1": "expected one of l1, mse, huber, found 1.",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_value_is_refused_by_name(line):
    key = line.split(":")[0]
    assert refusal(MINIMAL + f"train:\n  {line}\n") == f"my.yaml: train.{key}: {WRONG[line]}"


@pytest.mark.parametrize("rate", ["1", "1.0", "-0.1"])
def test_a_dropout_that_leaves_nothing_is_refused(rate):
    message = refusal(f"model: {{blocks: [{{filters: 8, kernel: 3, dropout: {rate}}}]}}")
    assert "model.blocks.0.dropout: expected a number at least 0 and below 1" in message


@pytest.mark.parametrize(
    "text", ["model: [", "a: b: c", "\tmodel: 3", "&a", "*a", "!!python/object:os.system {}", "\0"]
)
def test_what_is_not_yaml_is_refused(text):
    assert refusal(text).startswith("my.yaml: ")


def test_a_value_that_yaml_cannot_make_is_refused():
    # PyYAML reads it as a date and raises a plain ValueError.
    assert "not a YAML recipe: month must be in 1..12" in refusal("schema: 2001-99-99")


@pytest.mark.parametrize(
    "text, kind", [("", "nothing"), ("# nothing\n", "nothing"), ("- 1", "list"), ("hello", "str")]
)
def test_a_file_without_sections_is_refused(text, kind):
    assert refusal(text).endswith(
        f"the sections data, model, train, tricks and expect, found {kind}."
    )


@pytest.mark.parametrize("body", [MINIMAL, MINIMAL + "distil: {teacher: original}\n"])
def test_a_schema_of_another_version_is_refused_before_its_unknown_keys(body):
    message = refusal("schema: 2\n" + body)
    assert message.startswith("my.yaml: schema is 2, but this version of camformer_tf reads")


def test_a_schema_that_is_not_a_number_is_refused():
    message = refusal('schema: "1"\n' + MINIMAL)
    assert "schema: expected a whole number, found '1'" in message


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", "folder"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "my.yaml"
    if content == "folder":
        path.mkdir()
    elif content:
        path.write_bytes(content)
    with pytest.raises(errors.UserError, match=re.escape(str(path))):
        recipe.load(path)


# --- dump ---


def test_a_dump_holds_every_value():
    text = recipe.dump(parse(MINIMAL))
    for key in ("schema: 1", "length_margin: 3", "pool: null", "padding: same", "patience: 10"):
        assert key in text
    for key in ("quantile_targets: false", "target_noise: 0.0", "times: 1", "add_left: ''"):
        assert key in text


@given(
    rate=st.floats(1e-300, 1e300),
    decay=st.floats(0, 1e300),
    dropout=st.floats(0, 1, exclude_max=True),
    padding=st.just("same") | st.integers(0, 99),
    pool=st.none() | st.builds(recipe.PoolConfig, st.integers(1, 99), st.integers(1, 99)),
    dense=st.lists(st.integers(1, 9999)).map(tuple),
    below=st.floats(0, 1),
    letters=st.text("ACGTN", max_size=5),
)
def test_every_recipe_is_read_back_from_its_dump(
    rate, decay, dropout, padding, pool, dense, below, letters
):
    blocks = (recipe.BlockConfig(8, 3, dropout, pool),) * 2
    settings = recipe.Recipe(
        model=recipe.ModelConfig(blocks, padding=padding, dense=dense),
        train=recipe.TrainConfig(learning_rate=rate, weight_decay=decay),
        tricks=recipe.TricksConfig(
            tails=recipe.TailsConfig(below=below, times=3),
            flanks=recipe.FlanksConfig(add_right=letters),
        ),
    )
    assert parse(recipe.dump(settings)) == settings


# --- overrides ---


def test_an_override_replaces_one_value():
    original = recipe.load("original")
    settings = recipe.load("original", ["train.epochs=2", "data.encoding=onehot_purine"])
    assert (settings.train.epochs, settings.data.encoding) == (2, "onehot_purine")
    assert settings.model == original.model


def test_the_last_override_of_a_key_is_used():
    assert parse(MINIMAL, "train.epochs=2", "train.epochs=3").train.epochs == 3


def test_an_override_reaches_into_lists():
    settings = recipe.load("original", ["model.blocks.4.pool.size=5"])
    assert settings.model.blocks[4].pool == recipe.PoolConfig(5, 4)


def test_an_override_may_be_a_list_or_null():
    settings = recipe.load("original", ["model.dense=[8, 9]", "model.blocks.4.pool=null"])
    assert settings.model.dense == (8, 9) and settings.model.blocks[4].pool is None


@pytest.mark.parametrize("text", [MINIMAL, MINIMAL + "train:\n"])
def test_an_override_adds_a_missing_section(text):
    assert parse(text, "train.epochs=2").train.epochs == 2


def test_an_override_adds_a_missing_inner_section():
    settings = parse(MINIMAL, "model.blocks.0.pool.size=5", "model.blocks.0.pool.stride=2")
    assert settings.model.blocks[0].pool == recipe.PoolConfig(5, 2)


def test_an_override_may_hold_an_equals_sign():
    assert "found 'a=b'" in refusal(MINIMAL, "train.loss=a=b")


@pytest.mark.parametrize("index", ["1", "99", "-1", "first", "1.5", "²"])
def test_an_index_outside_a_list_is_refused(index):
    message = refusal(MINIMAL, f"model.blocks.{index}=3")
    assert message.startswith(f"--set model.blocks.{index}=3: expected a number below 1 in place")


def test_a_key_of_a_single_value_is_refused():
    message = refusal(MINIMAL, "model.blocks.0.filters.size=3")
    assert message.endswith("there is no key 'size' in 8, which is a single value.")


@pytest.mark.parametrize("override", ["train.epochs", "=3", "", "="])
def test_an_override_without_key_and_value_is_refused(override):
    assert refusal(MINIMAL, override).startswith(f"--set {override}: expected key=value, such as")


@pytest.mark.parametrize("value", ["[", "2001-99-99", "=", "{a: 1, a: 2}"])
def test_an_override_whose_value_is_not_yaml_is_refused(value):
    message = refusal(MINIMAL, f"train.epochs={value}")
    assert message.startswith(f"--set train.epochs={value}: the value is not YAML: ")


def test_an_override_is_checked_as_the_file_is():
    assert "train.epochs: expected a whole number, found 1.5." in refusal(
        MINIMAL, "train.epochs=1.5"
    )
    assert "Did you mean train.epochs?" in refusal(MINIMAL, "train.epoch=1")


# --- the grid ---


def test_a_run_of_the_grid_is_a_recipe_that_overrides_may_change():
    settings = recipe.load("grid-270/141", ["train.epochs=2", "data.encoding=onehot"])
    assert (settings.train.epochs, settings.data.encoding) == (2, "onehot")
    assert recipe.load("grid-270/141") == recipe.load("small")


def test_a_file_with_the_name_of_a_shipped_recipe_does_not_change_the_grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("large").write_text(MINIMAL)
    assert len(recipe.load("grid-270/14").model.blocks) == 6


# --- seeds and names ---


@pytest.mark.parametrize(
    "seed, name, expected", [(42, "order", 1568186220), (42, "split", 1722977622)]
)
def test_a_sub_seed_never_changes(seed, name, expected):
    assert recipe.sub_seed(seed, name) == expected


@given(st.integers(0), st.text())
def test_a_sub_seed_is_the_first_31_bits_of_sha256(seed, name):
    try:
        digest = hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()
    except UnicodeEncodeError:
        return
    expected = int("".join(digest[i : i + 2] for i in (6, 4, 2, 0)), 16) // 2
    assert recipe.sub_seed(seed, name) == expected < 2**31


def test_a_sub_seed_differs_by_name_and_by_seed():
    seeds = {recipe.sub_seed(seed, name) for seed in range(100) for name in ("order", "split")}
    assert len(seeds) == 200


def test_a_path_takes_precedence_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("smoke").write_text(MINIMAL)
    assert recipe.load("smoke") == parse(MINIMAL)


def test_a_misspelt_name_is_refused_with_the_nearest_one():
    with pytest.raises(errors.UserError, match="orignal: no such .*Did you mean original.*Shipped"):
        recipe.find("orignal")


def test_an_unknown_name_is_refused_with_all_names():
    with pytest.raises(
        errors.UserError,
        match="Shipped: .*mini, original, small, smoke, and grid-270/1 to grid-270/270.",
    ) as info:
        recipe.find("zzz.yaml")
    assert "Did you mean" not in str(info.value)


def test_choices_are_the_words_of_a_key():
    assert recipe.choices(recipe.TrainConfig, "loss") == ("l1", "mse", "huber")
