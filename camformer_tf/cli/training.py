"""Commands that make models."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click

from camformer_tf import recipe as recipes
from camformer_tf import wording
from camformer_tf.cli import group

_overrides = group.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one value of the recipe, such as train.epochs=2; repeatable.",
)


_STRATEGIES = ["auto", "one", "mirrored", "multiworker", "slurm"]
_PRECISIONS = ["auto", "float32", "mixed_bfloat16", "mixed_float16"]


class _Seeds(click.ParamType):
    """Whole numbers, separated by commas."""

    name = "seeds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(seed) for seed in value.split(","))
        except ValueError:
            self.fail(f"{value}: expected whole numbers, such as 42,23.", param, ctx)


@group.command("fit", example="camformer-tf fit mini records runs/mini --set train.epochs=20")
@click.argument("recipe", metavar="RECIPE", type=group.RECIPE)
@click.argument("records_dir", metavar="RECORDS", type=group.ANY_PATH)
@click.argument("run_dir", type=group.PATH)
@_overrides
@group.option(
    "--strategy",
    default="auto",
    type=click.Choice(_STRATEGIES),
    help="Use of several devices; auto: mirrored over several GPUs; multiworker: as TF_CONFIG "
    "says; slurm: as srun says.",
)
@group.option(
    "--devices",
    type=click.IntRange(1),
    help="Number of GPUs; without a GPU, number of devices to split the CPU into.",
)
@group.option(
    "--precision",
    default="auto",
    type=click.Choice(_PRECISIONS),
    help="Precision of the layers; auto: what the devices compute in fastest. Head, scores and "
    "the saved model are float32.",
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
    help="Train with the first N of the published seeds, each in its own folder.",
)
@group.option("--seeds", type=_Seeds(), help="Train with these seeds, such as 42,23.")
@group.option(
    "--resume", is_flag=True, help="Continue the run if it was stopped; start it if there is none."
)
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
@group.option("--dry-run", is_flag=True, help="Check everything, and write and train nothing.")
@group.overwrite
@group.quiet
def fit(
    recipe: str,
    overrides: tuple[str, ...],
    run_dir: Path,
    seeds: tuple[int, ...] | None,
    replicates: int | None,
    **options: Any,
) -> None:
    """Train a network on records.

    RECIPE is a file, or the name of a shipped recipe. RECORDS is a folder of build-records with the
    splits train and val. RUN_DIR is the folder to write.
    """
    if seeds and replicates:
        raise click.UsageError("--replicates and --seeds exclude each other.")
    recipes.load(recipe, overrides)  # a mistake is reported before TensorFlow's seconds of import
    group.start_tensorflow()
    from camformer_tf.training import fit, loop, plans
    from camformer_tf.training import replicates as replicate_runs

    try:
        result = fit.fit(
            recipe,
            run_dir=run_dir,
            overrides=overrides,
            seeds=seeds,
            replicates=replicates,
            report=group.report(),
            **options,
        )
    except loop.TrainingInterrupt as stop:
        click.echo(str(stop), err=True)
        sys.exit(128 + stop.number)
    except replicate_runs.ReplicateFailure as failure:
        click.echo(str(failure), err=True)
        sys.exit(failure.code)
    if isinstance(result, plans.FitPlan):
        click.echo(result.summary())
    elif isinstance(result, dict):
        click.echo(f"{run_dir}: {replicate_runs.summary(result)}")
    else:
        click.echo(f"{run_dir}: {result.summary()}")


@group.command("doctor", example="camformer-tf doctor --json")
@group.json_output
@group.quiet
def doctor(as_json: bool) -> None:
    """Show what this machine can train with."""
    group.start_tensorflow()
    from camformer_tf.training import doctor

    diagnosis = doctor.doctor()
    if as_json:
        group.print_json(dataclasses.asdict(diagnosis))
    else:
        click.echo(diagnosis.summary())


@group.command(
    "import-torch", example="camformer-tf import-torch trained_model.pt original original.keras"
)
@click.argument("checkpoint", type=group.PATH)
@click.argument("recipe", metavar="RECIPE", type=group.RECIPE)
@click.argument("out", metavar="OUT.keras", type=group.PATH)
@_overrides
@group.overwrite
@group.quiet
def import_torch(
    checkpoint: Path, recipe: str, out: Path, overrides: tuple[str, ...], overwrite: bool
) -> None:
    """Convert a PyTorch checkpoint to Keras.

    CHECKPOINT is a state dict (.pt, .pth or .safetensors) of the network of RECIPE. No code in it
    is run.
    """
    recipes.load(recipe, overrides)  # a mistake is reported before TensorFlow's seconds
    group.start_tensorflow()
    from camformer_tf.model import rescnn, torch_import

    network = torch_import.import_torch(
        checkpoint, recipe, out, overrides=overrides, overwrite=overwrite
    )
    click.echo(f"{out}: {rescnn.count_trainable(network):,} parameters imported")


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
@group.option("--seed", default=recipes.TrainConfig.seed, help="Seed of the search.")
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
        count = wording.count(len(trials), "trial") + (", the best" if len(trials) > 1 else "")
        click.echo(f"{out_dir}: {count}\n{trials.summary()}")
    else:
        click.echo("nothing is left to train")
