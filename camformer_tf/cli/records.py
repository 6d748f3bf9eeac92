"""Commands from text to records and back."""

from __future__ import annotations

import os
from pathlib import Path

import click

from camformer_tf import recipe
from camformer_tf.cli import group
from camformer_tf.data import rules


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


@click.command("build-records")
@click.argument("text_files", metavar="TEXT...", nargs=-1, required=True, type=group.ANY_PATH)
@click.argument("out_dir", type=group.ANY_PATH)
@group.option(
    "--shards", default=recipe.RecordsConfig.shards, type=click.IntRange(1), help="Per split."
)
@group.option("--split", default=recipe.RecordsConfig.split, help="NAME=FRACTION,…")
@group.option(
    "--split-by",
    default=recipe.RecordsConfig.split_by,
    type=click.Choice(recipe.choices(recipe.RecordsConfig, "split_by")),
    help="random: exact counts; stratified: and even over tenths of the expression; "
    "hash: of the sequence, stable when the library grows; family: near sequences together; "
    "column: as --split-column says.",
)
@group.option("--seed", default=recipe.RecordsConfig.seed)
@group.option(
    "--length",
    default=rules.Rule.length,
    type=click.IntRange(1),
    help="Letters a sequence leaves with, padded with N or cut on the right.",
)
@group.option(
    "--length-margin",
    default=rules.Rule.length_margin,
    type=click.IntRange(0),
    help="Drop lengths further than this from --length.",
)
@group.option(
    "--max-n",
    default=rules.Rule.max_n,
    type=click.IntRange(0),
    help="Drop sequences with more N than this.",
)
@group.option("--keep-all", is_flag=True, help="Keep sequences of every length (padded or cut).")
@group.option(
    "--on-malformed",
    default=recipe.RecordsConfig.on_malformed,
    type=click.Choice(recipe.choices(recipe.RecordsConfig, "on_malformed")),
)
@group.option("--sequence-column", help="For tables with a header: the column of sequences.")
@group.option("--expression-column", help="For tables with a header: the column of expressions.")
@group.option("--weight-column", help="For tables with a header: the column of weights, 0 or more.")
@group.option("--split-column", help="For --split-by column: the column that names the split.")
@group.option(
    "--compression",
    default=recipe.RecordsConfig.compression,
    type=click.Choice(recipe.choices(recipe.RecordsConfig, "compression")),
)
@group.option(
    "--workers",
    "worker_count",
    type=click.IntRange(1),
    help="Processes; as many as cores by default. The bytes are the same.",
)
@group.option(
    "--mismatches",
    default=recipe.RecordsConfig.mismatches,
    type=click.IntRange(0),
    help="Letters in which sequences of one family may differ.",
)
@group.option(
    "--leakage/--no-leakage",
    default=recipe.RecordsConfig.leakage,
    help="Count sequences outside training with a near neighbour in it.",
)
@group.option("--overwrite", is_flag=True, help="Replace a record set that is there already.")
@group.quiet
def build_records(
    text_files: tuple[Path, ...],
    out_dir: Path,
    shards: int,
    split: str,
    split_by: str,
    seed: int,
    length: int,
    length_margin: int,
    max_n: int,
    keep_all: bool,
    on_malformed: str,
    sequence_column: str | None,
    expression_column: str | None,
    weight_column: str | None,
    split_column: str | None,
    compression: str,
    worker_count: int | None,
    mismatches: int,
    leakage: bool,
    overwrite: bool,
) -> None:
    """Write TEXT (SEQUENCE<TAB>EXPRESSION lines; .gz; - for standard input) as TFRecords."""
    from camformer_tf.data import records

    named = {
        "sequence": sequence_column,
        "expression": expression_column,
        "weight": weight_column,
        "split": split_column,
    }
    columns = {role: name for role, name in named.items() if name} or None
    if columns and not (sequence_column and expression_column):
        raise click.UsageError("--sequence-column and --expression-column go together.")
    made = records.write(
        text_files,
        out_dir,
        rule=rules.Rule(length, length_margin, max_n, keep_all),
        config=recipe.RecordsConfig(
            split,
            split_by,
            seed,
            shards,
            on_malformed,
            compression,
            worker_count or os.cpu_count() or 1,
            mismatches,
            leakage,
        ),
        columns=columns,
        overwrite=overwrite,
        report=group.report(),
    )
    click.echo(f"{out_dir}: {made.summary()}")


@click.command("inspect-records")
@click.argument("records_dir", metavar="DIR", type=group.ANY_PATH)
@group.option("--json", "as_json", is_flag=True, help="The manifest as it stands.")
@group.option("--head", default=0, type=click.IntRange(0), help="Also show N examples a split.")
@group.quiet
def inspect_records(records_dir: Path, as_json: bool, head: int) -> None:
    """Say what is inside a record set."""
    from camformer_tf.data import manifest

    described = manifest.load(records_dir)
    if as_json:
        click.echo((records_dir / manifest.FILE).read_text(encoding="utf-8"), nl=False)
    else:
        click.echo(f"{records_dir}: {described.summary()}")
    if head:
        from camformer_tf.data import records

        for split in described.splits:
            for line in records.head(records_dir, split, head):
                click.echo(f"{split}\t{line}")


@click.command("verify-records")
@click.argument("records_dir", metavar="DIR", type=group.ANY_PATH)
@group.quiet
def verify_records(records_dir: Path) -> None:
    """Read every byte of a record set and name what is broken."""
    from camformer_tf.data import verify

    problems = verify.verify(records_dir, group.report())
    if problems:
        raise click.ClickException("\n".join([f"{len(problems)} problems:", *problems]))
    click.echo(f"{records_dir}: every shard and record is as it was written")


@click.command("export-records")
@click.argument("records_dir", metavar="DIR", type=group.ANY_PATH)
@click.argument("out", type=group.ANY_PATH)
@group.option("--split", help="One split; all of them by default.")
@group.quiet
def export_records(records_dir: Path, out: Path, split: str | None) -> None:
    """Write the examples of a record set to OUT as SEQUENCE<TAB>EXPRESSION lines."""
    from camformer_tf.data import records

    click.echo(f"{out}: {records.export(records_dir, out, split, group.report()):,} lines")
