"""The command line: each command a thin shell over one library function."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

import camformer_tf
from camformer_tf import errors, progress, recipe, remote
from camformer_tf.data import rules

PATH = click.Path(path_type=Path)


class _AnyPath(click.ParamType):
    """A path on this machine, or one beyond it that TensorFlow's file systems know."""

    name = "path"

    def convert(self, value, parameter, context):
        if "://" in value:
            _start_tensorflow()
        return remote.path(value)


ANY_PATH = _AnyPath()  # gs://bucket/records and the like
option = functools.partial(click.option, show_default=True)


class Commands(click.Group):
    """Lists commands in the order of work, and shows a user's mistake without a traceback."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, context: click.Context):
        try:
            return super().invoke(context)
        except errors.UserError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(camformer_tf.__version__, prog_name="camformer-tf")
def main() -> None:
    """Train, judge and serve residual CNNs that predict expression from promoter sequence."""


def _start_tensorflow() -> None:
    """Imports TensorFlow without its native start-up notices, which are no news to a user: some
    come before any log level is read, so standard error is turned away meanwhile. What is raised
    still shows, and so does a TF_CPP_MIN_LOG_LEVEL of the user's own."""
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _quiet(command: Callable) -> Callable:
    """Adds --quiet, and sends logs to standard error."""

    @option("--quiet", "-q", is_flag=True, help="No progress and no logs.")
    @functools.wraps(command)
    def run(*args, quiet: bool, **options):
        log = logging.getLogger("camformer_tf")
        log.handlers = [logging.StreamHandler(sys.stderr)]
        log.setLevel(logging.ERROR if quiet else logging.INFO)
        click.get_current_context().obj = quiet
        return command(*args, **options)

    return run


def _report() -> progress.Report:
    """Returns how the current command reports progress."""
    if click.get_current_context().obj:
        return progress.silent
    return progress.bar() if sys.stderr.isatty() else progress.lines()


@main.command()
@click.argument("out", type=PATH)
@option("--sequences", "-n", required=True, type=click.IntRange(1), help="How many.")
@option("--seed", default=recipe.TrainConfig.seed)
@option("--dirty", is_flag=True, help="Add every kind of line that the filters must handle.")
@_quiet
def simulate(out: Path, sequences: int, seed: int, dirty: bool) -> None:
    """Write a promoter library with known motif grammar to OUT, and the truth beside it."""
    from camformer_tf.data import simulate

    made = simulate.write(out, sequences, seed=seed, dirty=dirty, report=_report())
    click.echo(made.summary())


@main.command("build-records")
@click.argument("text_files", metavar="TEXT...", nargs=-1, required=True, type=ANY_PATH)
@click.argument("out_dir", type=ANY_PATH)
@option("--shards", default=recipe.RecordsConfig.shards, type=click.IntRange(1), help="Per split.")
@option("--split", default=recipe.RecordsConfig.split, help="NAME=FRACTION,…")
@option(
    "--split-by",
    default=recipe.RecordsConfig.split_by,
    type=click.Choice(recipe.choices(recipe.RecordsConfig, "split_by")),
    help="random: exact counts; stratified: and even over tenths of the expression; "
    "hash: of the sequence, stable when the library grows; family: near sequences together; "
    "column: as --split-column says.",
)
@option("--seed", default=recipe.RecordsConfig.seed)
@option(
    "--length",
    default=rules.Rule.length,
    type=click.IntRange(1),
    help="Letters a sequence leaves with, padded with N or cut on the right.",
)
@option(
    "--length-margin",
    default=rules.Rule.length_margin,
    type=click.IntRange(0),
    help="Drop lengths further than this from --length.",
)
@option(
    "--max-n",
    default=rules.Rule.max_n,
    type=click.IntRange(0),
    help="Drop sequences with more N than this.",
)
@option("--keep-all", is_flag=True, help="Keep sequences of every length (padded or cut).")
@option(
    "--on-malformed",
    default=recipe.RecordsConfig.on_malformed,
    type=click.Choice(recipe.choices(recipe.RecordsConfig, "on_malformed")),
)
@option("--sequence-column", help="For tables with a header: the column of sequences.")
@option("--expression-column", help="For tables with a header: the column of expressions.")
@option("--weight-column", help="For tables with a header: the column of weights, 0 or more.")
@option("--split-column", help="For --split-by column: the column that names the split.")
@option(
    "--compression",
    default=recipe.RecordsConfig.compression,
    type=click.Choice(recipe.choices(recipe.RecordsConfig, "compression")),
)
@option(
    "--workers",
    "worker_count",
    type=click.IntRange(1),
    help="Processes; as many as cores by default. The bytes are the same.",
)
@option(
    "--mismatches",
    default=recipe.RecordsConfig.mismatches,
    type=click.IntRange(0),
    help="Letters in which sequences of one family may differ.",
)
@option(
    "--leakage/--no-leakage",
    default=recipe.RecordsConfig.leakage,
    help="Count sequences outside training with a near neighbour in it.",
)
@option("--overwrite", is_flag=True, help="Replace a record set that is there already.")
@_quiet
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
        report=_report(),
    )
    click.echo(f"{out_dir}: {made.summary()}")


@main.command("inspect-records")
@click.argument("records_dir", metavar="DIR", type=ANY_PATH)
@option("--json", "as_json", is_flag=True, help="The manifest as it stands.")
@option("--head", default=0, type=click.IntRange(0), help="Also show N examples a split.")
@_quiet
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


@main.command("verify-records")
@click.argument("records_dir", metavar="DIR", type=ANY_PATH)
@_quiet
def verify_records(records_dir: Path) -> None:
    """Read every byte of a record set and name what is broken."""
    from camformer_tf.data import verify

    problems = verify.verify(records_dir, _report())
    if problems:
        raise click.ClickException("\n".join([f"{len(problems)} problems:", *problems]))
    click.echo(f"{records_dir}: every shard and record is as it was written")


@main.command("export-records")
@click.argument("records_dir", metavar="DIR", type=ANY_PATH)
@click.argument("out", type=ANY_PATH)
@option("--split", help="One split; all of them by default.")
@_quiet
def export_records(records_dir: Path, out: Path, split: str | None) -> None:
    """Write the examples of a record set to OUT as SEQUENCE<TAB>EXPRESSION lines."""
    from camformer_tf.data import records

    click.echo(f"{out}: {records.export(records_dir, out, split, _report()):,} lines")


_overrides = option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one value of the recipe, such as train.epochs=2; repeatable.",
)


@main.command()
@click.argument("recipe_name", metavar="RECIPE")
@click.argument("records_dir", metavar="RECORDS", type=ANY_PATH)
@click.argument("run_dir", type=PATH)
@_overrides
@option(
    "--strategy",
    "kind",
    default="auto",
    type=click.Choice(["auto", "one", "mirrored", "multiworker", "slurm"]),
    help="auto: mirrored over several GPUs; multiworker: as TF_CONFIG says; slurm: as srun says.",
)
@option(
    "--devices",
    type=click.IntRange(1),
    help="How many GPUs; without one, into how many devices to split the CPU.",
)
@option(
    "--precision",
    default="auto",
    type=click.Choice(["auto", "float32", "mixed_bfloat16", "mixed_float16"]),
    help="auto: what the devices compute in fastest. Head, scores and the saved model are float32.",
)
@option(
    "--xla",
    default="auto",
    type=click.Choice(["auto", "on", "off"]),
    help="Compile the training step by XLA; auto: on a single GPU.",
)
@option(
    "--steps-per-call",
    type=click.IntRange(1),
    help="Training steps between two looks at callbacks and signals; by default 50 on GPUs, else "
    "1. The numbers are the same.",
)
@option("--require-gpu", is_flag=True, help="Refuse to train on a CPU.")
@option(
    "--data",
    default="auto",
    type=click.Choice(["auto", "memory", "stream"]),
    help="Hold the training sequences in memory, or read them anew each epoch.",
)
@option(
    "--replicates",
    type=click.IntRange(1, 10),
    help="Train with the first N of the published seeds, each in a folder of its own.",
)
@option("--seeds", help="Train with these seeds, such as 42,23.")
@option("--resume", is_flag=True, help="Go on with the run if it was stopped, else start it.")
@option(
    "--checkpoint-steps",
    type=click.IntRange(1),
    help="Steps between checkpoints within an epoch; by default as often as takes 1 % of the time.",
)
@option(
    "--worker-timeout",
    default=300,
    type=click.IntRange(1),
    help="Seconds that several workers wait for each other at the start.",
)
@option("--overwrite", is_flag=True, help="Replace a run that is there already.")
@_quiet
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
    _start_tensorflow()
    from camformer_tf.training import checks, fit, loop

    try:
        chosen = checks.Options(timeout=worker_timeout, **options)
        run = fit.fit(settings, records_dir, run_dir, chosen, _report())
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


@main.command()
@_quiet
def doctor() -> None:
    """Say what this machine can train with, how fast, and what is in the way."""
    _start_tensorflow()
    from camformer_tf.training import doctor

    click.echo(doctor.examine().summary())


@main.command("import-torch")
@click.argument("checkpoint", type=PATH)
@click.argument("recipe_name", metavar="RECIPE")
@click.argument("out", metavar="OUT.keras", type=PATH)
@_overrides
@_quiet
def import_torch(checkpoint: Path, recipe_name: str, out: Path, overrides: tuple[str, ...]) -> None:
    """Write a PyTorch CHECKPOINT of the network of RECIPE as a .keras file.

    CHECKPOINT is a state dict (.pt, .pth or .safetensors). No code in it is run.
    """
    settings = recipe.load(recipe_name, overrides)  # before TensorFlow's seconds of import
    _start_tensorflow()
    from camformer_tf.model import rescnn, torch_import

    made = torch_import.convert(checkpoint, settings, out)
    click.echo(f"{out}: {rescnn.count_trainable(made):,} parameters imported")


@main.command()
@click.argument("model", type=PATH)
@click.argument("source", metavar="INPUT", type=ANY_PATH)
@click.argument("out", type=PATH)
@option("--split", help="Which split, if INPUT is a records directory.")
@option("--batch-size", default=recipe.PREDICT_BATCH_SIZE, type=click.IntRange(1))
@option("--precision", default="float32", type=click.Choice(["float32", "mixed_bfloat16"]))
@_quiet
def predict(
    model: Path, source: Path, out: Path, split: str | None, batch_size: int, precision: str
) -> None:
    """Predict INPUT (text, - or a records directory) with MODEL into the table OUT.

    MODEL is a run directory, a .keras file or an export directory.
    """
    _start_tensorflow()
    from camformer_tf.model import predict

    count = predict.to_file(
        model,
        source,
        out,
        split=split,
        batch_size=batch_size,
        precision=precision,
        report=_report(),
    )
    click.echo(f"{out}: {count:,} predictions")


@main.command()
@click.argument("table", metavar="PREDICTIONS", type=PATH)
@click.argument("truth", required=False, type=PATH)
@option("--out", type=PATH, help="Also write the scores as JSON.")
@option(
    "--dream",
    "subsets_dir",
    type=PATH,
    help="Also the DREAM 2022 scorecard: the folder of the challenge's subset files.",
)
@option(
    "--leaderboard",
    "leaderboard_dir",
    type=PATH,
    help="The folder of the public leaderboard's ids, for the phases public and private.",
)
@option(
    "--phase",
    type=click.Choice(["full", "public", "private"]),
    help="Of the scorecard; full by default, public if --leaderboard is given alone.",
)
@option("--published", type=PATH, help="A table of published scores (sota.csv) to stand among.")
@option(
    "--bootstrap",
    "resamples",
    default=0,
    type=click.IntRange(0),
    help="Resamples for 95 % intervals, such as 1000.",
)
@option("--against", type=PATH, help="Other predictions of the same sequences, to compare with.")
@_quiet
def evaluate(
    table: Path,
    truth: Path | None,
    out: Path | None,
    subsets_dir: Path | None,
    leaderboard_dir: Path | None,
    phase: str | None,
    published: Path | None,
    resamples: int,
    against: Path | None,
) -> None:
    """Score PREDICTIONS against TRUTH, or against their own expression column.

    TRUTH is the text that was predicted: the same sequences, in the same order. PREDICTIONS may be
    the challenge's JSON, which without TRUTH is judged by the values of --leaderboard.
    """
    from camformer_tf.evaluation import evaluate, scorecard
    from camformer_tf.metrics import dream

    judged = bool(subsets_dir or leaderboard_dir)
    if (phase or published) and not judged:
        raise click.UsageError("--phase and --published go with --dream or --leaderboard.")
    phase = phase or ("full" if subsets_dir else "public")

    def read(path: Path) -> evaluate.Pairs:
        if path.suffix == ".json" and truth is None and leaderboard_dir and phase == "public":
            return scorecard.read_public(path, leaderboard_dir)
        return evaluate.read(path, truth)

    pairs, card, difference = read(table), None, None
    scores = evaluate.score_pairs(pairs, resamples=resamples)
    told = [scores.summary()]
    if judged:
        teams = dream.published(published) if published else {}
        card = scorecard.judge(pairs, phase, subsets_dir, leaderboard_dir, resamples=resamples)
        told += ["", scorecard.summary(card, teams)]
    if against:
        difference = evaluate.compare(pairs, read(against), resamples=resamples)
        told += ["", f"higher than {against}, by"]
        told += [f"{name:<16} {one.summary()}" for name, one in difference.items()]
    if out:
        evaluate.save(scores, out, card, difference)
    click.echo("\n".join(told))


@main.command()
@click.argument("run_dir", type=PATH)
@click.argument("out_dir", type=PATH)
@option("--version", type=click.IntRange(1), help="Default: one above the newest.")
@_quiet
def export(run_dir: Path, out_dir: Path, version: int | None) -> None:
    """Write the best model of RUN_DIR as a SavedModel at OUT_DIR/VERSION, for TF Serving."""
    _start_tensorflow()
    from camformer_tf.serving import export

    click.echo(f"{export.export(run_dir, out_dir, version=version)}: SavedModel written")


if __name__ == "__main__":
    main()
