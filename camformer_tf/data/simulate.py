"""A simulated promoter library: random sequences, a known motif grammar, the assay's noise.

It stands in for the training data of the DREAM 2022 challenge: random 80-mers between two fixed
flanks, expression 0..17, and beside them what nobody knows of the real library: its grammar, and
every promoter's expression without noise.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from camformer_tf import errors, recipe

PREFIX, SUFFIX = b"TGCATTTTTTTCACATC", b"GGTTACGGCTGTT"  # those of all 71,103 real test sequences
RANDOM = 80  # random letters between the flanks; 110 nt in all
MAXIMUM = 17.0  # the last of the assay's 18 sorting bins, 0..17
BLOCK = 16_384  # promoters drawn from one seed; a library is blocks, the last one cut

# === The grammar: sequence → expression without noise ===

GRAMMAR_VERSION = 1  # goes up with any change that changes what a seed gives

_LETTERS = np.frombuffer(b"ACGT", np.uint8)
_BITS = np.zeros(256, np.uint8)  # a letter as one bit of four; no bit for anything but ACGT
_BITS[_LETTERS] = 1, 2, 4, 8
_IUPAC = dict(zip("ACMGRSVTWYHKDBN", range(1, 16), strict=True))  # the bits of the letters meant
_COMPLEMENT = str.maketrans("ACMGRSVTWYHKDBN", "TGKCYSBAWRDMHVN")
_YEASTRACT = "YEASTRACT (rsa-tools/motif_databases@21eecd8, yeastract_20150629_relfreq.tf), matrix "


@dataclasses.dataclass(frozen=True)
class Motif:
    """What one transcription factor reads (IUPAC letters), and what it does.

    `effect` is in sorting bins for a site of weight 1; `reverse` is the weight of a site on the
    other strand (0 if the consensus is its own reverse complement); `centre` and `width` (nt,
    0..79 from the prefix on) say where a site counts most, and how fast that falls off.
    """

    factor: str
    consensus: str
    effect: float
    reverse: float
    centre: float
    width: float
    source: str


@dataclasses.dataclass(frozen=True)
class Interaction:
    """How two factors together differ from their sum: "synergy" adds to the score, "dominance" of
    `first` takes from the effect of `second`; see FORMULA."""

    kind: str
    first: str
    second: str
    strength: float


# The consensus sequences are published; effects, positions and interactions are invented.
MOTIFS = (
    Motif("Reb1", "CGGGTRR", 5.5, 0.8, 45, 22, "Liaw & Brandl 1994, Yeast 10:771-787, the core"),
    Motif("Rap1", "CACCCA", 5.0, 0.4, 25, 25, "doi:10.1093/nar/22.2.124, the core"),
    Motif("Abf1", "RTCRYBNNNNACG", 5.0, 0.9, 50, 25, _YEASTRACT + "3"),
    Motif("Cbf1", "CACGTG", 4.0, 0.0, 40, 30, "doi:10.1093/nar/gkt210"),
    Motif("Gcn4", "TGACTC", 5.0, 0.9, 35, 25, _YEASTRACT + "178"),
    Motif("Hsf1", "TTCNNGAA", 3.5, 0.0, 55, 25, _YEASTRACT + "243, without the outer N"),
    Motif("Hap4", "CCAAT", 3.0, 0.6, 30, 20, _YEASTRACT + "235, the core, reverse complement"),
    Motif("Gcr1", "CTTCC", 2.5, 0.5, 40, 25, _YEASTRACT + "189"),
    Motif("poly(dA:dT)", "AAAAA", 1.5, 0.8, 65, 30, "doi:10.1016/j.sbi.2009.01.004, cut to 5"),
    Motif("Mig1", "CCCCRC", -3.5, 0.8, 45, 30, _YEASTRACT + "327"),
    Motif("Nrg1", "CCCTC", -3.0, 0.7, 60, 25, _YEASTRACT + "394"),
    Motif("Ume6", "WGCCGC", -4.5, 0.9, 60, 30, _YEASTRACT + "644, the core"),
    Motif("Rox1", "ACAAT", -2.5, 0.6, 50, 25, _YEASTRACT + "495"),
)
INTERACTIONS = (
    Interaction("synergy", "Rap1", "Gcr1", 4.0),
    Interaction("synergy", "Reb1", "poly(dA:dT)", 3.0),
    Interaction("synergy", "Gcn4", "Hap4", 4.0),
    Interaction("dominance", "Mig1", "Hap4", 2.0),
    Interaction("dominance", "Ume6", "Rap1", 2.0),
    Interaction("dominance", "Rox1", "Gcr1", 1.5),
)
BASELINE = 11.2  # sorting bins
GC_EFFECT = 11.0  # sorting bins for a GC fraction of 1 rather than 0; it raises real ones too
FLOOR = 0.2  # what a site far from its motif's centre still counts
FORMULA = (
    "site = strand (1 or reverse) * (floor + (1 - floor) * exp(-((m - centre) / width)**2 / 2)), "
    "m = start + (length - 1) / 2, start counted from 0 in the random part, the only part searched"
    " (overlaps count); o(factor) = sum of its sites; score = baseline + gc_effect * (GC fraction "
    "of the random part - 0.5) + sum of effect * o(factor) * product over its dominances of "
    "exp(-strength * o(first)) + sum over synergies of strength * o(first) * o(second); "
    "noiseless = maximum / (1 + exp(-4 * (score - maximum / 2) / maximum))"
)


def noiseless(letters: np.ndarray) -> np.ndarray:
    """Returns what the grammar makes of promoters: expression without noise, float64 (N,), 0..17.

    Args:
        letters: uint8 (N, 110), ASCII upper case. Only the 80 letters between the flanks count.
    """
    bits = np.ascontiguousarray(_BITS[letters[:, len(PREFIX) : len(PREFIX) + RANDOM]].T)
    planes = {letter: (bits & mask) != 0 for letter, mask in _IUPAC.items()}
    bound = {motif.factor: _occupancy(planes, motif) for motif in MOTIFS}
    effects = {motif.factor: motif.effect * bound[motif.factor] for motif in MOTIFS}
    score = BASELINE + GC_EFFECT * (planes["S"].mean(axis=0) - 0.5)
    for pair in INTERACTIONS:
        if pair.kind == "dominance":
            effects[pair.second] *= np.exp(-pair.strength * bound[pair.first])
        else:
            score += pair.strength * bound[pair.first] * bound[pair.second]
    for effect in effects.values():
        score += effect
    return MAXIMUM / (1 + np.exp(-4 * (score - MAXIMUM / 2) / MAXIMUM))


def _occupancy(planes: dict[str, np.ndarray], motif: Motif) -> np.ndarray:
    """Returns the weighted sites of a motif on both strands, float64 (N,).

    `planes` say for each IUPAC letter where it is met: bool (80, N)."""
    length, count = len(motif.consensus), planes["N"].shape[1]
    places = RANDOM - length + 1
    middle = np.arange(places) + (length - 1) / 2
    weight = FLOOR + (1 - FLOOR) * np.exp(-(((middle - motif.centre) / motif.width) ** 2) / 2)
    reverse = motif.consensus[::-1].translate(_COMPLEMENT)
    total = np.zeros(count)
    for consensus, strand in ((motif.consensus, 1.0), (reverse, motif.reverse)):
        hits = np.full((places, count), strand > 0)
        for offset, letter in enumerate(consensus):
            if letter != "N":
                hits &= planes[letter][offset : offset + places]
        place, promoter = np.divmod(np.flatnonzero(hits), count)
        total += np.bincount(promoter, strand * weight[place], minlength=count)
    return total


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
    bins = np.clip(np.rint(bins), 0, MAXIMUM)
    reads = 1 + NOISE.reads_spread * rng.uniform(-1, 1, (count, most))
    reads *= np.arange(most) < cells[:, None]
    first = bins[:, :1]  # averaging differences from it leaves equal bins an exact integer
    return first[:, 0] + (reads * (bins - first)).sum(axis=1) / reads.sum(axis=1)


def _draw(seed: int, name: str, block: int) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    """Returns one block of promoters: sequences, noiseless and measured expression (BLOCK,)."""
    sequences = np.random.default_rng(recipe.sub_seed(seed, f"simulate/{name}/sequences/{block}"))
    cells = np.random.default_rng(recipe.sub_seed(seed, f"simulate/{name}/cells/{block}"))
    letters = np.empty((BLOCK, len(PREFIX) + RANDOM + len(SUFFIX)), np.uint8)
    letters[:, : len(PREFIX)] = np.frombuffer(PREFIX, np.uint8)
    letters[:, len(PREFIX) : -len(SUFFIX)] = _LETTERS[
        sequences.integers(0, 4, (BLOCK, RANDOM), np.uint8)
    ]
    letters[:, -len(SUFFIX) :] = np.frombuffer(SUFFIX, np.uint8)
    expression = noiseless(letters)
    rows = letters.view(f"S{letters.shape[1]}")[:, 0].tolist()
    return rows, expression, _measure(expression, cells)


def _line(sequence: bytes, value: float) -> bytes:
    return b"%b\t%.15g\n" % (sequence, value)  # as the real lines: 15 digits, integers bare


# === Dirty lines ===


def _spoil(sequence: bytes, letter: bytes, low: int, high: int, rng: np.random.Generator) -> bytes:
    """Returns a promoter with low..high of its random letters replaced by `letter`."""
    letters = np.frombuffer(sequence, np.uint8).copy()
    places = rng.choice(RANDOM, rng.integers(low, high + 1), replace=False)
    letters[len(PREFIX) + places] = ord(letter)
    return letters.tobytes()


def _resize(sequence: bytes, low: int, high: int, rng: np.random.Generator) -> bytes:
    """Returns a promoter of low..high nt: random letters off or on before the suffix."""
    longest = sequence[: -len(SUFFIX)] + _LETTERS[rng.integers(0, 4, RANDOM)].tobytes()
    return longest[: rng.integers(low, high + 1) - len(SUFFIX)] + SUFFIX


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
    the line, and what it puts into the truth before that line's value."""
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
    is that of the clean sequences."""

    path: Path
    truth_path: Path
    sequences: int
    lines: int
    integer_fraction: float

    def summary(self) -> str:
        return (
            f"{self.path}: {self.sequences:,} clean sequences and {self.lines - self.sequences:,} "
            f"dirty lines; {self.integer_fraction:.1%} of the expressions are integers\n"
            f"{self.truth_path}: grammar {GRAMMAR_VERSION} ({len(MOTIFS)} motifs, "
            f"{len(INTERACTIONS)} interactions), noise, expression without noise"
        )


def write(path: Path, sequences: int, *, seed: int = 42, dirty: bool = False) -> Summary:
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
    """
    truth_path = _truth_path(path, sequences)
    number = max(1, round(DIRTY_FRACTION * sequences))
    counts = dict.fromkeys(DIRT, number) if dirty else {}
    soil = _soil(counts, sequences, seed)
    integers = 0
    with _published(path, truth_path) as (text, truth):
        truth.write(_truth_head(counts, sequences, seed))
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
        truth.write(b"\n]}\n")
    total = sequences + sum(counts.values())
    return Summary(path, truth_path, sequences, total, integers / sequences)


def _truth_head(counts: dict[str, int], sequences: int, seed: int) -> bytes:
    head = {
        "version": GRAMMAR_VERSION,
        "seed": seed,
        "sequences": sequences,
        "flanks": {"prefix": PREFIX.decode(), "random": RANDOM, "suffix": SUFFIX.decode()},
        "grammar": {
            "formula": FORMULA,
            "maximum": MAXIMUM,
            "baseline": BASELINE,
            "gc_effect": GC_EFFECT,
            "floor": FLOOR,
            "motifs": [dataclasses.asdict(motif) for motif in MOTIFS],
            "interactions": [dataclasses.asdict(pair) for pair in INTERACTIONS],
        },
        "noise": dataclasses.asdict(NOISE),
        "dirty": counts,
        "outcomes": {kind: DIRT[kind][0] for kind in counts},
    }
    return json.dumps(head, indent=1)[:-2].encode() + b',\n "noiseless": [\n'


def _truth_path(path: Path, sequences: int) -> Path:
    """Returns where the truth goes, once it is clear that both files can be written."""
    if sequences < 1:
        raise errors.UserError(f"{path}: {sequences} sequences asked for. Ask for at least 1.")
    if path.suffix == ".gz":
        raise errors.UserError(f"{path}: only plain text is written. Leave .gz off the name.")
    if path.is_dir():
        raise errors.UserError(f"{path}: is a folder. Give the name of a file, as in OUT.txt.")
    if not path.parent.is_dir():
        raise errors.UserError(f"{path}: there is no folder {path.parent}. Make it first.")
    truth_path = path.with_suffix(".truth.json")
    for file in (path, truth_path):
        if file.exists():
            raise errors.UserError(f"{file}: exists already. Remove it, or give another name.")
    return truth_path


@contextlib.contextmanager
def _published(*paths: Path) -> Iterator[list[BinaryIO]]:
    """Opens files that take their names once all of them are whole; a failure leaves none."""
    parts = [path.with_name(f".{path.name}.{os.getpid()}") for path in paths]
    placed: list[Path] = []
    try:
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(part.open("wb")) for part in parts]
        for part, path in zip(parts, paths, strict=True):
            os.replace(part, path)
            placed.append(path)
    except BaseException as error:
        for file in (*parts, *placed):
            file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = f"{paths[0]}: cannot be written ({error.strerror}). Check folder and disk."
            raise errors.UserError(reason) from error
        raise
