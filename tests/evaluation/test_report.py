"""Reports of runs that were never trained: their files are written here."""

import base64
import dataclasses
import html.parser
import re
import shutil
import sys

import click.testing
import numpy as np
import pytest
from support import runs

from camformer_tf import cli, errors, files, recipe, rundir
from camformer_tf.data import predictions
from camformer_tf.evaluation import pairing, report, scoring
from camformer_tf.metrics import conformal, dream, dream_subsets
from camformer_tf.model import calibrations

COLUMNS = [
    *("epoch", "train_loss", "val_loss", "train_pearson", "val_pearson"),
    *("train_spearman", "val_spearman", "learning_rate", "seconds", "improved"),
]
RNG = np.random.default_rng(11)
N = 400
Y = RNG.normal(8, 3, N).astype(np.float32)
SEQUENCES = ["".join(RNG.choice(list("ACGT"), 100)) + "N" * (i % 3) for i in range(N)]


def run(path, library, *, epochs=5, is_finished=True, seed=1):
    path.mkdir(parents=True)
    (path / rundir.RECIPE).write_text(recipe.dump(recipe.load("smoke", [f"train.seed={seed}"])))
    (path / rundir.RECORDS).write_bytes((library / "manifest.json").read_bytes())
    rows = [
        [i, 2 / i, 1 + abs(i - 2), 0.5, 0.6 + i / 100, 0.5, 0.6 + i / 100, 0.01, 1.0, 1]
        for i in range(1, epochs + 1)
    ]
    text = "\n".join(",".join(map(str, row)) for row in [COLUMNS, *rows])
    (path / rundir.HISTORY).write_text(text + "\n" if epochs else "")
    if is_finished:
        rundir.save(runs.run(), path)
        noise = np.random.default_rng(seed).normal(0, 1, N)
        with predictions.writer(path / rundir.VAL_PREDICTIONS) as write:
            write(
                predictions.PredictedRows(
                    SEQUENCES, (Y + noise).astype(np.float32), [str(y) for y in Y]
                )
            )
        (path / rundir.BEST).write_text(f"model {seed}")
    return path


@pytest.fixture
def single(tmp_path, library):
    return run(tmp_path / "my run", library)


@pytest.fixture
def replicates(tmp_path, library):
    for seed in (1, 2, 3):
        run(tmp_path / "many" / rundir.replicate(seed), library, seed=seed)
    folder = tmp_path / "many"
    band = conformal.Band(0.9, 1.6, 0.5, 300)
    deciles = tuple(conformal.Coverage(30, c, 4.0, c, c + 1) for c in np.linspace(0.7, 1, 10))
    overall = conformal.Coverage(300, 0.8, 4.0, 0.0, 17.0)
    members = calibrations.fingerprints(rundir.replicates(folder))
    intervals = calibrations.Calibration(members, calibrations.Scale(), band, overall, deciles)
    calibrations.save(intervals, folder / rundir.CALIBRATION)
    return folder


class Page(html.parser.HTMLParser):
    """The text of a page, its pictures, and every URL that it would fetch."""

    def __init__(self, path):
        super().__init__()
        self.words, self.images, self.urls, self.tags = "", [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        values = dict(attributes)
        if tag == "img":
            assert values["alt"]
            self.images.append(values["src"])
        names = ("src", "href", "srcset", "data", "action", "poster", "background")
        urls = [values[name] for name in names if name in values]
        self.urls += [url for url in urls if not url.startswith("data:")]

    def handle_data(self, data):
        self.words += re.sub(r"\s+", " ", data) + " "


def write(run_dir, out, sample=None) -> Page:
    report.write(run_dir, out, sample)
    page = Page(out)
    assert not page.urls and "script" not in page.tags
    assert not re.search(r"url\(|@import|https?://", out.read_text())
    for source in page.images:
        kind, data = source.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    return page


def test_a_report_shows_the_run(single, tmp_path):
    page = write(single, tmp_path / "r.html")
    for words in (
        "my run", "finished after 5 epochs: all epochs done", "15,000", "59,073", "CPU:0",
        "library.txt", "split by random", "schema: 1", "keras 3.15.1", "400",
        "validation loss rises after epoch 2, from 1 to 4",
        "only 300 validation sequences",
    ):  # fmt: skip
        assert words in page.words, words
    assert len(page.images) == 3  # curves, scatter, residuals
    assert "10 worst" in page.words and "10 best" in page.words


def test_a_report_is_the_same_bytes_each_time_and_overwrites_nothing(single, tmp_path):
    write(single, tmp_path / "a.html")
    write(single, tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    with pytest.raises(errors.UserError, match="exists already"):
        report.report(single, out=tmp_path / "a.html")
    assert report.report(str(single), out=tmp_path / "a.html", overwrite=True).is_file()


def test_the_scores_and_the_extremes_are_those_of_the_predictions(single, tmp_path):
    page = write(single, tmp_path / "r.html")
    table = predictions.read(single / rundir.VAL_PREDICTIONS)
    scores = scoring.score(table.expression, table.prediction)
    assert f"{scores.pearson:.4f}" in page.words and f"{scores.rmse:.4f}" in page.words
    error = table.prediction - table.expression
    worst, best = np.abs(error).argmax(), np.abs(error).argmin()
    first, last = (page.words.index(SEQUENCES[i]) for i in (worst, best))
    assert page.words.index("10 worst") < first < page.words.index("10 best") < last
    assert f"{error[worst]:+.3f}" in page.words


def test_replicates_have_their_spread_and_their_calibration(replicates, tmp_path):
    page = write(replicates, tmp_path / "r.html")
    assert "seed-1, seed-2, seed-3: finished after 5 epochs" in page.words
    folders = rundir.replicates(replicates)
    tables = [predictions.read(folder / rundir.VAL_PREDICTIONS) for folder in folders]
    values = np.array([table.prediction for table in tables])  # (3, N)
    spread = np.std(values, axis=0, ddof=1)
    assert f"between replicates: median {np.median(spread):.4f}" in page.words
    mean_scores = scoring.score(tables[0].expression, values.mean(axis=0))
    assert f"{mean_scores.pearson:.4f}" in page.words
    assert "Nominal coverage 90 %; observed 80.0 % on 300 held-out sequences" in page.words
    assert "observed coverage is 80.0%, nominal coverage 90%" in page.words
    assert len(page.images) == 5  # and ensemble sizes, coverage


def test_a_calibration_of_other_models_is_refused(replicates, tmp_path):
    (replicates / rundir.replicate(2) / rundir.BEST).write_text("trained anew")
    with pytest.raises(errors.UserError, match="other models"):
        report.write(replicates, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_a_report_says_that_a_run_is_not_finished(tmp_path, library):
    going = run(tmp_path / "going", library, is_finished=False)
    assert "stopped or failed after 5 epochs" in write(going, tmp_path / "1.html").words
    with files.lock(going):
        assert "still training, 5 epochs done" in write(going, tmp_path / "2.html").words
    empty = run(tmp_path / "empty", library, is_finished=False, epochs=0)
    page = write(empty, tmp_path / "3.html")
    assert "after 0 epochs" in page.words and not page.images
    (empty / rundir.RECORDS).unlink()
    assert "no epoch is done" in write(empty, tmp_path / "4.html").words


def test_constant_predictions_have_an_undefined_correlation(single, tmp_path):
    pairs = pairing.Pairs("p.tsv", "t.txt", Y.astype(float), np.full(N, 3.0), SEQUENCES)
    page = write(single, tmp_path / "r.html", report.Sample(pairs))
    assert "undefined (no spread)" in page.words
    assert "all predictions have the same value" in page.words


def test_a_scorecard_has_places_among_published_results(single, tmp_path):
    p = Y + RNG.normal(0, 1, N)
    subsets = {
        name: dream.SubsetScore(50, 0.9, 0.8, subset.weight)
        for name, subset in dream_subsets.SUBSETS.items()
    }
    card = dream.Scorecard("full", "recovered", {}, subsets, 0.81, 0.82, 0.815)
    teams = {
        name: {metric: dict.fromkeys([*subsets, "score"], value) for metric in dream.METRICS}
        for name, value in (("Strong", 0.95), ("Weak", 0.5))
    }
    pairs = pairing.Pairs("p.tsv", "t.txt", Y.astype(float), p, SEQUENCES)
    page = write(single, tmp_path / "r.html", report.Sample(pairs, card, teams))
    assert "Predictions of p.tsv" in page.words
    assert "0.810000 (place 2)" in page.words and "among Strong, Weak" in page.words
    assert "was recovered" in page.words and "motif tiling" in page.words
    missing = dataclasses.replace(card, missing={"snv": "x"}, score_pearson=None)
    page = write(single, tmp_path / "s.html", report.Sample(pairs, missing))
    assert "No score: these subsets are missing: snv" in page.words


def test_the_command_writes_into_the_run_and_refuses_what_does_not_go_together(single, tmp_path):
    runner = click.testing.CliRunner()
    result = runner.invoke(cli.main, ["report", str(single)])
    assert result.exit_code == 0 and (single / rundir.REPORT).is_file(), result.output
    result = runner.invoke(cli.main, ["report", str(single)])
    assert result.exit_code == 1 and "--overwrite" in result.output
    with pytest.raises(errors.UserError, match="go with predictions"):
        report.report(single, truth=[1.0])
    result = runner.invoke(cli.main, ["report", str(single), "--dream", str(tmp_path)])
    assert result.exit_code == 2 and "go with --predictions" in result.output
    result = runner.invoke(cli.main, ["report", str(tmp_path)])
    assert result.exit_code == 1 and "not a run" in result.output


def test_without_jinja2_the_message_says_what_to_install(single, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(errors.UserError, match=r"camformer-tf\[report\]"):
        report.write(single, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_fetches_nothing_and_shows_every_picture(replicates, tmp_path, width):
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("no chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    out = tmp_path / "r.html"
    report.write(replicates, out)
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page, urls, messages = browser.new_page(viewport={"width": width, "height": 900}), [], []
        page.on("request", lambda request: urls.append(request.url))
        page.on("console", lambda message: messages.append(message.text))
        page.goto(out.as_uri())
        are_loaded = page.evaluate(
            "[...document.images].map(i => i.complete && i.naturalWidth > 100)"
        )
        page_width = page.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert [url for url in urls if not url.startswith("data:")] == [out.as_uri()]
    assert are_loaded == [True] * 5 and not messages
    assert page_width <= width  # tables and pictures scroll, the page does not
