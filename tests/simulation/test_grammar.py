import math
import re

import numpy as np
import pytest
from scipy import stats

from camformer_tf.simulation import grammar

# Nomenclature Committee of the IUB 1985, doi:10.1093/nar/13.9.3021
IUPAC = {
    **{"A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT"},
    **{"K": "GT", "M": "AC", "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"},
}
OPPOSITE = dict(zip("ACGT", "TGCA", strict=True))


@pytest.fixture(scope="module")
def described():
    return grammar.described()


def promoters(regions: list[str]) -> tuple[list[str], np.ndarray]:
    """Regions of 80 letters between the flanks: as text, and as letters uint8 (N, 110)."""
    sequences = ["TGCATTTTTTTCACATC" + region + "GGTTACGGCTGTT" for region in regions]
    return sequences, np.frombuffer("".join(sequences).encode(), np.uint8).reshape(-1, 110)


def random_regions(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return ["".join(row) for row in rng.choice(list("ACGT"), (count, 80)).tolist()]


# --- an independent reading of the grammar, from its description alone ---


def pattern(consensus: str, opposite: bool) -> re.Pattern:
    choices = [IUPAC[letter] for letter in consensus]
    if opposite:
        choices = ["".join(sorted(OPPOSITE[x] for x in choice)) for choice in choices[::-1]]
    return re.compile("(?=" + "".join(f"[{choice}]" for choice in choices) + ")")


def plain_noiseless(sequence: str, described: dict) -> float:
    region = sequence[17:97]
    bound = {}
    for motif in described["motifs"]:
        bound[motif["factor"]] = 0.0
        for opposite, strand in ((False, 1.0), (True, motif["reverse"])):
            for match in pattern(motif["consensus"], opposite).finditer(region):
                middle = match.start() + (len(motif["consensus"]) - 1) / 2
                near = math.exp(-(((middle - motif["centre"]) / motif["width"]) ** 2) / 2)
                site = described["floor"] + (1 - described["floor"]) * near
                bound[motif["factor"]] += strand * site
    score = described["baseline"]
    score += sum(e * (region.count(c) / 80 - 0.25) for c, e in described["composition"].items())
    for motif in described["motifs"]:
        part = motif["effect"] * bound[motif["factor"]]
        for pair in described["interactions"]:
            if pair["kind"] == "dominance" and pair["second"] == motif["factor"]:
                part *= math.exp(-pair["strength"] * bound[pair["first"]])
        score += part
    for pair in described["interactions"]:
        if pair["kind"] == "synergy":
            score += pair["strength"] * bound[pair["first"]] * bound[pair["second"]]
    return described["maximum"] / (
        1 + math.exp(-4 * (score - described["maximum"] / 2) / described["maximum"])
    )


def test_noiseless_agrees_with_a_plain_reading_of_the_description(described):
    sequences, letters = promoters(random_regions(200))
    plain = [plain_noiseless(sequence, described) for sequence in sequences]
    np.testing.assert_allclose(grammar.noiseless(letters), plain, rtol=0, atol=1e-9)


def test_noiseless_agrees_with_the_plain_reading_where_motifs_crowd(described):
    rng = np.random.default_rng(0)
    sites = []
    for motif in described["motifs"]:
        site = "".join(rng.choice(list(IUPAC[letter])) for letter in motif["consensus"])
        sites += [site, "".join(OPPOSITE[letter] for letter in reversed(site))]
    sequences, letters = promoters(["".join(rng.permutation(sites))[:80] for _ in range(50)])
    plain = [plain_noiseless(sequence, described) for sequence in sequences]
    np.testing.assert_allclose(grammar.noiseless(letters), plain, rtol=0, atol=1e-9)


def test_only_the_letters_between_the_flanks_count():
    _, letters = promoters(random_regions(20))
    other = letters.copy()
    other[:, :17] = other[:, 97:] = ord("C")
    np.testing.assert_array_equal(grammar.noiseless(other), grammar.noiseless(letters))


def test_a_promoter_is_read_alike_alone_and_among_others():
    _, letters = promoters(random_regions(20))
    alone = [grammar.noiseless(letters[i : i + 1])[0] for i in range(20)]
    np.testing.assert_array_equal(grammar.noiseless(letters), alone)


def test_every_interaction_names_two_motifs(described):
    factors = [motif["factor"] for motif in described["motifs"]]
    assert len(set(factors)) == len(factors)
    pairs = [{pair["first"], pair["second"]} for pair in described["interactions"]]
    assert all(len(pair) == 2 and pair <= set(factors) for pair in pairs)


def test_a_site_is_counted_once_if_its_motif_is_its_own_reverse_complement(described):
    own = []
    for motif in described["motifs"]:
        consensus = motif["consensus"]
        if pattern(consensus, True) == pattern(consensus, False):
            own.append(motif["factor"])
            assert motif["reverse"] == 0
    assert own == ["Cbf1", "Hsf1"]


def test_every_motif_has_a_source_and_an_effect(described):
    motifs = described["motifs"]
    assert all(motif["source"] and motif["effect"] for motif in motifs)
    assert {motif["effect"] > 0 for motif in motifs} == {True, False}


def test_letter_and_motif_counts_explain_most_of_the_noiseless_expression(described):
    regions = random_regions(5000)
    noiseless = grammar.noiseless(promoters(regions)[1])
    features = [[region.count(letter) for region in regions] for letter in "ACGT"]
    for motif in described["motifs"]:
        for opposite in (False, True):
            sites = pattern(motif["consensus"], opposite)
            features.append([len(sites.findall(region)) for region in regions])
    table = np.column_stack(features)
    fitted = table @ np.linalg.lstsq(table, noiseless, rcond=None)[0]
    assert stats.pearsonr(fitted, noiseless).statistic ** 2 > 0.6
