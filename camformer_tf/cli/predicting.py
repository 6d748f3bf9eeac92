"""Commands that predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from camformer_tf import recipe, remote
from camformer_tf.cli import group


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
    from camformer_tf.client import client
    from camformer_tf.model import inference, predict

    if server:
        count = client.to_file(server, source, out, report=group.report(), **options)
    else:
        model = inference.load(
            models,
            calibration=options.pop("calibrated"),
            batch_size=options.pop("batch_size"),
            precision=options.pop("precision"),
        )
        count = predict.to_file(model, source, out, report=group.report(), **options)
    click.echo(f"{out}: {count:,} predictions")


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
    calibration = ensemble.calibrate(models, measured, out=out, report=group.report(), **options)
    click.echo(f"{path}: {calibration.summary()}")
