import json

import numpy as np
import pytest

from camformer_tf import exportdir, rundir
from camformer_tf.data import predictions
from camformer_tf.export import card, export

LEFT, RIGHT = "TGCATTTTTTTCACATC", "GGTTACGGCTGTT"


def table(sequences, expression=None) -> predictions.Table:
    return predictions.Table(sequences, np.zeros(len(sequences)), expression)


def promoters(count: int, left: str = LEFT, right: str = RIGHT) -> list[str]:
    letters = np.random.default_rng(0).choice(list("ACGT"), (count, 80))
    return [left + "".join(row) + right for row in letters]


def test_the_card_of_one_model_has_the_documented_fields(keras_path, tmp_path):
    folder = export.export([keras_path], tmp_path / "e")
    card_values = json.loads((folder / exportdir.MODEL_CARD).read_text())
    assert card_values["rule"] == {"length": 110, "length_margin": 3, "max_n": 3, "keep_all": False}
    assert card_values["encoding"] == "onehot" and card_values["members"] == 1
    assert card_values["outputs"] == ["expression", "valid", "reason"]
    assert card_values["reasons"][0] == "" and "more than 3 N" in card_values["reasons"][2]
    assert card_values["coverage"] is card_values["measured"] is card_values["flanks"] is None
    assert card_values["recipe"]["train"]["seed"] == 42


def test_the_card_of_a_run_has_coverage_flanks_and_measured_expressions(replicates, tmp_path):
    rows = zip(promoters(300), range(300), strict=True)
    lines = [f"{text}\t0\t{value}" for text, value in rows]
    path = replicates / rundir.replicate(1) / rundir.VAL_PREDICTIONS
    path.write_text("\n".join(["sequence\tprediction\texpression", *lines, ""]))
    try:
        folder = export.export([replicates], tmp_path / "e")
    finally:
        path.unlink()
    card_values = json.loads((folder / exportdir.MODEL_CARD).read_text())
    assert card_values["members"] == 3 and card_values["coverage"] == 0.9
    assert card_values["outputs"] == ["expression", "spread", "lower", "upper", "valid", "reason"]
    assert card_values["flanks"] == {"left": LEFT, "right": RIGHT}
    assert (card_values["measured"]["of"], card_values["measured"]["n"]) == ("validation", 300)
    quantiles = card_values["measured"]["quantiles"]
    assert len(quantiles) == 101 and quantiles[::50] == [0, 149.5, 299]
    golden = json.loads((folder / exportdir.GOLDEN).read_text())["sequences"]
    assert sum(text.startswith(LEFT) and text.endswith(RIGHT) for text in golden) >= 20


def test_flanks_tolerate_a_few_shorter_longer_and_different_sequences():
    texts = promoters(1000)
    texts[:300] = [text[:40] + text[41:] + "N" for text in texts[:300]]  # padded on the right
    texts[300:305] = [text[:40] + "A" + text[40:-1] for text in texts[300:305]]  # cut on the right
    texts[305:308] = promoters(3, "A" * 17, "C" * 13)
    assert card.flanks(table(texts)) == (LEFT, RIGHT)


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [
        (promoters(100, "", ""), None),
        (promoters(100, "ACGT", ""), None),
        (promoters(100, "", "ACGTA"), ("", "ACGTA")),
        (promoters(1) * 100, None),
        ([], None),
    ],
    ids=["none", "too short", "one end", "all the same", "no sequence"],
)
def test_flanks_are_the_ends_that_nearly_all_sequences_share(sequences, expected):
    assert card.flanks(table(sequences)) == expected


def test_without_expressions_the_card_has_no_quantiles():
    assert card.expression_quantiles(table(["ACGT"])) is None
    assert card.expression_quantiles(table(["ACGT"], np.array([np.nan]))) is None
    assert card.expression_quantiles(None) is None
