"""The page of a search, of trials that were never trained."""

import base64
import re

import numpy as np
import pytest

from camformer_tf.pages import plot
from camformer_tf.tuning import search_page, space, trials

TEXT = """
schema: 1
model:
  residual: false
  blocks: {count: {int: [1, 2]}, each: {filters: {choice: [4, 8, 16]}, kernel: {int: [3, 9]}}}
  dense: []
train: {learning_rate: {log: [0.0001, 0.01]}, loss: {choice: [l1, mse]}}
"""


@pytest.fixture
def searched(tmp_path) -> space.Space:
    path = tmp_path / "my search.yaml"
    path.write_text(TEXT)
    return space.load(path)


def made(searched, count: int) -> list[trials.Trial]:
    """Trials whose score is made by the learning rate, and by the filters half as much."""
    rng, found = np.random.default_rng(4), []
    for i in range(count):
        values = {
            "model.blocks.count": int(rng.integers(1, 3)),
            "model.blocks.0.filters": int(rng.choice([4, 8, 16])),
            "model.blocks.0.kernel": int(rng.integers(3, 10)),
            "train.learning_rate": float(10 ** rng.uniform(-4, -2)),
            "train.loss": str(rng.choice(["l1", "mse"])),
        }
        if values["model.blocks.count"] == 2:
            values |= {"model.blocks.1.filters": 4, "model.blocks.1.kernel": 3}
        score = 1 + (np.log10(values["train.learning_rate"]) + 4) / 4
        score += 0.25 * (values["model.blocks.0.filters"] == 16)
        found.append(
            trials.Trial(f"{i:02d}", "COMPLETED", score, score, score / 2, score / 2, 1.0, 5,
                         1000 * (i + 1), rng.uniform(50, 500), 3.0, False, False, "", values)
        )  # fmt: skip
    failed = trials.Trial("99", "FAILED", *[None] * 6, 1, None, None, False, False, "it <died>",
                          values)  # fmt: skip
    found.sort(key=lambda one: trials.rank(one, "max"))
    return trials.with_fronts([*found, failed])


def test_the_fronts_are_of_what_no_smaller_or_no_faster_network_beats(searched):
    found = made(searched, 30)
    done = found[:-1]
    for one in done:
        better = [other for other in done if other is not one and other.score >= one.score]
        assert one.pareto != any(other.parameters <= one.parameters for other in better)
        faster = [o for o in better if o.sequences_per_second >= one.sequences_per_second]
        assert one.pareto_speed == (not faster)
    assert not found[-1].pareto and not found[-1].pareto_speed
    assert found[0].pareto and found[0].pareto_speed and found[-1].status == "FAILED"
    assert [line.split()[0] for line in trials.best_five(found).splitlines()[1:]] == [
        one.trial for one in found[:5]
    ]


def test_size_and_speed_are_paid_for_in_score_by_the_tenfold():
    run = {"best_score": 1.5, "best_pearson": 0.8, "best_loss": 2.0, "parameters": 10_000,
           "sequences_per_second": 1_000.0}  # fmt: skip
    found = {n: trials.objective(run, n, 0.1) for n in trials.OBJECTIVES if n != "spearman"}
    assert found == {"score": 1.5, "pearson": 0.8, "loss": 2.0,
                     "score-parameters": pytest.approx(1.1),
                     "score-speed": pytest.approx(1.8)}  # fmt: skip


def test_what_makes_the_score_is_found_to_matter(searched):
    found = search_page.importance(made(searched, 60)[:-1], searched)
    names = list(found)
    assert names[:2] == ["train.learning_rate", "model.blocks.0.filters"]
    assert found[names[0]][0] > 5 * max(found[name][0] for name in names[2:])
    assert "model.blocks.1.kernel" in found  # 3 where it counts, and nothing elsewhere


@pytest.mark.parametrize("count", [0, 4, 25])
def test_the_page_is_one_file_that_fetches_nothing(searched, tmp_path, count):
    out = tmp_path / "page.html"
    search_page.write(made(searched, count or 1)[-count - 1 :], searched, out)
    text = out.read_text()
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)"', text)
    assert len(pictures) == {0: 0, 4: 3, 25: 5}[count] == text.count("<img")
    assert all(base64.b64decode(data).startswith(b"\x89PNG") for data in pictures)
    assert not re.search(r"https?://|<script|url\(", text)
    assert "it &lt;died&gt;" in text and "my search.yaml" in text
    assert ("told from 10 trials on" in text) == (count < 10)


def test_parallel_coordinates_leave_a_gap_where_a_value_does_not_count():
    places = np.array([[0.0, np.nan], [0.5, 1.0], [1.0, 0.0]])
    axes = plot.parallel(["a.b", "c"], [("0", "1"), ("x", "y")], places, [1, 3, 2], best=1).axes[0]
    drawn = [line for line in axes.lines if line.get_marker() == "o"]
    assert sorted(line.get_color() for line in drawn) == ["0.75", "0.75", "black"]
    black = next(line for line in drawn if line.get_color() == "black")
    np.testing.assert_array_equal(black.get_ydata(), [0.5, 1.0])
