"""Commands that serve a model."""

from __future__ import annotations

from pathlib import Path

import click

from camformer_tf.cli import group


@click.command()
@click.argument("run_dir", type=group.PATH)
@click.argument("out_dir", type=group.PATH)
@group.option("--version", type=click.IntRange(1), help="Default: one above the newest.")
@group.quiet
def export(run_dir: Path, out_dir: Path, version: int | None) -> None:
    """Write the best model of RUN_DIR as a SavedModel at OUT_DIR/VERSION, for TF Serving."""
    group.start_tensorflow()
    from camformer_tf.serving import export

    click.echo(f"{export.export(run_dir, out_dir, version=version)}: SavedModel written")
