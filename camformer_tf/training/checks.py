"""Whether recipe, records and run directory go together, and which run is to be gone on with."""

from __future__ import annotations

import logging
from pathlib import Path

from camformer_tf import errors, files, recipe, rundir
from camformer_tf.data import manifest, verify
from camformer_tf.training import checkpoint
from camformer_tf.training import options as fit_options

TRAIN, VALIDATION = "train", "val"

_log = logging.getLogger(__name__)


def records(settings: recipe.Recipe, records_dir: Path) -> None:
    """Raises UserError unless a recipe can be trained on a record set that is what it says."""
    described = manifest.load(records_dir)
    if described.sequence_length != settings.data.length:
        raise errors.UserError(
            f"{records_dir}: its sequences have {described.sequence_length} letters, the recipe's "
            f"data.length is {settings.data.length}. Build records with --length "
            f"{settings.data.length}, or pass --set data.length={described.sequence_length}."
        )
    if problems := verify.listing(records_dir, described):
        raise errors.UserError(
            f"{problems[0]} ({len(problems)} such findings). See camformer-tf verify-records "
            f"{records_dir}, or build the records again."
        )
    for split in (TRAIN, VALIDATION):
        if split not in described.splits:
            raise errors.UserError(
                f"{records_dir}: has no split {split!r}, which training needs. "
                f"Its splits: {', '.join(described.splits)}."
            )


def one_step_at_a_time(settings: recipe.Recipe, options: fit_options.FitOptions) -> bool:
    """Returns whether the schedule sets its rate before every step.

    Raises:
        errors.UserError: it does, and several steps a call are asked for.
    """
    every_step = settings.train.schedule == "onecycle"
    if every_step and (options.steps_per_call or 1) > 1:
        raise errors.UserError(
            f"--steps-per-call {options.steps_per_call}: train.schedule onecycle sets the learning "
            "rate before every step, so that a call makes one. Leave the option out."
        )
    return every_step


def finished(
    run_dir: Path, options: fit_options.FitOptions, facts: dict[str, str]
) -> rundir.Run | None:
    """Returns the run that is finished already, if there is one to go on with.

    Raises:
        errors.UserError: there is a run that is not to be replaced, or another one to go on with.
    """
    if options.resume:
        files.require_parent(run_dir)
        if not (run_dir / rundir.RUN).is_file():
            return None
        told = rundir.load(run_dir)
        recipe_kept = (run_dir / rundir.RECIPE).read_text(encoding="utf-8")
        kept = {"recipe": recipe_kept, "records": told.records_manifest_sha256}
        checkpoint.refuse_other(kept, facts, run_dir)
        _log.info(f"{run_dir}: is finished already; nothing to do")
        return told
    if (run_dir / rundir.RECIPE).is_file() and not options.overwrite:
        what = "finished" if (run_dir / rundir.RUN).is_file() else "unfinished"
        raise errors.UserError(
            f"{run_dir}: exists already, an {what} run. Choose another name, go on with it by "
            "--resume, or replace it by --overwrite."
        )
    files.refuse_existing(run_dir, overwrite=options.overwrite, marker=rundir.RECIPE)
    return None


def begun(run_dir: Path, options: fit_options.FitOptions, facts: dict[str, str]) -> dict[str, str]:
    """Returns the facts of the run to go on with; nothing where there is no checkpoint.

    Raises:
        errors.UserError: that run is another one.
    """
    if not options.resume or not run_dir.exists():
        return {}
    if not (run_dir / rundir.RECIPE).is_file():
        raise errors.UserError(
            f"{run_dir}: holds no {rundir.RECIPE}, so it is no run to go on with."
        )
    kept = checkpoint.facts(run_dir / rundir.CHECKPOINTS)
    if kept is None:  # stopped before the first one
        recipe_kept = (run_dir / rundir.RECIPE).read_text(encoding="utf-8")
        checkpoint.refuse_other({"recipe": recipe_kept}, facts, run_dir)
        return {}
    data = kept["data"] if options.data == "auto" else options.data
    checkpoint.refuse_other(kept, facts | {"data": data}, run_dir)
    return kept
