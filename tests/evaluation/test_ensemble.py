import json
import logging

import click.testing
import numpy as np
import pytest

from camformer_tf import cli, errors, recipe, rundir
from camformer_tf.data import predictions as tables
from camformer_tf.data import records, sequence
from camformer_tf.evaluation import ensemble
from camformer_tf.model import inference, keras_file, rescnn

SETTINGS = recipe.load("smoke")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two replicates that were never trained."""
    folder = tmp_path_factory.mktemp("ensemble") / "run"
    for seed in (1, 2):
        replicate = folder / rundir.replicate(seed)
        replicate.mkdir(parents=True)
        keras_file.save(rescnn.build(SETTINGS.model, seed=seed), replicate / rundir.BEST, SETTINGS)
        (replicate / rundir.RECIPE).touch()
        (replicate / rundir.RUN).touch()
    return folder


@pytest.fixture(scope="module")
def measured(run, tmp_path_factory):
    """2,000 random sequences whose expression is what the replicates predict, on another scale and
    with noise, and a few that cannot be read."""
    rng = np.random.default_rng(8)
    letters = rng.choice(np.frombuffer(b"ACGT", np.uint8), (2000, 110))
    predictions = np.stack(
        [inference.load(path).predict_letters(letters) for path in inference.member_paths([run])]
    )
    mean = predictions.mean(axis=0)
    y = 5 + 3 * (mean - mean.mean()) / mean.std() + rng.normal(0, 0.5, 2000)
    path = tmp_path_factory.mktemp("measured") / "in.txt"
    rows = [f"{name}\t{value}\n" for name, value in zip(sequence.text(letters), y, strict=True)]
    path.write_text("".join(["ACGT\t1\n", *rows]))
    return path


def call(*arguments):
    runner = click.testing.CliRunner()
    return runner.invoke(cli.main, [str(a) for a in arguments], catch_exceptions=False)


@pytest.mark.parametrize("scale", ["affine", "isotonic"])
def test_observed_coverage_is_nominal_on_the_new_scale(run, measured, scale, caplog, tmp_path):
    out = tmp_path / "c.json"
    with caplog.at_level(logging.WARNING):
        calibration = ensemble.calibrate([run], measured, out=out, coverage=0.8, scale=scale)
    assert "1 sequence cannot be read" in caplog.text
    assert (calibration.held_out.n, calibration.band.n) == (1000, 500)
    # Of 1,000 by a band of 500: a standard error of about 0.022
    assert calibration.held_out.coverage == pytest.approx(0.8, abs=0.05)
    # Noise of 0.5: 80 % lie within 1.28 of it on both sides; that the spread of these models says
    # nothing of it makes intervals a little wider
    assert 0.9 < calibration.held_out.width / (2 * 1.28 * 0.5) < 1.5
    options = {"coverage": 0.8, "scale": scale, "out": out, "overwrite": True}
    assert ensemble.calibrate(str(run), str(measured), **options) == calibration


def test_predict_writes_the_intervals_of_a_calibrated_run(run, measured, tmp_path):
    result = call("calibrate", run, measured, "--scale", "affine", "--quiet")
    assert result.exit_code == 0, result.output
    assert "intervals of coverage 0.9 from 500 sequences, scale affine" in result.output
    result = call("predict", run, measured, tmp_path / "p.tsv", "--quiet")
    assert result.exit_code == 0, result.output
    header, unread, first, *rows = (
        line.split("\t") for line in (tmp_path / "p.tsv").read_text().splitlines()
    )
    assert header == ["sequence", "prediction", "expression", "spread", "lower", "upper", "reason"]
    assert unread[3:6] == ["", "", ""] and unread[6].startswith("length 4")
    is_inside = [float(r[4]) <= float(r[2]) <= float(r[5]) for r in [first, *rows]]
    assert np.mean(is_inside) == pytest.approx(0.9, abs=0.03)
    table = tables.read(tmp_path / "p.tsv")
    assert np.nanmean(table.prediction) == pytest.approx(5, abs=0.2)
    result = call("calibrate", run, measured, "--quiet")
    assert result.exit_code == 1 and "exists already" in result.output
    values = json.loads((run / rundir.CALIBRATION).read_text())
    assert len(values["members"]) == 2 and values["scale"]["kind"] == "affine"
    result = call("calibrate", run, measured, "--quiet", "--overwrite")
    assert result.exit_code == 0
    assert json.loads((run / rundir.CALIBRATION).read_text())["scale"]["kind"] == "model"
    (run / rundir.CALIBRATION).unlink()


def test_one_model_has_intervals_of_one_width(run, measured, tmp_path):
    calibration = ensemble.calibrate([run / "seed-1"], measured, out=tmp_path / "c.json")
    widths = {round(tenth.width, 9) for tenth in calibration.deciles}
    assert len(widths) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A" * 110 + "\n", "has no expressions to calibrate with"),
        ("A" * 110 + "\thigh\n", "sequence 1 has the expression 'high'"),
        ("ACGT\t1\n", "no sequence to calibrate with"),
        ("A" * 110 + "\t1\n", "1 measured sequence is too few to be split"),
        (("A" * 110 + "\t1\n") * 8, "4 examples are too few for a coverage of 0.9"),
    ],
)
def test_sequences_that_cannot_calibrate_are_refused(run, tmp_path, text, message):
    (tmp_path / "in.txt").write_text(text)
    with pytest.raises(errors.UserError, match=message):
        ensemble.calibrate([run], tmp_path / "in.txt")
    assert not (run / rundir.CALIBRATION).exists()


def test_several_models_need_the_name_of_a_file(run, measured):
    result = call("calibrate", run / "seed-1", run / "seed-2", measured)
    assert result.exit_code == 2 and "Name the file to write" in result.output
    with pytest.raises(errors.UserError, match="Name the file to write"):
        ensemble.calibrate([run / "seed-1", run / "seed-2"], measured)


def test_records_calibrate_too(run, library, tmp_path):
    calibration = ensemble.calibrate([run], library, out=tmp_path / "c.json", split="val")
    assert calibration.held_out.n + calibration.band.n == len(
        records.read(library, "val").expression
    )
