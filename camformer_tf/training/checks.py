"""Whether recipe, records and run directory fit together, and which run is to be resumed."""

from __future__ import annotations

import logging
from pathlib import Path

from camformer_tf import errors, files, recipe, remote, rundir, wording
from camformer_tf.data import manifest, verify
from camformer_tf.training import checkpoint
from camformer_tf.training import options as fit_options

TRAIN, VALIDATION = "train", "val"

_log = logging.getLogger(__name__)


def check_records(settings: recipe.Recipe, records_dir: remote.AnyPath) -> None:
    """Raises UserError unless a recipe can be trained on a record set that is complete."""
    contents = manifest.load(records_dir)
    if contents.sequence_length != settings.data.length:
        raise errors.UserError(
            f"{records_dir}: its sequences have {contents.sequence_length} letters, the recipe's "
            f"data.length is {settings.data.length}. Build records with --length "
            f"{settings.data.length}, or pass --set data.length={contents.sequence_length}."
        )
    if problems := verify.listing(records_dir, contents):
        count = len(problems) - 1
        remainder = f" ({wording.count(count, 'more problem')})" if count else ""
        raise errors.UserError(
            f"{problems[0]}{remainder}. See camformer-tf verify-records {records_dir}, or build "
            "the records again."
        )
    for split in (TRAIN, VALIDATION):
        if split not in contents.splits:
            raise errors.UserError(
                f"{records_dir}: has no split {split!r}, which training needs. "
                f"Its splits: {', '.join(contents.splits)}."
            )


def requires_single_steps(settings: recipe.Recipe, options: fit_options.FitOptions) -> bool:
    """Returns whether the schedule sets its rate before every step.

    Raises:
        errors.UserError: it does, and `options` ask for several steps a call.
    """
    every_step = settings.train.schedule == "onecycle"
    if every_step and (options.steps_per_call or 1) > 1:
        raise errors.UserError(
            f"--steps-per-call {options.steps_per_call}: train.schedule onecycle sets the learning "
            "rate before every step, so a call makes one step. Leave the option out."
        )
    return every_step


def finished_run(
    run_dir: Path, options: fit_options.FitOptions, facts: dict[str, str]
) -> rundir.Run | None:
    """Returns the run if it is to be resumed and is finished already.

    Raises:
        errors.UserError: an existing run that is not to be replaced, or another one to resume.
    """
    if options.resume:
        files.require_parent(run_dir)
        run = rundir.load_if_finished(run_dir)
        if run is None:
            return None
        stored_recipe = (run_dir / rundir.RECIPE).read_text(encoding="utf-8")
        original = {"recipe": stored_recipe, "records": run.records_manifest_sha256}
        checkpoint.refuse_other(original, facts, run_dir)
        _log.info(f"{run_dir}: is finished already; nothing to do")
        return run
    if (run_dir / rundir.RECIPE).is_file() and not options.overwrite:
        kind = "a finished" if rundir.is_finished(run_dir) else "an unfinished"
        raise errors.UserError(
            f"{run_dir}: exists already, {kind} run. Choose another name, continue it with "
            "--resume, or replace it with --overwrite."
        )
    files.refuse_existing(run_dir, overwrite=options.overwrite, marker=rundir.RECIPE)
    return None


def stored_facts(
    run_dir: Path, options: fit_options.FitOptions, facts: dict[str, str]
) -> dict[str, str]:
    """Returns the facts of the run to resume; nothing where there is no checkpoint.

    Raises:
        errors.UserError: the folder holds another run, or none.
    """
    if not options.resume or not run_dir.exists():
        return {}
    if not (run_dir / rundir.RECIPE).is_file():
        raise errors.UserError(
            f"{run_dir}: not a run to resume: there is no {rundir.RECIPE} in it. Choose another "
            "name for the run."
        )
    original = checkpoint.facts(run_dir / rundir.CHECKPOINTS)
    if original is None:  # stopped before the first one
        stored_recipe = (run_dir / rundir.RECIPE).read_text(encoding="utf-8")
        checkpoint.refuse_other({"recipe": stored_recipe}, facts, run_dir)
        return {}
    data = original["data"] if options.data == "auto" else options.data
    checkpoint.refuse_other(original, facts | {"data": data}, run_dir)
    return original
