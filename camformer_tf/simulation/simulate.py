"""A simulated promoter library: random sequences, a known motif grammar, the assay's noise.

It stands in for the training data of the DREAM 2022 challenge: random 80-mers between two fixed
flanks, expression 0..17, and beside them what nobody knows of the real library: its grammar, and
every promoter's expression without noise.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from camformer_tf import errors, files, progress, recipe
from camformer_tf.simulation import grammar

BLOCK = 16_384  # promoters drawn from one seed; a library is blocks, the last one cut

_LETTERS = np.frombuffer(b"ACGT", np.uint8)

# === The assay: promoters → noisy lines ===


@dataclasses.dataclass(frozen=True)
class Noise:
    """Each cell of a promoter is sorted into one bin, and few promoters have many cells.

    A share `one_cell` of the promoters has one cell, the others two or more (each further one with
    probability `further_cell`, `most_cells` at most). A cell's bin is the noiseless expression plus
    a normal error of `cell_sd` bins, rounded, within 0..17. The value is the average of the bins,
    weighted by each cell's reads, uniform in 1 ± `reads_spread`: an integer if all bins are one.
    Set for 58 % integers, as in data/demo_train.txt of
    de-Boer-Lab/random-promoter-dream-challenge-2022@f7b2e19; the values themselves are invented.
    """

    one_cell: float = 0.525
    further_cell: float = 0.5
    most_cells: int = 8
    cell_sd: float = 1.4
    reads_spread: float = 0.8


NOISE = Noise()


def _measure(expression: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns noiseless expression, (N,), as the sorted cells show it: float64 (N,), 0..17."""
    count, most = len(expression), NOISE.most_cells
    further = np.minimum(rng.geometric(1 - NOISE.further_cell, count), most - 1)
    cells = 1 + np.where(rng.random(count) < NOISE.one_cell, 0, further)
    bins = expression[:, None] + NOISE.cell_sd * rng.standard_normal((count, most))
    bins = np.clip(np.rint(bins), 0, grammar.MAXIMUM)
    reads = 1 + NOISE.reads_spread * rng.uniform(-1, 1, (count, most))
    reads *= np.arange(most) < cells[:, None]
    first = bins[:, :1]  # averaging differences from it leaves equal bins an exact integer
    return first[:, 0] + (reads * (bins - first)).sum(axis=1) / reads.sum(axis=1)


def _draw(seed: int, name: str, block: int) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    """Returns one block of promoters: sequences, noiseless and measured expression (BLOCK,)."""
    sequences = np.random.default_rng(recipe.sub_seed(seed, f"simulate/{name}/sequences/{block}"))
    cells = np.random.default_rng(recipe.sub_seed(seed, f"simulate/{name}/cells/{block}"))
    flanked = grammar.PREFIX + bytes(grammar.RANDOM) + grammar.SUFFIX
    letters = np.tile(np.frombuffer(flanked, np.uint8), (BLOCK, 1))
    letters[:, grammar.REGION] = _LETTERS[
        sequences.integers(0, 4, (BLOCK, grammar.RANDOM), np.uint8)
    ]
    expression = grammar.noiseless(letters)
    rows = letters.view(f"S{letters.shape[1]}")[:, 0].tolist()
    return rows, expression, _measure(expression, cells)


def _line(sequence: bytes, value: float) -> bytes:
    return b"%b\t%.15g\n" % (sequence, value)  # as the real lines: 15 digits, integers bare


# === Dirty lines ===


def _spoil(sequence: bytes, letter: bytes, low: int, high: int, rng: np.random.Generator) -> bytes:
    """Returns a promoter with low..high of its random letters replaced by `letter`."""
    letters = np.frombuffer(sequence, np.uint8).copy()
    places = rng.choice(grammar.RANDOM, rng.integers(low, high + 1), replace=False)
    letters[grammar.REGION.start + places] = ord(letter)
    return letters.tobytes()


def _resize(sequence: bytes, low: int, high: int, rng: np.random.Generator) -> bytes:
    """Returns a promoter of low..high nt: random letters off or on before the suffix."""
    more = _LETTERS[rng.integers(0, 4, grammar.RANDOM)].tobytes()
    longest = sequence[: grammar.REGION.stop] + more
    return longest[: rng.integers(low, high + 1) - len(grammar.SUFFIX)] + grammar.SUFFIX


def _mix_case(sequence: bytes, rng: np.random.Generator) -> bytes:
    cut = rng.integers(1, len(sequence))
    return sequence[:cut] + sequence[cut:].lower()


# Each kind: what becomes of it under the filters of the 2022 submission (script:482-536,
# FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69), and a promoter and its expression made into one.
DIRT: dict[str, tuple[str, Callable[[bytes, float, np.random.Generator], bytes]]] = {
    "lower_case": ("kept", lambda s, e, rng: _line(s.lower(), e)),
    "mixed_case": ("kept", lambda s, e, rng: _line(_mix_case(s, rng), e)),
    "crlf": ("kept", lambda s, e, rng: _line(s, e)[:-1] + b"\r\n"),
    "few_n": ("kept", lambda s, e, rng: _line(_spoil(s, b"N", 1, 3, rng), e)),
    "many_n": ("dropped_n", lambda s, e, rng: _line(_spoil(s, b"N", 4, 20, rng), e)),
    "short": ("kept", lambda s, e, rng: _line(_resize(s, 107, 109, rng), e)),
    "long": ("kept", lambda s, e, rng: _line(_resize(s, 111, 113, rng), e)),
    "too_short": ("dropped_length", lambda s, e, rng: _line(_resize(s, 50, 106, rng), e)),
    "too_long": ("dropped_length", lambda s, e, rng: _line(_resize(s, 114, 140, rng), e)),
    "blank": ("ignored", lambda s, e, rng: b"\n"),
    "letter_x": ("malformed", lambda s, e, rng: _line(_spoil(s, b"X", 1, 1, rng), e)),
    "missing_expression": ("malformed", lambda s, e, rng: s + b"\n"),
    "text_expression": ("malformed", lambda s, e, rng: s + b"\thigh\n"),
    "nan_expression": ("malformed", lambda s, e, rng: s + b"\tnan\n"),
    "three_columns": ("malformed", lambda s, e, rng: _line(s, e)[:-1] + b"\t1\n"),
}
DIRTY_FRACTION = 0.01  # lines of each kind for a clean one; one line at least
_PLAIN = {"lower_case", "mixed_case", "crlf"}  # their noiseless expression stands in the truth


def _soil(counts: dict[str, int], sequences: int, seed: int) -> list[tuple[int, bytes, bytes]]:
    """Returns the dirty lines, last one first: the clean line (0-based) that each stands before,
    the line, and what it puts into the truth before that line's value.
    """
    rng = np.random.default_rng(recipe.sub_seed(seed, "simulate/dirt/lines"))
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    rng.shuffle(kinds)
    places = np.sort(rng.integers(0, sequences, len(kinds)))[::-1].tolist()
    blocks = (zip(*_draw(seed, "dirt", block), strict=True) for block in itertools.count())
    promoters = itertools.chain.from_iterable(blocks)
    soil = []
    for place, kind, promoter in zip(places, kinds, promoters, strict=False):
        sequence, expression, measured = promoter
        value = b"%.4f,\n" % expression if kind in _PLAIN else b"null,\n"
        line = DIRT[kind][1](sequence, measured, rng)
        soil.append((place, line, b"" if kind == "blank" else value))
    return soil


# === The files ===


@dataclasses.dataclass(frozen=True)
class Summary:
    """What was written: `lines` counts every line of the file, blank ones too; `integer_fraction`
    is that of the clean sequences.
    """

    path: Path
    truth_path: Path
    sequences: int
    lines: int
    integer_fraction: float

    def summary(self) -> str:
        return (
            f"{self.path}: {self.sequences:,} clean sequences and {self.lines - self.sequences:,} "
            f"dirty lines; {self.integer_fraction:.1%} of the expressions are integers\n"
            f"{self.truth_path}: grammar {grammar.GRAMMAR_VERSION} ({len(grammar.MOTIFS)} motifs, "
            f"{len(grammar.INTERACTIONS)} interactions), noise, expression without noise"
        )


def write(
    path: Path,
    sequences: int,
    *,
    seed: int = recipe.RecordsConfig.seed,
    dirty: bool = False,
    report: progress.Report = progress.silent,
) -> Summary:
    """Writes a library of SEQUENCE<TAB>EXPRESSION lines, and its truth: OUT.truth.json of OUT.txt.

    The truth holds the seed, the flanks, the grammar, the noise, how many lines there are of each
    dirty kind, and `noiseless`: one number for each line of OUT that is not blank, null for dirty
    lines whose sequence is no plain one. A clean library begins with any smaller one of its seed,
    and a dirty one is the clean one with lines added.

    Args:
        path: the text to write; neither it nor its truth may exist.
        sequences: how many clean sequences, at least 1.
        seed: the same sequences, seed and dirty give the same bytes.
        dirty: whether to add lines of every kind in `DIRT`, at random places.

    Raises:
        errors.UserError: a file that exists or cannot be written.
    """
    _refuse(path, sequences)
    truth_path = path.with_suffix(".truth.json")
    number = max(1, round(DIRTY_FRACTION * sequences))
    counts = dict.fromkeys(DIRT, number) if dirty else {}
    try:
        with (
            files.new_file(path) as text_part,
            files.new_file(truth_path) as truth_part,
            text_part.open("wb") as text,
            truth_part.open("wb") as truth,
        ):
            truth.write(_truth_head(counts, sequences, seed))
            soil = _soil(counts, sequences, seed)
            integers = _write_lines(text, truth, soil, sequences, seed, report)
            truth.write(b"\n]}\n")
    except OSError as error:
        raise errors.UserError(
            f"{path}: cannot be written ({error.strerror}). Check folder and disk."
        ) from error
    total = sequences + sum(counts.values())
    return Summary(path, truth_path, sequences, total, integers / sequences)


def _refuse(path: Path, sequences: int) -> None:
    if sequences < 1:
        raise errors.UserError(f"{path}: {sequences} sequences asked for. Ask for at least 1.")
    if path.suffix == ".gz":
        raise errors.UserError(f"{path}: only plain text is written. Leave .gz off the name.")
    if path.is_dir():
        raise errors.UserError(f"{path}: is a folder. Give the name of a file, as in OUT.txt.")


def _truth_head(counts: dict[str, int], sequences: int, seed: int) -> bytes:
    head = {
        "version": grammar.GRAMMAR_VERSION,
        "seed": seed,
        "sequences": sequences,
        "flanks": grammar.flanks(),
        "grammar": grammar.described(),
        "noise": dataclasses.asdict(NOISE),
        "dirty": counts,
        "outcomes": {kind: DIRT[kind][0] for kind in counts},
    }
    return json.dumps(head, indent=1)[:-2].encode() + b',\n "noiseless": [\n'


def _write_lines(
    text: BinaryIO,
    truth: BinaryIO,
    soil: list[tuple[int, bytes, bytes]],
    sequences: int,
    seed: int,
    report: progress.Report,
) -> int:
    """Writes the clean lines with the dirty ones among them, and their values into the truth;
    returns how many of the clean expressions are integers.
    """
    integers = 0
    for start in range(0, sequences, BLOCK):
        rows, expression, measured = _draw(seed, "clean", start // BLOCK)
        own = slice(sequences - start)
        integers += int(np.count_nonzero(measured[own] == np.rint(measured[own])))
        lines = list(map(_line, rows[own], measured[own].tolist()))
        values = [b"%.4f" % value for value in expression[own].tolist()]
        while soil and soil[-1][0] < start + BLOCK:
            place, line, value = soil.pop()
            lines[place - start] = line + lines[place - start]
            values[place - start] = value + values[place - start]
        text.write(b"".join(lines))
        truth.write((b",\n" if start else b"") + b",\n".join(values))
        report("simulating", min(start + BLOCK, sequences), sequences)
    return integers
