"""Searches a space of recipes with KerasTuner."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from pathlib import Path
from typing import Literal

import keras_tuner

from camformer_tf import errors, files
from camformer_tf.data import manifest
from camformer_tf.tuning import options, ranking, search_page, searchdir, space, tuner

_DEFAULTS = options.SearchOptions()
_ORACLE = "KERASTUNER_ORACLE_IP"
_log = logging.getLogger(__name__)


class SearchInterrupt(Exception):
    """A signal ended the search; `resume` continues it. `code` is the exit code of its trial."""

    def __init__(self, code: int) -> None:
        super().__init__("a signal ended the search; resume continues it")
        self.code = code


def tune(
    search: files.PathLike,
    records_dir: files.PathLike,
    out_dir: files.PathLike,
    *,
    algorithm: Literal["random", "bayesian", "hyperband", "grid"] = "random",
    objective: str = _DEFAULTS.objective,
    tenfold: float = _DEFAULTS.tenfold,
    trials: int = _DEFAULTS.trials,
    epochs: int | None = None,
    fraction: float | None = None,
    hours: float | None = None,
    seed: int = _DEFAULTS.seed,
    precision: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> ranking.Ranking:
    """Searches a recipe with ranges for the best values, and returns all trials, the best first.

    Each trial is a `camformer-tf fit` in a process of its own. After each, trials.csv and best.yaml
    in `out_dir` are updated, and a line is logged.

    With KerasTuner's variables for several processes (KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and
    _PORT), this process is the chief, which proposes and writes but does not train, or a worker,
    which trains until nothing is left, and returns an empty ranking.

    Args:
        search: search recipe: a path, or the name of a shipped one.
        records_dir: records directory.
        out_dir: folder to write.
        algorithm: how values are proposed; see `options.SearchOptions`, also for the following.
        objective: "score" (r + rho), "pearson", "spearman", "loss", "score-parameters" or
            "score-speed".
        tenfold: r + rho that ten times fewer parameters, or ten times the speed, are worth.
        trials: maximum number of trials.
        epochs: of each trial; by default as the recipe says.
        fraction: fraction of the training sequences that trials use.
        hours: time after which no trial begins.
        seed: seed of the proposals.
        precision: precision of each trial; see `fit`.
        resume: continue a search that was stopped; finished trials do not run again.
        overwrite: replace the search in `out_dir`.

    Raises:
        errors.UserError: a search that cannot begin, another search in `out_dir`, or only failed
            trials.
        SearchInterrupt: a signal came; finished trials are kept.
    """
    if resume and overwrite:
        raise errors.UserError("resume and overwrite exclude each other.")
    search_options = options.SearchOptions(
        algorithm, objective, tenfold, trials, epochs, fraction, hours, seed, precision
    )
    search_options.check()
    task = tuner.Search(space.load(search), Path(records_dir), Path(out_dir), search_options)
    manifest.load(task.records_dir)
    files.require_parent(task.out_dir)
    settings = searchdir.settings(task.space, task.records_dir, search_options)
    oracle = task.oracle()  # may refuse the search, before anything is written
    if _is_worker():
        searchdir.wait_for_chief(task.out_dir, settings, overwrite=overwrite)
        _run(tuner.make(task, oracle))
        return ranking.Ranking((), tuple(task.space.ranges))
    with files.lock(task.out_dir):
        searchdir.begin(task.out_dir, settings, resume=resume, overwrite=overwrite)
        search_tuner = tuner.make(task, oracle)
        try:
            _run(search_tuner)
        finally:  # also after a signal: trials.csv has all finished trials
            result = search_tuner.save_ranking()
    _write_page(result, task)
    if not any(trial.is_complete for trial in result):
        count = "the only trial" if len(result) == 1 else f"all {len(result)} trials"
        raise errors.UserError(f"{out_dir}: {count} failed; the first: {result[0].reason}")
    return result


def _run(search_tuner: tuner.SearchTuner) -> None:
    """Runs the search to its end."""
    try:
        # KerasTuner prints a traceback of every trial that fails; the log has the reason.
        with contextlib.redirect_stderr(io.StringIO()):
            search_tuner.search(verbose=0)
    except tuner.TrialInterrupt as stop:
        raise SearchInterrupt(stop.code) from stop
    except keras_tuner.errors.FatalError as error:
        raise errors.UserError(str(error)) from error


def _is_worker() -> bool:
    """Returns whether KerasTuner takes this process for a worker: its id lacks "chief"."""
    return _ORACLE in os.environ and "chief" not in os.environ.get("KERASTUNER_TUNER_ID", "")


def _write_page(trials: ranking.Ranking, task: tuner.Search) -> None:
    path = task.out_dir / searchdir.PAGE
    try:
        search_page.write(trials, task.space, path, overwrite=True)
    except errors.UserError as error:  # an extra that is not installed
        _log.warning(f"{path} is not written: {error}")
