import json
import os
import re

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

import camformer_tf as cf
from camformer_tf import cli, errors
from camformer_tf.simulation import grammar, simulate

LIBRARY = 100_000


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Returns 100,000 clean sequences: rows, measured and noiseless expression, truth, summary."""
    path = tmp_path_factory.mktemp("library") / "library.txt"
    summary = simulate.simulate(path, LIBRARY, seed=42)
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    truth = json.loads(summary.truth_path.read_text())
    measurements = np.array([float(value) for _, value in rows])
    return rows, measurements, np.array(truth["noiseless"]), truth, summary


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """Returns a dirty library of 1,000 clean sequences: byte lines, truth, summary."""
    path = tmp_path_factory.mktemp("dirty") / "dirty.txt"
    summary = simulate.simulate(path, 1000, seed=3, dirty=True)
    lines = path.read_bytes().split(b"\n")[:-1]
    return lines, json.loads(summary.truth_path.read_text()), summary


def noiseless_expression(sequences: list[str]) -> np.ndarray:
    """Returns expression by the grammar, which tests/simulation/test_grammar.py tests."""
    letters = np.frombuffer("".join(sequences).encode(), np.uint8).reshape(-1, 110)
    return grammar.noiseless(letters)


# --- the truth ---


def test_the_truth_is_the_expression_by_the_grammar(library):
    rows, _, noiseless, _, _ = library
    expression = noiseless_expression([sequence for sequence, _ in rows[:2000]])
    np.testing.assert_allclose(
        noiseless[:2000], expression, rtol=0, atol=0.5001e-4
    )  # four decimals


def test_the_truth_holds_the_whole_grammar(library):
    assert library[3]["grammar"] == json.loads(json.dumps(grammar.description()))


# --- the clean library ---


def test_every_clean_sequence_is_80_letters_between_the_flanks(library):
    clean = re.compile("TGCATTTTTTTCACATC[ACGT]{80}GGTTACGGCTGTT")
    assert all(clean.fullmatch(sequence) for sequence, _ in library[0])


def test_random_letters_are_uniform(library):
    text = "".join(sequence[17:97] for sequence, _ in library[0])
    counts = [text.count(letter) for letter in "ACGT"]
    assert stats.chisquare(counts).pvalue > 1e-4


def test_expression_lies_within_the_bins(library):
    _, measurements, noiseless, _, _ = library
    assert measurements.min() >= 0 and measurements.max() <= 17
    assert noiseless.min() > 0 and noiseless.max() < 17


def test_expression_has_the_distribution_of_the_real_library(library):
    # data/demo_train.txt, de-Boer-Lab/random-promoter-dream-challenge-2022@f7b2e19 (n = 6,370):
    # mean 11.15, standard deviation 2.35
    assert library[1].mean() == pytest.approx(11.15, abs=0.2)
    assert library[1].std() == pytest.approx(2.35, abs=0.2)


@pytest.mark.parametrize("seed", [0, 7])
def test_about_58_percent_of_the_expressions_are_integers(tmp_path, seed):
    # 0.580 in data/demo_train.txt, de-Boer-Lab/random-promoter-dream-challenge-2022@f7b2e19
    summary = simulate.simulate(tmp_path / "library.txt", LIBRARY, seed=seed)
    values = [line.split("\t")[1] for line in summary.path.read_text().splitlines()]
    fraction = np.mean([float(value).is_integer() for value in values])
    assert 0.56 <= fraction <= 0.60
    assert fraction == summary.integer_fraction


def test_integers_are_written_without_a_dot_and_means_with_many_decimals(library):
    # As in data/demo_train.txt, de-Boer-Lab/random-promoter-dream-challenge-2022@f7b2e19.
    values = [value for _, value in library[0]]
    assert all(re.fullmatch(r"\d{1,2}|\d{1,2}\.\d+", value) for value in values)
    decimals = [len(value.split(".")[1]) for value in values if "." in value]
    assert min(decimals) >= 6 and max(decimals) <= 15


def test_noise_leaves_a_ceiling(library):
    # The best real models reach r = 0.75 on validation data.
    _, measurements, noiseless, _, _ = library
    assert 0.80 < stats.pearsonr(measurements, noiseless).statistic < 0.90


def test_noise_is_centred(library):
    _, measurements, noiseless, _, _ = library
    assert abs(np.mean(measurements - noiseless)) < 0.05


# --- seeds ---


@pytest.mark.parametrize("dirty", [False, True])
def test_the_same_seed_gives_the_same_bytes(tmp_path, dirty):
    first = simulate.simulate(tmp_path / "a.txt", 500, seed=5, dirty=dirty)
    second = simulate.simulate(tmp_path / "b.txt", 500, seed=5, dirty=dirty)
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.truth_path.read_bytes() == second.truth_path.read_bytes()


def test_another_seed_gives_other_sequences(tmp_path):
    first = simulate.simulate(tmp_path / "a.txt", 100, seed=1).path.read_text().splitlines()
    second = simulate.simulate(tmp_path / "b.txt", 100, seed=2).path.read_text().splitlines()
    assert not set(first) & set(second)


@pytest.mark.parametrize("sequences", [1, 100, simulate.BLOCK, simulate.BLOCK + 1])
def test_a_library_begins_with_any_smaller_one_of_its_seed(library, tmp_path, sequences):
    rows, _, noiseless, _, _ = library
    small = simulate.simulate(tmp_path / "small.txt", sequences, seed=42)
    lines = small.path.read_text().splitlines()
    assert lines == ["\t".join(row) for row in rows[:sequences]]
    truth = json.loads(small.truth_path.read_text())
    assert truth["noiseless"] == noiseless[:sequences].tolist()


def test_a_dirty_library_is_the_clean_one_with_lines_added(tmp_path):
    clean = simulate.simulate(tmp_path / "clean.txt", 300, seed=9).path.read_bytes().split(b"\n")
    dirty = simulate.simulate(tmp_path / "dirty.txt", 300, seed=9, dirty=True)
    lines = iter(dirty.path.read_bytes().split(b"\n"))
    assert all(line in lines for line in clean)


# --- dirty lines ---


def kind_of(line: bytes) -> str:
    """Returns the kind of a line, by its bytes alone."""
    if not line:
        return "blank"
    fields = line.removesuffix(b"\r").split(b"\t")
    sequence = fields[0].upper()
    number = sequence.count(b"N")
    flags = {
        "crlf": line.endswith(b"\r"),
        "missing_expression": len(fields) == 1,
        "three_columns": len(fields) == 3,
        "nan_expression": fields[1:] == [b"nan"],
        "text_expression": fields[1:] == [b"high"],
        "letter_x": b"X" in sequence,
        "lower_case": fields[0].islower(),
        "mixed_case": not fields[0].islower() and not fields[0].isupper(),
        "few_n": 1 <= number <= 3,
        "many_n": number > 3,
        "too_short": len(sequence) < 107,
        "short": 107 <= len(sequence) < 110,
        "long": 110 < len(sequence) <= 113,
        "too_long": len(sequence) > 113,
    }
    kinds = [kind for kind, flag in flags.items() if flag]
    assert len(kinds) <= 1, line
    return kinds[0] if kinds else "clean"


def test_every_dirty_kind_has_the_counted_number_of_lines(dirty):
    lines, truth, _ = dirty
    kinds = [kind_of(line) for line in lines]
    counts = {kind: kinds.count(kind) for kind in set(kinds)}
    assert counts == {"clean": 1000, **truth["dirty"]}
    assert set(truth["dirty"]) == set(simulate.DIRT) and min(truth["dirty"].values()) == 10


def test_a_small_dirty_library_has_one_line_of_every_kind(tmp_path):
    summary = simulate.simulate(tmp_path / "dirty.txt", 1, dirty=True)
    lines = summary.path.read_bytes().split(b"\n")[:-1]
    assert sorted(map(kind_of, lines)) == sorted([*simulate.DIRT, "clean"])


def test_outcomes_agree_with_a_plain_filter(dirty):
    lines, truth, _ = dirty

    def outcome(line: bytes) -> str:  # script:482-536, FredrikSvenssonUK/DREAM2022_Camformers
        fields = line.split()
        if not fields:
            return "ignored"
        if len(fields) != 2 or not re.fullmatch(b"[ACGTN]+", fields[0].upper()):
            return "malformed"
        if not re.fullmatch(rb"\d+(\.\d+)?", fields[1]):
            return "malformed"
        if fields[0].upper().count(b"N") > 3:
            return "dropped_n"
        return "kept" if abs(len(fields[0]) - 110) <= 3 else "dropped_length"

    for line in lines:
        assert outcome(line) == truth["outcomes"].get(kind_of(line), "kept")


def test_dirty_lines_are_among_the_clean_ones(dirty):
    places = [place for place, line in enumerate(dirty[0]) if kind_of(line) != "clean"]
    assert places[0] < 100 and places[-1] > len(dirty[0]) - 100


def test_dirty_lines_are_spread_over_all_blocks(tmp_path):
    sequences = 2 * simulate.BLOCK + 10
    summary = simulate.simulate(tmp_path / "dirty.txt", sequences, dirty=True)
    truth = json.loads(summary.truth_path.read_text())
    lines = summary.path.read_bytes().split(b"\n")[:-1]
    assert len(lines) == summary.lines == sequences + sum(truth["dirty"].values())
    assert len(truth["noiseless"]) == summary.lines - truth["dirty"]["blank"]
    nulls = sum(value is None for value in truth["noiseless"])
    assert nulls == 11 * truth["dirty"]["few_n"]  # 15 kinds, less blank and the three plain ones


def test_the_truth_has_a_value_for_every_line_that_is_not_blank(dirty):
    lines, truth, summary = dirty
    values = iter(truth["noiseless"])
    for line in filter(None, lines):
        value, kind = next(values), kind_of(line)
        if kind in ("clean", "lower_case", "mixed_case", "crlf"):
            expression = noiseless_expression([line.split()[0].decode().upper()])[0]
            assert value == pytest.approx(expression, abs=0.5001e-4)  # four decimals
        else:
            assert value is None
    assert next(values, "end") == "end"
    assert len(lines) == summary.lines


# --- files ---


def test_the_truth_holds_seed_version_flanks_and_noise(library):
    truth = library[3]
    assert truth["seed"] == 42 and truth["version"] == grammar.GRAMMAR_VERSION
    assert truth["sequences"] == LIBRARY and truth["dirty"] == truth["outcomes"] == {}
    assert truth["flanks"] == {
        **{"prefix": "TGCATTTTTTTCACATC", "random": 80, "suffix": "GGTTACGGCTGTT"}
    }
    assert set(truth["noise"]) == {
        *("one_cell", "further_cell", "most_cells", "cell_sd", "reads_spread")
    }


def test_summary_names_both_files_and_their_size(dirty):
    lines = dirty[2].summary().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{dirty[2].path}: 1,000 clean sequences and 150 dirty lines")
    assert lines[1].startswith(f"{dirty[2].truth_path}: grammar 1")


@pytest.mark.parametrize("name", ["library.txt", "library.truth.json"])
def test_an_existing_file_is_left_as_it_is(tmp_path, name):
    (tmp_path / name).write_text("old")
    with pytest.raises(errors.UserError, match=f"{name}: exists already"):
        simulate.simulate(tmp_path / "library.txt", 10)
    assert (tmp_path / name).read_text() == "old"
    assert os.listdir(tmp_path) == [name]


def test_both_files_are_replaced_with_overwrite(tmp_path):
    path = tmp_path / "library.txt"
    for name in ("library.txt", "library.truth.json"):
        (tmp_path / name).write_text("old")
    simulate.simulate(path, 10, overwrite=True)
    assert len(path.read_text().splitlines()) == 10
    assert json.loads((tmp_path / "library.truth.json").read_text())["sequences"] == 10
    assert sorted(os.listdir(tmp_path)) == ["library.truth.json", "library.txt"]


def test_the_public_function_takes_a_path_as_text_and_reports_progress(tmp_path):
    calls = []
    summary = cf.simulate(
        str(tmp_path / "library.txt"), 20, seed=5, report=lambda *call: calls.append(call)
    )
    assert summary == simulate.simulate(tmp_path / "library.txt", 20, seed=5, overwrite=True)
    assert calls == [("simulating", 20, 20)]


def test_the_command_writes_what_the_function_writes(tmp_path):
    arguments = ["simulate", str(tmp_path / "a.txt"), "-n", "30", "--seed", "7", "--dirty"]
    result = CliRunner().invoke(cli.main, arguments)
    summary = simulate.simulate(tmp_path / "b.txt", 30, seed=7, dirty=True)
    assert result.output.replace("a.t", "b.t") == summary.summary() + "\n"
    assert (tmp_path / "a.txt").read_bytes() == summary.path.read_bytes()
    refusal = CliRunner().invoke(cli.main, arguments)
    assert refusal.exit_code == 1 and "a.txt: exists already" in refusal.output
    assert CliRunner().invoke(cli.main, [*arguments, "--overwrite"]).exit_code == 0


@pytest.mark.parametrize("sequences", [0, -3])
def test_fewer_sequences_than_one_are_refused(tmp_path, sequences):
    with pytest.raises(errors.UserError, match=f"expected at least 1 sequence, found {sequences}"):
        simulate.simulate(tmp_path / "library.txt", sequences)
    assert not os.listdir(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(errors.UserError, match="the folder .*nowhere does not exist"):
        simulate.simulate(tmp_path / "nowhere" / "library.txt", 10)


def test_a_folder_as_the_output_is_refused(tmp_path):
    with pytest.raises(errors.UserError, match="this is a folder. Name a file"):
        simulate.simulate(tmp_path, 10)


def test_a_compressed_name_is_refused(tmp_path):
    with pytest.raises(errors.UserError, match="a simulated library is plain text"):
        simulate.simulate(tmp_path / "library.txt.gz", 10)


def test_nothing_is_left_when_drawing_fails(tmp_path, monkeypatch):
    original = simulate._draw

    def draw(seed, name, block):
        if block:
            raise KeyboardInterrupt
        return original(seed, name, block)

    monkeypatch.setattr(simulate, "_draw", draw)
    with pytest.raises(KeyboardInterrupt):
        simulate.simulate(tmp_path / "library.txt", simulate.BLOCK + 1)
    assert not os.listdir(tmp_path)


def test_nothing_is_left_when_the_second_file_cannot_be_renamed(tmp_path, monkeypatch):
    original = os.replace

    def replace(source, target):
        if str(target).endswith(".json"):
            raise OSError(28, "No space left on device")
        original(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(errors.UserError, match="No space left on device"):
        simulate.simulate(tmp_path / "library.txt", 10)
    assert not os.listdir(tmp_path)
