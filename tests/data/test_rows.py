from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camformer_tf import errors
from camformer_tf.data import rows, rules, sequence, text

SHORT = rules.Rule(length=8, length_margin=2, max_n=1)


def read(path: Path, columns: dict[str, str] | None = None) -> rows.Rows:
    (block,) = rows.read(text.Source(path), SHORT, columns)
    return block


def write(folder: Path, data: bytes, name: str = "in.txt") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def test_rows_keep_every_line_that_is_not_blank_in_order(tmp_path):
    block = read(write(tmp_path, b"acgtacg\t1.50\n\nACGTX\thigh\nNNACGTAC\t\nA\t3 4\n"))
    assert block.sequences == ["acgtacg", "ACGTX", "NNACGTAC", "A"]
    assert block.expressions == ["1.50", "high", "", "3"]
    assert sequence.text(block.letters) == ["ACGTACGN", "N" * 8, "N" * 8, "N" * 8]
    assert block.reasons == [
        None,
        "letter 'X' is not one of A, C, G, T, N",
        "2 N, more than 1",
        "length 1, further than 2 from 8",
    ]


def test_rows_without_expression_have_none(tmp_path):
    block = read(write(tmp_path, b"ACGTACGT\nACGTACG 5\n"))
    assert block.expressions is None and block.sequences == ["ACGTACGT", "ACGTACG"]


def test_u_is_read_as_t(tmp_path):
    block = read(write(tmp_path, b"ACGUacgu\nACGTACGT\n"))
    assert block.sequences == ["ACGUacgu", "ACGTACGT"] and block.reasons == [None, None]
    assert sequence.text(block.letters) == ["ACGTACGT"] * 2


def test_rows_that_are_not_text_are_kept_too(tmp_path):
    block = read(write(tmp_path, b"\xff\x00\nACGTACGT\n"))
    assert block.sequences == ["\ufffd\0", "ACGTACGT"]
    assert block.reasons == ["letter '\ufffd' is not one of A, C, G, T, N", None]


def test_the_first_row_decides_on_expressions_for_all_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "_CHUNK", 16)
    monkeypatch.setattr(rows, "_BLOCK_ROWS", 2)
    path = write(tmp_path, b"ACGTACGT\t1\n" + b"ACGTACGT\n" * 9)
    expressions = [block.expressions for block in rows.read(text.Source(path), SHORT)]
    assert sum(expressions, []) == ["1"] + [""] * 9


@pytest.mark.parametrize("chunk", [5, 1 << 20])
def test_fasta_gives_one_row_per_record_with_its_name(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(text, "_CHUNK", chunk)
    path = write(tmp_path, b"\n>one of many\nACGT\nacgt\n\n> two\nACGTX\n>\n>four\r\nAC GT\r\nACG")
    monkeypatch.setattr(rows, "_BLOCK_ROWS", 3)
    first, second = rows.read(text.Source(path), SHORT)
    assert first.names + second.names == ["one", "two", "", "four"]
    assert first.sequences + second.sequences == ["ACGTacgt", "ACGTX", "", "ACGTACG"]
    assert first.reasons == [
        None,
        "letter 'X' is not one of A, C, G, T, N",
        "length 0, further than 2 from 8",
    ]
    assert sequence.text(second.letters) == ["ACGTACGN"] and second.expressions is None


def test_a_table_with_a_header_gives_its_columns_and_every_row(tmp_path):
    data = b'id,sequence,expression\r\na,ACGTACGT,1.5\r\n"b,c","ACGTACG",\r\nd,,2\r\n'
    path = write(tmp_path, data, "in.csv")
    columns = rows.header_columns(path)
    assert columns == {"sequence": "sequence", "expression": "expression"}
    block = read(path, columns)
    assert block.sequences == ["ACGTACGT", "ACGTACG", ""]
    assert block.expressions == ["1.5", "", "2"]
    assert block.reasons == [None, None, "length 0, further than 2 from 8"]
    assert read(path, {"sequence": "sequence"}).expressions is None


def test_the_columns_of_a_table_are_those_of_its_header(tmp_path):
    assert rows.header_columns(write(tmp_path, b"sequence\tprediction\n", "p.tsv")) == {
        "sequence": "sequence"
    }
    assert rows.header_columns(write(tmp_path, b"ACGT\t1\n", "plain.tsv")) is None
    assert rows.header_columns(write(tmp_path, b"sequence\n", "in.txt")) is None
    with pytest.raises(
        errors.UserError, match="in.csv:1: there is no column 'sequence'.* seq, expr"
    ):
        rows.header_columns(write(tmp_path, b"seq,expr\n", "in.csv"))


def test_an_empty_text_has_no_rows(tmp_path):
    path = write(tmp_path, b"")
    assert list(rows.read(text.Source(path), SHORT)) == []


@given(data=st.binary(max_size=200))
def test_random_bytes_give_one_row_per_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "rows.txt"
    path.write_bytes(data)
    parts = list(rows.read(text.Source(path), SHORT))
    lines = [line for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.split()]
    if lines and lines[0].split()[0].startswith(b">"):
        lines = [line for line in lines if line.split()[0].startswith(b">")]
    assert sum(len(part.sequences) for part in parts) == len(lines)
    assert all(part.letters.shape == (len(part.sequences), 8) for part in parts)
