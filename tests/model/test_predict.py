import logging
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from camformer_tf import errors, recipe, rundir
from camformer_tf.data import predictions, records, sequence
from camformer_tf.model import inference, keras_file, predict, predictors, rescnn

PRECISIONS = ("float32", "mixed_bfloat16")
SETTINGS = recipe.load("smoke", ["data.encoding=onehot_purine"])


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return rescnn.build(SETTINGS.model, channels=5)


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.keras"
    keras_file.save(network, path, SETTINGS)
    return path


@pytest.fixture
def letters() -> np.ndarray:
    return np.random.default_rng(0).choice(np.frombuffer(b"ACGTN", np.uint8), (70, 110))


def test_predictions_are_those_of_keras_on_the_encoded_sequences(network, letters):
    expected = network.predict(sequence.encode(sequence.text(letters), "onehot_purine"), verbose=0)
    ours = predictors.plain(network, "onehot_purine")(letters)
    assert ours.dtype == np.float32 and ours.shape == (70,)
    np.testing.assert_allclose(ours, expected[:, 0], atol=1e-6)  # another batch size


@pytest.mark.parametrize("batch_size", [1, 64, 70, 1000])
def test_predictions_hardly_depend_on_the_batch_size(network, letters, batch_size):
    whole = predictors.plain(network, "onehot_purine", 35)(letters)
    parts = predictors.plain(network, "onehot_purine", batch_size)(letters)
    # float32 sums in another order: 5e-7 seen between batches of 1 and 256
    np.testing.assert_allclose(parts, whole, atol=2e-6)


def test_no_sequence_gives_no_prediction(network):
    assert predictors.plain(network, "onehot_purine")(np.empty((0, 110), np.uint8)).size == 0


def test_a_saved_model_carries_its_recipe_and_loads_in_plain_keras(saved, network, letters):
    assert keras_file.load(saved).settings == SETTINGS
    assert recipe.parse(zipfile.ZipFile(saved).read("recipe.yaml").decode(), source="") == SETTINGS
    plain = keras.models.load_model(saved)
    for a, b in zip(plain.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bfloat16_predictions_are_those_of_float32_to_its_8_bits(saved, letters):
    exact, coarse = (
        inference.load(saved, batch_size=64, precision=p).predict_letters(letters)
        for p in PRECISIONS
    )
    difference = np.abs(coarse - exact).max()
    # Each of four layers rounds to 2^-9 of a value; the head mixes values of either sign.
    assert 0 < difference < 0.05 * np.abs(exact).max()


def test_an_export_predicts_in_float32_only(saved, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    with pytest.raises(errors.UserError, match="predicts in float32, found --precision mixed_b"):
        inference.load(tmp_path, precision="mixed_bfloat16")


def test_saving_again_replaces_the_file_and_leaves_no_other(network, tmp_path):
    for _ in range(2):
        keras_file.save(network, tmp_path / "m.keras", SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]


def test_a_table_has_a_row_for_every_input_row_in_order(saved, tmp_path, letters, caplog):
    good = sequence.text(letters.clip(max=ord("T")))[:3]
    good = [s.replace("N", "A") for s in good]
    rows = [good[0], "ACGT", good[1].lower(), good[2] + "X", "", good[2][:108]]
    (tmp_path / "in.txt").write_text("\n".join(rows))
    with caplog.at_level(logging.WARNING):
        count = predict.to_file(inference.load(saved), tmp_path / "in.txt", tmp_path / "out.tsv")
    table = predictions.read(tmp_path / "out.tsv")
    assert count == 5 and table.sequences == [row for row in rows if row]
    assert np.isnan(table.prediction).tolist() == [False, True, False, True, False]
    assert "2 of 5 sequences cannot be read" in caplog.text
    assert "row 2: length 4, further than 3 from 110" in caplog.text
    expected = inference.load(saved).predict_letters(
        sequence.letters([good[1], good[2][:108] + "NN"])
    )
    np.testing.assert_allclose(table.prediction[[2, 4]], expected, atol=2e-6)


def test_a_split_of_records_is_predicted_with_its_expressions(saved, library, tmp_path):
    count = predict.to_file(inference.load(saved), library, tmp_path / "out.tsv", split="val")
    table = predictions.read(tmp_path / "out.tsv")
    expected = records.read(library, "val")
    assert count == 300
    assert table.sequences == sequence.text(expected.letters)
    np.testing.assert_array_equal(table.expression.astype(np.float32), expected.expression)


def test_blocks_of_text_give_the_same_table_as_one_block(
    saved, library_text, tmp_path, monkeypatch
):
    whole = inference.load(saved, batch_size=64)
    predict.to_file(whole, library_text, tmp_path / "one.tsv")
    monkeypatch.setattr("camformer_tf.data.text._CHUNK", 10_000)
    predict.to_file(whole, library_text, tmp_path / "many.tsv")
    one, many = (predictions.read(tmp_path / name) for name in ("one.tsv", "many.tsv"))
    assert one.sequences == many.sequences
    np.testing.assert_allclose(one.prediction, many.prediction, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "source", "options", "message"),
    [
        ("absent", "in.txt", {}, "absent: no such file or directory"),
        (".", "in.txt", {}, f"there is no {rundir.BEST} in it"),
        ("in.txt", "in.txt", {}, "not a model of camformer_tf"),
        ("saved", "absent.txt", {}, "absent.txt: no such file"),
        ("saved", "empty.txt", {}, "no sequence to predict"),
        ("saved", "in.txt", {"keys": Path("k.json")}, "keys are for dream-json alone, not for tsv"),
        ("saved", "library", {"columns": {"sequence": "s"}}, "columns are for a table"),
        ("saved", "in.txt", {"split": "val"}, "--split is for a records directory"),
        ("saved", "library", {}, "--split, one of train, val"),
        ("saved", "library", {"split": "test"}, "has no split 'test'"),
    ],
)
def test_a_mistake_is_named_and_leaves_no_table(
    saved, library, tmp_path, name, source, options, message
):
    (tmp_path / "in.txt").write_text("A" * 110 + "\n")
    (tmp_path / "empty.txt").write_text("\n")
    out = tmp_path / "out.tsv"
    with pytest.raises(errors.UserError, match=message):
        predict.to_file(
            inference.load(saved if name == "saved" else tmp_path / name),
            library if source == "library" else tmp_path / source,
            out,
            **options,
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty.txt", "in.txt"]


def test_a_table_that_is_there_is_not_replaced(saved, library_text, tmp_path):
    (tmp_path / "out.tsv").write_text("mine")
    with pytest.raises(errors.UserError, match="exists already"):
        predict.to_file(inference.load(saved), library_text, tmp_path / "out.tsv")
    assert (tmp_path / "out.tsv").read_text() == "mine"


def test_several_models_give_the_mean_and_its_spread(saved, library, tmp_path):
    others = [saved]
    for seed in (2, 3):
        others.append(tmp_path / f"{seed}.keras")
        other = rescnn.build(SETTINGS.model, channels=5, seed=seed)
        keras_file.save(other, others[-1], SETTINGS)
    predict.to_file(inference.load(others), library, tmp_path / "out.tsv", split="val")
    each = [
        inference.load(path).predict_letters(records.read(library, "val").letters)
        for path in others
    ]
    lines = [line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines()]
    assert lines[0] == ["sequence", "prediction", "expression", "spread"]
    found = np.array([[float(row[1]), float(row[3])] for row in lines[1:]])
    np.testing.assert_allclose(found[:, 0], np.mean(each, axis=0), rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], np.std(each, axis=0, ddof=1), atol=1e-5)


def test_a_run_of_replicates_is_its_models_and_all_must_be_finished(saved, tmp_path):
    for seed in (42, 7):
        folder = tmp_path / "many" / rundir.replicate(seed)
        folder.mkdir(parents=True)
        (folder / rundir.RECIPE).touch()
        (folder / rundir.RUN).touch()
    assert [path.name for path in inference.member_paths([tmp_path / "many", saved])] == [
        "seed-42", "seed-7", saved.name
    ]  # fmt: skip
    (tmp_path / "many" / "seed-7" / rundir.RUN).unlink()
    with pytest.raises(errors.UserError, match="many: not finished: seed-7"):
        inference.member_paths([tmp_path / "many"])


def test_models_that_read_other_sequences_do_not_go_together(saved, tmp_path):
    settings = recipe.load("smoke", ["data.encoding=onehot_purine", "data.max_n=1"])
    keras_file.save(rescnn.build(settings.model, channels=5), tmp_path / "b.keras", settings)
    with pytest.raises(errors.UserError, match="b.keras: reads Rule.*Use them one by one"):
        inference.load([saved, tmp_path / "b.keras"])


def test_fasta_gives_names_and_reasons(saved, tmp_path):
    (tmp_path / "in.fa").write_text(">one\n" + "A" * 60 + "\n" + "C" * 50 + "\n>two\nACGT\n")
    predict.to_file(inference.load(saved), tmp_path / "in.fa", tmp_path / "out.tsv")
    header, one, two = (tmp_path / "out.tsv").read_text().splitlines()
    assert header.split("\t") == ["sequence", "prediction", "name", "reason"]
    assert one.startswith("A" * 60 + "C" * 50 + "\t") and one.endswith("\tone\t")
    assert two.split("\t") == ["ACGT", "", "two", "length 4, further than 3 from 110"]
