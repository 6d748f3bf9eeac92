import numpy as np
import pandas as pd
from scipy import stats

from camformer_tf.evaluation import pairing, scoring, sections
from camformer_tf.metrics import dream, dream_subsets

RNG = np.random.default_rng(3)
Y = RNG.normal(8, 2, 300)
P = Y + RNG.normal(0, 1, 300)
SEQUENCES = ["".join(RNG.choice(list("ACGT"), 30)) for _ in range(300)]


def pairs(prediction=P, sequences=SEQUENCES) -> pairing.Pairs:
    return pairing.Pairs("folder/p.tsv", "t.txt", Y, prediction, sequences)


def test_there_are_no_curves_before_the_first_epoch():
    assert sections.curves(pd.DataFrame(), None) is None
    assert sections.coverage(None) is None


def test_scores_are_those_of_the_rows_with_a_prediction():
    prediction = np.where(np.arange(300) < 5, np.nan, P)
    section = sections.predictions(pairs(prediction), is_validation=False)
    assert section["title"] == "p.tsv"
    expected = scoring.score(Y[5:], P[5:], unpredicted=5)
    assert section["scores"].pearson == expected.pearson
    assert section["scores"].unpredicted == 5
    assert "295 sequences" in section["scatter"].words


def test_the_extremes_are_the_largest_and_the_smallest_errors():
    extremes = sections.predictions(pairs(), is_validation=True)["extremes"]
    error = np.abs(P - Y)
    assert [row[0] for row in extremes["worst"]] == [SEQUENCES[i] for i in np.argsort(-error)[:10]]
    assert [row[0] for row in extremes["best"]] == [SEQUENCES[i] for i in np.argsort(error)[:10]]
    assert all(row[3] == row[2] - row[1] for row in extremes["worst"])
    section = sections.predictions(pairs(sequences=None), is_validation=True)
    assert section["extremes"] is None


def test_residuals_are_shown_against_properties_that_vary():
    words = sections.predictions(pairs(), is_validation=True)["residuals"].words
    assert "GC fraction" in words and "number of N" not in words
    sequences = [s[: 20 + i % 5] + "N" * (10 - i % 5) for i, s in enumerate(SEQUENCES)]
    words = sections.predictions(pairs(sequences=sequences), is_validation=True)["residuals"].words
    assert "number of N" in words and "start of the padding" in words


def test_the_spread_of_replicates_is_their_standard_deviation():
    replicates = [pairs(Y + RNG.normal(0, 1, 300)) for _ in range(4)]
    section = sections.sizes(replicates)
    expected = stats.tstd([pair.prediction for pair in replicates], axis=0)
    np.testing.assert_allclose(section["spread"], np.quantile(expected, [0.1, 0.5, 0.9]))
    assert sections.sizes(replicates[:1]) is None


def test_a_scorecard_has_a_column_of_places_only_beside_teams():
    subsets = {name: dream.SubsetScore(9, 0.9, 0.8, 1.0) for name in dream_subsets.SUBSETS}
    card = dream.Scorecard("full", "official", {}, subsets, 0.81, 0.8, 0.805)
    unranked_card = sections.scorecard(card, {})
    assert "place" not in unranked_card["head"] and len(unranked_card["rows"][0]) == len(
        unranked_card["head"]
    )
    column = dict.fromkeys([*subsets, "score"], 0.85)
    ranked_card = sections.scorecard(card, {"Team": {metric: column for metric in dream.METRICS}})
    assert ranked_card["rows"][0] == ("all", 9, 0.9, 1, 0.8, 2, 1.0)
    assert ranked_card["places"] == [2, 2] and ranked_card["teams"] == ["Team"]
