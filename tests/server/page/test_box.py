"""The box for sequences: checks, flanks, files."""

import numpy as np
import pytest
from support import page_steps as steps

pytestmark = pytest.mark.browser


def test_lines_that_cannot_be_read_have_messages_and_the_others_are_predicted(visit, expected):
    page, (a, b) = visit(), steps.promoters(2)
    lines = [
        a, a[:20] + "x" + a[21:], "ACGT", "n\t" + "NNNN" + a[4:], f"{a}\t11.5", f"a\tb\t{a}",
        b.lower().replace("t", "u"), ">bad", a[:60], "A-" + a[60:], ">none", ">é <b>", b[:107],
    ]  # fmt: skip
    page.fill("#text", "\r\n".join(lines))
    steps.expect(page, "#count").to_contain_text("10 sequences, 7 cannot be read")
    problems = page.locator("#problems li").all_inner_texts()
    assert problems[0] == "Line 2: letter x at position 21 is not one of A, C, G, T, N"
    assert problems[1] == (
        "Line 3: length 4; the model reads 107 to 113 letters, or a core of 80 letters, to which "
        "flanks are added"
    )
    assert problems[2] == "Line 4 (n): 4 letters N; the maximum is 3"
    assert "the second column is a number" in problems[3] and problems[3].startswith("Line 5")
    assert problems[4].startswith("Line 6 (a): 3 columns") and "2 more" in problems[5]
    page.click("#problems button >> nth=1")  # goes to the line
    assert page.evaluate("getSelection().toString()") == "ACGT"
    page.evaluate("document.getElementById('text').scrollTop = 0")
    steps.expect(page, "#gutter .bad >> nth=0").to_have_text("2")

    page.click("#predict")
    steps.expect(page, "#message").to_have_text("3 sequences predicted; 7 cannot be read.")
    rows = steps.table_rows(page)
    assert rows[7][2] == "Line 10: letter - at position 62 is not one of A, C, G, T, N"
    assert rows[8][2] == "Line 11: there is no sequence under this name"
    assert rows[9][0] == "é <b>"
    table = steps.parse_csv(steps.download(page, "#csv"))
    good = [row for row in table if not row["problem"]]
    np.testing.assert_allclose(
        steps.column(good, "prediction"), expected([a, b, b[:107]]), atol=1e-5
    )
    assert [row["line"] for row in good] == ["1", "7", "12"]
    assert table[1]["problem"].startswith("letter x") and table[1]["prediction"] == ""


def test_a_core_gets_the_flanks_of_the_card(visit, expected):
    page, (core,) = visit(), steps.cores(1)
    page.fill("#text", f"\nmine\t{core}\n")
    steps.expect(page, "#count").to_contain_text(
        f"Flanks are added to each: {steps.LEFT} core {steps.RIGHT}"
    )
    steps.predict(page, f"\nmine\t{core}\n")
    steps.expect(page, "#table .letters").to_have_text(steps.LEFT + core + steps.RIGHT)
    assert page.locator("#table .flank").all_inner_texts() == [steps.LEFT, steps.RIGHT]
    (row,) = steps.parse_csv(steps.download(page, "#csv"))
    whole_sequence = steps.LEFT + core + steps.RIGHT
    assert (row["given"], row["sequence"], row["line"]) == (core, whole_sequence, "2")
    assert float(row["prediction"]) == pytest.approx(expected([whole_sequence])[0], abs=1e-5)


def test_files_that_are_dropped_or_opened_are_added_at_the_end(visit, tmp_path):
    page, sequences = visit(), steps.promoters(3)
    page.fill("#text", sequences[0])
    fasta = f">two words\n{sequences[1][:50]}\n{sequences[1][50:]}\n"
    page.evaluate(
        """(text) => {
            const data = new DataTransfer();
            data.items.add(new File([text], "a.fasta"));
            for (const kind of ["dragover", "drop"]) {
                document.body.dispatchEvent(
                    new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
            }
        }""",
        fasta,
    )
    steps.expect(page, "#text").to_have_value(f"{sequences[0]}\n{fasta}")
    (tmp_path / "b.txt").write_text(sequences[2])
    (tmp_path / "c.png").write_bytes(b"\x89PNG\0\xff")
    page.set_input_files("#file", [tmp_path / "b.txt", tmp_path / "c.png"])
    steps.expect(page, "#message").to_have_text("c.png is not a text file.")
    assert page.input_value("#text") == f"{sequences[0]}\n{fasta}{sequences[2]}"
    steps.expect(page, "#count").to_contain_text(
        "2 sequences, 1 cannot be read"
    )  # of one FASTA entry


def test_the_box_says_which_lengths_the_model_reads(visit):
    page = visit()
    steps.expect(page, "#rule").to_have_text(
        "The model reads 107 to 113 letters, or a core of 80 letters, to which flanks are added."
    )


def test_without_sequences_nothing_is_asked(visit):
    page = visit()
    page.click("#predict")
    steps.expect(page, "#message").to_have_text("There is no sequence in the box yet.")
