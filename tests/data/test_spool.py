import numpy as np
import pytest

from camformer_tf import errors
from camformer_tf.data import rules, sequence, splits, spool, strands, text

RULE = rules.Rule(length=8, length_margin=2, max_n=1)
LINES = [f"{letters}\t{i}\n" for i, letters in enumerate(["ACGTACGT", "ACGX", "acgtac", "A"] * 5)]
COUNTS = text.Counts(lines=20, malformed=5, dropped_n=0, dropped_length=5, examples=10)


@pytest.fixture
def gather(tmp_path, monkeypatch):
    """Gathers a text in blocks of about two lines, with or without weights."""
    monkeypatch.setattr(text, "_CHUNK", 24)

    def gather_lines(lines: list[str], columns: dict[str, str] | None = None) -> spool.Spool:
        path = tmp_path / "library.txt"
        path.write_text("".join(lines))
        report = lambda *_: None  # noqa: E731
        return spool.gather([path], tmp_path / "rows", RULE, 42, columns, map, report)

    return gather_lines


def test_the_rows_are_the_examples_in_the_order_of_the_text(gather):
    library = gather(LINES)
    rows = library.rows.read()
    assert sequence.text(rows["letters"]) == ["ACGTACGT", "ACGTACNN"] * 5
    assert rows["expression"].tolist() == list(range(0, 20, 2))
    assert library.counts == COUNTS and len(library.rows.starts) > 5


def test_what_a_text_holds_is_gathered_beside_its_rows(gather):
    library = gather(LINES)
    letters = library.rows.read()["letters"]
    np.testing.assert_array_equal(np.concatenate(library.hashes), splits.hashes(letters, 42))
    np.testing.assert_array_equal(np.concatenate(library.expression), range(0, 20, 2))
    np.testing.assert_array_equal(library.letter_counts, strands.count(letters))
    (source,) = library.sources
    assert (source["name"], source["lines"]) == ("library.txt", 20)
    assert [reject.split(":")[-2] for reject in library.rejects] == ["2", "6", "10", "14", "18"]


def test_the_parts_cover_all_rows_and_know_their_labels(gather, tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "_BLOCKS_PER_PART", 2)
    library = gather(LINES)
    labels = np.arange(10, dtype=np.uint8)
    np.save(tmp_path / "labels.npy", labels)
    parts = list(library.parts(tmp_path / "labels.npy"))
    rows, part_labels = zip(*(part.read() for part in parts), strict=True)
    assert len(parts) > 2
    np.testing.assert_array_equal(np.concatenate(rows), library.rows.read())
    np.testing.assert_array_equal(np.concatenate(part_labels), labels)


def test_weights_are_in_the_rows(gather):
    lines = ["s e w\n", *(f"ACGTACG{letter} 1 {i}\n" for i, letter in enumerate("ACGT"))]
    columns = {"sequence": "s", "expression": "e", "weight": "w"}
    library = gather(lines, columns)
    assert library.rows.read()["weight"].tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(np.concatenate(library.weight), range(4))


def test_a_text_with_malformed_lines_is_refused_unless_they_are_skipped(gather, tmp_path):
    library = gather(LINES)
    with pytest.raises(errors.UserError, match="5 of 20 lines are malformed"):
        spool.check(library, [tmp_path], "error")
    spool.check(library, [tmp_path], "skip")
