"""Commands that make models."""

from __future__ import annotations

import sys
from pathlib import Path

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


@click.command()
@click.argument("search", metavar="SEARCH_RECIPE")
@click.argument("records_dir", metavar="RECORDS", type=group.PATH)
@click.argument("out_dir", type=group.PATH)
@group.option(
    "--algorithm",
    default="random",
    type=click.Choice(["random", "bayesian", "hyperband", "grid"]),
    help="grid: every combination, where all ranges have steps.",
)
@group.option(
    "--objective",
    default="score",
    type=click.Choice(["score", "pearson", "spearman", "loss", "score-parameters", "score-speed"]),
    help="Of validation, at a trial's best epoch; score: r + rho, alone or against size or speed.",
)
@group.option(
    "--tenfold",
    default=0.05,
    type=click.FloatRange(0, min_open=True),
    help="For score-parameters and score-speed: the r + rho that ten times fewer parameters, or "
    "ten times more sequences a second in training, are worth.",
)
@group.option("--trials", default=20, type=click.IntRange(1), help="At most so many.")
@group.option(
    "--epochs", type=click.IntRange(1), help="Of each trial; by default as the recipe says."
)
@group.option(
    "--fraction",
    type=click.FloatRange(0, 1, min_open=True),
    help="Train trials on this part of the training sequences; best.yaml is for all of them.",
)
@group.option("--hours", type=click.FloatRange(0, min_open=True), help="Begin no trial after them.")
@group.option("--seed", default=recipe.TrainConfig.seed, help="Of what is tried.")
@group.option("--precision", help="Of each trial; see `fit`.")
@group.option("--resume", is_flag=True, help="Go on with a search that was stopped.")
@group.quiet
def tune(
    search: str,
    records_dir: Path,
    out_dir: Path,
    precision: str | None,
    resume: bool,
    **options,
) -> None:
    """Search SEARCH_RECIPE, a recipe with ranges, for what trains best on RECORDS.

    OUT_DIR gets best.yaml, a recipe for `fit`, and trials.csv. Each trial is a `fit` of its own;
    one that fails is written down, and the search goes on.
    """
    group.start_tensorflow()
    from camformer_tf.tuning import space, trials, tune

    searched = space.load(search)
    given = ("--precision", precision) if precision else ()
    chosen = tune.SearchOptions(**options, fit=given)
    try:
        found = tune.tune(searched, records_dir, out_dir, chosen, resume=resume)
    except tune.Stopped as stopped:
        click.echo(f"{out_dir}: stopped, and kept. Go on with --resume.", err=True)
        sys.exit(stopped.code)
    if not found:
        click.echo("nothing is left to train")
        return
    click.echo(f"{out_dir}: {len(found)} trials, the best of them\n{trials.best_five(found)}")
