import pytest
from hypothesis import given
from hypothesis import strategies as st

from camformer_tf import recipe
from camformer_tf.data import rules

RULE = rules.Rule()
FULL = b"ACGTACGTAC" * 11  # 110 letters


def outcome(sequence: bytes, rule: rules.Rule) -> str:
    """What becomes of a line: the filters in their order."""
    if rule.too_many_n(sequence.count(b"N")):
        return "dropped_n"
    return "dropped_length" if rule.wrong_length(len(sequence)) else "kept"


# --- filters and padding: script:482-536, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69 ---


def test_the_default_rule_is_that_of_a_recipe():
    config = recipe.DataConfig()
    assert rules.Rule(config.length, config.length_margin, config.max_n, False) == RULE


@pytest.mark.parametrize("number, is_dropped", [(0, False), (3, False), (4, True), (110, True)])
def test_more_than_three_n_are_too_many(number, is_dropped):
    assert RULE.too_many_n(number) is is_dropped


@pytest.mark.parametrize(
    "length, is_dropped", [(0, True), (106, True), (107, False), (113, False), (114, True)]
)
def test_lengths_further_than_three_from_110_are_wrong(length, is_dropped):
    assert RULE.wrong_length(length) is is_dropped


def test_no_length_is_wrong_if_all_are_kept():
    rule = rules.Rule(keep_all=True)
    assert not any(rule.wrong_length(length) for length in (1, 50, 106, 114, 500))


def test_too_many_n_are_dropped_even_if_all_lengths_are_kept():
    assert outcome(b"NNNN", rules.Rule(keep_all=True)) == "dropped_n"


@pytest.mark.parametrize("length", [107, 108, 109])
def test_padding_does_not_count_as_n(length):
    sequence = b"NNN" + FULL[3:length]
    assert outcome(sequence, RULE) == "kept"
    assert RULE.fit_length(sequence).count(b"N") == 3 + 110 - length


@pytest.mark.parametrize(
    "sequence, expected",
    [
        (FULL, FULL),
        (FULL[:107], FULL[:107] + b"NNN"),
        (FULL + b"GGG", FULL),
        (b"", b"N" * 110),
        (b"A", b"A" + b"N" * 109),
    ],
    ids=["110", "107", "113", "0", "1"],
)
def test_sequences_are_padded_and_cut_on_the_right(sequence, expected):
    assert RULE.fit_length(sequence) == expected


@given(st.integers(1, 200), st.integers(0, 200))
def test_every_sequence_is_fitted_to_the_length_of_the_rule(length, size):
    assert len(rules.Rule(length=length).fit_length(b"A" * size)) == length


@given(
    st.text("ACGTN", max_size=130).map(str.encode),
    st.builds(rules.Rule, st.integers(90, 120), st.integers(0, 9), st.integers(0, 9)),
)
def test_a_sequence_can_be_read_if_it_would_be_kept(sequence, rule):
    reason = rules.unreadable(sequence, rule)
    assert (reason is None) == (outcome(sequence, rule) == "kept")


# --- malformed lines ---


@pytest.mark.parametrize("letters", [b"ACGTN", b"acgtn", b"AcGtN"])
@pytest.mark.parametrize("value", [b"11", b"11.46", b"-1.5", b"+2", b".5", b"1e-3", b"1E3", b"0"])
def test_letters_and_a_number_are_an_example(letters, value):
    assert rules.malformed([letters, value]) is None


MALFORMED = {
    "one column": ([b"ACGT"], "expected SEQUENCE and EXPRESSION, found 1 column"),
    "three columns": ([b"ACGT", b"1", b"2"], "found 3 columns"),
    "letter X": ([b"ACXT", b"1"], "letter 'X' is not one of A, C, G, T, N"),
    "the first of many": ([b"AUXT", b"1"], "letter 'U' is not one of A, C, G, T, N"),
    "a byte that is not text": ([b"AC\xffT", b"1"], "letter '\ufffd' is not one of A, C, G, T, N"),
    "text": ([b"ACGT", b"high"], "expression 'high' is not a number"),
    "underscore": ([b"ACGT", b"1_000"], "expression '1_000' is not a number"),
    "comma": ([b"ACGT", b"1,5"], "expression '1,5' is not a number"),
    "hexadecimal": ([b"ACGT", b"0x10"], "expression '0x10' is not a number"),
    "other digits": ([b"ACGT", "\u0663".encode()], "expression '\u0663' is not a number"),
    "long text": ([b"ACGT", b"x" * 99], f"expression '{'x' * 40}' is not a number"),
    "nan": ([b"ACGT", b"nan"], "expression 'nan' is not a finite number"),
    "infinity": ([b"ACGT", b"-Infinity"], "expression '-Infinity' is not a finite number"),
    "beyond float32": ([b"ACGT", b"1e39"], "expression '1e39' is not a finite number"),
    "beyond float64": ([b"ACGT", b"-1e999"], "expression '-1e999' is not a finite number"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_line_has_a_reason(case):
    fields, reason = MALFORMED[case]
    assert reason in rules.malformed(fields)


def test_the_largest_float32_is_an_expression():
    # 3.4028235e38 in short, IEEE 754-2008 binary32: (2 - 2**-23) * 2**127
    assert rules.malformed([b"ACGT", b"%r" % ((2 - 2**-23) * 2.0**127)]) is None


@pytest.mark.parametrize(
    "sequence, reason",
    [
        (FULL.lower(), None),
        (b"N" * 3 + FULL[3:], None),
        (FULL.replace(b"T", b"U"), None),
        (FULL[:-1] + b"u", None),
        (FULL[:-1] + b"X", "letter 'X' is not one of A, C, G, T, N"),
        (b"nnnn" + FULL[4:], "4 N, more than 3"),
        (FULL[:106], "length 106, further than 3 from 110"),
        (b"", "length 0, further than 3 from 110"),
        (b"NNNN", "4 N, more than 3"),
    ],
)
def test_a_sequence_that_cannot_be_read_has_a_reason(sequence, reason):
    assert rules.unreadable(sequence, RULE) == reason


@given(st.one_of(st.binary(max_size=20), st.text("ACGTUnN", max_size=20).map(str.encode)))
def test_the_code_of_a_reason_is_its_index(sequence):
    rule = rules.Rule(length=8, length_margin=2, max_n=1)
    reason, code = rules.unreadable(sequence, rule), rules.judge(sequence, rule)
    words = ("", "is not one of A, C, G, T, N", "more than 1", "further than 2 from 8")[code]
    assert reason.endswith(words) if code else reason is None
    assert words in rules.reasons(rule)[code]


# --- header lines ---


@pytest.mark.parametrize(
    "line", [b"sequence expression", b"Seq EL", b'"sequence" "mean_EL"', b"seq", b"id seq EL"]
)
def test_words_are_a_header(line):
    assert rules.is_header(line.split())


@pytest.mark.parametrize("line", [b"ACGT high", b"ACXT 1", b"seq 1", b"ACGT", b"sequence nan2"])
def test_a_line_with_a_sequence_or_a_number_is_not_a_header(line):
    assert not rules.is_header(line.split())
