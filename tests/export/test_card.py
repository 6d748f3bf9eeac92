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
    return [left + "".join(one) + right for one in letters]


def test_a_model_of_its_own_has_a_card_of_the_contract(saved, tmp_path):
    folder = export.export([saved], tmp_path / "e")
    told = json.loads((folder / exportdir.MODEL_CARD).read_text())
    assert told["rule"] == {"length": 110, "length_margin": 3, "max_n": 3, "keep_all": False}
    assert told["encoding"] == "onehot" and told["members"] == 1
    assert told["outputs"] == ["expression", "valid", "reason"]
    assert told["reasons"][0] == "" and "more than 3 N" in told["reasons"][2]
    assert told["coverage"] is told["measured"] is told["flanks"] is None
    assert told["recipe"]["train"]["seed"] == 42


def test_the_card_of_a_run_knows_coverage_flanks_and_measured_expressions(replicates, tmp_path):
    rows = zip(promoters(300), range(300), strict=True)
    lines = [f"{one}\t0\t{value}" for one, value in rows]
    path = replicates / rundir.replicate(1) / rundir.VAL_PREDICTIONS
    path.write_text("\n".join(["sequence\tprediction\texpression", *lines, ""]))
    try:
        folder = export.export([replicates], tmp_path / "e")
    finally:
        path.unlink()
    told = json.loads((folder / exportdir.MODEL_CARD).read_text())
    assert told["members"] == 3 and told["coverage"] == 0.9
    assert told["outputs"] == ["expression", "spread", "lower", "upper", "valid", "reason"]
    assert told["flanks"] == {"left": LEFT, "right": RIGHT}
    assert (told["measured"]["of"], told["measured"]["n"]) == ("validation", 300)
    quantiles = told["measured"]["quantiles"]
    assert len(quantiles) == 101 and quantiles[::50] == [0, 149.5, 299]
    known = json.loads((folder / exportdir.GOLDEN).read_text())["sequences"]
    assert sum(one.startswith(LEFT) and one.endswith(RIGHT) for one in known) >= 20


def test_flanks_stand_a_few_shorter_longer_and_other_sequences():
    many = promoters(1000)
    many[:300] = [one[:40] + one[41:] + "N" for one in many[:300]]  # padded on the right
    many[300:305] = [one[:40] + "A" + one[40:-1] for one in many[300:305]]  # cut on the right
    many[305:308] = promoters(3, "A" * 17, "C" * 13)
    assert card.flanks(table(many)) == (LEFT, RIGHT)


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
def test_flanks_are_what_nearly_all_share(sequences, expected):
    assert card.flanks(table(sequences)) == expected


def test_without_expressions_nothing_is_measured():
    assert card.measured(table(["ACGT"])) is None
    assert card.measured(table(["ACGT"], np.array([np.nan]))) is None
    assert card.measured(None) is None
