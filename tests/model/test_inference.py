"""The type `Model`: what it reads, what it answers, and how it refuses."""

import numpy as np
import pandas as pd
import pytest

from camformer_tf import errors, recipe, rundir
from camformer_tf.data import rules, sequence
from camformer_tf.model import calibrations, engines, inference, keras_file, rescnn

RULE = rules.Rule(length=6, length_margin=1, max_n=1)


def share_of_a(factor: float = 1.0, rule: rules.Rule = RULE) -> engines.NetworkEngine:
    """A member that predicts the share of A in a sequence, times a factor."""
    return engines.NetworkEngine(
        lambda letters: np.float32(factor) * np.float32((letters == ord("A")).mean(axis=1)), rule
    )


def test_a_table_has_a_row_for_each_sequence_and_reasons_for_those_not_read():
    table = inference.Model([share_of_a()]).predict(["AAACCC", "acgtn ", "AC", "AXCGTA", "AANNCC"])
    assert list(table) == ["sequence", "prediction", "reason"]
    assert table.sequence.tolist() == ["AAACCC", "acgtn ", "AC", "AXCGTA", "AANNCC"]
    assert table.prediction.dtype == np.float32
    np.testing.assert_allclose(table.prediction[:2], [0.5, 1 / 6], rtol=1e-6)
    assert table.prediction[2:].isna().all()
    assert table.reason[0] is None and table.reason[1] is None
    assert "length 2" in table.reason[2] and "'X'" in table.reason[3] and "2 N" in table.reason[4]


def test_strings_lists_tuples_arrays_and_series_are_read_alike():
    predictor = inference.Model([share_of_a()])
    texts = ["AAACCC", "CCCCCC"]
    series = pd.Series(texts, index=["x", "y"], name="oligo")
    sources = [
        texts,
        tuple(texts),
        np.array(texts),
        np.array(texts, object),
        np.array(texts, "S"),
        series,
    ]
    tables = [predictor.predict(source) for source in sources]
    for table in tables:
        assert table.prediction.tolist() == [0.5, 0.0]
    assert tables[-1].index.tolist() == ["x", "y"]
    assert predictor.predict("AAACCC").prediction.tolist() == [0.5]


def test_no_sequence_gives_an_empty_table_with_all_columns():
    table = inference.Model([share_of_a(), share_of_a(2)]).predict([])
    assert list(table) == ["sequence", "prediction", "spread", "reason"] and table.empty
    assert table.prediction.dtype == np.float32


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (["AAACCC", None], r"found None \(NoneType\) at position 1"),
        (pd.Series(["AAACCC", np.nan]), r"found nan \(float\) at position 1"),
        ([b"AAACCC", 7], r"found 7 \(int\) at position 1"),
        (7, "expected a string, or a list.*found int"),
        (np.zeros((2, 6), np.uint8), r"found ndarray of shape \(2, 6\)"),
        (pd.DataFrame({"sequence": ["AAACCC"]}), "found DataFrame"),
    ],
)
def test_what_is_not_a_sequence_is_named_with_its_position(source, message):
    with pytest.raises(errors.UserError, match=message):
        inference.Model([share_of_a()]).predict(source)


def test_letters_of_either_case_are_predicted_in_float32():
    letters = np.frombuffer(b"AAACCCaaNccc", np.uint8).reshape(2, 6)
    calls = []
    member = engines.NetworkEngine(lambda x: calls.append(x) or np.zeros(len(x), np.float32), RULE)
    predictions = inference.Model([member]).predict_letters(letters)
    assert predictions.dtype == np.float32 and predictions.shape == (2,)
    np.testing.assert_array_equal(calls[0], letters)
    assert inference.Model([share_of_a()]).predict_letters(letters[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("letters", "message"),
    [
        (np.full((2, 5), ord("A"), np.uint8), r"reads 6 letters, found shape \(2, 5\)"),
        (np.full((2, 6), ord("A"), np.int64), r"found int64 of shape \(2, 6\)"),
        (np.full(6, ord("A"), np.uint8), r"found uint8 of shape \(6,\)"),
        (["AAACCC"], "found list"),
        (np.frombuffer(b"AAACCCAAXCCC", np.uint8).reshape(2, 6), "'X' at sequence 1, position 2"),
        (np.full((1, 6), 193, np.uint8), "code 193 at sequence 0, position 0"),
    ],
)
def test_letters_that_cannot_be_read_are_refused_before_they_are_computed(letters, message):
    with pytest.raises(errors.UserError, match=message):
        inference.Model([share_of_a()]).predict_letters(letters)


def test_several_members_predict_their_mean_on_the_calibrated_scale(replicates, promoters):
    predictor = inference.load(replicates)
    members = [inference.load(path) for path in inference.member_paths([replicates])]
    letters = sequence.letters(promoters)
    predictions = np.stack([member.predict_letters(letters) for member in members]).astype(float)
    scale = predictor.calibration.scale
    table = predictor.predict(promoters)
    assert list(table) == ["sequence", "prediction", "spread", "lower", "upper", "reason"]
    np.testing.assert_array_equal(table.prediction, np.float32(scale(predictions.mean(axis=0))))
    np.testing.assert_array_equal(predictor.predict_letters(letters), table.prediction)
    assert (table.lower < table.upper).all() and table.reason.isna().all()


def test_the_answer_of_one_member_is_its_own(keras_path, promoters):
    predictor = inference.load(keras_path)
    table = predictor.predict(promoters)
    np.testing.assert_array_equal(
        table.prediction, predictor.predict_letters(sequence.letters(promoters))
    )


def test_repr_says_what_the_model_is(replicates, keras_path):
    alone, together = repr(inference.load(str(keras_path))), repr(inference.load([replicates]))
    assert str(keras_path) in alone and "encoding onehot, length 110, 1 member, " in alone
    assert "parameters, not calibrated" in alone
    assert "3 members" in together and "parameters each, calibrated" in together


def test_members_that_read_other_sequences_are_refused():
    with pytest.raises(errors.UserError, match="network: reads .*Use them one by one"):
        inference.Model([share_of_a(), share_of_a(rule=rules.Rule(length=7))])
    with pytest.raises(errors.UserError, match="no model"):
        inference.Model([])


def test_a_calibration_without_a_spread_still_gives_intervals():
    flat = calibrations.Scale("affine", (0.0, 1.0), (1.0, 3.0))
    band = calibrations.conformal.Band(0.9, 0.5, 1.0, 10)
    coverage = calibrations.conformal.Coverage(1, 1.0, 1.0, 0.0, 1.0)
    calibration = calibrations.Calibration(("a",), flat, band, coverage, ())
    table = inference.Model([share_of_a()], calibration).predict(["AAACCC"])
    assert list(table) == ["sequence", "prediction", "lower", "upper", "reason"]
    assert table.prediction[0] == 2.0 and table.lower[0] < 2.0 < table.upper[0]


def test_a_run_of_replicates_is_its_members_and_all_must_be_finished(keras_path, tmp_path):
    for seed in (42, 7):
        folder = tmp_path / "many" / rundir.replicate(seed)
        folder.mkdir(parents=True)
        (folder / rundir.RECIPE).touch()
        (folder / rundir.RUN).touch()
    paths = inference.member_paths([tmp_path / "many", keras_path])
    assert [path.name for path in paths] == ["seed-42", "seed-7", keras_path.name]
    (tmp_path / "many" / "seed-7" / rundir.RUN).unlink()
    with pytest.raises(errors.UserError, match="many: not finished: seed-7"):
        inference.member_paths([tmp_path / "many"])


def test_models_that_read_other_sequences_are_not_loaded_together(keras_path, tmp_path):
    settings = recipe.load("smoke", ["data.max_n=1"])
    keras_file.save(rescnn.from_recipe(settings), tmp_path / "b.keras", settings)
    with pytest.raises(errors.UserError, match="b.keras: reads Rule.*Use them one by one"):
        inference.load([keras_path, tmp_path / "b.keras"])


def test_many_sequences_are_predicted_in_parts_and_reported(monkeypatch):
    monkeypatch.setattr(inference, "_PART", 2)
    calls = []
    table = inference.Model([share_of_a()]).predict(
        ["AAACCC", "CCCCCC", "AAAAAA", "X"], report=lambda *call: calls.append(call)
    )
    assert table.prediction[:3].tolist() == [0.5, 0.0, 1.0] and table.reason.notna().sum() == 1
    assert calls == [("predicting", 2, 4), ("predicting", 4, 4)]
