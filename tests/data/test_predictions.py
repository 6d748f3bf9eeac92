import csv
import json
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camformer_tf import errors
from camformer_tf.data import predictions, rows, rules


def table_text(sequences, prediction, expressions=None) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "p.tsv")
        with predictions.writer(path) as write:
            write(predictions.PredictedRows(sequences, np.float32(prediction), expressions))
        return path.read_text(encoding="utf-8")


def save(tmp_path: Path, content: str) -> Path:
    (tmp_path / "predictions.tsv").write_text(content, encoding="utf-8")
    return tmp_path / "predictions.tsv"


def refusal(path: Path) -> str:
    with pytest.raises(errors.UserError) as error:
        predictions.read(path)
    return str(error.value)


def test_a_table_has_a_header_and_one_line_per_row():
    content = table_text(["ACGT", "NN"], [11.5, 3], ["12", "high"])
    assert content == "sequence\tprediction\texpression\nACGT\t11.5\t12\nNN\t3.0\thigh\n"


def test_a_table_without_expression_has_two_columns():
    assert table_text(["ACGT"], [11.46]) == "sequence\tprediction\nACGT\t11.46\n"


def test_a_missing_prediction_is_an_empty_field():
    assert table_text(["X", "A"], [np.nan, 1], ["2", "3"]).splitlines()[1] == "X\t\t2"


def test_a_table_is_read_back_in_order(tmp_path):
    table = predictions.read(save(tmp_path, table_text(["ACGT", "X"], [1.5, np.nan], ["2", ""])))
    assert table.sequences == ["ACGT", "X"]
    np.testing.assert_array_equal(table.prediction, [1.5, np.nan])
    np.testing.assert_array_equal(table.expression, [2.0, np.nan])
    assert table.prediction.dtype == table.expression.dtype == np.float64


def test_a_table_without_expression_is_read_as_having_none(tmp_path):
    assert predictions.read(save(tmp_path, table_text(["ACGT"], [1]))).expression is None


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1))
def test_a_float32_comes_back_exactly(tmp_path_factory, values):
    path = save(tmp_path_factory.getbasetemp(), table_text(["A"] * len(values), values))
    read = predictions.read(path).prediction.astype(np.float32)
    assert read.tobytes() == np.float32(values).tobytes()


# A sequence to predict may be any bytes between white space.
NAMES = st.binary(max_size=20).map(lambda raw: b"".join(raw.split())).filter(bool)
NAMES = NAMES.map(lambda raw: raw.decode("utf-8", "replace"))


@given(st.lists(NAMES, min_size=1), st.booleans())
def test_any_sequence_comes_back_unchanged(tmp_path_factory, sequences, with_expression):
    expressions = ["1"] * len(sequences) if with_expression else None
    content = table_text(sequences, [1.0] * len(sequences), expressions)
    assert predictions.read(save(tmp_path_factory.getbasetemp(), content)).sequences == sequences


def test_a_long_sequence_comes_back_whole(tmp_path):
    content = table_text(["A" * 200_000, "C"], [np.nan, 1])
    assert predictions.read(save(tmp_path, content)).sequences == ["A" * 200_000, "C"]


def test_columns_are_found_by_name(tmp_path):
    path = save(tmp_path, "expression\tspread\tprediction\tsequence\n2\t0.1\t1\tACGT\n")
    table = predictions.read(path)
    assert table.sequences == ["ACGT"]
    assert (table.prediction.tolist(), table.expression.tolist()) == ([1.0], [2.0])


def test_a_table_with_crlf_is_read(tmp_path):
    path = save(tmp_path, "sequence\tprediction\r\nACGT\t1.5\r\n")
    assert predictions.read(path).prediction.tolist() == [1.5]


def test_a_table_without_rows_is_read_as_empty(tmp_path):
    table = predictions.read(save(tmp_path, "sequence\tprediction\texpression\n"))
    assert (table.sequences, len(table.prediction), len(table.expression)) == ([], 0, 0)


@pytest.mark.parametrize(
    "header", ["", "\n", "sequence\n", "prediction\n", "ACGT\t1.5\n", "sequence,prediction\n"]
)
def test_a_table_without_its_header_is_refused(tmp_path, header):
    path = save(tmp_path, header + "ACGT\t1.5\n")
    expected = f"{path}:1: expected a header with the columns sequence and prediction, found "
    assert refusal(path).startswith(expected)


@pytest.mark.parametrize("row, columns", [("ACGT", 1), ("ACGT\t1\t2", 3)])
def test_a_row_with_another_number_of_columns_is_named(tmp_path, row, columns):
    path = save(tmp_path, f"sequence\tprediction\nACGT\t1\n{row}\n")
    assert refusal(path).startswith(
        f"{path}:3: expected 2 columns, found {columns}. Was the file cut"
    )


@pytest.mark.parametrize("name, row", [("prediction", "A\thigh\t1"), ("expression", "A\t1\thigh")])
def test_a_field_that_is_not_a_number_is_named(tmp_path, name, row):
    path = save(tmp_path, f"sequence\tprediction\texpression\nA\t1\t1\n{row}\n")
    assert refusal(path) == f"{path}:3: {name} 'high' is not a number."


def test_blank_lines_are_ignored_but_counted_in_messages(tmp_path):
    path = save(tmp_path, "sequence\tprediction\n\nA\t1\n\nA\thigh\n")
    assert refusal(path) == f"{path}:5: prediction 'high' is not a number."


@pytest.mark.parametrize("content", [None, b"\xff\xfe", "folder"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "predictions.tsv"
    if content == "folder":
        path.mkdir()
    elif content:
        path.write_bytes(content)
    assert refusal(path).startswith(f"{path}: cannot be read (")


# --- other formats ---

BLOCKS = [
    predictions.PredictedRows(
        ["ACGT", "AC,X"],
        np.float32([1.1, np.nan]),
        ["2", ""],
        np.array([0.25, np.nan]),
        name=["a", 'b "c"'],
        reason=[None, "why, so"],
    ),
    predictions.PredictedRows(
        ["GG"], np.float32([3]), ["4.5"], np.array([0.5]), name=["d"], reason=[None]
    ),
]
COLUMNS = ["sequence", "prediction", "expression", "spread", "name", "reason"]


def write_all(path: Path, kind: str | None = None, **options) -> Path:
    with predictions.writer(path, kind, **options) as write:
        for block in BLOCKS:
            write(block)
    return path


def test_blocks_follow_each_other_under_one_header(tmp_path):
    lines = write_all(tmp_path / "p.tsv", "tsv").read_text().splitlines()
    assert lines[0].split("\t") == COLUMNS
    assert lines[2].split("\t") == ["AC,X", "", "", "", 'b "c"', "why, so"]
    assert lines[3].split("\t") == ["GG", "3.0", "4.5", "0.5", "d", ""]


def test_csv_quotes_fields_with_commas(tmp_path):
    with write_all(tmp_path / "p.csv", "csv").open(newline="") as file:
        first, second, _ = csv.DictReader(file)
    assert list(first) == COLUMNS
    fields = second["sequence"], second["name"], second["reason"]
    assert fields == ("AC,X", 'b "c"', "why, so")
    assert first["prediction"] == "1.1"


def test_parquet_has_numbers_and_nulls(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(write_all(tmp_path / "p.parquet", "parquet"))
    assert table.column_names == COLUMNS
    assert table["prediction"].to_pylist() == [float(np.float32(1.1)), None, 3.0]
    assert table["expression"].to_pylist() == [2.0, None, 4.5]
    assert table["reason"].to_pylist() == [None, "why, so", None]


def test_parquet_refuses_an_expression_that_is_not_a_number(tmp_path):
    pytest.importorskip("pyarrow")
    with (
        pytest.raises(errors.UserError, match="column expression: .*'high'.* Write tsv"),
        predictions.writer(tmp_path / "p.parquet", "parquet") as write,
    ):
        write(predictions.PredictedRows(["A"], np.float32([1]), ["high"]))
    assert not list(tmp_path.iterdir())


def test_parquet_without_its_package_is_refused_with_the_command_to_install_it(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(errors.UserError, match=r"camformer-tf\[parquet\]"):
        write_all(tmp_path / "p.parquet", "parquet")


def test_the_challenges_json_is_row_to_prediction(tmp_path):
    values = json.loads(write_all(tmp_path / "p.json", "dream-json").read_text())
    assert values == {"0": pytest.approx(1.1), "1": None, "2": 3.0}


def test_the_challenges_json_has_the_keys_asked_for_in_their_order(tmp_path):
    path = write_all(tmp_path / "p.json", "dream-json", keys=["2", "0"])
    assert list(json.loads(path.read_text()).items()) == [("2", 3.0), ("0", pytest.approx(1.1))]
    with pytest.raises(
        errors.UserError, match="1 of the 2 keys is not a row, .*'7': there are 3 predictions"
    ):
        write_all(tmp_path / "q.json", "dream-json", keys=["2", "7"])
    assert not (tmp_path / "q.json").exists()


def test_the_samples_keys_of_the_challenge_can_be_written(shared_data, tmp_path):
    sample = shared_data / "dream2022" / "public_leaderboard" / "sample_submission.json"
    keys = list(predictions.read_json(sample))
    with predictions.writer(tmp_path / "s.json", "dream-json", keys=keys) as write:
        write(predictions.PredictedRows(["A"] * 71_103, np.arange(71_103, dtype=np.float32)))
    values = json.loads((tmp_path / "s.json").read_text())
    assert list(values) == keys and all(float(key) == value for key, value in values.items())


# --- the format follows the suffix, and standard output ---


@pytest.mark.parametrize(
    "name, kind",
    [
        ("p.tsv", "tsv"),
        ("p.txt", "tsv"),
        ("p", "tsv"),
        ("p.csv", "csv"),
        ("p.CSV", "csv"),
        ("p.json", "dream-json"),
        ("p.parquet", "parquet"),
    ],
)
def test_the_suffix_decides_on_the_format_unless_it_is_named(tmp_path, name, kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    by_suffix = write_all(tmp_path / name)
    assert by_suffix.read_bytes() == write_all(tmp_path / "expected", kind).read_bytes()
    expected = (tmp_path / "expected").read_bytes()
    assert write_all(tmp_path / f"other-{name}", kind).read_bytes() == expected
    assert predictions.kind_of_file(tmp_path / name) == kind


@pytest.mark.parametrize("kind", [None, "tsv", "csv", "dream-json"])
def test_a_dash_is_standard_output(tmp_path, capsys, kind):
    write_all(Path("-"), kind)
    output = capsys.readouterr().out
    assert output == write_all(tmp_path / "p", kind).read_text(encoding="utf-8")


def test_parquet_is_not_written_to_standard_output():
    with pytest.raises(errors.UserError, match="-: Parquet is not text"):
        write_all(Path("-"), "parquet")


# --- save: rows and answers ---

READABLE = rows.from_sequences([b"ACGTACGT", b"ACGX"], [b"1", b"2"], rules.Rule(length=8))
ANSWERS = [(READABLE, {"expression": np.float32([1.5, np.nan]), "spread": np.float32([0.1, 0.2])})]


def test_saved_rows_have_answers_and_reasons(tmp_path, caplog):
    out = tmp_path / "p.csv"
    with caplog.at_level(logging.WARNING):
        assert predictions.save(ANSWERS, tmp_path / "in.txt", out) == 2
    with out.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["prediction"], first["spread"], first["reason"]) == ("1.5", "0.1", "")
    assert second["prediction"] == "" and second["reason"].startswith("letter 'X'")
    assert "1 of 2 sequences cannot be read and has no prediction; the first:" in caplog.text
    assert "  row 2: letter 'X' is not one of A, C, G, T, N" in caplog.text


def test_a_saved_table_is_replaced_only_on_request(tmp_path):
    out = tmp_path / "p.tsv"
    out.write_text("mine")
    with pytest.raises(errors.UserError, match="p.tsv: exists already"):
        predictions.save(ANSWERS, tmp_path / "in.txt", out)
    assert out.read_text() == "mine"
    predictions.save(ANSWERS, tmp_path / "in.txt", out, overwrite=True)
    assert predictions.read(out).sequences == ["ACGTACGT", "ACGX"]


def test_no_rows_are_refused_and_leave_no_file(tmp_path):
    with pytest.raises(errors.UserError, match="in.txt: no sequence to predict"):
        predictions.save([], tmp_path / "in.txt", tmp_path / "p.tsv")
    assert not list(tmp_path.iterdir())


def test_keys_are_for_the_challenges_json_alone(tmp_path):
    with pytest.raises(errors.UserError, match="keys are for dream-json alone, not for csv"):
        predictions.save(ANSWERS, tmp_path / "a", tmp_path / "p.csv", keys=tmp_path / "keys.json")
