"""Commands of prediction: formats of the table, and messages of mistakes."""

import json

import pandas as pd
import pytest
from support import shell

MISTAKES = {
    "no model": (["predict", "absent", "good.txt", "out"], "absent: no such file or directory"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_message_and_leaves_no_file(mistakes, mistake):
    shell.check_mistake(mistakes, *MISTAKES[mistake])


def predict(tour, library, out) -> str:
    result = shell.call(
        "predict", tour / "run", library, out, "--split", "val", "--quiet", "--overwrite"
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_table_goes_to_standard_output(tour, library):
    assert predict(tour, library, "-") == (tour / "p.tsv").read_text()


def test_the_suffix_decides_the_format(tour, library, tmp_path):
    for name in ("p.csv", "p.json", "p.parquet"):
        predict(tour, library, tmp_path / name)
    expected = pd.read_csv(tour / "p.tsv", sep="\t").prediction.to_list()
    assert pd.read_csv(tmp_path / "p.csv").prediction.to_list() == expected
    values = list(json.loads((tmp_path / "p.json").read_text()).values())
    assert values == pytest.approx(expected, abs=1e-5)
    table = pd.read_parquet(tmp_path / "p.parquet")
    assert table.prediction.to_list() == pytest.approx(expected, abs=1e-5)


def test_an_existing_table_is_kept_without_overwrite(tour, library):
    text = (tour / "p.tsv").read_text()
    result = shell.call("predict", tour / "run", library, tour / "p.tsv", "--split", "val")
    assert result.exit_code == 1 and "--overwrite" in result.stderr
    assert (tour / "p.tsv").read_text() == text


def test_a_calibration_is_written_beside_the_run(tour, library, tmp_path):
    out = tmp_path / "calibration.json"
    result = shell.call(
        "calibrate", tour / "run", library, "--split", "val", "--out", out, "--quiet"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(out.read_text())["band"]["coverage"] == 0.9
