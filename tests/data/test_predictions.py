import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camformer_tf import errors
from camformer_tf.data import predictions


def table_text(sequences, prediction, expressions=None) -> str:
    out = io.StringIO()
    predictions.write_header(out, with_expression=expressions is not None)
    predictions.write_rows(out, sequences, np.float32(prediction), expressions)
    return out.getvalue()


def stored(tmp_path: Path, content: str) -> Path:
    (tmp_path / "predictions.tsv").write_text(content, encoding="utf-8")
    return tmp_path / "predictions.tsv"


def refusal(path: Path) -> str:
    with pytest.raises(errors.UserError) as caught:
        predictions.read(path)
    return str(caught.value)


def test_a_table_has_a_header_and_a_line_a_row():
    written = table_text(["ACGT", "NN"], [11.5, 3], ["12", "high"])
    assert written == "sequence\tprediction\texpression\nACGT\t11.5\t12\nNN\t3.0\thigh\n"


def test_a_table_without_expression_has_two_columns():
    assert table_text(["ACGT"], [11.46]) == "sequence\tprediction\nACGT\t11.46\n"


def test_what_has_no_prediction_is_an_empty_field():
    assert table_text(["X", "A"], [np.nan, 1], ["2", "3"]).splitlines()[1] == "X\t\t2"


def test_a_table_is_read_back_in_order(tmp_path):
    table = predictions.read(stored(tmp_path, table_text(["ACGT", "X"], [1.5, np.nan], ["2", ""])))
    assert table.sequences == ["ACGT", "X"]
    np.testing.assert_array_equal(table.prediction, [1.5, np.nan])
    np.testing.assert_array_equal(table.expression, [2.0, np.nan])
    assert table.prediction.dtype == table.expression.dtype == np.float64


def test_a_table_without_expression_is_read_as_having_none(tmp_path):
    assert predictions.read(stored(tmp_path, table_text(["ACGT"], [1]))).expression is None


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1))
def test_a_float32_comes_back_exactly(tmp_path_factory, values):
    path = stored(tmp_path_factory.getbasetemp(), table_text(["A"] * len(values), values))
    read = predictions.read(path).prediction.astype(np.float32)
    assert read.tobytes() == np.float32(values).tobytes()


# What `predict` is given may be anything between white space.
NAMES = st.binary(max_size=20).map(lambda raw: b"".join(raw.split())).filter(bool)
NAMES = NAMES.map(lambda raw: raw.decode("utf-8", "replace"))


@given(st.lists(NAMES, min_size=1), st.booleans())
def test_any_sequence_comes_back_as_it_was_given(tmp_path_factory, sequences, with_expression):
    expressions = ["1"] * len(sequences) if with_expression else None
    written = table_text(sequences, [1.0] * len(sequences), expressions)
    assert predictions.read(stored(tmp_path_factory.getbasetemp(), written)).sequences == sequences


def test_a_long_sequence_comes_back_whole(tmp_path):
    written = table_text(["A" * 200_000, "C"], [np.nan, 1])
    assert predictions.read(stored(tmp_path, written)).sequences == ["A" * 200_000, "C"]


def test_columns_are_found_by_name(tmp_path):
    path = stored(tmp_path, "expression\tspread\tprediction\tsequence\n2\t0.1\t1\tACGT\n")
    table = predictions.read(path)
    assert table.sequences == ["ACGT"]
    assert (table.prediction.tolist(), table.expression.tolist()) == ([1.0], [2.0])


def test_a_table_with_crlf_is_read(tmp_path):
    path = stored(tmp_path, "sequence\tprediction\r\nACGT\t1.5\r\n")
    assert predictions.read(path).prediction.tolist() == [1.5]


def test_a_table_without_rows_is_read_as_empty(tmp_path):
    table = predictions.read(stored(tmp_path, "sequence\tprediction\texpression\n"))
    assert (table.sequences, len(table.prediction), len(table.expression)) == ([], 0, 0)


@pytest.mark.parametrize(
    "header", ["", "\n", "sequence\n", "prediction\n", "ACGT\t1.5\n", "sequence,prediction\n"]
)
def test_a_table_without_its_header_is_refused(tmp_path, header):
    path = stored(tmp_path, header + "ACGT\t1.5\n")
    expected = f"{path}:1: expected a header with the columns sequence and prediction, found "
    assert refusal(path).startswith(expected)


@pytest.mark.parametrize("row, found", [("ACGT", 1), ("ACGT\t1\t2", 3)])
def test_a_row_with_another_number_of_columns_is_named(tmp_path, row, found):
    path = stored(tmp_path, f"sequence\tprediction\nACGT\t1\n{row}\n")
    assert refusal(path).startswith(
        f"{path}:3: expected 2 columns, found {found}. Was the file cut"
    )


@pytest.mark.parametrize("name, row", [("prediction", "A\thigh\t1"), ("expression", "A\t1\thigh")])
def test_what_is_no_number_is_named(tmp_path, name, row):
    path = stored(tmp_path, f"sequence\tprediction\texpression\nA\t1\t1\n{row}\n")
    assert refusal(path) == f"{path}:3: {name} 'high' is not a number."


def test_blank_lines_are_ignored_but_counted_in_messages(tmp_path):
    path = stored(tmp_path, "sequence\tprediction\n\nA\t1\n\nA\thigh\n")
    assert refusal(path) == f"{path}:5: prediction 'high' is not a number."


@pytest.mark.parametrize("content", [None, b"\xff\xfe", "folder"])
def test_what_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "predictions.tsv"
    if content == "folder":
        path.mkdir()
    elif content:
        path.write_bytes(content)
    assert refusal(path).startswith(f"{path}: cannot be read (")
