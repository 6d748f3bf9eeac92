"""Commands that serve a model."""

from __future__ import annotations

from pathlib import Path

import click

from camformer_tf.cli import group


@click.command()
@click.argument("models", nargs=-1, required=True, type=group.PATH, metavar="MODEL...")
@click.argument("out_dir", type=group.PATH)
@group.option("--version", type=click.IntRange(1), help="Default: one above the newest.")
@group.option(
    "--calibration",
    "calibrated",
    type=group.PATH,
    help="What `calibrate` wrote of these models. Default: the one in the run.",
)
@group.option(
    "--format",
    "kind",
    default="savedmodel",
    type=click.Choice(["savedmodel", "onnx", "litert"]),
    help="For TF Serving, ONNX Runtime or LiteRT.",
)
@group.quiet
def export(
    models: tuple[Path, ...],
    out_dir: Path,
    version: int | None,
    calibrated: Path | None,
    kind: str,
) -> None:
    """Write MODELs (runs or .keras files), several as one, at OUT_DIR/VERSION for serving."""
    group.start_tensorflow()
    from camformer_tf.serving import export

    folder = export.export(models, out_dir, version=version, calibrated=calibrated, kind=kind)
    click.echo(f"{folder}: {kind} written")
