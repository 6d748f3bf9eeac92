"""Commands that judge: evaluate, compare, report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from camformer_tf import files
from camformer_tf.cli import group


def _scorecard(command: Callable) -> Callable:
    """Adds the options of the DREAM 2022 scorecard, under the names that functions give them."""
    for option in reversed(
        [
            group.option(
                "--dream",
                type=group.PATH,
                help="Folder of the DREAM 2022 subset files; adds the scorecard.",
            ),
            group.option(
                "--leaderboard",
                type=group.PATH,
                help="Folder of the public leaderboard's ids, for phases public and private.",
            ),
            group.option(
                "--phase",
                type=click.Choice(["full", "public", "private"]),
                help="Phase of the scorecard: full by default, public with --leaderboard alone.",
            ),
            group.option(
                "--published",
                type=group.PATH,
                help="Table of published scores (sota.csv), for places among them.",
            ),
        ]
    ):
        command = option(command)
    return command


def _check_scorecard(challenge: dict[str, Any]) -> None:
    """Refuses options of the scorecard without its files."""
    if (challenge["phase"] or challenge["published"]) and not _has_scorecard(challenge):
        raise click.UsageError("--phase and --published go with --dream or --leaderboard.")


def _has_scorecard(challenge: dict[str, Any]) -> bool:
    return bool(challenge["dream"] or challenge["leaderboard"])


def _check_outputs(out: Path | None, as_json: bool) -> None:
    """Refuses two texts on one standard output."""
    if as_json and out == files.STANDARD_OUTPUT:
        raise click.UsageError("--json and --out - both write to standard output.")


@group.command(
    "evaluate", example="camformer-tf evaluate predictions.tsv test.txt --out scores.json"
)
@click.argument("predictions", type=group.PATH)
@click.argument("truth", required=False, type=group.PATH)
@group.option(
    "--out",
    type=group.OUTPUT,
    help="Also write the scores: JSON, or a table if OUT ends in .csv or .tsv; - prints them.",
)
@_scorecard
@group.option(
    "--bootstrap",
    default=0,
    type=click.IntRange(0),
    help="Number of resamples for 95 % intervals, such as 1000.",
)
@group.option(
    "--against", type=group.PATH, help="Other predictions of the same sequences, to compare with."
)
@group.json_output
@group.overwrite
@group.quiet
def evaluate(
    predictions: Path, truth: Path | None, out: Path | None, as_json: bool, **options: Any
) -> None:
    """Score predictions against measured values.

    TRUTH is the text that was predicted: the same sequences, in the same order; by default, the
    column expression of PREDICTIONS. PREDICTIONS may be the challenge's JSON, which without TRUTH
    is scored by the values of --leaderboard.
    """
    _check_scorecard(options)
    _check_outputs(out, as_json)
    from camformer_tf.evaluation import evaluate

    evaluation = evaluate.evaluate(predictions, truth, out=out, **options)
    if as_json:
        group.print_json(evaluation.values())
    elif out != files.STANDARD_OUTPUT:
        click.echo(evaluation.summary())


@group.command("compare", example="camformer-tf compare runs/mini runs/small --out runs.csv")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=group.PATH)
@group.option(
    "--out",
    type=group.OUTPUT,
    help="Also write the table: .csv, .tsv, .json or .parquet; - prints CSV.",
)
@group.option("--html", type=group.PATH, help="Also write the table and a plot as one HTML file.")
@group.json_output
@group.overwrite
@group.quiet
def compare(
    runs: tuple[Path, ...], out: Path | None, html: Path | None, as_json: bool, overwrite: bool
) -> None:
    """Compare runs, and the recipes they differ in.

    Runs are listed with the best first, with the recipe values that differ. A run of replicates
    counts as its runs. An unfinished run counts with its best epoch so far.
    """
    _check_outputs(out, as_json)
    if html == files.STANDARD_OUTPUT and (as_json or out == files.STANDARD_OUTPUT):
        raise click.UsageError("only one of --json, --out - and --html - has standard output.")
    from camformer_tf.evaluation import compare

    comparison = compare.compare(runs, out=out, html=html, overwrite=overwrite)
    if as_json:
        group.print_json(comparison.records())
    elif files.STANDARD_OUTPUT not in (out, html):
        click.echo(comparison.summary())


@group.command("report", example="camformer-tf report runs/mini --out mini.html")
@click.argument("run_dir", metavar="RUN_DIR", type=group.PATH)
@group.option("--out", type=group.PATH, help="HTML file to write; default: report.html in the run.")
@group.option(
    "--predictions",
    type=group.PATH,
    help="Predictions to show in place of the run's own of its validation set.",
)
@group.option("--truth", type=group.PATH, help="Truth of --predictions, as for evaluate.")
@_scorecard
@group.option("--open", "opens", is_flag=True, help="Open the report in a browser.")
@group.overwrite
@group.quiet
def report(run_dir: Path, predictions: Path | None, opens: bool, **options: Any) -> None:
    """Write a run as one HTML page with plots.

    RUN_DIR is a run or a run of replicates, finished or not. The page fetches nothing and can be
    mailed.
    """
    _check_scorecard(options)
    if not predictions and (options["truth"] or _has_scorecard(options)):
        raise click.UsageError("--truth, --dream and --leaderboard go with --predictions.")
    from camformer_tf.evaluation import report

    if opens and options["out"] == files.STANDARD_OUTPUT:
        raise click.UsageError("--open needs a file, not --out -.")
    path = report.report(run_dir, predictions=predictions, **options)
    if path != files.STANDARD_OUTPUT:
        click.echo(str(path))
    if opens:
        click.launch(str(path))
