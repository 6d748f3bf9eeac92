"""Commands of evaluation: what they print and write, and messages of mistakes."""

import json

import pytest
from support import shell

MISTAKES = {
    "no table": (["evaluate", "absent.tsv"], "absent.tsv: cannot be read"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_message_and_leaves_no_file(mistakes, mistake):
    shell.check_mistake(mistakes, *MISTAKES[mistake])


def test_evaluate_writes_the_scores_that_it_prints(tour):
    scores = json.loads((tour / "scores.json").read_text())
    output = shell.call("evaluate", tour / "p.tsv").output
    assert f"{scores['pearson']:.6f}" in output and f"{scores['spearman']:.6f}" in output


def test_evaluate_prints_json(tour):
    printed_scores = json.loads(shell.call("evaluate", tour / "p.tsv", "--json").stdout)
    assert printed_scores == json.loads((tour / "scores.json").read_text())


def test_compare_prints_a_row_for_each_run_as_text_and_as_json(tour):
    assert str(tour / "run") in shell.call("compare", tour / "run", tour / "run").stdout
    rows = json.loads(shell.call("compare", tour / "run", "--json").stdout)
    assert len(rows) == 1


def test_report_writes_a_page_and_prints_its_path(tour, tmp_path):
    result = shell.call("report", tour / "run", "--out", tmp_path / "report.html", "--quiet")
    assert result.exit_code == 0 and result.stdout.strip() == str(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
