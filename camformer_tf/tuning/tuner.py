"""KerasTuner's tuner: each trial is a `fit` in a process of its own.

Keras keeps about 15 bytes per parameter of every model that it has trained (keras #20552), and a
trial that dies must not end the search.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import keras_tuner
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from camformer_tf import files, recipe, rundir, wording
from camformer_tf.training import child
from camformer_tf.tuning import options, oracles, ranking, searchdir, space

OBJECTIVE = "objective"  # the only number of a trial that KerasTuner gets

_SIGNAL_CODES = (128 + 2, 128 + 15)  # exit codes of a `fit` that a signal ended
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Search:
    """What to search, on which records, in which folder, and how."""

    space: space.Space
    records_dir: Path
    out_dir: Path
    options: options.SearchOptions

    @property
    def epochs(self) -> int:
        """Maximum number of epochs of a trial."""
        return self.options.epochs or self.space.epochs

    def oracle(self) -> oracles.Oracle:
        """Returns the oracle of the search.

        Raises:
            errors.UserError: as of `oracles.make`.
        """
        return oracles.make(
            self.space,
            self.options.algorithm,
            keras_tuner.Objective(OBJECTIVE, self.options.direction),
            trials=self.options.trials,
            epochs=self.epochs,
            seed=self.options.seed,
        )


def make(search: Search, oracle: oracles.Oracle) -> SearchTuner:
    """Returns the tuner of a search, with what its folder has of an earlier one."""
    tuner = SearchTuner(oracle, directory=str(search.out_dir), project_name="keras_tuner")
    is_limited = search.options.algorithm != "hyperband"
    # also after a resume, which restores the limit of the earlier search
    tuner.oracle.max_trials = search.options.trials if is_limited else None
    tuner.task, tuner.start = search, time.monotonic()
    oracle.after_trial = tuner.save_trial
    return tuner


class SearchTuner(keras_tuner.engine.base_tuner.BaseTuner):
    """Trains what the oracle proposes.

    Attributes:
        task: the search.
        start: `time.monotonic()` at which it began.
    """

    task: Search
    start: float

    def run_trial(self, trial: Any, **_: Any) -> dict[str, float]:
        """Trains a trial, and returns its objective; see KerasTuner.

        Raises:
            TrialInterrupt: a signal ended the training.
            keras_tuner.errors.FailedTrialError: the training failed.
        """
        folder = self._folder(trial)
        file = folder.with_suffix(".yaml")
        file.write_text(recipe.dump(self._recipe(trial)), encoding="utf-8")
        if files.is_locked(folder):
            _log.info(f"{folder}: waiting for the training of a search that was killed")
        while files.is_locked(folder):  # it cannot be reached, and writes the same files
            time.sleep(1)
        command = ["fit", str(file), str(self.task.records_dir), str(folder), "--resume", "--quiet"]
        command += self.task.options.fit_arguments
        with folder.with_suffix(".log").open("w", encoding="utf-8") as log:
            code = child.run(command, stdout=log, stderr=subprocess.STDOUT)
        if code in _SIGNAL_CODES:
            raise TrialInterrupt(code)
        if code:
            raise keras_tuner.errors.FailedTrialError(f"exit code {code}")
        # a search of many trials would fill the disk with them
        for name in (rundir.CHECKPOINTS, rundir.TENSORBOARD):
            shutil.rmtree(folder / name, ignore_errors=True)
        return {OBJECTIVE: self._objective(rundir.load(folder))}

    def save_trial(self, trial_id: str) -> None:
        """Writes and logs the state of the search after a trial."""
        trials = self.save_ranking()
        trial = next(trial for trial in trials if trial.trial == trial_id)
        if trial.score is not None:
            _save_hparams(trial, self.task.out_dir / searchdir.HPARAMS / trial_id)
        _log.info(trial.summary())
        _log.info(trials.summary())

    def pre_create_trial(self) -> None:
        """Ends the search after its hours; called by KerasTuner before each trial."""
        hours = self.task.options.hours
        if hours and time.monotonic() - self.start > hours * 3600:
            self.oracle.max_trials = len(self.oracle.trials)

    def save_ranking(self) -> ranking.Ranking:
        """Writes trials.csv and best.yaml, and returns all trials, the best first."""
        trials = ranking.rank(
            [self._trial(trial) for trial in self.oracle.trials.values()],
            self.task.options.direction,
            list(self.task.space.ranges),
        )
        if len(trials):
            trials.save(self.task.out_dir / searchdir.TRIALS)
        if trials.best:
            self._save_best(trials.best)
        for trial in trials.trials[1:]:  # only the weights of the best are kept
            if trial.status != "RUNNING":
                folder = self.task.out_dir / searchdir.FOLDER / trial.trial
                (folder / rundir.BEST).unlink(missing_ok=True)
        return trials

    def _folder(self, trial: Any) -> Path:
        return self.task.out_dir / searchdir.FOLDER / trial.trial_id

    def _recipe(self, trial: Any) -> recipe.Recipe:
        """Returns the recipe of a KerasTuner trial, with the search's epochs and fraction."""
        values = trial.hyperparameters.values
        settings = self.task.space.to_recipe(oracles.decode(self.task.space, values))
        changes = {"epochs": values.get("tuner/epochs", self.task.epochs)}  # Hyperband sets them
        if self.task.options.fraction:
            changes["fraction"] = self.task.options.fraction
        return dataclasses.replace(settings, train=dataclasses.replace(settings.train, **changes))

    def _objective(self, run: rundir.Run) -> float:
        return ranking.objective(run, self.task.options.objective, self.task.options.tenfold)

    def _trial(self, trial: Any) -> ranking.Trial:
        """Returns a KerasTuner trial as a row of trials.csv."""
        folder = self._folder(trial)
        run, reason = None, ""
        if trial.status == "COMPLETED":
            run = rundir.load(folder)
        elif trial.status == "FAILED":
            log = folder.with_suffix(".log").read_text(encoding="utf-8").strip() or "no message"
            reason = log.splitlines()[-1].removeprefix("Error: ")
        elif trial.message:  # an error outside the training, such as a full disk
            reason = trial.message.strip().splitlines()[-1]
        return ranking.Trial(
            trial=trial.trial_id,
            status=str(trial.status),
            objective=self._objective(run) if run else None,
            score=run.best_score if run else None,
            pearson=run.best_pearson if run else None,
            spearman=run.best_spearman if run else None,
            loss=run.best_loss if run else None,
            epochs=run.epochs if run else None,
            parameters=self._recipe(trial).expect.parameters,
            sequences_per_second=run.sequences_per_second if run else None,
            seconds=run.seconds if run else None,
            pareto=False,
            pareto_speed=False,
            reason=reason,
            values=oracles.decode(self.task.space, trial.hyperparameters.values),
        )

    def _save_best(self, best: ranking.Trial) -> None:
        """Writes best.yaml: the recipe of the best trial, for all sequences."""
        path, fraction = self.task.out_dir / searchdir.BEST, self.task.options.fraction
        score = f"{best.score:.4f} (r {best.pearson:.4f}, rho {best.spearman:.4f})"
        data = f"{fraction:g} of the training sequences" if fraction else "the same records"
        text = (
            f"# The best of {wording.count(len(self.oracle.trials), 'trial')} of "
            f"{Path(self.task.space.source).name}: trial {best.trial}.\n"
            f"# Run:    camformer-tf fit {path} {self.task.records_dir} runs/best\n"
            f"# Expect: validation r + rho {score}, which the trial had after "
            f"{wording.count(best.epochs or 0, 'epoch')} on {data}\n"
            f"{recipe.dump(self.task.space.to_recipe(best.values))}"
        )
        with files.new_file(path, overwrite=True) as temporary:
            temporary.write_text(text, encoding="utf-8")


class TrialInterrupt(keras_tuner.errors.FatalError):
    """A signal ended the trial that was training; `code` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"a signal ended the trial that was training (exit code {code})")
        self.code = code


def _save_hparams(trial: ranking.Trial, folder: Path) -> None:
    """Writes a trial for TensorBoard's tab HParams."""
    shutil.rmtree(folder, ignore_errors=True)
    values = {key: str(v) if v is None else v for key, v in trial.values.items()}
    with tf.summary.create_file_writer(str(folder)).as_default():
        hparams.hparams(values, trial_id=trial.trial)
        for name in ("score", "pearson", "spearman", "loss", "parameters"):
            tf.summary.scalar(name, getattr(trial, name), step=trial.epochs)
