import json
import subprocess
import sys
from pathlib import Path

import click.testing
import numpy as np
import pytest
import tensorflow as tf

from camformer_tf import cli, errors, exportdir, recipe, rundir
from camformer_tf.client import predict
from camformer_tf.data import predictions, rules, sequence
from camformer_tf.export import export, golden, savedmodel
from camformer_tf.model import inference, keras_file, rescnn

SETTINGS = recipe.load("smoke")
RULE = rules.Rule()
PROGRAMS = Path(__file__).parents[1] / "support" / "programs"


@pytest.fixture(scope="module")
def version_dir(keras_path, tmp_path_factory):
    return export.export([keras_path], tmp_path_factory.mktemp("out") / "exports")


@pytest.fixture(scope="module")
def ensemble(replicates, tmp_path_factory):
    return export.export([replicates], tmp_path_factory.mktemp("out") / "exports")


@pytest.fixture(scope="module")
def serve(version_dir):
    signatures = tf.saved_model.load(str(version_dir)).signatures

    def call(sequences):
        answer = signatures["serving_default"](sequence=tf.constant(sequences, tf.string))
        assert set(answer) == {"expression", "valid", "reason"}
        return answer["expression"].numpy(), answer["valid"].numpy()

    return call


def call(*arguments):
    return click.testing.CliRunner().invoke(cli.main, [str(a) for a in arguments])


def test_versions_count_up_and_are_not_overwritten_unasked(keras_path, version_dir, tmp_path):
    assert version_dir.name == "1"
    assert export.export([keras_path], tmp_path / "e", version=7).name == "7"
    assert export.export([keras_path], tmp_path / "e").name == "8"
    with pytest.raises(errors.UserError, match="7: exists already"):
        export.export([keras_path], tmp_path / "e", version=7)


def test_a_version_is_replaced_with_overwrite_and_only_by_a_complete_one(
    keras_path, version_dir, tmp_path, monkeypatch
):
    folder = export.export(keras_path, str(tmp_path / "e"), version=3)
    (folder / exportdir.GOLDEN).write_text("{}")  # to see that the folder is another one
    result = call("export", keras_path, tmp_path / "e", "--version", 3)
    assert result.exit_code == 1 and "3: exists already" in result.output

    def fail(*arguments):
        raise OSError("disk full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(savedmodel, "write", fail)
        export.export(keras_path, tmp_path / "e", version=3, overwrite=True)
    assert (folder / exportdir.GOLDEN).read_text() == "{}"
    result = call("export", keras_path, tmp_path / "e", "--version", 3, "--overwrite")
    assert result.exit_code == 0, result.output
    expected = (version_dir / exportdir.GOLDEN).read_text()
    assert (folder / exportdir.GOLDEN).read_text() == expected
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["3"]


def test_a_folder_that_is_not_a_version_is_never_replaced(keras_path, tmp_path):
    (tmp_path / "e" / "3").mkdir(parents=True)
    (tmp_path / "e" / "3" / "notes.txt").write_text("mine")
    with pytest.raises(errors.UserError, match="3: .*model_card.json.*not replaced"):
        export.export(keras_path, tmp_path / "e", version=3, overwrite=True)
    assert (tmp_path / "e" / "3" / "notes.txt").read_text() == "mine"


def test_strings_give_the_predictions_of_the_model(keras_path, serve, promoters):
    expression, valid = serve([s.lower() if i % 2 else s for i, s in enumerate(promoters)])
    assert valid.all() and expression.dtype == np.float32
    expected = inference.load(keras_path).predict_letters(sequence.letters(promoters))
    np.testing.assert_allclose(expression, expected, atol=1e-5)


def test_folded_normalisation_keeps_the_predictions_of_a_trained_network(promoters, tmp_path):
    network = rescnn.build(SETTINGS.model)
    rng = np.random.default_rng(1)
    for variable in network.variables:  # other statistics and weights than at the start
        if variable.path.split("/")[-1] in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 2, variable.shape))
        elif variable.path.split("/")[-1] in ("beta", "moving_mean"):
            variable.assign(rng.normal(0, 0.5, variable.shape))
    keras_file.save(network, tmp_path / "m.keras", SETTINGS)
    folder = export.export([tmp_path / "m.keras"], tmp_path / "e")
    onehot = sequence.encode(promoters)
    answer = tf.saved_model.load(str(folder)).signatures["onehot"](onehot=tf.constant(onehot))
    expected = network.predict(onehot, verbose=0)[:, 0]
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(answer["expression"].numpy(), expected, atol=1e-5)


def test_lengths_within_the_margin_are_padded_and_cut_as_in_training(keras_path, serve, promoters):
    strings = [promoters[0][:107], promoters[0] + "ACG", promoters[0][:109]]
    at_length = [RULE.fit_length(s.encode()).decode() for s in strings]
    expression, valid = serve(strings)
    assert valid.all()
    expected = inference.load(keras_path).predict_letters(sequence.letters(at_length))
    np.testing.assert_allclose(expression, expected, atol=1e-5)


def test_u_is_read_as_t_and_white_space_around_is_ignored(serve, promoters):
    plain, _ = serve(promoters)
    variants = [f" \t{s.replace('T', 'U').lower()}\r\n" for s in promoters]
    expression, valid = serve(variants)
    assert valid.all()
    np.testing.assert_array_equal(expression, plain)


def test_sequences_that_cannot_be_read_are_invalid_and_nan(serve, promoters):
    s = promoters[0]
    bad = ["", "ACGT", s[:106], s + "ACGT", s[:106] + "NNNN", s * 5, "é" * 55]
    bad += [s[:50] + letter + s[51:] for letter in ("X", "-", " ", "\0")]
    expression, valid = serve([*bad, s])
    assert valid.tolist() == [False] * len(bad) + [True]
    assert np.isnan(expression[:-1]).all() and np.isfinite(expression[-1])


def test_an_export_predicts_what_its_run_predicts(keras_path, version_dir, promoters):
    letters = sequence.letters(promoters)
    expected = inference.load(keras_path, batch_size=8).predict_letters(letters)
    for path in (version_dir, version_dir.parent):  # a version, and the folder of versions
        np.testing.assert_allclose(
            inference.load(path, batch_size=8).predict_letters(letters), expected, atol=1e-5
        )


def test_predict_writes_the_same_table_by_a_calibrated_ensemble_and_its_export(
    replicates, ensemble, promoters, tmp_path
):
    (tmp_path / "in.txt").write_text("\n".join([*promoters, "ACGT", promoters[0].lower()[:108]]))
    tables = []
    for name, model in (("members", replicates), ("export", ensemble)):
        out = tmp_path / f"{name}.tsv"
        assert predict.predict(model, tmp_path / "in.txt", out, batch_size=8) == 22
        header, *rows = (line.split("\t") for line in out.read_text().splitlines())
        tables.append(rows)
        assert header == ["sequence", "prediction", "spread", "lower", "upper", "reason"]
    for column in range(len(header)):
        values, expected = ([row[column] for row in rows] for rows in tables)
        if header[column] in ("sequence", "reason"):
            assert values == expected
        else:
            assert values[20] == expected[20] == ""
            numbers = (
                np.array([v or "nan" for v in fields], float) for fields in (values, expected)
            )
            np.testing.assert_allclose(*numbers, atol=1e-5)
    assert predictions.read(tmp_path / "export.tsv").prediction[0] > 1  # on the calibrated scale


def test_onehot_gives_all_numbers_of_a_calibrated_ensemble(ensemble, promoters):
    signatures = tf.saved_model.load(str(ensemble)).signatures
    answer = signatures["onehot"](onehot=tf.constant(sequence.encode(promoters)))
    strings = signatures["serving_default"](sequence=tf.constant(promoters))
    assert set(answer) == {"expression", "spread", "lower", "upper"}
    for name, values in answer.items():
        assert values.dtype == tf.float32 and values.shape == (20,)
        np.testing.assert_allclose(values, strings[name], atol=1e-5)


def test_several_models_become_one(replicates, promoters, tmp_path):
    members = inference.member_paths([replicates])[:2]
    result = call("export", *members, tmp_path / "e", "--version", 3)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'e' / '3'}: savedmodel written\n"
    answer = inference.load(tmp_path / "e").predict(promoters)
    expected = [
        inference.load(path).predict_letters(sequence.letters(promoters)) for path in members
    ]
    assert list(answer) == ["sequence", "prediction", "spread", "reason"]
    np.testing.assert_allclose(answer["prediction"], np.mean(expected, axis=0), atol=1e-5)
    np.testing.assert_allclose(answer["spread"], np.std(expected, axis=0, ddof=1), atol=1e-5)


def test_the_calibration_of_other_models_is_refused(replicates, keras_path, tmp_path):
    result = call(
        "export", keras_path, tmp_path / "e", "--calibration", replicates / rundir.CALIBRATION
    )
    assert result.exit_code == 1 and "is of other models than these 1" in result.output
    assert not (tmp_path / "e").exists()


def test_golden_predictions_are_those_of_the_models_and_of_the_export(replicates, ensemble):
    contents = json.loads((ensemble / exportdir.GOLDEN).read_text())
    assert set(contents) == {"signature", "tolerance", "sequences", "answers"}
    assert contents["tolerance"]["expression"] == pytest.approx(1e-5, rel=0.5)
    names = ["expression", "spread", "lower", "upper", "valid", "reason"]
    assert list(contents["answers"]) == names
    members = inference.load_members([replicates])
    calibration = inference.find_calibration([replicates])
    golden_predictions = golden.build(members, calibration, None)
    assert (
        golden_predictions.sequences == contents["sequences"]
        and 25 <= len(golden_predictions.sequences) <= 33
    )
    assert set(contents["answers"]["reason"]) == {0, 1, 2, 3}
    signature = tf.saved_model.load(str(ensemble)).signatures["serving_default"]
    answer = signature(sequence=tf.constant(contents["sequences"]))
    for name in names:
        expected = np.array(contents["answers"][name], float)  # null becomes NaN
        np.testing.assert_allclose(golden_predictions.answers[name], expected, atol=1e-6)
        np.testing.assert_allclose(answer[name], expected, rtol=0, atol=contents["tolerance"][name])


def test_an_export_whose_answers_differ_is_refused_and_removed(keras_path, tmp_path, monkeypatch):
    write = savedmodel.write

    def write_wrong(folder, model):
        (network,) = model.networks
        network.variables[-1].assign(network.variables[-1] + 1e-3)
        write(folder, model)

    monkeypatch.setattr(savedmodel, "write", write_wrong)
    with pytest.raises(errors.UserError, match="differs in 28 of 33 golden predictions: expr"):
        export.export([keras_path], tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_it_loads_where_neither_camformer_tf_nor_keras_can_be_imported(
    version_dir, promoters, serve
):
    process = subprocess.run(
        [sys.executable, PROGRAMS / "plain_tensorflow.py", version_dir, promoters[0]],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert float(process.stdout) == pytest.approx(serve(promoters[:1])[0][0], abs=1e-5)


def test_without_a_model_nothing_is_written(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(errors.UserError, match=r"no best\.keras in it"):
        export.export([tmp_path / "run"], tmp_path / "e")
    assert not (tmp_path / "e").exists()
