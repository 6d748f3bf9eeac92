from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camformer_tf import errors
from camformer_tf.data import rows, rules, sequence, text

SHORT = rules.Rule(length=8, length_margin=2, max_n=1)


def rows_of(path: Path, columns: dict[str, str] | None = None) -> rows.Rows:
    (found,) = rows.read(text.Source(path), SHORT, columns)
    return found


def written(folder: Path, data: bytes, name: str = "in.txt") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def test_rows_keep_every_line_that_is_not_blank_in_order(tmp_path):
    found = rows_of(written(tmp_path, b"acgtacg\t1.50\n\nACGTX\thigh\nNNACGTAC\t\nA\t3 4\n"))
    assert found.sequences == ["acgtacg", "ACGTX", "NNACGTAC", "A"]
    assert found.expressions == ["1.50", "high", "", "3"]
    assert sequence.text(found.letters) == ["ACGTACGN", "N" * 8, "N" * 8, "N" * 8]
    assert found.reasons == [
        None,
        "letter 'X' is none of ACGTN",
        "2 N, more than 1",
        "length 1, further than 2 from 8",
    ]


def test_rows_without_expression_have_none(tmp_path):
    found = rows_of(written(tmp_path, b"ACGTACGT\nACGTACG 5\n"))
    assert found.expressions is None and found.sequences == ["ACGTACGT", "ACGTACG"]


def test_u_is_read_as_t(tmp_path):
    found = rows_of(written(tmp_path, b"ACGUacgu\nACGTACGT\n"))
    assert found.sequences == ["ACGUacgu", "ACGTACGT"] and found.reasons == [None, None]
    assert sequence.text(found.letters) == ["ACGTACGT"] * 2


def test_rows_that_are_no_text_are_kept_too(tmp_path):
    found = rows_of(written(tmp_path, b"\xff\x00\nACGTACGT\n"))
    assert found.sequences == ["\ufffd\0", "ACGTACGT"]
    assert found.reasons == ["letter '\ufffd' is none of ACGTN", None]


def test_the_first_row_decides_on_expressions_for_all_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "_CHUNK", 16)
    monkeypatch.setattr(rows, "_TOGETHER", 2)
    path = written(tmp_path, b"ACGTACGT\t1\n" + b"ACGTACGT\n" * 9)
    found = [part.expressions for part in rows.read(text.Source(path), SHORT)]
    assert sum(found, []) == ["1"] + [""] * 9


@pytest.mark.parametrize("chunk", [5, 1 << 20])
def test_fasta_gives_a_row_a_record_with_its_name(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(text, "_CHUNK", chunk)
    path = written(
        tmp_path, b"\n>one of many\nACGT\nacgt\n\n> two\nACGTX\n>\n>four\r\nAC GT\r\nACG"
    )
    monkeypatch.setattr(rows, "_TOGETHER", 3)
    first, second = rows.read(text.Source(path), SHORT)
    assert first.names + second.names == ["one", "two", "", "four"]
    assert first.sequences + second.sequences == ["ACGTacgt", "ACGTX", "", "ACGTACG"]
    assert first.reasons == [None, "letter 'X' is none of ACGTN", "length 0, further than 2 from 8"]
    assert sequence.text(second.letters) == ["ACGTACGN"] and second.expressions is None


def test_a_table_with_a_header_gives_its_columns_and_every_row(tmp_path):
    data = b'id,sequence,expression\r\na,ACGTACGT,1.5\r\n"b,c","ACGTACG",\r\nd,,2\r\n'
    path = written(tmp_path, data, "in.csv")
    columns = rows.header_columns(path)
    assert columns == {"sequence": "sequence", "expression": "expression"}
    found = rows_of(path, columns)
    assert found.sequences == ["ACGTACGT", "ACGTACG", ""]
    assert found.expressions == ["1.5", "", "2"]
    assert found.reasons == [None, None, "length 0, further than 2 from 8"]
    assert rows_of(path, {"sequence": "sequence"}).expressions is None


def test_the_columns_of_a_table_are_those_of_its_header(tmp_path):
    assert rows.header_columns(written(tmp_path, b"sequence\tprediction\n", "p.tsv")) == {
        "sequence": "sequence"
    }
    assert rows.header_columns(written(tmp_path, b"ACGT\t1\n", "plain.tsv")) is None
    assert rows.header_columns(written(tmp_path, b"sequence\n", "in.txt")) is None
    with pytest.raises(errors.UserError, match="in.csv:1: has no column 'sequence'.* seq, expr"):
        rows.header_columns(written(tmp_path, b"seq,expr\n", "in.csv"))


def test_an_empty_text_has_no_rows(tmp_path):
    path = written(tmp_path, b"")
    assert list(rows.read(text.Source(path), SHORT)) == []


@given(data=st.binary(max_size=200))
def test_random_bytes_give_a_row_a_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "rows.txt"
    path.write_bytes(data)
    parts = list(rows.read(text.Source(path), SHORT))
    lines = [line for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.split()]
    if lines and lines[0].split()[0].startswith(b">"):
        lines = [line for line in lines if line.split()[0].startswith(b">")]
    assert sum(len(part.sequences) for part in parts) == len(lines)
    assert all(part.letters.shape == (len(part.sequences), 8) for part in parts)
