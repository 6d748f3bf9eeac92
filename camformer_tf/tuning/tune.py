"""KerasTuner over a search recipe, each trial a `fit` in a process of its own.

A process each, since Keras keeps about 15 bytes a parameter of every model that it has trained
(keras #20552), and since a trial that dies then takes nothing with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import os
import shutil
import subprocess
import time
from pathlib import Path

import keras_tuner
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from camformer_tf import errors, files, recipe, rundir
from camformer_tf.data import manifest
from camformer_tf.training import child
from camformer_tf.tuning import oracles, search_page, space, trials

BEST, TRIALS, SETTINGS, FOLDER = "best.yaml", "trials.csv", "search.json", "trials"
PAGE, HPARAMS = "search.html", "tensorboard"

_OBJECTIVE = "objective"  # the one number of a trial that KerasTuner is told
_ORACLE = "KERASTUNER_ORACLE_IP"
_CHIEF_TIMEOUT = 300  # seconds that a worker waits for the chief
_STOPPED = (128 + 2, 128 + 15)  # exit codes of a `fit` that a signal ended
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """How to search.

    algorithm: one of `oracles.ALGORITHMS`. objective, tenfold: see `trials.objective`. trials: at
    most so many. epochs: of each trial, of Hyperband's winners; None: as the recipe says. fraction:
    the part of the training sequences that trials are trained on; None: as the recipe says. hours:
    after which no trial is begun. seed: of what is tried; that of a training is the recipe's. fit:
    further arguments of `camformer-tf fit`.
    """

    algorithm: str = "random"
    objective: str = "score"
    tenfold: float = 0.05
    trials: int = 20
    epochs: int | None = None
    fraction: float | None = None
    hours: float | None = None
    seed: int = 42
    fit: tuple[str, ...] = ()


class Stopped(Exception):
    """A signal ended the trial in hand; `resume` goes on."""

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


def tune(
    searched: space.Space,
    records_dir: Path,
    out_dir: Path,
    options: SearchOptions,
    *,
    resume: bool = False,
) -> list[trials.Trial]:
    """Searches, and returns all trials, the best first. After each, trials.csv and best.yaml in
    `out_dir` are written anew.

    Where KerasTuner's variables for several processes are set (KERASTUNER_TUNER_ID,
    KERASTUNER_ORACLE_IP and _PORT), this one is the chief, which proposes and writes and trains
    nothing, or a worker, which trains until there is nothing left, and returns no trials.

    Args:
        resume: whether to go on with a search that was stopped. No finished trial runs again.

    Raises:
        errors.UserError: another search in `out_dir`, or no trial that did not fail.
        Stopped: a signal came; what was done is kept.
    """
    manifest.load(records_dir)
    facts = {
        "recipe": hashlib.sha256(Path(searched.where).read_bytes()).hexdigest(),
        "records": hashlib.sha256((records_dir / manifest.FILE).read_bytes()).hexdigest(),
        "algorithm": options.algorithm,
        "objective": options.objective,
        "tenfold": options.tenfold,
        "epochs": options.epochs,
        "fraction": options.fraction,
        "seed": options.seed,
        "fit": list(options.fit),
    }
    files.require_parent(out_dir)
    oracle = _oracle(searched, options)  # which may refuse, before anything is written
    if _is_worker():
        _wait_for_chief(out_dir, facts)
        _search(_tuner(oracle, searched, records_dir, out_dir, options))
        return []
    with files.lock(out_dir):
        _begin(out_dir, facts, resume=resume)
        tuner = _tuner(oracle, searched, records_dir, out_dir, options)
        try:
            _search(tuner)
        finally:
            found = tuner.report()
    try:
        search_page.write(found, searched, out_dir / PAGE, overwrite=True)
    except errors.UserError as error:  # an extra that is not installed
        _log.warning(f"{out_dir / PAGE} is not written: {error}")
    if not any(one.status == "COMPLETED" for one in found):
        raise errors.UserError(
            f"{out_dir}: all {len(found)} trials failed, one of them so: {found[0].reason}"
        )
    return found


def _search(tuner: _Tuner) -> None:
    try:
        # KerasTuner prints a traceback of every trial that fails; `tell` says why it did.
        with contextlib.redirect_stderr(io.StringIO()):
            tuner.search(verbose=0)
    except _Interrupted as stopped:
        raise Stopped(stopped.code) from stopped
    except keras_tuner.errors.FatalError as error:
        raise errors.UserError(str(error)) from error


def _is_worker() -> bool:
    """Whether KerasTuner takes this process for a worker: any id without "chief" in it is one."""
    return _ORACLE in os.environ and "chief" not in os.environ.get("KERASTUNER_TUNER_ID", "")


def _wait_for_chief(out_dir: Path, facts: dict) -> None:
    """Raises UserError unless the chief begins the same search in this folder soon."""
    end = time.monotonic() + _CHIEF_TIMEOUT
    while not (out_dir / SETTINGS).is_file():
        if time.monotonic() > end:
            raise errors.UserError(
                f"{out_dir}: no chief has begun a search here in {_CHIEF_TIMEOUT} s. All processes "
                "must see one folder, and one must have KERASTUNER_TUNER_ID=chief."
            )
        time.sleep(0.2)
    _check_same(out_dir, facts)


def _begin(out_dir: Path, facts: dict, *, resume: bool) -> None:
    told = out_dir / SETTINGS
    if not resume:
        files.refuse_existing(out_dir)
    if told.is_file():
        _check_same(out_dir, facts)
        return
    out_dir.mkdir(exist_ok=True)
    (out_dir / FOLDER).mkdir(exist_ok=True)
    with files.new_file(told) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _check_same(out_dir: Path, facts: dict) -> None:
    known = json.loads((out_dir / SETTINGS).read_text(encoding="utf-8"))
    if differing := [key for key, value in facts.items() if known.get(key) != value]:
        raise errors.UserError(
            f"{out_dir}: was begun with another {', '.join(differing)}. Search in another "
            "folder, or as it was begun."
        )


def _oracle(searched: space.Space, options: SearchOptions) -> keras_tuner.Oracle:
    return oracles.make(
        searched,
        options.algorithm,
        keras_tuner.Objective(_OBJECTIVE, trials.OBJECTIVES[options.objective]),
        trials=options.trials,
        epochs=options.epochs or searched.epochs,
        seed=options.seed,
    )


def _tuner(oracle, searched, records_dir, out_dir, options) -> _Tuner:
    tuner = _Tuner(oracle, directory=str(out_dir), project_name="keras_tuner")
    tuner.oracle.max_trials = options.trials if options.algorithm != "hyperband" else None
    tuner.searched, tuner.records_dir, tuner.out_dir = searched, records_dir, out_dir
    tuner.options, tuner.epochs = options, options.epochs or searched.epochs
    tuner.began = time.monotonic()
    oracle.after_trial = tuner.tell
    return tuner


class _Tuner(keras_tuner.engine.base_tuner.BaseTuner):
    """Runs what the oracle proposes."""

    searched: space.Space
    records_dir: Path
    out_dir: Path
    options: SearchOptions
    epochs: int
    began: float

    def run_trial(self, trial, **_):
        settings = self._recipe(trial)
        folder = self.out_dir / FOLDER / trial.trial_id
        file = folder.with_suffix(".yaml")
        file.write_text(recipe.dump(settings), encoding="utf-8")
        if files.is_locked(folder):
            _log.info(f"{folder}: waiting for a training that a killed search has left behind")
        while files.is_locked(folder):  # it ends by itself
            time.sleep(1)
        command = ["fit", str(file), str(self.records_dir), str(folder), "--resume", "--quiet"]
        with folder.with_suffix(".log").open("w", encoding="utf-8") as log:
            code = child.run([*command, *self.options.fit], stdout=log, stderr=subprocess.STDOUT)
        if code in _STOPPED:
            raise _Interrupted(code)
        if code:
            raise keras_tuner.errors.FailedTrialError(f"exit code {code}")
        told = json.loads((folder / rundir.RUN).read_text(encoding="utf-8"))
        for name in (rundir.CHECKPOINTS, rundir.TENSORBOARD):
            shutil.rmtree(folder / name, ignore_errors=True)
        return {_OBJECTIVE: self._objective(told)}

    def tell(self, trial_id: str) -> None:
        """Writes and logs how the search stands after a trial."""
        found = self.report()
        one = next(one for one in found if one.trial == trial_id)
        if one.score is not None:
            _save_hparams(one, self.out_dir / HPARAMS / trial_id)
        _log.info(trials.line(one))
        _log.info(trials.best_five(found))

    def pre_create_trial(self):
        hours = self.options.hours
        if hours and time.monotonic() - self.began > hours * 3600:
            self.oracle.max_trials = len(self.oracle.trials)

    def report(self) -> list[trials.Trial]:
        """Writes trials.csv and best.yaml, and returns all trials, the best first."""
        found = [self._told(one) for one in self.oracle.trials.values()]
        direction = trials.OBJECTIVES[self.options.objective]
        found.sort(key=lambda one: trials.rank(one, direction))
        found = trials.with_fronts(found)
        if found:
            trials.save(found, self.out_dir / TRIALS, list(self.searched.ranges))
        if found and found[0].status == "COMPLETED":
            self._save_best(found[0])
        for one in found[1:]:  # weights of the best alone are kept
            if one.status != "RUNNING":
                (self.out_dir / FOLDER / one.trial / rundir.BEST).unlink(missing_ok=True)
        return found

    def _recipe(self, trial) -> recipe.Recipe:
        values = trial.hyperparameters.values
        made = self.searched.recipe(oracles.decoded(self.searched, values))
        changed = {"epochs": values.get("tuner/epochs", self.epochs)}
        if self.options.fraction:
            changed["fraction"] = self.options.fraction
        return dataclasses.replace(made, train=dataclasses.replace(made.train, **changed))

    def _objective(self, told: dict) -> float:
        return trials.objective(told, self.options.objective, self.options.tenfold)

    def _told(self, trial) -> trials.Trial:
        folder, told, reason = self.out_dir / FOLDER / trial.trial_id, {}, ""
        if trial.status == "COMPLETED":
            told = json.loads((folder / rundir.RUN).read_text(encoding="utf-8"))
        elif trial.status == "FAILED":
            said = folder.with_suffix(".log").read_text(encoding="utf-8").strip() or "no message"
            reason = said.splitlines()[-1].removeprefix("Error: ")
        elif trial.message:  # an error beside the training, such as a full disk
            reason = trial.message.strip().splitlines()[-1]
        return trials.Trial(
            trial=trial.trial_id,
            status=str(trial.status),
            objective=self._objective(told) if told else None,
            score=told.get("best_score"),
            pearson=told.get("best_pearson"),
            spearman=told.get("best_spearman"),
            loss=told.get("best_loss"),
            epochs=told.get("epochs"),
            parameters=self._recipe(trial).expect.parameters,
            sequences_per_second=told.get("sequences_per_second"),
            seconds=told.get("seconds"),
            pareto=False,
            pareto_speed=False,
            reason=reason,
            values=oracles.decoded(self.searched, trial.hyperparameters.values),
        )

    def _save_best(self, best: trials.Trial) -> None:
        made = self.searched.recipe(best.values)
        reached = f"{best.score:.4f} (r {best.pearson:.4f}, rho {best.spearman:.4f})"
        text = (
            f"# The best of {len(self.oracle.trials)} trials of {Path(self.searched.where).name}: "
            f"trial {best.trial}.\n"
            f"# Run:    camformer-tf fit {self.out_dir / BEST} {self.records_dir} runs/best\n"
            f"# Expect: validation r + rho {reached}, which the trial had after {best.epochs} "
            f"epochs on {self._trained_on()}\n{recipe.dump(made)}"
        )
        with files.new_file(self.out_dir / BEST, overwrite=True) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def _trained_on(self) -> str:
        part = self.options.fraction
        return f"{part:g} of the training sequences" if part else "the same records"


class _Interrupted(keras_tuner.errors.FatalError):
    """A signal ended the trial in hand."""

    def __init__(self, code: int):
        super().__init__(f"a signal ended the trial in hand (exit code {code})")
        self.code = code


def _save_hparams(one: trials.Trial, folder: Path) -> None:
    """Writes what TensorBoard's tab HParams shows of a trial."""
    shutil.rmtree(folder, ignore_errors=True)
    values = {key: str(v) if v is None else v for key, v in one.values.items()}
    with tf.summary.create_file_writer(str(folder)).as_default():
        hparams.hparams(values, trial_id=one.trial)
        for name in ("score", "pearson", "spearman", "loss", "parameters"):
            tf.summary.scalar(name, getattr(one, name), step=one.epochs)
