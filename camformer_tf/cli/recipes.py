"""The command that lists and shows recipes."""

from __future__ import annotations

import dataclasses
import json

import click

from camformer_tf import cost, grid
from camformer_tf.cli import group


@group.command("recipes", example="camformer-tf recipes mini --set model.dense=[128]")
@click.argument("name", required=False, type=group.RECIPE)
@group.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one value of the recipe, such as train.epochs=2; repeatable.",
)
@group.json_output
@group.quiet
def recipes(name: str | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """List recipes, or show one with its costs.

    NAME is the name of a recipe of this package or a file. Without it, all of the package are
    listed, with the operations of a sequence forward. With it, the recipe is printed as YAML with
    its parameters, operations, memory and training time on this machine, which are estimates.
    """
    if name is None:
        _list(overrides, as_json=as_json)
        return
    group.start_tensorflow()
    shown_cost = cost.recipes(name, overrides=overrides)
    if as_json:
        group.print_json(dataclasses.asdict(shown_cost))
    else:
        comment = "".join(f"# {line}\n" for line in shown_cost.summary().splitlines())
        click.echo(f"{comment}{shown_cost.text}", nl=False)


def _list(overrides: tuple[str, ...], *, as_json: bool) -> None:
    if overrides:
        raise click.UsageError("--set goes with NAME.")
    table = cost.recipes()
    if as_json:
        group.print_json(json.loads(table.to_json(orient="records")))
        return
    click.echo(f"{'name':<10}{'parameters':>12}{'MFLOP':>9}  description")
    for row in table.itertuples():
        click.echo(f"{row.name:<10}{row.parameters:>12,}{row.mflop:>9,.1f}  {row.description}")
    click.echo(f"{grid.FOLDER}1 to {grid.FOLDER}{grid.RUNS}: the runs of the 2025 grid")
