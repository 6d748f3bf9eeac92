import csv
import dataclasses

import pytest
from support import runs, searches

from camformer_tf.tuning import options, ranking


@pytest.fixture
def trials(tmp_path) -> ranking.Ranking:
    return searches.trials(searches.search_space(tmp_path), 30)


def test_the_best_trial_is_first_and_failed_ones_are_last(trials):
    scores = [trial.score for trial in trials][:-1]
    assert scores == sorted(scores, reverse=True)
    assert trials[-1].status == "FAILED" and len(trials) == 31
    assert trials.best is trials[0]
    lowest = ranking.rank(trials, "min", trials.keys)
    assert lowest[0].score == min(scores) and lowest[-1].status == "FAILED"
    assert ranking.rank([trials[-1]], "max", ()).best is None


def test_no_smaller_or_faster_network_beats_a_trial_on_the_pareto_fronts(trials):
    complete = list(trials)[:-1]
    for trial in complete:
        better = [rival for rival in complete if rival is not trial and rival.score >= trial.score]
        assert trial.pareto != any(rival.parameters <= trial.parameters for rival in better)
        speed = trial.sequences_per_second
        assert trial.pareto_speed != any(rival.sequences_per_second >= speed for rival in better)
    assert not trials[-1].pareto and not trials[-1].pareto_speed
    assert trials[0].pareto and trials[0].pareto_speed


def test_the_repr_shows_the_five_best_trials(trials):
    lines = repr(trials).splitlines()
    assert lines[0] == "Ranking of 31 trials, the best first"
    assert [line.split()[0] for line in lines[2:]] == [trial.trial for trial in trials][:5]


def test_a_trial_is_summarized_in_one_line(trials):
    assert trials[0].summary().endswith(f"r + rho {trials[0].score:.4f} in 3 s")
    assert trials[-1].summary() == "trial 99 failed: it <died>"


def test_the_table_has_a_column_for_each_key(trials, tmp_path):
    trials.save(tmp_path / "trials.csv")
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    table = trials.table()
    assert list(table.columns) == list(rows[0])
    assert list(rows[0])[-len(trials.keys) :] == list(trials.keys)
    assert [float(row["score"]) for row in rows[:-1]] == table["score"].tolist()[:-1]
    short_list = next(row for row in rows if row["model.blocks.count"] == "1")
    assert short_list["model.blocks.1.kernel"] == ""


def test_size_and_speed_cost_their_tenfold():
    run = runs.run(best_score=1.5, best_pearson=0.8, best_spearman=0.7, best_loss=2.0,
                   parameters=10_000, sequences_per_second=1_000.0)  # fmt: skip
    objectives = {name: ranking.objective(run, name, 0.1) for name in options.OBJECTIVES}
    assert objectives == {"score": 1.5, "pearson": 0.8, "spearman": 0.7, "loss": 2.0,
                          "score-parameters": pytest.approx(1.1),
                          "score-speed": pytest.approx(1.8)}  # fmt: skip


def test_a_running_trial_is_not_on_a_front(trials):
    running = dataclasses.replace(trials[-1], status="RUNNING", trial="100", reason="")
    ranks = ranking.rank([*trials, running], "max", trials.keys)
    assert [trial.pareto for trial in ranks][-2:] == [False, False]
