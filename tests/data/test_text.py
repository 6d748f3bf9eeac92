import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camformer_tf import errors
from camformer_tf.data import rows, rules, sequence, text
from camformer_tf.simulation import simulate

SHORT = rules.Rule(length=8, length_margin=2, max_n=1)  # lets tests have short lines
LINES = b"ACGTACGT\t1.5\nACGTACG\t2\nACGTACGTAA\t-0.25\n"
EXAMPLES = [("ACGTACGT", 1.5), ("ACGTACGN", 2.0), ("ACGTACGT", -0.25)]
ARCHIVE = gzip.compress(LINES, mtime=0)  # the same bytes in every process that runs tests


def read(path: Path, rule: rules.Rule = SHORT):
    """All of a file: (sequence, expression) of the examples, counts, rejects, and the source."""
    source = text.Source(path)
    pairs, counts, rejects = [], text.Counts(), []
    for block in source.blocks():
        examples, block_counts, reasons = text.parse(block.read(), rule, source.name, block.first)
        pairs += zip(sequence.text(examples.letters), examples.expression.tolist(), strict=True)
        counts.add(block_counts)
        rejects += reasons
    return pairs, counts, rejects, source


def write(tmp_path: Path, data: bytes, name: str = "library.txt") -> Path:
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


# --- forms of text ---


FORMS = {
    "as it should be": LINES,
    "no last newline": LINES[:-1],
    "CRLF": LINES.replace(b"\n", b"\r\n"),
    "lower case": LINES.lower(),
    "mixed case": LINES.replace(b"A", b"a"),
    "blank lines": b"\n" + LINES.replace(b"\n", b"\n\n  \t\n\r\n"),
    "spaces": LINES.replace(b"\t", b"   "),
    "space around": b"  " + LINES.replace(b"\t", b" \t \v\f").replace(b"\n", b" \t\n"),
    "byte order mark": b"\xef\xbb\xbf" + LINES,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_text_gives_the_same_examples(tmp_path, form):
    pairs, counts, rejects, _ = read(write(tmp_path, FORMS[form]))
    assert pairs == EXAMPLES and rejects == []
    assert counts == text.Counts(lines=3, examples=3)


def test_examples_are_bytes_and_float32():
    examples, _, _ = text.parse(LINES, SHORT, "x", 1)
    assert (examples.letters.dtype, examples.letters.shape) == (np.uint8, (3, 8))
    assert (examples.expression.dtype, examples.expression.shape) == (np.float32, (3,))


@pytest.mark.parametrize("value", ["11.4625", "0.1", "1e-40", "3.4028234e38", "-7.00000011"])
def test_expression_is_the_nearest_float32(value):
    examples, _, _ = text.parse(f"ACGTACGT {value}".encode(), SHORT, "x", 1)
    assert examples.expression[0] == np.float32(value)


def test_a_gz_file_is_unpacked(tmp_path):
    pairs, counts, _, _ = read(write(tmp_path, gzip.compress(LINES), "library.txt.gz"))
    assert pairs == EXAMPLES and counts.lines == 3


def test_a_gz_file_of_several_parts_is_read_whole(tmp_path):
    data = gzip.compress(LINES[:9]) + gzip.compress(LINES[9:])
    assert read(write(tmp_path, data, "library.txt.gz"))[0] == EXAMPLES


@pytest.mark.parametrize("name", ["library.txt", "library.txt.gz"])
def test_a_source_counts_and_hashes_the_bytes_of_the_file(tmp_path, name):
    data = gzip.compress(LINES) if name.endswith(".gz") else LINES
    source = read(write(tmp_path, data, name))[3]
    assert (source.size, source.line_count) == (len(data), 3)
    assert source.digest.hexdigest() == hashlib.sha256(data).hexdigest()


def test_a_source_counts_blank_lines_and_one_without_newline(tmp_path):
    assert read(write(tmp_path, b"\n\nACGTACGT 1\n\nACGTACGT 2"))[3].line_count == 5


def test_a_dash_is_standard_input(monkeypatch):
    stream = io.BytesIO(LINES)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=stream))
    pairs, _, _, source = read(Path("-"))
    assert pairs == EXAMPLES and source.name == "standard input"
    assert not stream.closed


# --- lines that are not examples ---


def test_filters_count_n_before_length(tmp_path):
    data = b"NNNNNNNN 1\nNN 1\nA 1\nACGTACGTACG 1\nACGTACGN 1\nACGTAC 1\n"
    pairs, counts, _, _ = read(write(tmp_path, data))
    assert dataclasses.astuple(counts) == (6, 0, 2, 2, 2)  # lines, malformed, n, length, examples
    assert pairs == [("ACGTACGN", 1.0), ("ACGTACNN", 1.0)]


def test_lower_case_n_is_counted_as_n(tmp_path):
    assert read(write(tmp_path, b"nnACGTAC 1\n"))[1].dropped_n == 1


def test_all_lengths_are_kept_if_the_rule_keeps_all(tmp_path):
    data = b"A 1\nACGTACGTACGTACGT 2\nNN 3\n"
    pairs, counts, _, _ = read(write(tmp_path, data), dataclasses.replace(SHORT, keep_all=True))
    assert pairs == [("ANNNNNNN", 1.0), ("ACGTACGT", 2.0)] and counts.dropped_n == 1


MALFORMED = {
    b"ACGTACGX\t1": "letter 'X' is not one of A, C, G, T, N",
    b"ACGTACGT": "expected SEQUENCE and EXPRESSION, found 1 column",
    b"1.5": "expected SEQUENCE and EXPRESSION, found 1 column",
    b"ACGTACGT\t1\t2": "expected SEQUENCE and EXPRESSION, found 3 columns",
    b"ACGTACGT,1": "expected SEQUENCE and EXPRESSION, found 1 column",
    b"ACGTACGT\thigh": "expression 'high' is not a number",
    b"ACGTACGT\t1_000": "expression '1_000' is not a number",
    b"ACGTACGT\tnan": "expression 'nan' is not a finite number",
    b"ACGTACGT\t-inf": "expression '-inf' is not a finite number",
    b"ACGTACGT\t1e39": "expression '1e39' is not a finite number",
    b"1\tACGTACGT": "letter '1' is not one of A, C, G, T, N",
}


@pytest.mark.parametrize("line", MALFORMED)
def test_a_malformed_line_is_a_reject_with_file_line_and_reason(tmp_path, line):
    path = write(tmp_path, b"\nACGTACGT 1\r\n\n" + line + b"\nACGTACGT 1")
    pairs, counts, rejects, _ = read(path)
    assert rejects == [f"{path}:4: {MALFORMED[line]}"]
    assert len(pairs) == 2 and counts == text.Counts(lines=3, malformed=1, examples=2)


def test_malformed_comes_before_the_filters(tmp_path):
    assert read(write(tmp_path, b"NNNN nan\nA nan\n"))[1] == text.Counts(2, 2, 0, 0, 0)


def test_all_malformed_lines_are_counted_but_only_the_first_have_a_reason():
    _, counts, rejects = text.parse(b"A\nA\n\nA\n" + LINES, SHORT, "x", 1, max_rejects=2)
    reason = "expected SEQUENCE and EXPRESSION, found 1 column"
    assert rejects == [f"x:1: {reason}", f"x:2: {reason}"]
    assert (counts.malformed, counts.examples) == (3, 3)


def test_a_header_line_is_named_as_one(tmp_path):
    path = write(tmp_path, b"sequence\texpression\n" + LINES)
    header = "a header line, but no header is expected; remove it (tail -n +2), or name its "
    header += "columns: --sequence-column, --expression-column"
    assert read(path)[2] == [f"{path}:1: {header}"]


def test_words_further_down_are_not_a_header(tmp_path):
    path = write(tmp_path, LINES + b"sequence\texpression\n")
    assert read(path)[2] == [f"{path}:4: letter 's' is not one of A, C, G, T, N"]


# --- files that cannot be read ---


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(errors.UserError, match="absent.txt: no such file. Check the path."):
        text.Source(tmp_path / "absent.txt")


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(errors.UserError, match="not a file. Check the path."):
        text.Source(tmp_path)


@pytest.mark.parametrize(
    "data",
    [LINES, ARCHIVE[:-9], ARCHIVE[:5], ARCHIVE + b"x"],
)
def test_a_broken_gz_file_is_named(tmp_path, data):
    with pytest.raises(errors.UserError, match="library.gz: not a whole .gz file"):
        read(write(tmp_path, data, "library.gz"))


@pytest.mark.parametrize("place", range(10, len(gzip.compress(LINES)) - 4))
def test_a_flipped_bit_in_a_gz_file_never_passes(tmp_path, place):
    data = bytearray(gzip.compress(LINES))
    data[place] ^= 1
    with pytest.raises(errors.UserError, match="library.gz: not a whole .gz file"):
        read(write(tmp_path, bytes(data), "library.gz"))


@pytest.mark.parametrize("head, line", [(b"", 1), (b"ACGTACGT 1\n" * 3, 4)])
def test_a_line_without_an_end_is_refused_with_its_number(tmp_path, monkeypatch, head, line):
    monkeypatch.setattr(text, "_CHUNK", 100)
    monkeypatch.setattr(text, "_LONGEST_LINE", 100)
    with pytest.raises(errors.UserError, match=f"library.txt:{line}: a line of more than 100"):
        read(write(tmp_path, head + b"A" * 1000))


# --- chunks ---


def small_lines():
    line = st.text("ACGTNacgtnX 1.\t\r", max_size=12).map(str.encode)
    line |= st.sampled_from([b"ACGTACGT 1", b"acgtacg\t2.5\r", b"", b"NNNN 1"])
    return st.lists(line, max_size=12).map(b"\n".join)


@given(data=small_lines(), chunk=st.integers(13, 60), mark=st.booleans())
def test_chunk_borders_make_no_difference(tmp_path_factory, data, chunk, mark):
    path = tmp_path_factory.getbasetemp() / "chunks.txt"
    path.write_bytes(b"\xef\xbb\xbf" * mark + data)
    with pytest.MonkeyPatch.context() as patch:
        expected = read(path)
        patch.setattr(text, "_CHUNK", chunk)
        cut = read(path)
    assert cut[:3] == expected[:3] and cut[3].line_count == expected[3].line_count


@given(data=small_lines(), chunk=st.integers(13, 60))
@pytest.mark.parametrize("is_gzip", [False, True])
def test_blocks_hold_all_lines_with_their_numbers(tmp_path_factory, is_gzip, data, chunk):
    path = tmp_path_factory.getbasetemp() / ("numbered.gz" if is_gzip else "numbered.txt")
    path.write_bytes(gzip.compress(data) if is_gzip else data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_CHUNK", chunk)
        blocks = list(text.Source(path).blocks())
    parts = [block.read() for block in blocks]
    assert b"".join(parts) == data
    assert all(part.endswith(b"\n") for part in parts[:-1])
    assert [block.lines for block in blocks] == [
        part.count(b"\n") + (not part.endswith(b"\n")) for part in parts
    ]
    firsts = np.cumsum([1, *(block.lines for block in blocks)])
    assert [block.first for block in blocks] == firsts[:-1].tolist()


# --- properties ---


@given(st.binary(max_size=300) | small_lines(), st.sampled_from(["any.txt", "any.gz"]))
def test_random_bytes_are_counted_or_refused(tmp_path_factory, data, name):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    try:
        pairs, counts, rejects, source = read(path)
    except errors.UserError as error:
        assert str(path) in str(error) and name == "any.gz"
        return
    parts = counts.malformed + counts.dropped_n + counts.dropped_length + counts.examples
    assert counts.lines == parts <= source.line_count
    assert (len(pairs), len(rejects)) == (counts.examples, counts.malformed)


_SEQUENCE = re.compile(rb"[ACGTNacgtn]+")
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")  # finite ones, as Python reads them


def count_plainly(data: bytes) -> text.Counts:
    """The counts of a text, line by line and by regular expressions."""
    counts = text.Counts()
    for fields in filter(None, (line.split() for line in data.split(b"\n"))):
        counts.lines += 1
        well_formed = (
            len(fields) == 2 and _SEQUENCE.fullmatch(fields[0]) and _NUMBER.fullmatch(fields[1])
        )
        if not well_formed or abs(float(fields[1])) > np.finfo(np.float32).max:
            counts.malformed += 1
        elif fields[0].upper().count(b"N") > 1:
            counts.dropped_n += 1
        elif not 6 <= len(fields[0]) <= 10:
            counts.dropped_length += 1
        else:
            counts.examples += 1
    return counts


def random_text(rng: np.random.Generator) -> bytes:
    """Any bytes, bytes that occur in texts, or a good text with some bytes changed."""
    kind, size = rng.integers(0, 3), rng.integers(0, 120)
    if kind == 0:
        return rng.bytes(size)
    if kind == 1:
        return rng.choice(
            np.frombuffer(b"ACGTNacgtn  \t\n\r0123456789.eE+-_infa", np.uint8), size
        ).tobytes()
    data = bytearray((LINES + b"acgtnacg 1e3\r\n\nNNACGTAC\t+.5\nACGT\t7\n" + LINES)[: 20 + size])
    for place in rng.integers(0, len(data), rng.integers(0, 4)):
        data[place] = rng.integers(0, 256)
    return bytes(data)


@pytest.mark.slow
def test_100_000_random_texts_give_the_counts_of_a_plain_reading(tmp_path):
    rng = np.random.default_rng(2022)
    for number in range(100_000):
        data = random_text(rng)
        examples, counts, rejects = text.parse(data, SHORT, "x", 1)
        assert counts == count_plainly(data), data
        assert (len(examples.letters), len(rejects)) == (counts.examples, counts.malformed)
        if number % 100 == 0:  # as files, packed or only named so, and as texts to predict
            for name, content in (("a.txt", data), ("a.gz", gzip.compress(data)), ("b.gz", data)):
                (tmp_path / name).write_bytes(content)
                with contextlib.suppress(errors.UserError):
                    assert read(tmp_path / name)[1] == counts
                with contextlib.suppress(errors.UserError):
                    parts = list(rows.read(text.Source(tmp_path / name), SHORT))
                    assert sum(len(part.sequences) for part in parts) == counts.lines


@given(st.lists(st.tuples(st.text("ACGTNacgtn", min_size=1, max_size=15), st.floats(width=32))))
def test_examples_agree_with_a_plain_reading(pairs):
    def plain(letters: str) -> str | None:
        letters = letters.upper()
        if letters.count("N") > 1 or not 6 <= len(letters) <= 10:
            return None
        return (letters + "N" * 8)[:8]

    block = "\n".join(f"{letters}\t{value!r}" for letters, value in pairs).encode()
    examples, _, _ = text.parse(block, SHORT, "x", 1)
    finite = [(plain(letters), value) for letters, value in pairs if np.isfinite(value)]
    expected = [row for row in finite if row[0]]
    result = zip(sequence.text(examples.letters), examples.expression.tolist(), strict=True)
    assert list(result) == expected


# --- whole files ---


def test_real_lines_give_the_published_counts(shared_data):
    # reference.md 2.1, checked on data/demo_train.txt of
    # de-Boer-Lab/random-promoter-dream-challenge-2022@f7b2e19
    path = shared_data / "gpra" / "demo_train.txt"
    _, counts, rejects, source = read(path, rules.Rule())
    assert counts == text.Counts(6370, 0, 24, 108, 6238) and rejects == []
    assert source.line_count == 6370  # the last without newline
    lines = [line.split() for line in path.read_bytes().split(b"\n")]
    lengths = [len(s) for s, _ in lines if s.count(b"N") <= 3 and 107 <= len(s) <= 113]
    assert (sum(n < 110 for n in lengths), lengths.count(110)) == (1011, 5198)
    assert sum(n > 110 for n in lengths) == 29
    integers = sum(float(value).is_integer() for _, value in lines)
    assert integers / len(lines) == pytest.approx(0.57975, abs=5e-6)


def test_a_dirty_library_gives_the_counts_of_its_truth(tmp_path):
    library = simulate.simulate(tmp_path / "dirty.txt", 2000, seed=1, dirty=True)
    truth = json.loads(library.truth_path.read_text())
    counts = read(library.path, rules.Rule())[1]
    expected = dict.fromkeys(["malformed", "dropped_n", "dropped_length", "kept", "ignored"], 0)
    for kind, number in truth["dirty"].items():
        expected[truth["outcomes"][kind]] += number
    expected["kept"] += truth["sequences"]
    assert expected.pop("ignored") == library.lines - counts.lines
    assert counts.manifest_keys() == {"lines": sum(expected.values())} | expected


# --- tables with a header ---


TABLES = {
    "library.csv": b'id,seq,"expr",fold\r\n1,ACGTACGT,1.5,train\r\n2,"ACGTACG",2,val\r\n',
    "library.tsv": b"seq\texpr\tfold\tid\nACGTACGT\t1.5\ttrain\ta b\nACGTACG\t2\tval\t\n",
    "library.txt": b"fold  seq  expr\ntrain  ACGTACGT  1.5\nval  acgtacg  2\n",
}
NAMES = {"sequence": "seq", "expression": "expr", "split": "fold"}


def read_table(path: Path, names: dict[str, str] = NAMES):
    source = text.Source(path)
    examples, rejects = [], []
    for block in source.named_blocks(names):
        part, _, reasons = text.parse(block.read(), SHORT, source.name, block.first, tuple(names))
        split = part.split or [None] * len(part.expression)
        values = part.expression.tolist()
        examples += zip(sequence.text(part.letters), values, split, strict=True)
        rejects += reasons
    return examples, rejects, source


@pytest.mark.parametrize("block_rows", [1, 1000])
@pytest.mark.parametrize("is_gzip", [False, True])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_by_the_names_of_its_columns(
    tmp_path, name, is_gzip, block_rows, monkeypatch
):
    monkeypatch.setattr(text, "_ROWS", block_rows)
    data = gzip.compress(TABLES[name]) if is_gzip else TABLES[name]
    path = write(tmp_path, data, name + ".gz" * is_gzip)
    examples, rejects, source = read_table(path)
    assert examples == [("ACGTACGT", 1.5, "train"), ("ACGTACGN", 2.0, "val")] and rejects == []
    assert (source.line_count, source.size) == (3, len(data))
    assert source.digest.hexdigest() == hashlib.sha256(data).hexdigest()


def test_malformed_rows_of_a_table_are_named_by_their_line(tmp_path):
    data = b"seq,expr\nACGTACGT,1\nACGTACGT,\n\nACGXACGT,1\nACGTACGT,high\n"
    path = write(tmp_path, data, "library.csv")
    examples, rejects, _ = read_table(path, {"sequence": "seq", "expression": "expr"})
    assert len(examples) == 1
    assert [reject.removeprefix(f"{path}:") for reject in rejects] == [
        "3: expected SEQUENCE and EXPRESSION, found 1 column",
        "5: letter 'X' is not one of A, C, G, T, N",
        "6: expression 'high' is not a number",
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"seq,value\nACGTACGT,1\n", ":1: there is no column 'expr'. Its columns: seq, value."),
        (b"seq,expr\nACGTACGT,1\nACGTACGT,1,2,3\n", "not a table"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(tmp_path, data, message):
    path = write(tmp_path, data, "library.csv")
    with pytest.raises(errors.UserError, match="library.csv") as error:
        read_table(path, {"sequence": "seq", "expression": "expr"})
    assert message in str(error.value)


def test_an_empty_table_has_no_lines(tmp_path):
    assert read_table(write(tmp_path, b"", "library.csv"))[0] == []
