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
def description():
    return grammar.description()


def promoters(regions: list[str]) -> tuple[list[str], np.ndarray]:
    """Returns promoters of regions of 80 letters: as text, and as letters uint8 (N, 110)."""
    sequences = ["TGCATTTTTTTCACATC" + region + "GGTTACGGCTGTT" for region in regions]
    return sequences, np.frombuffer("".join(sequences).encode(), np.uint8).reshape(-1, 110)


def random_regions(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return ["".join(row) for row in rng.choice(list("ACGT"), (count, 80)).tolist()]


# --- an independent implementation of the grammar, from its description ---


def pattern(consensus: str, opposite: bool) -> re.Pattern:
    choices = [IUPAC[letter] for letter in consensus]
    if opposite:
        choices = ["".join(sorted(OPPOSITE[x] for x in choice)) for choice in choices[::-1]]
    return re.compile("(?=" + "".join(f"[{choice}]" for choice in choices) + ")")


def plain_noiseless(sequence: str, description: dict) -> float:
    region = sequence[17:97]
    occupancy = {}
    for motif in description["motifs"]:
        occupancy[motif["factor"]] = 0.0
        for opposite, strand in ((False, 1.0), (True, motif["reverse"])):
            for match in pattern(motif["consensus"], opposite).finditer(region):
                middle = match.start() + (len(motif["consensus"]) - 1) / 2
                nearness = math.exp(-(((middle - motif["centre"]) / motif["width"]) ** 2) / 2)
                site = description["floor"] + (1 - description["floor"]) * nearness
                occupancy[motif["factor"]] += strand * site
    score = description["baseline"]
    score += sum(e * (region.count(c) / 80 - 0.25) for c, e in description["composition"].items())
    for motif in description["motifs"]:
        part = motif["effect"] * occupancy[motif["factor"]]
        for pair in description["interactions"]:
            if pair["kind"] == "dominance" and pair["second"] == motif["factor"]:
                part *= math.exp(-pair["strength"] * occupancy[pair["first"]])
        score += part
    for pair in description["interactions"]:
        if pair["kind"] == "synergy":
            score += pair["strength"] * occupancy[pair["first"]] * occupancy[pair["second"]]
    return description["maximum"] / (
        1 + math.exp(-4 * (score - description["maximum"] / 2) / description["maximum"])
    )


def test_noiseless_agrees_with_a_plain_implementation_of_the_description(description):
    sequences, letters = promoters(random_regions(200))
    plain = [plain_noiseless(sequence, description) for sequence in sequences]
    np.testing.assert_allclose(grammar.noiseless(letters), plain, rtol=0, atol=1e-9)


def test_noiseless_agrees_with_it_where_motifs_are_dense(description):
    rng = np.random.default_rng(0)
    sites = []
    for motif in description["motifs"]:
        site = "".join(rng.choice(list(IUPAC[letter])) for letter in motif["consensus"])
        sites += [site, "".join(OPPOSITE[letter] for letter in reversed(site))]
    sequences, letters = promoters(["".join(rng.permutation(sites))[:80] for _ in range(50)])
    plain = [plain_noiseless(sequence, description) for sequence in sequences]
    np.testing.assert_allclose(grammar.noiseless(letters), plain, rtol=0, atol=1e-9)


def test_only_the_letters_between_the_flanks_count():
    _, letters = promoters(random_regions(20))
    changed_flanks = letters.copy()
    changed_flanks[:, :17] = changed_flanks[:, 97:] = ord("C")
    np.testing.assert_array_equal(grammar.noiseless(changed_flanks), grammar.noiseless(letters))


def test_a_promoter_has_the_same_expression_alone_and_in_a_batch():
    _, letters = promoters(random_regions(20))
    alone = [grammar.noiseless(letters[i : i + 1])[0] for i in range(20)]
    np.testing.assert_array_equal(grammar.noiseless(letters), alone)


def test_every_interaction_names_two_motifs(description):
    factors = [motif["factor"] for motif in description["motifs"]]
    assert len(set(factors)) == len(factors)
    pairs = [{pair["first"], pair["second"]} for pair in description["interactions"]]
    assert all(len(pair) == 2 and pair <= set(factors) for pair in pairs)


def test_a_site_is_counted_once_if_its_motif_is_its_own_reverse_complement(description):
    palindromes = []
    for motif in description["motifs"]:
        consensus = motif["consensus"]
        if pattern(consensus, True) == pattern(consensus, False):
            palindromes.append(motif["factor"])
            assert motif["reverse"] == 0
    assert palindromes == ["Cbf1", "Hsf1"]


def test_every_motif_has_a_source_and_an_effect(description):
    motifs = description["motifs"]
    assert all(motif["source"] and motif["effect"] for motif in motifs)
    assert {motif["effect"] > 0 for motif in motifs} == {True, False}


def test_letter_and_motif_counts_explain_most_of_the_noiseless_expression(description):
    regions = random_regions(5000)
    noiseless = grammar.noiseless(promoters(regions)[1])
    features = [[region.count(letter) for region in regions] for letter in "ACGT"]
    for motif in description["motifs"]:
        for opposite in (False, True):
            sites = pattern(motif["consensus"], opposite)
            features.append([len(sites.findall(region)) for region in regions])
    table = np.column_stack(features)
    fit = table @ np.linalg.lstsq(table, noiseless, rcond=None)[0]
    assert stats.pearsonr(fit, noiseless).statistic ** 2 > 0.6
