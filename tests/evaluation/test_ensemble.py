import json
import logging

import click.testing
import numpy as np
import pytest

from camformer_tf import cli, errors, recipe, rundir
from camformer_tf.data import predictions, records, sequence
from camformer_tf.evaluation import ensemble
from camformer_tf.model import predict, rescnn

SETTINGS = recipe.load("smoke")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two replicates that were never trained."""
    folder = tmp_path_factory.mktemp("ensemble") / "run"
    for seed in (1, 2):
        one = folder / rundir.replicate(seed)
        one.mkdir(parents=True)
        predict.save(rescnn.build(SETTINGS.model, seed=seed), one / rundir.BEST, SETTINGS)
        (one / rundir.RECIPE).touch()
        (one / rundir.RUN).touch()
    return folder


@pytest.fixture(scope="module")
def measured(run, tmp_path_factory):
    """2,000 random sequences whose expression is what the replicates predict, on another scale and
    with noise, and a few that cannot be read."""
    rng = np.random.default_rng(8)
    letters = rng.choice(np.frombuffer(b"ACGT", np.uint8), (2000, 110))
    each = np.stack([predict.load(path).predict(letters) for path in predict.members([run])])
    mean = each.mean(axis=0)
    y = 5 + 3 * (mean - mean.mean()) / mean.std() + rng.normal(0, 0.5, 2000)
    path = tmp_path_factory.mktemp("measured") / "in.txt"
    rows = [f"{name}\t{value}\n" for name, value in zip(sequence.text(letters), y, strict=True)]
    path.write_text("".join(["ACGT\t1\n", *rows]))
    return path


def call(*arguments):
    runner = click.testing.CliRunner()
    return runner.invoke(cli.main, [str(a) for a in arguments], catch_exceptions=False)


@pytest.mark.parametrize("scale", ["affine", "isotonic"])
def test_intervals_hold_what_they_say_on_the_new_scale(run, measured, scale, caplog):
    with caplog.at_level(logging.WARNING):
        found = ensemble.calibrate([run], measured, coverage=0.8, scale=scale)
    assert "1 sequences cannot be read" in caplog.text
    assert (found.measured.n, found.band.n) == (1000, 500)
    # Of 1,000 by a band of 500: a standard error of about 0.022
    assert found.measured.coverage == pytest.approx(0.8, abs=0.05)
    # Noise of 0.5: 80 % lie within 1.28 of it on both sides; that the spread of these models says
    # nothing of it makes intervals a little wider
    assert 0.9 < found.measured.width / (2 * 1.28 * 0.5) < 1.5
    again = ensemble.calibrate([run], measured, coverage=0.8, scale=scale)
    assert again == found


def test_predict_writes_the_intervals_of_a_calibrated_run(run, measured, tmp_path):
    done = call("calibrate", run, measured, "--scale", "affine", "--quiet")
    assert done.exit_code == 0, done.output
    assert "intervals of coverage 0.9 from 500 sequences, scale affine" in done.output
    done = call("predict", run, measured, tmp_path / "p.tsv", "--quiet")
    assert done.exit_code == 0, done.output
    header, unread, first, *rest = (
        line.split("\t") for line in (tmp_path / "p.tsv").read_text().splitlines()
    )
    assert header == ["sequence", "prediction", "expression", "spread", "lower", "upper", "reason"]
    assert unread[3:6] == ["", "", ""] and unread[6].startswith("length 4")
    held = [float(r[4]) <= float(r[2]) <= float(r[5]) for r in [first, *rest]]
    assert np.mean(held) == pytest.approx(0.9, abs=0.03)
    table = predictions.read(tmp_path / "p.tsv")
    assert np.nanmean(table.prediction) == pytest.approx(5, abs=0.2)
    again = call("calibrate", run, measured, "--quiet")
    assert again.exit_code == 1 and "exists already" in again.output
    kept = json.loads((run / rundir.CALIBRATION).read_text())
    assert len(kept["members"]) == 2 and kept["scale"]["kind"] == "affine"
    (run / rundir.CALIBRATION).unlink()


def test_one_model_has_intervals_of_one_width(run, measured):
    found = ensemble.calibrate([run / "seed-1"], measured)
    widths = {round(one.width, 9) for one in found.deciles}
    assert len(widths) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A" * 110 + "\n", "has no expressions to calibrate with"),
        ("A" * 110 + "\thigh\n", "sequence 1 has the expression 'high'"),
        ("ACGT\t1\n", "no sequence to calibrate with"),
        ("A" * 110 + "\t1\n", "1 measured sequences are too few to be parted"),
        (("A" * 110 + "\t1\n") * 8, "4 examples are too few for a coverage of 0.9"),
    ],
)
def test_what_cannot_calibrate_is_told(run, tmp_path, text, said):
    (tmp_path / "in.txt").write_text(text)
    with pytest.raises(errors.UserError, match=said):
        ensemble.calibrate([run], tmp_path / "in.txt")


def test_several_models_ask_for_a_place(run, measured):
    done = call("calibrate", run / "seed-1", run / "seed-2", measured)
    assert done.exit_code == 2 and "Name the file to write" in done.output


def test_records_calibrate_too(run, library, tmp_path):
    found = ensemble.calibrate([run], library, split="val")
    assert found.measured.n + found.band.n == len(records.read(library, "val").expression)
