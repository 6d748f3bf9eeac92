"""Scores, schedules by PyTorch's rules and early stopping as Keras callbacks.

They work in our training loop and in the plain `fit` of any Keras regression model. In the latter,
put `CorrelationScores` first: a callback sees only what the callbacks before it added to the logs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from camformer_tf import errors
from camformer_tf.metrics import correlation
from camformer_tf.training import optimizers

Logs = dict[str, Any]  # what Keras passes from callback to callback: name → number


class Stateful(keras.callbacks.Callback):
    """A callback whose state a checkpoint stores, and restores after `on_train_begin`."""

    STATE: Mapping[str, str] = {}  # key in the checkpoint → attribute, of a type that JSON has

    def state(self) -> dict[str, Any]:
        """Returns the state as JSON values."""
        return {key: getattr(self, attribute) for key, attribute in self.STATE.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Sets the state that `state` returned."""
        for key, attribute in self.STATE.items():
            setattr(self, attribute, state[key])


class CorrelationScores(keras.callbacks.Callback):
    """Adds the scores of the whole validation set to the logs of each epoch.

    These are val_pearson, val_spearman, val_score (their sum) and val_spread, the largest
    prediction less the smallest. An undefined correlation is NaN in the logs and counts 0 in
    val_score, as in script:111-138, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69.

    Args:
        x: the N sequences of the validation set, as the model or `predict` reads them.
        y: their targets, (N,) or (N, 1).
        loss: y (N,), prediction (N,) → loss (N,); if given, val_loss is added too.
        predict: x → prediction (N,); the model's own `predict` by default.
        weight: (N,), by which the losses are multiplied; correlations ignore weights.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        loss: optimizers.Loss | None = None,
        predict: Callable[[np.ndarray], np.ndarray] | None = None,
        weight: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self._x, self._y = x, np.asarray(y, np.float32).reshape(-1)  # y: (N,)
        self._loss, self._predict, self._weight = loss, predict, weight

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Predicts the validation set and adds its scores to the logs."""
        predict = self._predict or (lambda x: self.model.predict(x, verbose=0))
        prediction = np.asarray(predict(self._x), np.float32).reshape(-1)  # (N,)
        if self._loss:
            losses = np.asarray(self._loss(self._y, prediction))  # (N,)
            if self._weight is not None:
                losses = losses * self._weight
            logs["val_loss"] = float(np.mean(losses, dtype=np.float64))
        logs["val_spread"] = _spread(prediction)
        logs["val_pearson"] = correlation.pearson(self._y, prediction)
        logs["val_spearman"] = correlation.spearman(self._y, prediction)
        logs["val_score"] = float(np.nansum([logs["val_pearson"], logs["val_spearman"]]))


def _spread(prediction: np.ndarray) -> float:
    """Returns largest less smallest: 0 if that is mere rounding, NaN of a single prediction."""
    if len(prediction) < 2:
        return float("nan")
    spread = float(np.ptp(prediction))
    return spread if spread > 1e-6 * np.abs(prediction).max() else 0.0


class Plateau(Stateful):
    """Cuts the learning rate by PyTorch's ReduceLROnPlateau rules, which differ from Keras' own.

    Better is below best * (1 - threshold); the rate is cut when the count of epochs that are not
    better exceeds patience. Source: torch.optim.lr_scheduler.ReduceLROnPlateau with its defaults,
    as used in script:415-453, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69.

    Args:
        monitor: the name in the logs that should fall.
        factor: what a cut multiplies the rate by.
        patience: the number of epochs in a row without a better value that are tolerated.
        threshold: the relative improvement that counts as better.
        least_change: smaller changes of the rate are not made.
    """

    STATE = {"best": "best", "bad": "bad"}

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        least_change: float = 1e-8,
    ) -> None:
        super().__init__()
        self.monitor, self.factor, self.patience = monitor, factor, patience
        self.threshold, self.least_change = threshold, least_change

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Starts without a best value."""
        self.best, self.bad = float("inf"), 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Adds this epoch's learning rate to the logs, and cuts the rate if it is time to."""
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        logs["learning_rate"] = rate  # the one of this epoch, for the callbacks after this one
        if logs[self.monitor] < self.best * (1 - self.threshold):
            self.best, self.bad = logs[self.monitor], 0
        else:
            self.bad += 1
        if self.bad > self.patience:
            self.bad = 0
            if rate - rate * self.factor > self.least_change:
                self.model.optimizer.learning_rate = rate * self.factor


class OneCycle(Stateful):
    """Sets learning rate and beta_1 before every step by PyTorch's OneCycleLR, maximum 0.01.

    The optimizer's beta_1 has to be a variable, as `optimizers.build` makes it.

    Args:
        steps: the number of steps of the whole training.
    """

    STATE = {"step": "step"}

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Starts at the first step."""
        self.step = 0

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Sets the rate and beta_1 of the next step."""
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # under loss scaling
        rate = optimizers.one_cycle(self.step, self.steps, optimizers.ONE_CYCLE_RATES)
        beta = optimizers.one_cycle(self.step, self.steps, optimizers.ONE_CYCLE_BETAS)
        optimizer.learning_rate = rate
        optimizer.beta_1.assign(beta)
        self.step += 1


class EarlyStop(Stateful):
    """Saves the best model, and stops after `patience` epochs in a row without a better one.

    Better is above the best before, unrounded. Adds `improved` (bool) to the logs. Source:
    script:415-453, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69.

    Args:
        patience: the number of epochs without a better one after which training stops.
        monitor: the name in the logs that should rise.
        save: called with the model whenever it is the best so far.
    """

    STATE = {
        "best": "best",
        "best_epoch": "best_epoch",
        "wait": "wait",
        "stopped": "has_stopped",
    }

    def __init__(
        self,
        patience: int = 10,
        monitor: str = "val_score",
        save: Callable[[keras.Model], None] | None = None,
    ) -> None:
        super().__init__()
        self.patience, self.monitor, self._save = patience, monitor, save
        self.has_stopped = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Starts without a best epoch."""
        self.best, self.best_epoch, self.wait = float("-inf"), 0, 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Saves the model if it is the best so far, or stops if it is time to."""
        logs["improved"] = logs[self.monitor] > self.best
        if logs["improved"]:
            self.best, self.best_epoch, self.wait = logs[self.monitor], epoch + 1, 0
            if self._save:
                self._save(self.model)
            return
        self.wait += 1
        if self.wait >= self.patience:
            self.has_stopped = self.model.stop_training = True


class Collapse(keras.callbacks.Callback):
    """Ends a training whose network predicts one value for every validation sequence.

    It was seen with Mini and squared error on expressions around zero: the first steps of Adam
    leave no ReLU alive, and nothing revives one.
    """

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Raises UserError if all predictions are equal."""
        if logs["val_spread"] == 0:
            raise errors.UserError(
                f"epoch {epoch + 1}: the network predicts one value for every validation sequence; "
                "its ReLUs have died, and more epochs would not revive them. Lower "
                "train.learning_rate, try train.loss=l1 or another train.seed, or add a constant "
                "to the expressions if they lie around zero."
            )
