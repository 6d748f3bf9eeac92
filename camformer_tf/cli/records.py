"""Commands from text to records and back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from camformer_tf import files, recipe, wording
from camformer_tf.cli import group
from camformer_tf.data import rules

_CONFIG, _RULE = recipe.RecordsConfig, rules.Rule


@group.command("simulate", example="camformer-tf simulate library.txt --sequences 20000")
@click.argument("out", type=group.PATH)
@group.option(
    "--sequences", "-n", required=True, type=click.IntRange(1), help="Number of clean sequences."
)
@group.option("--seed", default=recipe.RecordsConfig.seed, help="Seed of sequences and noise.")
@group.option("--dirty", is_flag=True, help="Add lines of every kind that the filters handle.")
@group.overwrite
@group.quiet
def simulate(out: Path, sequences: int, seed: int, dirty: bool, overwrite: bool) -> None:
    """Write a library with known motif grammar.

    Lines of SEQUENCE<TAB>EXPRESSION go to OUT.txt. OUT.truth.json holds the grammar, the noise and
    the expression without noise.
    """
    from camformer_tf.simulation import simulate

    summary = simulate.simulate(
        out, sequences, seed=seed, dirty=dirty, overwrite=overwrite, report=group.report()
    )
    click.echo(summary.summary())


def _limit(name: str, default: int, help_text: str, *, minimum: int = 0) -> Callable:
    """Returns the option of a whole number."""
    kind = click.IntRange(minimum)
    return group.option(name, default=default, type=kind, metavar="N", help=help_text)


def _choice(name: str, default: str, help_text: str) -> Callable:
    """Returns the option of an argument of RecordsConfig that has choices."""
    kind = click.Choice(recipe.choices(_CONFIG, name.strip("-").replace("-", "_")))
    return group.option(name, default=default, type=kind, help=help_text)


@group.command(
    "build-records",
    example="camformer-tf build-records library.txt records --split train=0.9,val=0.1",
)
@click.argument("text", metavar="TEXT...", nargs=-1, required=True, type=group.ANY_PATH)
@click.argument("out_dir", type=group.ANY_PATH)
@_limit("--shards", _CONFIG.shards, "Files per split.", minimum=1)
@group.option("--split", default=_CONFIG.split, help="Splits as NAME=FRACTION,…")
@_choice(
    "--split-by",
    _CONFIG.split_by,
    "random: exact counts; stratified: and even over tenths of the expression; hash: of the "
    "sequence, stable when the library grows; family: near sequences together; column: named by "
    "--split-column.",
)
@group.option("--seed", default=_CONFIG.seed, type=click.IntRange(0), help="Seed of the split.")
@_limit(
    "--length",
    _RULE.length,
    "Length of sequences in the set; they are cut or padded with N on the right.",
    minimum=1,
)
@_limit("--length-margin", _RULE.length_margin, "Drop lengths further than this from --length.")
@_limit("--max-n", _RULE.max_n, "Drop sequences with more N than this.")
@group.option("--keep-all", is_flag=True, help="Keep sequences of every length (padded or cut).")
@_choice(
    "--on-malformed",
    _CONFIG.on_malformed,
    "error: refuse a text with malformed lines; skip: leave them out and count them.",
)
@group.option(
    "--sequence-column",
    "sequence",
    metavar="NAME",
    help="Column of sequences, for tables with a header.",
)
@group.option(
    "--expression-column",
    "expression",
    metavar="NAME",
    help="Column of expressions, for tables with a header.",
)
@group.option(
    "--weight-column",
    "weight",
    metavar="NAME",
    help="Column of weights (0 or more), for tables with a header.",
)
@group.option(
    "--split-column",
    metavar="NAME",
    help="Column that names the split, for --split-by column.",
)
@_choice("--compression", _CONFIG.compression, "Compression of the shards.")
@group.option(
    "--workers",
    default=lambda: os.cpu_count() or 1,
    show_default="number of cores",
    type=click.IntRange(1),
    metavar="N",
    help="Number of processes; the bytes do not depend on it.",
)
@_limit("--mismatches", _CONFIG.mismatches, "Letters in which sequences of one family may differ.")
@group.option(
    "--leakage/--no-leakage",
    default=_CONFIG.leakage,
    help="Count sequences outside training with a near neighbour in it.",
)
@group.overwrite
@group.quiet
def build_records(out_dir: Path, **options: Any) -> None:
    """Build TFRecords from text or tables.

    TEXT has SEQUENCE<TAB>EXPRESSION lines, or is a table with a header whose columns are named. It
    may be a .gz file; - is standard input.
    """
    if bool(options["sequence"]) != bool(options["expression"]):
        raise click.UsageError("--sequence-column and --expression-column go together.")
    from camformer_tf.data import records

    manifest = records.build_records(out_dir=out_dir, report=group.report(), **options)
    click.echo(f"{out_dir}: {manifest}")


@group.command("inspect-records", example="camformer-tf inspect-records records --head 3")
@click.argument("records_dir", metavar="DIR", type=group.ANY_PATH)
@group.json_output
@_limit("--head", 0, "Number of examples of each split to show.")
@group.quiet
def inspect_records(records_dir: Path, as_json: bool, head: int) -> None:
    """Show what is in a record set."""
    from camformer_tf.data import records

    inspection = records.inspect_records(records_dir, head=head)
    if as_json:
        click.echo(inspection.to_json(), nl=False)
    else:
        click.echo(inspection)


@group.command("verify-records", example="camformer-tf verify-records records")
@click.argument("records_dir", metavar="DIR", type=group.ANY_PATH)
@group.quiet
def verify_records(records_dir: Path) -> None:
    """Check every byte of a record set."""
    from camformer_tf.data import verify

    if problems := verify.verify_records(records_dir, group.report()):
        heading = f"{records_dir}: {wording.count(len(problems), 'problem')}:"
        raise click.ClickException("\n".join([heading, *problems]))
    click.echo(f"{records_dir}: every shard and record is as it was written")


@group.command("export-records", example="camformer-tf export-records records val.txt --split val")
@click.argument("records_dir", metavar="DIR", type=group.ANY_PATH)
@click.argument("out", type=group.ANY_PATH)
@group.option("--split", metavar="NAME", help="One split; all of them by default.")
@group.overwrite
@group.quiet
def export_records(records_dir: Path, out: Path, split: str | None, overwrite: bool) -> None:
    """Write a record set as a table.

    OUT has SEQUENCE<TAB>EXPRESSION lines; a .csv file has commas and a header, a .parquet file is
    Parquet; - is standard output.
    """
    from camformer_tf.data import records

    count = records.export_records(
        records_dir, out, split=split, overwrite=overwrite, report=group.report()
    )
    if out != files.STANDARD_OUTPUT:
        click.echo(f"{out}: {wording.count(count, 'line')}")
