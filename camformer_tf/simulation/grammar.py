"""The motif grammar of a simulated library: sequences to expression without noise.

The grammar of the real library is unknown; this one has published motifs with invented effects.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

PREFIX, SUFFIX = b"TGCATTTTTTTCACATC", b"GGTTACGGCTGTT"  # of all 71,103 real test sequences
RANDOM = 80  # random letters between the flanks; 110 nt in all
REGION = slice(len(PREFIX), len(PREFIX) + RANDOM)  # the place of the random letters
MAXIMUM = 17.0  # the last of the assay's 18 sorting bins, 0..17
GRAMMAR_VERSION = 1  # incremented when the library of a seed changes

_BITS = np.zeros(256, np.uint8)  # a letter as one of four bits; 0 for all but ACGT
_BITS[list(b"ACGT")] = 1, 2, 4, 8
_IUPAC = dict(
    zip("ACMGRSVTWYHKDBN", range(1, 16), strict=True)
)  # the bits of the letters that match
_COMPLEMENT = str.maketrans("ACMGRSVTWYHKDBN", "TGKCYSBAWRDMHVN")
_YEASTRACT = "YEASTRACT (rsa-tools/motif_databases@21eecd8, yeastract_20150629_relfreq.tf), matrix "


@dataclasses.dataclass(frozen=True)
class Motif:
    """The sites of a transcription factor, and their effect.

    Attributes:
        factor: the transcription factor.
        consensus: its sites, in IUPAC letters.
        effect: of a site of weight 1, in sorting bins.
        reverse: the weight of a site on the reverse strand; 0 if the consensus is its own reverse
            complement.
        centre: where the weight of a site is largest, in nt from the end of the prefix (0..79).
        width: the standard deviation of the weight around the centre, in nt.
        source: of the consensus.
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
    """How the effect of two factors differs from the sum of their effects; see FORMULA.

    Attributes:
        kind: "synergy" adds to the score; "dominance" of `first` reduces the effect of `second`.
        first: a factor.
        second: another factor.
        strength: the factor of the product of occupancies, or of the exponent.
    """

    kind: str
    first: str
    second: str
    strength: float


# The consensus sequences are published; effects, positions and interactions are invented.
MOTIFS = (
    Motif("Reb1", "CGGGTRR", 4.4, 0.8, 45, 22, "Liaw & Brandl 1994, Yeast 10:771-787, the core"),
    Motif("Rap1", "CACCCA", 4.1, 0.4, 25, 25, "doi:10.1093/nar/22.2.124, the core"),
    Motif("Abf1", "RTCRYBNNNNACG", 4.1, 0.9, 50, 25, _YEASTRACT + "3"),
    Motif("Cbf1", "CACGTG", 3.3, 0.0, 40, 30, "doi:10.1093/nar/gkt210"),
    Motif("Gcn4", "TGACTC", 4.1, 0.9, 35, 25, _YEASTRACT + "178"),
    Motif("Hsf1", "TTCNNGAA", 2.8, 0.0, 55, 25, _YEASTRACT + "243, without the outer N"),
    Motif("Hap4", "CCAAT", 2.5, 0.6, 30, 20, _YEASTRACT + "235, the core, reverse complement"),
    Motif("Gcr1", "CTTCC", 2.1, 0.5, 40, 25, _YEASTRACT + "189"),
    Motif("poly(dA:dT)", "AAAAA", 1.2, 0.8, 65, 30, "doi:10.1016/j.sbi.2009.01.004, cut to 5"),
    Motif("Mig1", "CCCCRC", -2.9, 0.8, 45, 30, _YEASTRACT + "327"),
    Motif("Nrg1", "CCCTC", -2.5, 0.7, 60, 25, _YEASTRACT + "394"),
    Motif("Ume6", "WGCCGC", -3.7, 0.9, 60, 30, _YEASTRACT + "644, the core"),
    Motif("Rox1", "ACAAT", -2.1, 0.6, 50, 25, _YEASTRACT + "495"),
)
INTERACTIONS = (
    Interaction("synergy", "Rap1", "Gcr1", 3.3),
    Interaction("synergy", "Reb1", "poly(dA:dT)", 2.5),
    Interaction("synergy", "Gcn4", "Hap4", 3.3),
    Interaction("dominance", "Mig1", "Hap4", 2.0),
    Interaction("dominance", "Ume6", "Rap1", 2.0),
    Interaction("dominance", "Rox1", "Gcr1", 1.5),
)
BASELINE = 11.25  # sorting bins
# Sorting bins per fraction of a letter. In the real library, too, composition explains more than
# any motif: in 5,600 of its rows r is 0.35 with G + C, -0.33 with A and -0.17 with T.
COMPOSITION = {"A": -14.0, "C": 17.0, "G": 17.0, "T": 0.0}
FLOOR = 0.2  # the weight of a site far from its motif's centre
FORMULA = (
    "site = strand (1 or reverse) * (floor + (1 - floor) * exp(-((m - centre) / width)**2 / 2)), "
    "m = start + (length - 1) / 2, start counted from 0 in the random part, the only part searched"
    " (overlaps count); o(factor) = sum of its sites; score = baseline + sum over letters of "
    "composition * (the letter's fraction of the random part - 0.25) + sum of effect * o(factor)"
    " * product over its dominances of exp(-strength * o(first)) + sum over synergies"
    " of strength * o(first) * o(second); "
    "noiseless = maximum / (1 + exp(-4 * (score - maximum / 2) / maximum))"
)


def noiseless(letters: np.ndarray) -> np.ndarray:
    """Returns the expression of promoters without noise, float64 (N,), 0..17.

    Args:
        letters: uint8 (N, 110), ASCII upper case. Only the 80 letters between the flanks count.
    """
    bits = np.ascontiguousarray(_BITS[letters[:, REGION]].T)  # (80, N): positions first, for speed
    planes = {letter: (bits & mask) != 0 for letter, mask in _IUPAC.items()}  # each bool (80, N)
    occupancy = {motif.factor: _occupancy(planes, motif) for motif in MOTIFS}  # each (N,)
    effects = {motif.factor: motif.effect * occupancy[motif.factor] for motif in MOTIFS}
    score = BASELINE + sum(
        effect * (planes[letter].mean(axis=0) - 0.25) for letter, effect in COMPOSITION.items()
    )
    for pair in INTERACTIONS:
        if pair.kind == "dominance":
            effects[pair.second] *= np.exp(-pair.strength * occupancy[pair.first])
        else:
            score += pair.strength * occupancy[pair.first] * occupancy[pair.second]
    for effect in effects.values():
        score += effect
    return MAXIMUM / (1 + np.exp(-4 * (score - MAXIMUM / 2) / MAXIMUM))


def flanks() -> dict[str, Any]:
    """Returns the flanks and the length of the random part between them, as plain values."""
    return {"prefix": PREFIX.decode(), "random": RANDOM, "suffix": SUFFIX.decode()}


def description() -> dict[str, Any]:
    """Returns the grammar as plain values, from which `noiseless` can be computed."""
    return {
        "formula": FORMULA,
        "maximum": MAXIMUM,
        "baseline": BASELINE,
        "composition": COMPOSITION,
        "floor": FLOOR,
        "motifs": [dataclasses.asdict(motif) for motif in MOTIFS],
        "interactions": [dataclasses.asdict(pair) for pair in INTERACTIONS],
    }


def _occupancy(planes: dict[str, np.ndarray], motif: Motif) -> np.ndarray:
    """Returns the sum of the weights of a motif's sites on both strands, float64 (N,).

    Args:
        planes: IUPAC letter → where it matches, bool (80, N).
        motif: the motif.
    """
    length, count = len(motif.consensus), planes["N"].shape[1]
    places = RANDOM - length + 1
    middle = np.arange(places) + (length - 1) / 2  # (P,): the middle of a site at each place
    weight = FLOOR + (1 - FLOOR) * np.exp(-(((middle - motif.centre) / motif.width) ** 2) / 2)
    reverse = motif.consensus[::-1].translate(_COMPLEMENT)
    total = np.zeros(count)
    for consensus, strand in ((motif.consensus, 1.0), (reverse, motif.reverse)):
        hits = np.full((places, count), strand > 0)  # (P, N); none on a strand of weight 0
        for offset, letter in enumerate(consensus):
            if letter != "N":
                hits &= planes[letter][offset : offset + places]
        place, promoter = np.divmod(np.flatnonzero(hits), count)  # each (hits,)
        total += np.bincount(promoter, strand * weight[place], minlength=count)
    return total
