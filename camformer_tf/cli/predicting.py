"""Commands that predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from camformer_tf import files, recipe, remote, wording
from camformer_tf.cli import group


def _refuse(names: tuple[str, ...], reason: str) -> None:
    """Raises UsageError if one of these options was used."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            flag = next(p.opts[0] for p in context.command.params if p.name == name)
            raise click.UsageError(f"{flag} {reason}")


@group.command("predict", example="camformer-tf predict runs/mini test.txt predictions.tsv")
@click.argument("models", metavar="[MODEL...]", nargs=-1)
@click.argument("source", metavar="INPUT", type=group.ANY_PATH)
@click.argument("out", type=group.OUTPUT)
@group.option("--server", metavar="URL", help="Server to ask, http:// or grpc://, as MODEL.")
@group.option(
    "--format",
    type=click.Choice(["tsv", "csv", "parquet", "dream-json"]),
    help="Format of OUT. Default: by its suffix (.csv, .parquet, .json), else tsv.",
)
@group.option("--split", help="Split to predict, if INPUT is a records directory.")
@group.option("--sequence-column", "sequence", help="Column of the sequences, in a table.")
@group.option("--expression-column", "expression", help="Column of the expressions, in a table.")
@group.option("--keys", type=group.PATH, help="JSON with the rows to write as dream-json.")
@group.option(
    "--calibration",
    type=group.PATH,
    help="Calibration of these models. Default: the one in the run.",
)
@group.option(
    "--batch-size",
    default=recipe.PREDICT_BATCH_SIZE,
    type=click.IntRange(1),
    help="Sequences per batch, or per request.",
)
@group.option(
    "--precision",
    default="float32",
    type=click.Choice(["float32", "mixed_bfloat16"]),
    help="Precision of the convolutions.",
)
@group.option(
    "--concurrency",
    default=4,
    type=click.IntRange(1),
    help="Requests to a server at the same time.",
)
@group.option(
    "--timeout",
    default=60.0,
    type=click.FloatRange(0, min_open=True),
    help="Seconds for each answer of a server.",
)
@group.overwrite
@group.quiet
def predict(
    models: tuple[str, ...],
    source: Path | remote.Remote,
    out: Path,
    server: str | None,
    **options: Any,
) -> None:
    """Predict sequences, into a table.

    MODEL is a run directory, a run of replicates, a .keras file, an export directory, or the URL of
    a server; with several, the table has their mean and its spread. INPUT is text, FASTA, a .csv or
    .tsv table with a header, - for standard input, or a records directory. OUT may be -, standard
    output.
    """
    if bool(models) == bool(server):
        raise click.UsageError("Name MODEL, or --server and no MODEL.")
    entries = (server,) if server else models
    if any("://" in entry for entry in entries):
        _refuse(("calibration", "precision"), "cannot be used with a server.")
    else:
        _refuse(("concurrency", "timeout"), "is for servers: --server, or a URL as MODEL.")
    if options["expression"] and not options["sequence"]:
        raise click.UsageError("--expression-column goes with --sequence-column.")
    group.start_tensorflow()
    from camformer_tf.client import predict

    count = predict.predict(entries, str(source), out, report=group.report(), **options)
    summary = wording.count(count, "prediction")
    if out != files.STANDARD_OUTPUT:
        click.echo(f"{out}: {summary}")
    elif not group.is_quiet():
        click.echo(summary, err=True)  # standard output holds the table


@group.command("calibrate", example="camformer-tf calibrate runs/mini tfrecords/mine --split test")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=group.PATH)
@click.argument("measured", metavar="INPUT", type=group.ANY_PATH)
@group.option("--out", type=group.PATH, help="File to write; default: calibration.json in the run.")
@group.option("--split", help="Split to use, if INPUT is a records directory.")
@group.option("--sequence-column", "sequence", help="Column of the sequences, in a table.")
@group.option("--expression-column", "expression", help="Column of the expressions, in a table.")
@group.option(
    "--coverage",
    default=0.9,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Fraction of measured values that intervals should contain.",
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
    help="Fraction of INPUT that only measures the coverage.",
)
@group.option("--seed", default=recipe.TrainConfig.seed, help="Seed of how INPUT is split.")
@group.option(
    "--batch-size",
    default=recipe.PREDICT_BATCH_SIZE,
    type=click.IntRange(1),
    help="Sequences per batch.",
)
@group.overwrite
@group.quiet
def calibrate(
    models: tuple[Path, ...],
    measured: Path | remote.Remote,
    out: Path | None,
    **options: Any,
) -> None:
    """Make prediction intervals from held-out data.

    INPUT holds measured sequences that MODEL was not trained on. `predict` then writes intervals
    as columns lower and upper. MODEL and INPUT are as for `predict`.
    """
    if out is None and not (len(models) == 1 and models[0].is_dir()):
        raise click.UsageError("Name the file to write, --out, unless MODEL is one run.")
    if options["expression"] and not options["sequence"]:
        raise click.UsageError("--expression-column goes with --sequence-column.")
    group.start_tensorflow()
    from camformer_tf.evaluation import ensemble

    path = out or ensemble.default_output(models)
    calibration = ensemble.calibrate(
        models, str(measured), out=out, report=group.report(), **options
    )
    if path != files.STANDARD_OUTPUT:
        click.echo(f"{path}: {calibration.summary()}")
    elif not group.is_quiet():
        click.echo(calibration.summary(), err=True)
