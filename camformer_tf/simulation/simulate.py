"""A simulated promoter library: random sequences, a known motif grammar, the assay's noise.

It resembles the training data of the DREAM 2022 challenge: random 80-mers between two fixed flanks,
with expression from 0 to 17. Beside it, a file holds what is unknown of the real library: the
grammar, and every promoter's expression without noise.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from camformer_tf import errors, files, progress, recipe, wording
from camformer_tf.simulation import grammar

BLOCK = 16_384  # promoters drawn from one seed; a library is a row of blocks, the last one cut

_LETTERS = np.frombuffer(b"ACGT", np.uint8)

# === The assay: promoters → noisy lines ===


@dataclasses.dataclass(frozen=True)
class Noise:
    """The assay's noise: cells are sorted into bins, and few promoters have many cells.

    A cell's bin is the noiseless expression plus a normal error, rounded, within 0..17. The
    measured expression is the mean of the bins, weighted by each cell's reads; it is an integer if
    all cells are in the same bin. The parameters are invented, so that 58 % of the values are
    integers, as in data/demo_train.txt of
    de-Boer-Lab/random-promoter-dream-challenge-2022@f7b2e19.

    Attributes:
        one_cell: the share of promoters with one cell.
        further_cell: the probability of each further cell after the second.
        most_cells: the maximum number of cells of a promoter.
        cell_sd: the standard deviation of the error of a cell, in bins.
        reads_spread: the reads of a cell are uniform in 1 ± reads_spread.
    """

    one_cell: float = 0.525
    further_cell: float = 0.5
    most_cells: int = 8
    cell_sd: float = 1.4
    reads_spread: float = 0.8


NOISE = Noise()


def _measure(expression: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns measured expression, float64 (N,), 0..17, of noiseless expression (N,)."""
    shape = len(expression), NOISE.most_cells  # N, C
    further = np.minimum(rng.geometric(1 - NOISE.further_cell, shape[0]), shape[1] - 1)
    cells = 1 + np.where(rng.random(shape[0]) < NOISE.one_cell, 0, further)  # (N,), 1..C
    bins = expression[:, None] + NOISE.cell_sd * rng.standard_normal(shape)  # (N, C)
    bins = np.clip(np.rint(bins), 0, grammar.MAXIMUM)
    reads = 1 + NOISE.reads_spread * rng.uniform(-1, 1, shape)  # (N, C)
    reads *= np.arange(shape[1]) < cells[:, None]  # no reads of cells that do not exist
    first = bins[:, :1]  # (N, 1): the mean of differences from it is exactly 0 for equal bins
    return first[:, 0] + (reads * (bins - first)).sum(axis=1) / reads.sum(axis=1)


def _draw(seed: int, name: str, block: int) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    """Returns a block of promoters: sequences, noiseless and measured expression (BLOCK,)."""
    sequences = np.random.default_rng(recipe.sub_seed(seed, f"simulate/{name}/sequences/{block}"))
    cells = np.random.default_rng(recipe.sub_seed(seed, f"simulate/{name}/cells/{block}"))
    template = grammar.PREFIX + bytes(grammar.RANDOM) + grammar.SUFFIX
    letters = np.tile(np.frombuffer(template, np.uint8), (BLOCK, 1))  # (BLOCK, 110)
    indices = sequences.integers(0, 4, (BLOCK, grammar.RANDOM), np.uint8)  # (BLOCK, 80)
    letters[:, grammar.REGION] = _LETTERS[indices]
    expression = grammar.noiseless(letters)  # (BLOCK,)
    rows = letters.view(f"S{letters.shape[1]}")[:, 0].tolist()  # a row's bytes as one string
    return rows, expression, _measure(expression, cells)


def _line(sequence: bytes, value: float) -> bytes:
    return b"%b\t%.15g\n" % (sequence, value)  # like real lines: 15 digits, integers without dot


# === Dirty lines ===


def _replace(
    sequence: bytes, letter: bytes, low: int, high: int, rng: np.random.Generator
) -> bytes:
    """Returns a promoter with low..high of its random letters replaced by `letter`."""
    letters = np.frombuffer(sequence, np.uint8).copy()
    places = rng.choice(grammar.RANDOM, rng.integers(low, high + 1), replace=False)
    letters[grammar.REGION.start + places] = ord(letter)
    return letters.tobytes()


def _resize(sequence: bytes, low: int, high: int, rng: np.random.Generator) -> bytes:
    """Returns a promoter of low..high nt, by cutting or adding random letters before the suffix."""
    extra = _LETTERS[rng.integers(0, 4, grammar.RANDOM)].tobytes()
    longest = sequence[: grammar.REGION.stop] + extra
    return longest[: rng.integers(low, high + 1) - len(grammar.SUFFIX)] + grammar.SUFFIX


def _mix_case(sequence: bytes, rng: np.random.Generator) -> bytes:
    cut = rng.integers(1, len(sequence))
    return sequence[:cut] + sequence[cut:].lower()


# Kind → its outcome under the filters of the 2022 submission (script:482-536,
# FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69), and the function that turns a promoter and its
# expression into a line of this kind.
DIRT: dict[str, tuple[str, Callable[[bytes, float, np.random.Generator], bytes]]] = {
    "lower_case": ("kept", lambda s, e, rng: _line(s.lower(), e)),
    "mixed_case": ("kept", lambda s, e, rng: _line(_mix_case(s, rng), e)),
    "crlf": ("kept", lambda s, e, rng: _line(s, e)[:-1] + b"\r\n"),
    "few_n": ("kept", lambda s, e, rng: _line(_replace(s, b"N", 1, 3, rng), e)),
    "many_n": ("dropped_n", lambda s, e, rng: _line(_replace(s, b"N", 4, 20, rng), e)),
    "short": ("kept", lambda s, e, rng: _line(_resize(s, 107, 109, rng), e)),
    "long": ("kept", lambda s, e, rng: _line(_resize(s, 111, 113, rng), e)),
    "too_short": ("dropped_length", lambda s, e, rng: _line(_resize(s, 50, 106, rng), e)),
    "too_long": ("dropped_length", lambda s, e, rng: _line(_resize(s, 114, 140, rng), e)),
    "blank": ("ignored", lambda s, e, rng: b"\n"),
    "letter_x": ("malformed", lambda s, e, rng: _line(_replace(s, b"X", 1, 1, rng), e)),
    "missing_expression": ("malformed", lambda s, e, rng: s + b"\n"),
    "text_expression": ("malformed", lambda s, e, rng: s + b"\thigh\n"),
    "nan_expression": ("malformed", lambda s, e, rng: s + b"\tnan\n"),
    "three_columns": ("malformed", lambda s, e, rng: _line(s, e)[:-1] + b"\t1\n"),
}
DIRTY_FRACTION = 0.01  # lines of each kind per clean line; at least one line
_PLAIN = {"lower_case", "mixed_case", "crlf"}  # the truth holds their noiseless expression


DirtyLine = tuple[int, bytes, bytes]  # the clean line (0-based) it precedes, text, text in truth


def _dirty_lines(counts: dict[str, int], sequences: int, seed: int) -> list[DirtyLine]:
    """Returns the dirty lines, in descending order of their places."""
    rng = np.random.default_rng(recipe.sub_seed(seed, "simulate/dirt/lines"))
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    rng.shuffle(kinds)
    places = np.sort(rng.integers(0, sequences, len(kinds)))[::-1].tolist()
    blocks = (zip(*_draw(seed, "dirt", block), strict=True) for block in itertools.count())
    promoters = itertools.chain.from_iterable(blocks)
    dirty = []
    for place, kind, promoter in zip(places, kinds, promoters, strict=False):
        sequence, expression, measurement = promoter
        value = b"%.4f,\n" % expression if kind in _PLAIN else b"null,\n"
        line = DIRT[kind][1](sequence, measurement, rng)
        dirty.append((place, line, b"" if kind == "blank" else value))
    return dirty


# === The files ===


@dataclasses.dataclass(frozen=True)
class Summary:
    """The files of a simulated library, and what they hold.

    Attributes:
        path: the library.
        truth_path: its truth, a JSON file.
        sequences: the number of clean sequences.
        lines: the number of all lines, blank ones included.
        integer_fraction: the fraction of clean sequences whose expression is an integer.
    """

    path: Path
    truth_path: Path
    sequences: int
    lines: int
    integer_fraction: float

    def summary(self) -> str:
        """Returns the contents of both files in a line each."""
        clean = wording.count(self.sequences, "clean sequence")
        dirty = wording.count(self.lines - self.sequences, "dirty line")
        return (
            f"{self.path}: {clean} and {dirty}; {self.integer_fraction:.1%} of the expressions are "
            "integers\n"
            f"{self.truth_path}: grammar {grammar.GRAMMAR_VERSION} ({len(grammar.MOTIFS)} motifs, "
            f"{len(grammar.INTERACTIONS)} interactions), noise, expression without noise"
        )


def simulate(
    out: files.PathLike,
    sequences: int,
    *,
    seed: int = recipe.RecordsConfig.seed,
    dirty: bool = False,
    overwrite: bool = False,
    report: progress.Report | None = None,
) -> Summary:
    """Writes a library of `SEQUENCE<TAB>EXPRESSION` lines, and its truth beside it.

    The truth of OUT.txt is OUT.truth.json. It holds the seed, the flanks, the grammar, the noise,
    the number of lines of each dirty kind, and `noiseless`: a number for every line that is not
    blank, null for dirty lines whose sequence is not a plain one.

    A clean library starts with every smaller library of the same seed, and a dirty library is the
    clean one with lines added.

    Args:
        out: the text file to write.
        sequences: the number of clean sequences, at least 1.
        seed: equal sequences, seed and dirty give equal bytes.
        dirty: whether to add lines of every kind in `DIRT` at random places.
        overwrite: whether to replace existing files.
        report: how to report progress; see `progress.auto`.

    Returns:
        The paths of both files and the numbers of their lines.

    Raises:
        errors.UserError: a file exists or cannot be written.
    """
    path, report = Path(out), progress.auto(report)
    _refuse(path, sequences)
    truth_path = path.with_suffix(".truth.json")
    number = max(1, round(DIRTY_FRACTION * sequences))
    counts = dict.fromkeys(DIRT, number) if dirty else {}
    try:
        with (
            files.new_file(path, overwrite=overwrite) as temporary_text,
            files.new_file(truth_path, overwrite=overwrite) as temporary_truth,
            temporary_text.open("wb") as text,
            temporary_truth.open("wb") as truth,
        ):
            truth.write(_truth_head(counts, sequences, seed))
            dirty_lines = _dirty_lines(counts, sequences, seed)
            integers = _write_lines(text, truth, dirty_lines, sequences, seed, report)
            truth.write(b"\n]}\n")
    except OSError as error:
        raise errors.UserError(
            f"{path}: cannot be written ({error.strerror}). Check the folder and the disk."
        ) from error
    total = sequences + sum(counts.values())
    return Summary(path, truth_path, sequences, total, integers / sequences)


def _refuse(path: Path, sequences: int) -> None:
    if sequences < 1:
        raise errors.UserError(f"{path}: expected at least 1 sequence, found {sequences}.")
    if path.suffix == ".gz":
        raise errors.UserError(
            f"{path}: a simulated library is plain text. Choose a name without .gz."
        )
    if path.is_dir():
        raise errors.UserError(
            f"{path}: this is a folder. Name a file, such as {path / 'library.txt'}."
        )


def _truth_head(counts: dict[str, int], sequences: int, seed: int) -> bytes:
    head = {
        "version": grammar.GRAMMAR_VERSION,
        "seed": seed,
        "sequences": sequences,
        "flanks": grammar.flanks(),
        "grammar": grammar.description(),
        "noise": dataclasses.asdict(NOISE),
        "dirty": counts,
        "outcomes": {kind: DIRT[kind][0] for kind in counts},
    }
    return json.dumps(head, indent=1)[:-2].encode() + b',\n "noiseless": [\n'


def _write_lines(
    text: BinaryIO,
    truth: BinaryIO,
    dirty_lines: list[DirtyLine],
    sequences: int,
    seed: int,
    report: progress.Report,
) -> int:
    """Writes clean and dirty lines, and their values into the truth.

    Returns:
        The number of clean sequences whose expression is an integer.
    """
    integers = 0
    for start in range(0, sequences, BLOCK):
        rows, expression, measurement = _draw(seed, "clean", start // BLOCK)
        count = min(BLOCK, sequences - start)
        rows, expression, measurement = rows[:count], expression[:count], measurement[:count]
        integers += int(np.count_nonzero(measurement == np.rint(measurement)))
        lines = list(map(_line, rows, measurement.tolist()))
        values = [b"%.4f" % value for value in expression.tolist()]
        while dirty_lines and dirty_lines[-1][0] < start + BLOCK:
            place, line, value = dirty_lines.pop()
            lines[place - start] = line + lines[place - start]
            values[place - start] = value + values[place - start]
        text.write(b"".join(lines))
        truth.write((b",\n" if start else b"") + b",\n".join(values))
        report("simulating", start + count, sequences)
    return integers
