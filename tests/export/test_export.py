import json
import subprocess
import sys

import click.testing
import numpy as np
import pytest
import tensorflow as tf

from camformer_tf import cli, errors, exportdir, recipe, rundir
from camformer_tf.data import predictions, rules, sequence
from camformer_tf.export import export, golden, savedmodel
from camformer_tf.model import predict, rescnn

SETTINGS = recipe.load("smoke")
RULE = rules.Rule()


@pytest.fixture(scope="module")
def exported(saved, tmp_path_factory):
    return export.export([saved], tmp_path_factory.mktemp("out") / "exports")


@pytest.fixture(scope="module")
def ensemble(replicates, tmp_path_factory):
    return export.export([replicates], tmp_path_factory.mktemp("out") / "exports")


@pytest.fixture(scope="module")
def serve(exported):
    loaded = tf.saved_model.load(str(exported))

    def call(sequences):
        answer = loaded.signatures["serving_default"](sequence=tf.constant(sequences, tf.string))
        assert set(answer) == {"expression", "valid", "reason"}
        return answer["expression"].numpy(), answer["valid"].numpy()

    return call


def call(*arguments):
    return click.testing.CliRunner().invoke(cli.main, [str(a) for a in arguments])


def test_versions_count_up_and_are_never_overwritten(saved, exported, tmp_path):
    assert exported.name == "1"
    assert export.export([saved], tmp_path / "e", version=7).name == "7"
    assert export.export([saved], tmp_path / "e").name == "8"
    with pytest.raises(errors.UserError, match="7: exists already"):
        export.export([saved], tmp_path / "e", version=7)


def test_strings_give_the_numbers_of_predict(saved, serve, some):
    expression, valid = serve([s.lower() if i % 2 else s for i, s in enumerate(some)])
    assert valid.all() and expression.dtype == np.float32
    expected = predict.load(saved).predict(sequence.letters(some))
    np.testing.assert_allclose(expression, expected, atol=1e-5)


def test_folded_normalisation_keeps_the_predictions_of_a_trained_network(some, tmp_path):
    network = rescnn.build(SETTINGS.model)
    rng = np.random.default_rng(1)
    for variable in network.variables:  # other statistics and weights than at the start
        if variable.path.split("/")[-1] in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 2, variable.shape))
        elif variable.path.split("/")[-1] in ("beta", "moving_mean"):
            variable.assign(rng.normal(0, 0.5, variable.shape))
    predict.save(network, tmp_path / "m.keras", SETTINGS)
    folder = export.export([tmp_path / "m.keras"], tmp_path / "e")
    onehot = sequence.encode(some)
    served = tf.saved_model.load(str(folder)).signatures["onehot"](onehot=tf.constant(onehot))
    expected = network.predict(onehot, verbose=0)[:, 0]
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(served["expression"].numpy(), expected, atol=1e-5)


def test_lengths_within_the_margin_are_padded_and_cut_as_in_training(saved, serve, some):
    given = [some[0][:107], some[0] + "ACG", some[0][:109]]
    fitted = [RULE.fit_length(s.encode()).decode() for s in given]
    expression, valid = serve(given)
    assert valid.all()
    expected = predict.load(saved).predict(sequence.letters(fitted))
    np.testing.assert_allclose(expression, expected, atol=1e-5)


def test_u_is_read_as_t_and_white_space_around_is_ignored(serve, some):
    plain, _ = serve(some)
    others = [f" \t{s.replace('T', 'U').lower()}\r\n" for s in some]
    expression, valid = serve(others)
    assert valid.all()
    np.testing.assert_array_equal(expression, plain)


def test_what_cannot_be_read_is_invalid_and_not_a_number(serve, some):
    s = some[0]
    bad = ["", "ACGT", s[:106], s + "ACGT", s[:106] + "NNNN", s * 5, "é" * 55]
    bad += [s[:50] + odd + s[51:] for odd in ("X", "-", " ", "\0")]
    expression, valid = serve([*bad, s])
    assert valid.tolist() == [False] * len(bad) + [True]
    assert np.isnan(expression[:-1]).all() and np.isfinite(expression[-1])


def test_an_export_predicts_what_its_run_predicts(saved, exported, some):
    letters = sequence.letters(some)
    expected = predict.load(saved, batch_size=8).predict(letters)
    for path in (exported, exported.parent):  # a version, and the folder of versions
        np.testing.assert_allclose(predict.load(path, 8).predict(letters), expected, atol=1e-5)


def test_predict_writes_the_same_table_by_a_calibrated_ensemble_and_its_export(
    replicates, ensemble, some, tmp_path
):
    (tmp_path / "in.txt").write_text("\n".join([*some, "ACGT", some[0].lower()[:108]]))
    tables = []
    for name, model in (("members", replicates), ("export", ensemble)):
        out = tmp_path / f"{name}.tsv"
        assert predict.to_file([model], tmp_path / "in.txt", out, batch_size=8) == 22
        tables.append([line.split("\t") for line in out.read_text().splitlines()])
    ours, expected = tables
    assert ours[0] == expected[0]
    assert ours[0] == ["sequence", "prediction", "spread", "lower", "upper", "reason"]
    for column in range(len(ours[0])):
        one, other = ([row[column] for row in table[1:]] for table in tables)
        if ours[0][column] in ("sequence", "reason"):
            assert one == other
        else:
            assert one[20] == other[20] == ""
            one, other = (np.array([v or "nan" for v in each], float) for each in (one, other))
            np.testing.assert_allclose(one, other, atol=1e-5)
    assert predictions.read(tmp_path / "export.tsv").prediction[0] > 1  # on the calibrated scale


def test_onehot_gives_all_numbers_of_a_calibrated_ensemble(ensemble, some):
    signatures = tf.saved_model.load(str(ensemble)).signatures
    answer = signatures["onehot"](onehot=tf.constant(sequence.encode(some)))
    strings = signatures["serving_default"](sequence=tf.constant(some))
    assert set(answer) == {"expression", "spread", "lower", "upper"}
    for name, values in answer.items():
        assert values.dtype == tf.float32 and values.shape == (20,)
        np.testing.assert_allclose(values, strings[name], atol=1e-5)


def test_several_models_become_one(replicates, some, tmp_path):
    members = predict.members([replicates])[:2]
    done = call("export", *members, tmp_path / "e", "--version", 3)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path / 'e' / '3'}: savedmodel written\n"
    answer = predict.load(tmp_path / "e").answer(sequence.letters(some))
    each = [predict.load(path).predict(sequence.letters(some)) for path in members]
    assert set(answer) == {"expression", "spread"}
    np.testing.assert_allclose(answer["expression"], np.mean(each, axis=0), atol=1e-5)
    np.testing.assert_allclose(answer["spread"], np.std(each, axis=0, ddof=1), atol=1e-5)


def test_the_calibration_of_other_models_is_refused(replicates, saved, tmp_path):
    done = call("export", saved, tmp_path / "e", "--calibration", replicates / rundir.CALIBRATION)
    assert done.exit_code == 1 and "is of other models than these 1" in done.output
    assert not (tmp_path / "e").exists()


def test_members_of_another_encoding_or_rule_are_refused(saved, tmp_path):
    for change, told in (
        ("data.encoding=onehot_n", "its encoding is onehot_n, the first model's onehot"),
        ("data.max_n=5", "reads Rule.*Take each by itself"),
    ):
        other = recipe.load("smoke", [change])
        predict.save(rescnn.from_recipe(other), tmp_path / "other.keras", other)
        with pytest.raises(errors.UserError, match=f"other.keras: {told}"):
            export.export([saved, tmp_path / "other.keras"], tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_an_export_is_no_run(exported, tmp_path):
    with pytest.raises(errors.UserError, match="is an export already"):
        export.export([exported], tmp_path / "e")


def test_golden_predictions_are_those_of_predict_and_the_export_has_them(replicates, ensemble):
    told = json.loads((ensemble / exportdir.GOLDEN).read_text())
    assert set(told) == {"signature", "tolerance", "sequences", "answers"}
    assert told["tolerance"]["expression"] == pytest.approx(1e-5, rel=0.5)
    names = ["expression", "spread", "lower", "upper", "valid", "reason"]
    assert list(told["answers"]) == names
    loaded = [predict.load(path) for path in predict.members([replicates])]
    known = predict.calibration_of([replicates])
    again = golden.make(loaded, known, None)
    assert again.sequences == told["sequences"] and 25 <= len(again.sequences) <= 33
    assert set(told["answers"]["reason"]) == {0, 1, 2, 3}
    served = tf.saved_model.load(str(ensemble)).signatures["serving_default"]
    answer = served(sequence=tf.constant(told["sequences"]))
    for name in names:
        expected = np.array(told["answers"][name], float)  # null becomes NaN
        np.testing.assert_allclose(again.answers[name], expected, atol=1e-6)
        np.testing.assert_allclose(answer[name], expected, rtol=0, atol=told["tolerance"][name])


def test_an_export_that_is_off_is_refused_and_removed(saved, tmp_path, monkeypatch):
    write = savedmodel.write

    def wrong(folder, served):
        (network,) = served.networks
        network.variables[-1].assign(network.variables[-1] + 1e-3)
        write(folder, served)

    monkeypatch.setattr(savedmodel, "write", wrong)
    with pytest.raises(errors.UserError, match="off in 28 of 33 golden predictions: its expr"):
        export.export([saved], tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_it_loads_where_neither_camformer_tf_nor_keras_can_be_imported(exported, some, serve):
    program = (
        "import sys\n"
        "for name in ('camformer_tf', 'keras'): sys.modules[name] = None\n"
        "import tensorflow as tf\n"
        "f = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "print(float(f(sequence=tf.constant([sys.argv[2]]))['expression'][0]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(exported), some[0]],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert float(done.stdout) == pytest.approx(serve(some[:1])[0][0], abs=1e-5)


def test_without_a_model_nothing_is_written(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(errors.UserError, match=r"no best\.keras in it"):
        export.export([tmp_path / "run"], tmp_path / "e")
    assert not (tmp_path / "e").exists()
