from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from support import small_challenge

from camformer_tf import errors
from camformer_tf.data import predictions
from camformer_tf.metrics import dream, dream_subsets

# Golden values: ../shared/design/reference.md 7.4 and 7.5, recomputed there from published files.
SUBMISSION = {  # the 2022 submission on the public leaderboard
    "all": (9_045, 0.9623802182, 0.9666282780),
    "high": (96, 0.5601368601, 0.5464749948),
    "low": (99, 0.6654081728, 0.6223976109),
    "native": (208, 0.8955266759, 0.8973919759),
    "random": (733, 0.9677242912, 0.9696835966),
    "challenging": (195, 0.9413880217, 0.9482336367),
    "snv": (4_670, 0.8072926907, 0.6586568667),
    "motif_perturbation": (328, 0.9747037536, 0.9651401147),
    "motif_tiling": (263, 0.9103566445, 0.9115807097),
}
ORIGINAL = {  # the 2025 Original, seed 42
    "full": {
        "all": (71_103, 0.9582197670, 0.9638303440),
        "high": (968, 0.5537523145, 0.5995297912),
        "low": (997, 0.6133419682, 0.5998892566),
        "native": (578, 0.8522713673, 0.8509238029),
        "random": (6_349, 0.9678183147, 0.9714872149),
        "challenging": (1_953, 0.9433734294, 0.9423230405),
        "snv": (44_340, 0.8173803583, 0.6695384444),  # of the recovered list
        "motif_perturbation": (3_287, 0.9752327748, 0.9588190119),
        "motif_tiling": (2_624, 0.9087917833, 0.9149794061),
        "score": (None, 0.7565044023, 0.8241078291),  # of the recovered list
    },
    "public": {
        "all": (9_045, 0.9635640224, 0.9680357910),
        "high": (96, 0.6099455036, 0.6366250678),
        "low": (99, 0.6332053200, 0.5843661101),
        "native": (208, 0.9063310478, 0.9081987806),
        "random": (733, 0.9661582534, 0.9669136572),
        "challenging": (195, 0.9390123095, 0.9440596223),
        "snv": (4_670, 0.8083931951, 0.6543687087),
        "motif_perturbation": (328, 0.9756970887, 0.9618520289),
        "motif_tiling": (263, 0.9193496741, 0.9141353306),
        "score": (None, 0.7673641233, 0.8260359814),
    },
    "private": {
        "all": (62_058, 0.9573882968, 0.9631381247),
        "high": (872, 0.5510808689, 0.5953327202),
        "low": (898, 0.6114322276, 0.6005637142),
        "native": (370, 0.8286143768, 0.8248598439),
        "random": (5_616, 0.9680367798, 0.9719473831),
        "challenging": (1_758, 0.9438216209, 0.9418275533),
        "snv": (39_670, 0.8184783888, 0.6713086106),  # of the recovered list
        "motif_perturbation": (2_959, 0.9751636704, 0.9580092988),
        "motif_tiling": (2_361, 0.9073935097, 0.9151127665),
        "score": (None, 0.7536290240, 0.8224616471),  # of the recovered list
    },
}


@pytest.fixture(scope="module")
def challenge(shared_data) -> Path:
    return shared_data / "dream2022"


@pytest.fixture(scope="module")
def test_file(challenge) -> tuple[list[str], np.ndarray]:
    lines = (challenge / "test_expression.tsv").read_text().split("\n")
    rows = [line.split("\t") for line in lines if line]
    return [row[0] for row in rows], np.array([float(row[1]) for row in rows])


def check(card: dream.Scorecard, expected: dict[str, tuple], digits: float = 5e-11) -> None:
    """Compares with the ten published digits."""
    expected = dict(expected)
    _, r, rho = expected.pop("score")
    assert list(card.subsets) == list(expected)
    for name, (n, pearson, spearman) in expected.items():
        score = card.subsets[name]
        assert score.n == n, name
        assert score.pearson == pytest.approx(pearson, abs=digits), name
        assert score.spearman == pytest.approx(spearman, abs=digits), name
    assert card.score_pearson == pytest.approx(r, abs=digits)
    assert card.score_spearman == pytest.approx(rho, abs=digits)
    assert card.score_overall == pytest.approx((r + rho) / 2, abs=digits)


def test_the_submission_of_2022_has_its_published_public_scores(challenge, test_file):
    sequences, expression = test_file
    prediction = np.full(len(sequences), np.nan)
    for position, value in predictions.read_json(challenge / "submission2022_public.json").items():
        prediction[int(position)] = value
    members = dream_subsets.members("public", sequences, None, challenge / "public_leaderboard")
    card = dream.score(expression, prediction, members)
    check(card, SUBMISSION | {"score": (None, 0.7632131311, 0.8234462261)})
    assert members.snv_list == "official"


@pytest.mark.parametrize("phase", dream_subsets.PHASES)
def test_the_original_has_its_published_scores(challenge, test_file, phase):
    sequences, expression = test_file
    lines = (challenge / "original_seed42_predictions.tsv").read_text().split("\n")
    prediction = np.array([float(line.split("\t")[1]) for line in lines if line])
    members = dream_subsets.members(
        phase, sequences, challenge / "subsets", challenge / "public_leaderboard"
    )
    check(dream.score(expression, prediction, members), ORIGINAL[phase])
    assert members.snv_list == ("official" if phase == "public" else "recovered")


def test_the_published_table_of_teams_agrees_with_its_scores(challenge):
    teams = dream.read_published(challenge / "published" / "sota.csv")
    assert len(teams) == 6
    camformers = teams["Camformers"]
    # The slides' breakdown (reference.md 7.6), three digits.
    assert round(camformers["pearson"]["snv"], 3) == 0.821
    assert round(camformers["spearman"]["native"], 3) == 0.818
    for team in teams.values():
        r = [team["pearson"][name] ** 2 for name in dream_subsets.SUBSETS]
        rho = [team["spearman"][name] for name in dream_subsets.SUBSETS]
        weights = [subset.weight for subset in dream_subsets.SUBSETS.values()]
        assert np.average(r, weights=weights) == pytest.approx(team["pearson"]["score"], abs=1e-12)
        assert np.average(rho, weights=weights) == pytest.approx(
            team["spearman"]["score"], abs=1e-12
        )
    scores = [team["pearson"]["score"] for team in teams.values()]
    assert dream.rank(camformers["pearson"]["score"], scores) == 5  # the slides: 5th
    assert dream.rank(None, scores) is None


# --- a small challenge ---


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    return small_challenge.write(tmp_path)


def test_positions_and_pairs_count_once_and_pairs_by_their_difference(folders):
    y, p = small_challenge.values()
    card = dream.score(
        y, p, dream_subsets.members("full", small_challenge.SEQUENCES, folders[0], None)
    )
    assert [score.n for score in card.subsets.values()] == [40, 8, 8, 5, 20, 25, 30, 2, 4]
    alt, ref = np.arange(30), np.arange(1, 31)
    r = scipy.stats.pearsonr(y[alt] - y[ref], p[alt] - p[ref]).statistic
    assert card.subsets["snv"].pearson == pytest.approx(r, abs=1e-12)
    parts = [(score.weight, score.pearson**2) for score in card.subsets.values()]
    weights, squares = zip(*parts, strict=True)
    assert sum(weights) == pytest.approx(4.65)
    assert card.score_pearson == pytest.approx(np.dot(weights, squares) / 4.65)


def test_a_missing_subset_is_named_and_there_is_no_score(folders):
    (folders[0] / "low_exp_seqs.csv").unlink()
    y, p = small_challenge.values()
    card = dream.score(
        y,
        p,
        dream_subsets.members("full", small_challenge.SEQUENCES, folders[0], None),
        resamples=5,
    )
    assert card.missing == {"low": "low_exp_seqs.csv"}
    assert "low" not in card.subsets and card.subsets["high"].ci
    assert (card.score_pearson, card.score_spearman, card.score_overall, card.ci) == (None,) * 4


def test_constant_predictions_have_no_score_rather_than_0(folders):
    y, _ = small_challenge.values()
    card = dream.score(
        y, np.ones(40), dream_subsets.members("full", small_challenge.SEQUENCES, folders[0], None)
    )
    assert card.subsets["all"].pearson is None and card.subsets["snv"].spearman is None
    assert card.score_pearson is None and card.score_overall is None


def test_a_member_without_a_prediction_is_refused(folders):
    y, p = small_challenge.values()
    p[[9, 12]] = np.nan
    members = dream_subsets.members("full", small_challenge.SEQUENCES, folders[0], None)
    with pytest.raises(errors.UserError, match=r"subset all: position 9 .* prediction \(2 pos"):
        dream.score(y, p, members)
    y[3] = np.inf
    with pytest.raises(errors.UserError, match="position 3 has no finite expression"):
        dream.score(y, small_challenge.values()[1], members)


def test_another_table_than_that_of_teams_is_refused(tmp_path):
    path = tmp_path / "teams.csv"
    path.write_text("\t\tall\thigh\nspearman\ta\t0.5\n")
    with pytest.raises(errors.UserError, match="not a table of published scores"):
        dream.read_published(path)


def test_intervals_contain_the_scores(folders):
    y, p = small_challenge.values()
    members = dream_subsets.members("full", small_challenge.SEQUENCES, folders[0], None)
    del members.positions["motif_perturbation"]  # of two pairs, whose resamples are undefined
    card = dream.score(y, p, members, resamples=200)
    low, high = card.subsets["all"].ci["pearson"]
    assert low < card.subsets["all"].pearson < high
    assert card.ci is None  # a subset is absent
    repetition = dream.score(y, p, members, resamples=200)
    assert repetition == card  # the same draws


def test_a_scorecard_of_the_whole_has_intervals_of_the_scores(folders):
    y, p = small_challenge.values()
    members = dream_subsets.members("full", small_challenge.SEQUENCES, folders[0], None)
    pair = members.positions["snv"][:20]
    members.positions["motif_perturbation"] = pair  # two pairs have undefined resamples
    members.positions["motif_tiling"] = pair
    card = dream.score(y, p, members, resamples=100)
    assert card.ci is not None
    low, high = card.ci["score_overall"]
    assert low < card.score_overall < high
