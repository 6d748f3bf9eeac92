"""The page of a search, from trials that were never trained."""

import base64
import re

import numpy as np
import pytest
from support import searches

from camformer_tf import errors
from camformer_tf.pages import plot
from camformer_tf.tuning import ranking, search_page, space


@pytest.fixture
def search_space(tmp_path) -> space.Space:
    return searches.search_space(tmp_path)


def test_the_values_that_decide_the_score_are_important(search_space):
    trials = list(searches.trials(search_space, 60))[:-1]
    importances = search_page.importance(trials, search_space)
    names = list(importances)
    assert names[:2] == ["train.learning_rate", "model.blocks.0.filters"]
    assert importances[names[0]][0] > 5 * max(importances[name][0] for name in names[2:])
    assert "model.blocks.1.kernel" in importances  # 3 where it is used


@pytest.mark.parametrize("count", [0, 4, 25])
def test_the_page_is_one_file_that_fetches_nothing(search_space, tmp_path, count):
    out = tmp_path / "page.html"
    trials = searches.trials(search_space, count or 1)
    trials = ranking.Ranking(trials.trials[-count - 1 :], trials.keys)
    search_page.write(trials, search_space, out)
    text = out.read_text()
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)"', text)
    assert len(pictures) == {0: 0, 4: 3, 25: 5}[count] == text.count("<img")
    assert all(base64.b64decode(data).startswith(b"\x89PNG") for data in pictures)
    assert not re.search(r"https?://|<script|url\(", text)
    assert "it &lt;died&gt;" in text and "my search.yaml" in text
    assert ("needs at least 10 completed trials" in text) == (count < 10)
    with pytest.raises(errors.UserError, match="exists already"):
        search_page.write(trials, search_space, out)


def test_parallel_coordinates_leave_a_gap_where_a_value_is_not_used():
    places = np.array([[0.0, np.nan], [0.5, 1.0], [1.0, 0.0]])
    axes = plot.parallel(["a.b", "c"], [("0", "1"), ("x", "y")], places, [1, 3, 2], best=1).axes[0]
    lines = [line for line in axes.lines if line.get_marker() == "o"]
    assert sorted(line.get_color() for line in lines) == ["0.75", "0.75", "black"]
    black = next(line for line in lines if line.get_color() == "black")
    np.testing.assert_array_equal(black.get_ydata(), [0.5, 1.0])
