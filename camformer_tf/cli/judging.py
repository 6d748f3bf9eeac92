"""Commands that predict and judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import click

from camformer_tf import recipe
from camformer_tf.cli import group

# === What commands share ===


def _scorecard(command: Callable) -> Callable:
    """Adds the options of the challenge's scorecard, which `_Judge` takes."""
    for option in reversed(
        [
            group.option(
                "--dream",
                "subsets_dir",
                type=group.PATH,
                help="Also the DREAM 2022 scorecard: the folder of the challenge's subset files.",
            ),
            group.option(
                "--leaderboard",
                "leaderboard_dir",
                type=group.PATH,
                help="The folder of the public leaderboard's ids, for phases public and private.",
            ),
            group.option(
                "--phase",
                type=click.Choice(["full", "public", "private"]),
                help="Of the scorecard; full by default, public if --leaderboard is given alone.",
            ),
            group.option(
                "--published",
                type=group.PATH,
                help="A table of published scores (sota.csv) to stand among.",
            ),
        ]
    ):
        command = option(command)
    return command


@dataclasses.dataclass(frozen=True)
class _Judge:
    """What the options say of how predictions are judged."""

    truth: Path | None
    subsets_dir: Path | None
    leaderboard_dir: Path | None
    phase: str | None
    published: Path | None

    def __post_init__(self):
        if (self.phase or self.published) and not self.by_scorecard:
            raise click.UsageError("--phase and --published go with --dream or --leaderboard.")
        if not self.phase:
            object.__setattr__(self, "phase", "full" if self.subsets_dir else "public")

    @property
    def by_scorecard(self) -> bool:
        return bool(self.subsets_dir or self.leaderboard_dir)

    def read(self, path: Path):
        """Returns predictions with their truth."""
        from camformer_tf.evaluation import evaluate, scorecard

        alone = self.truth is None and self.leaderboard_dir and self.phase == "public"
        if path.suffix == ".json" and alone:
            return scorecard.read_public(path, self.leaderboard_dir)
        return evaluate.read(path, self.truth)

    def card(self, pairs, resamples: int = 0):
        """Returns the scorecard, if it is wanted, and the published scores to stand among."""
        from camformer_tf.evaluation import scorecard
        from camformer_tf.metrics import dream

        if not self.by_scorecard:
            return None, {}
        teams = dream.published(self.published) if self.published else {}
        folders = self.subsets_dir, self.leaderboard_dir
        return scorecard.judge(pairs, self.phase, *folders, resamples=resamples), teams


def _columns(sequence: str | None, expression: str | None) -> dict[str, str] | None:
    if expression and not sequence:
        raise click.UsageError("--expression-column goes with --sequence-column.")
    named = {"sequence": sequence, "expression": expression}
    return {role: name for role, name in named.items() if name} or None


def _leave_out(options: dict, names: tuple[str, ...]) -> None:
    """Takes out options that do not go with the others, and refuses them if they were given."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            flag = next(p.opts[0] for p in context.command.params if p.name == name)
            way = "without" if context.params.get("server") else "with"
            raise click.UsageError(f"{flag} goes {way} --server.")
        del options[name]


# === Commands ===


@click.command()
@click.argument("models", metavar="[MODEL...]", nargs=-1, type=group.PATH)
@click.argument("source", metavar="INPUT", type=group.ANY_PATH)
@click.argument("out", type=group.PATH)
@group.option(
    "--server", metavar="URL", help="Ask a server, http:// or grpc://, in place of MODEL."
)
@group.option(
    "--format",
    "kind",
    default="tsv",
    type=click.Choice(["tsv", "csv", "parquet", "dream-json"]),
    help="Of OUT; dream-json: row → prediction, as the challenge wants it.",
)
@group.option("--split", help="Which split, if INPUT is a records directory.")
@group.option("--sequence-column", help="For tables with a header: the column of sequences.")
@group.option("--expression-column", help="For tables with a header: the column of expressions.")
@group.option("--keys", type=group.PATH, help="For dream-json: a JSON with the rows to write.")
@group.option(
    "--calibration",
    "calibrated",
    type=group.PATH,
    help="A calibration of these models; by default the one in the run.",
)
@group.option("--batch-size", default=recipe.PREDICT_BATCH_SIZE, type=click.IntRange(1))
@group.option("--precision", default="float32", type=click.Choice(["float32", "mixed_bfloat16"]))
@group.option("--concurrency", default=4, type=click.IntRange(1), help="Requests at a time.")
@group.option(
    "--timeout",
    default=60.0,
    type=click.FloatRange(0, min_open=True),
    help="Seconds for an answer of the server.",
)
@group.quiet
def predict(
    models: tuple[Path, ...],
    source: Path,
    out: Path,
    server: str | None,
    sequence_column: str | None,
    expression_column: str | None,
    **options,
) -> None:
    """Predict INPUT with MODEL into the table OUT; with several, the mean and its spread.

    MODEL is a run directory, a run of replicates, a .keras file or an export directory; or none, if
    a server is asked. INPUT is text, FASTA, a .csv or .tsv table with a header, - or a records
    directory.
    """
    if bool(models) == bool(server):
        raise click.UsageError("Name MODEL, or --server and no MODEL.")
    _leave_out(options, ("calibrated", "precision") if server else ("concurrency", "timeout"))
    options |= {"columns": _columns(sequence_column, expression_column)}
    group.start_tensorflow()
    from camformer_tf.model import predict
    from camformer_tf.serving import client

    if server:
        count = client.to_file(server, source, out, report=group.report(), **options)
    else:
        count = predict.to_file(models, source, out, report=group.report(), **options)
    click.echo(f"{out}: {count:,} predictions")


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=group.PATH)
@click.argument("source", metavar="INPUT", type=group.ANY_PATH)
@group.option("--out", type=group.PATH, help="Default: calibration.json in the one run.")
@group.option("--split", help="Which split, if INPUT is a records directory.")
@group.option("--sequence-column", help="For tables with a header: the column of sequences.")
@group.option("--expression-column", help="For tables with a header: the column of expressions.")
@group.option(
    "--coverage",
    default=0.9,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="The share of measured values that intervals shall hold.",
)
@group.option(
    "--scale",
    default="model",
    type=click.Choice(["model", "affine", "isotonic"]),
    help="Also map predictions to the scale of INPUT.",
)
@group.option(
    "--check",
    default=0.5,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="The part of INPUT that only measures the coverage.",
)
@group.option("--seed", default=recipe.TrainConfig.seed, help="Of how INPUT is parted.")
@group.option("--batch-size", default=recipe.PREDICT_BATCH_SIZE, type=click.IntRange(1))
@group.option("--overwrite", is_flag=True, help="Replace a calibration that is there already.")
@group.quiet
def calibrate(
    models: tuple[Path, ...],
    source: Path,
    out: Path | None,
    sequence_column: str | None,
    expression_column: str | None,
    overwrite: bool,
    **options,
) -> None:
    """Make prediction intervals for MODEL from INPUT, measured sequences kept from training.

    `predict` then writes them as lower and upper. MODEL and INPUT are as for `predict`.
    """
    if out is None and not (len(models) == 1 and models[0].is_dir()):
        raise click.UsageError("Name the file to write, --out, unless MODEL is one run.")
    columns = _columns(sequence_column, expression_column)
    group.start_tensorflow()
    from camformer_tf import rundir
    from camformer_tf.evaluation import ensemble
    from camformer_tf.model import calibration

    out = out or models[0] / rundir.CALIBRATION
    rundir.refuse_existing(out, overwrite=overwrite)
    found = ensemble.calibrate(models, source, columns=columns, report=group.report(), **options)
    calibration.save(found, out, overwrite=overwrite)
    click.echo(f"{out}: {found.summary()}")


@click.command()
@click.argument("table", metavar="PREDICTIONS", type=group.PATH)
@click.argument("truth", required=False, type=group.PATH)
@group.option("--out", type=group.PATH, help="Also write the scores as JSON.")
@_scorecard
@group.option(
    "--bootstrap",
    "resamples",
    default=0,
    type=click.IntRange(0),
    help="Resamples for 95 % intervals, such as 1000.",
)
@group.option(
    "--against", type=group.PATH, help="Other predictions of the same sequences, to compare with."
)
@group.quiet
def evaluate(
    table: Path,
    truth: Path | None,
    out: Path | None,
    resamples: int,
    against: Path | None,
    **challenge,
) -> None:
    """Score PREDICTIONS against TRUTH, or against their own expression column.

    TRUTH is the text that was predicted: the same sequences, in the same order. PREDICTIONS may be
    the challenge's JSON, which without TRUTH is judged by the values of --leaderboard.
    """
    from camformer_tf.evaluation import evaluate, scorecard

    judge = _Judge(truth, **challenge)
    pairs, difference = judge.read(table), None
    scores = evaluate.score_pairs(pairs, resamples=resamples)
    told = [scores.summary()]
    card, teams = judge.card(pairs, resamples)
    if card:
        told += ["", scorecard.summary(card, teams)]
    if against:
        difference = evaluate.compare(pairs, judge.read(against), resamples=resamples)
        told += ["", f"higher than {against}, by"]
        told += [f"{name:<16} {one.summary()}" for name, one in difference.items()]
    if out:
        evaluate.save(scores, out, card, difference)
    click.echo("\n".join(told))


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=group.PATH)
@group.option("--out", type=group.PATH, help="Also write the table as CSV.")
@group.option("--html", type=group.PATH, help="Also write it, with a picture, as one HTML file.")
@group.quiet
def compare(runs: tuple[Path, ...], out: Path | None, html: Path | None) -> None:
    """Put runs beside each other, the best first, with the recipe values in which they differ.

    A run of replicates is each of its runs; of an unfinished one the best epoch so far counts.
    """
    from camformer_tf.evaluation import compare

    found = compare.compare(runs)
    if out:
        compare.save(found, out)
    if html:
        compare.save_page(found, html)
    click.echo(found.summary())


@click.command()
@click.argument("run_dir", metavar="RUN_DIR", type=group.PATH)
@group.option("--out", type=group.PATH, help="Default: report.html in the run.")
@group.option(
    "--predictions",
    "table",
    type=group.PATH,
    help="Show these instead of the run's own of its validation set.",
)
@group.option("--truth", type=group.PATH, help="Of --predictions, as for `evaluate`.")
@_scorecard
@group.option("--open", "opens", is_flag=True, help="Show it in a browser.")
@group.option("--overwrite", is_flag=True, help="Replace a report that is there already.")
@group.quiet
def report(
    run_dir: Path,
    out: Path | None,
    table: Path | None,
    truth: Path | None,
    opens: bool,
    overwrite: bool,
    **challenge,
) -> None:
    """Write a run, or a run of replicates, as one HTML file with all its pictures.

    The file fetches nothing and can be mailed. A run that is not finished is shown as it stands.
    """
    from camformer_tf import rundir
    from camformer_tf.evaluation import report

    judge, judged = _Judge(truth, **challenge), None
    if table:
        pairs = judge.read(table)
        judged = report.Judged(pairs, *judge.card(pairs))
    elif truth or judge.by_scorecard:
        raise click.UsageError("--truth, --dream and --leaderboard go with --predictions.")
    out = out or run_dir / rundir.REPORT
    report.write(run_dir, out, judged, overwrite=overwrite)
    click.echo(str(out))
    if opens:
        click.launch(str(out))
