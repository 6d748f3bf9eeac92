import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camformer_tf import errors
from camformer_tf.data import tables

BLOCKS = [
    {"sequence": ["ACGT", 'a "b", c'], "value": np.float32([1.1, np.nan]), "note": [None, "2"]},
    {"sequence": ["GG"], "value": np.float32([1e-7]), "note": ["3.5"]},
]


def write(path: Path, table_format: str, **options) -> Path:
    with tables.writer(path, table_format, **options) as write_block:
        for block in BLOCKS:
            write_block(block)
    return path


def test_tsv_has_tabs_one_header_and_empty_fields_for_missing_values(tmp_path):
    content = write(tmp_path / "t", "tsv").read_bytes().decode()
    rows = ["sequence\tvalue\tnote", "ACGT\t1.1\t", 'a "b", c\t\t2', "GG\t1e-07\t3.5"]
    assert content == "\n".join(rows) + "\n"


def test_text_without_a_header_is_the_same_rows(tmp_path):
    with_header = write(tmp_path / "a", "tsv").read_text().split("\n")
    assert write(tmp_path / "b", "tsv", header=False).read_text().split("\n") == with_header[1:]


def test_csv_is_read_back_by_the_csv_module(tmp_path):
    with write(tmp_path / "t", "csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["sequence", "value", "note"], ["ACGT", "1.1", ""], ['a "b", c', "", "2"],
                    ["GG", "1e-07", "3.5"]]  # fmt: skip
    assert b"\r" not in (tmp_path / "t").read_bytes()


@given(st.lists(st.floats(width=32), min_size=1))
def test_a_float32_is_written_in_digits_that_give_it_back(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "floats.tsv"
    array = np.float32(values)
    with tables.writer(path, "tsv", header=False, overwrite=True) as write_block:
        write_block({"value": array})
    fields = path.read_text().split("\n")[:-1]
    copy = np.float32([float(field or "nan") for field in fields])
    np.testing.assert_array_equal(copy, array)


def test_parquet_has_types_and_nulls(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(write(tmp_path / "t", "parquet", numeric=["note"]))
    assert [str(kind) for kind in table.schema.types] == ["string", "float", "double"]
    assert table["sequence"].to_pylist() == ["ACGT", 'a "b", c', "GG"]
    assert table["value"].to_pylist() == [float(np.float32(1.1)), None, float(np.float32(1e-7))]
    assert table["note"].to_pylist() == [None, 2.0, 3.5]


def test_a_numeric_column_of_parquet_with_words_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(errors.UserError, match="column sequence: .*'ACGT'"):
        write(tmp_path / "t", "parquet", numeric=["sequence"])
    assert not list(tmp_path.iterdir())


def test_parquet_without_pyarrow_is_refused_with_the_command_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(errors.UserError, match=r'pip install "camformer-tf\[parquet\]"'):
        write(tmp_path / "t", "parquet")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("table_format", ["tsv", "csv"])
def test_a_dash_is_standard_output(tmp_path, capsys, table_format):
    write(Path("-"), table_format)
    assert capsys.readouterr().out == write(tmp_path / "t", table_format).read_text()


def test_parquet_to_standard_output_is_refused():
    with pytest.raises(errors.UserError, match="-: Parquet is not text"):
        write(Path("-"), "parquet")


@pytest.mark.parametrize("table_format", ["tsv", "csv", "parquet"])
def test_a_file_is_replaced_only_on_request(tmp_path, table_format):
    if table_format == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / "t"
    path.write_text("mine")
    with pytest.raises(errors.UserError, match="t: exists already"):
        write(path, table_format)
    assert path.read_text() == "mine"
    write(path, table_format, overwrite=True)
    assert path.read_bytes() != b"mine"
