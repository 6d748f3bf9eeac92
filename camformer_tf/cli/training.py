"""Commands that make models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from camformer_tf import recipe
from camformer_tf.cli import group

_overrides = group.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one value of the recipe, such as train.epochs=2; repeatable.",
)


@click.command()
@click.argument("recipe_name", metavar="RECIPE", type=group.RECIPE)
@click.argument("records_dir", metavar="RECORDS", type=group.ANY_PATH)
@click.argument("run_dir", type=group.PATH)
@_overrides
@group.option(
    "--strategy",
    "kind",
    default="auto",
    type=click.Choice(["auto", "one", "mirrored", "multiworker", "slurm"]),
    help="auto: mirrored over several GPUs; multiworker: as TF_CONFIG says; slurm: as srun says.",
)
@group.option(
    "--devices",
    type=click.IntRange(1),
    help="How many GPUs; without one, into how many devices to split the CPU.",
)
@group.option(
    "--precision",
    default="auto",
    type=click.Choice(["auto", "float32", "mixed_bfloat16", "mixed_float16"]),
    help="auto: what the devices compute in fastest. Head, scores and the saved model are float32.",
)
@group.option(
    "--xla",
    default="auto",
    type=click.Choice(["auto", "on", "off"]),
    help="Compile the training step by XLA; auto: on a single GPU.",
)
@group.option(
    "--steps-per-call",
    type=click.IntRange(1),
    help="Training steps between two looks at callbacks and signals; by default 50 on GPUs, else "
    "1. The numbers are the same.",
)
@group.option("--require-gpu", is_flag=True, help="Refuse to train on a CPU.")
@group.option(
    "--data",
    default="auto",
    type=click.Choice(["auto", "memory", "stream"]),
    help="Hold the training sequences in memory, or read them anew each epoch.",
)
@group.option(
    "--replicates",
    type=click.IntRange(1, 10),
    help="Train with the first N of the published seeds, each in a folder of its own.",
)
@group.option("--seeds", help="Train with these seeds, such as 42,23.")
@group.option("--resume", is_flag=True, help="Go on with the run if it was stopped, else start it.")
@group.option(
    "--checkpoint-steps",
    type=click.IntRange(1),
    help="Steps between checkpoints within an epoch; by default as often as takes 1 % of the time.",
)
@group.option(
    "--worker-timeout",
    default=300,
    type=click.IntRange(1),
    help="Seconds that several workers wait for each other at the start.",
)
@group.option("--overwrite", is_flag=True, help="Replace a run that is there already.")
@group.quiet
def fit(
    recipe_name: str,
    records_dir: Path,
    run_dir: Path,
    overrides: tuple[str, ...],
    replicates: int | None,
    seeds: str | None,
    worker_timeout: int,
    **options,
) -> None:
    """Train RECIPE (a file, or the name of a shipped one) on RECORDS and write RUN_DIR."""
    settings = recipe.load(recipe_name, overrides)  # before TensorFlow's seconds of import
    if replicates or seeds:
        _fit_replicates(run_dir, replicates, seeds)
        return
    group.start_tensorflow()
    from camformer_tf.training import fit, loop
    from camformer_tf.training import options as fit_options

    try:
        chosen = fit_options.FitOptions(timeout=worker_timeout, **options)
        run = fit.fit(settings, records_dir, run_dir, chosen, group.report())
    except loop.Stopped as stopped:
        where = f"epoch {stopped.progress.epoch + 1} after {stopped.progress.step:,} steps"
        click.echo(f"{run_dir}: stopped in {where}, and kept. Go on with --resume.", err=True)
        sys.exit(128 + stopped.number)
    click.echo(f"{run_dir}: {run.summary()}")


def _fit_replicates(run_dir: Path, count: int | None, seeds: str | None) -> None:
    """Runs `fit` anew for each seed, with the options that it was given."""
    from camformer_tf.training import replicates

    if count and seeds:
        raise click.UsageError("--replicates and --seeds exclude each other.")
    try:
        chosen = [int(seed) for seed in seeds.split(",")] if seeds else []
    except ValueError:
        raise click.BadParameter(f"{seeds}: expected whole numbers, such as 42,23.") from None
    context = click.get_current_context()
    given = dict(context.params)
    positional = [str(given.pop(name)) for name in ("recipe_name", "records_dir")]
    own = {"run_dir", "replicates", "seeds", "resume", "overwrite"}
    options: list[str] = []
    for parameter in context.command.params:
        value = given.get(parameter.name)
        if parameter.name in own or value is None or value is False:
            continue
        for one in value if isinstance(value, tuple) else [value]:
            options += [parameter.opts[0]] + ([] if one is True else [str(one)])

    def command(seed: int, folder: Path) -> list[str]:
        changes = [*options, "--set", f"train.seed={seed}"]
        return ["fit", positional[0], positional[1], str(folder), *changes, "--resume"]

    try:
        told = replicates.train(
            chosen or replicates.PUBLISHED_SEEDS[:count],
            run_dir,
            command,
            resume=given["resume"],
            overwrite=given["overwrite"],
        )
    except replicates.Ended as ended:
        click.echo(f"{run_dir}: a replicate ended; go on with --resume.", err=True)
        sys.exit(ended.code)
    click.echo(f"{run_dir}: {told}")


@click.command()
@group.quiet
def doctor() -> None:
    """Say what this machine can train with, how fast, and what is in the way."""
    group.start_tensorflow()
    from camformer_tf.training import doctor

    click.echo(doctor.examine().summary())


@click.command("import-torch")
@click.argument("checkpoint", type=group.PATH)
@click.argument("recipe_name", metavar="RECIPE", type=group.RECIPE)
@click.argument("out", metavar="OUT.keras", type=group.PATH)
@_overrides
@group.quiet
def import_torch(checkpoint: Path, recipe_name: str, out: Path, overrides: tuple[str, ...]) -> None:
    """Write a PyTorch CHECKPOINT of the network of RECIPE as a .keras file.

    CHECKPOINT is a state dict (.pt, .pth or .safetensors). No code in it is run.
    """
    settings = recipe.load(recipe_name, overrides)  # before TensorFlow's seconds of import
    group.start_tensorflow()
    from camformer_tf.model import rescnn, torch_import

    made = torch_import.convert(checkpoint, settings, out)
    click.echo(f"{out}: {rescnn.count_trainable(made):,} parameters imported")


@group.command(
    "tune", example="camformer-tf tune search tfrecords/mine searches/mine --trials 50 --epochs 10"
)
@click.argument("search", metavar="SEARCH_RECIPE")
@click.argument("records_dir", metavar="RECORDS", type=group.PATH)
@click.argument("out_dir", type=group.PATH)
@group.option(
    "--algorithm",
    default="random",
    type=click.Choice(["random", "bayesian", "hyperband", "grid"]),
    help="How values are proposed; grid: every combination, if all ranges have steps.",
)
@group.option(
    "--objective",
    default="score",
    type=click.Choice(["score", "pearson", "spearman", "loss", "score-parameters", "score-speed"]),
    help="What to optimize in validation; score: r + rho, also against size or speed.",
)
@group.option(
    "--tenfold",
    default=0.05,
    type=click.FloatRange(0, min_open=True),
    help="For score-parameters and score-speed: r + rho that ten times fewer parameters, or ten "
    "times the training speed, are worth.",
)
@group.option("--trials", default=20, type=click.IntRange(1), help="Maximum number of trials.")
@group.option(
    "--epochs", type=click.IntRange(1), help="Epochs of each trial; by default as the recipe says."
)
@group.option(
    "--fraction",
    type=click.FloatRange(0, 1, min_open=True),
    help="Fraction of the training sequences that trials use; best.yaml is for all of them.",
)
@group.option(
    "--hours", type=click.FloatRange(0, min_open=True), help="Time after which no trial begins."
)
@group.option("--seed", default=recipe.TrainConfig.seed, help="Seed of the search.")
@group.option("--precision", help="Precision of each trial; see fit.")
@group.option("--resume", is_flag=True, help="Continue a search that was stopped.")
@group.overwrite
@group.quiet
def tune(search: str, records_dir: Path, out_dir: Path, **options: Any) -> None:
    """Search a recipe's ranges for the best values.

    SEARCH_RECIPE is a recipe with ranges. OUT_DIR gets best.yaml, a recipe for `fit`, and
    trials.csv. Each trial is a `fit` of its own; one that fails is recorded, and the search
    continues.
    """
    if options["resume"] and options["overwrite"]:
        raise click.UsageError("--resume and --overwrite exclude each other.")
    group.start_tensorflow()
    from camformer_tf.tuning import tune

    try:
        trials = tune.tune(search, records_dir, out_dir, **options)
    except tune.SearchInterrupt as stop:
        click.echo(f"{out_dir}: stopped and saved. Continue with --resume.", err=True)
        sys.exit(stop.code)
    if len(trials):
        count = "1 trial" if len(trials) == 1 else f"{len(trials)} trials, the best"
        click.echo(f"{out_dir}: {count}\n{trials.summary()}")
    else:
        click.echo("nothing is left to train")
