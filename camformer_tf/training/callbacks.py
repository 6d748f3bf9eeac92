"""Scores, schedules by PyTorch's rules and early stop as keras callbacks.

They work in our loop and in the plain `fit` of any Keras regression model. There, put
`CorrelationScores` first: a callback sees only what those before it have added to the logs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from camformer_tf import errors
from camformer_tf.metrics import correlation
from camformer_tf.training import optimizer


class Stateful(keras.callbacks.Callback):
    """A callback that can be asked where it stands, and set there again after `on_train_begin`."""

    KEPT: tuple[str, ...] = ()  # attributes, of the kinds that JSON has

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.KEPT}

    def restore(self, state: dict[str, Any]) -> None:
        for name in self.KEPT:
            setattr(self, name, state[name])


class CorrelationScores(keras.callbacks.Callback):
    """Adds val_pearson, val_spearman and val_score (their sum) over the whole validation set, and
    val_spread, the largest prediction less the smallest.

    An undefined correlation is NaN in the logs and counts 0 in val_score, as in script:111-138,
    FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        loss: optimizer.Loss | None = None,
        predict: Callable[[np.ndarray], np.ndarray] | None = None,
        weight: np.ndarray | None = None,
    ):
        """Args:
        x: the validation set as the model reads it, or as `predict` does.
        y: its N targets, (N,) or (N, 1).
        loss: y (N,), prediction (N,) → loss (N,); if given, val_loss is added too.
        predict: x → prediction (N,); the model's own `predict` by default.
        weight: (N,), by which the losses are multiplied; correlations know no weights.
        """
        super().__init__()
        self._x, self._y = x, np.asarray(y, np.float32).reshape(-1)
        self._loss, self._predict, self._weight = loss, predict, weight

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        predict = self._predict or (lambda x: self.model.predict(x, verbose=0))
        prediction = np.asarray(predict(self._x), np.float32).reshape(-1)
        if self._loss:
            losses = np.asarray(self._loss(self._y, prediction))
            if self._weight is not None:
                losses = losses * self._weight
            logs["val_loss"] = float(np.mean(losses, dtype=np.float64))
        logs["val_spread"] = _spread(prediction)
        logs["val_pearson"] = correlation.pearson(self._y, prediction)
        logs["val_spearman"] = correlation.spearman(self._y, prediction)
        logs["val_score"] = float(np.nansum([logs["val_pearson"], logs["val_spearman"]]))


def _spread(prediction: np.ndarray) -> float:
    """Returns largest less smallest: 0 if that is mere rounding, NaN if there is but one."""
    if len(prediction) < 2:
        return float("nan")
    spread = float(np.ptp(prediction))
    return spread if spread > 1e-6 * np.abs(prediction).max() else 0.0


class Plateau(Stateful):
    """Cuts the learning rate by PyTorch's ReduceLROnPlateau rules, which Keras' own differs from.

    Better is below best * (1 - threshold); the rate is cut when the count of epochs that are not
    better exceeds patience. Source: torch.optim.lr_scheduler.ReduceLROnPlateau with its defaults,
    as used in script:415-453, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69.
    """

    KEPT = ("best", "bad")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        least_change: float = 1e-8,
    ):
        super().__init__()
        self.monitor, self.factor, self.patience = monitor, factor, patience
        self.threshold, self.least_change = threshold, least_change

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.best, self.bad = float("inf"), 0

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        logs["learning_rate"] = rate  # the one in force, for those after us
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

    The optimiser's beta_1 has to be a variable; `optimizer.optimizer` makes it one.
    """

    KEPT = ("step",)

    def __init__(self, steps: int):
        """Args: steps: of the whole training, epochs * steps an epoch."""
        super().__init__()
        self.steps = steps

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.step = 0

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        made = self.model.optimizer
        made = getattr(made, "inner_optimizer", made)  # under loss scaling
        rate = optimizer.one_cycle(self.step, self.steps, optimizer.ONE_CYCLE_RATES)
        made.learning_rate = rate
        made.beta_1.assign(optimizer.one_cycle(self.step, self.steps, optimizer.ONE_CYCLE_BETAS))
        self.step += 1


class EarlyStop(Stateful):
    """Keeps the best model, and stops when `patience` epochs on end bring no better one.

    Better is above the best before, unrounded. Adds `improved` (bool) to the logs. Source:
    script:415-453, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69.
    """

    KEPT = ("best", "best_epoch", "wait", "stopped")

    def __init__(
        self,
        patience: int = 10,
        monitor: str = "val_score",
        save: Callable[[keras.Model], None] | None = None,
    ):
        """Args: save: called with the model whenever it is the best so far."""
        super().__init__()
        self.patience, self.monitor, self._save = patience, monitor, save
        self.stopped = False

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.best, self.best_epoch, self.wait = float("-inf"), 0, 0

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        logs["improved"] = logs[self.monitor] > self.best
        if logs["improved"]:
            self.best, self.best_epoch, self.wait = logs[self.monitor], epoch + 1, 0
            if self._save:
                self._save(self.model)
            return
        self.wait += 1
        if self.wait >= self.patience:
            self.stopped = self.model.stop_training = True


class Collapse(keras.callbacks.Callback):
    """Ends a training whose network predicts one value for every validation sequence.

    Seen with Mini and squared error on expressions around zero: the first steps of Adam leave no
    ReLU alive, and nothing brings one back.
    """

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        if logs["val_spread"] == 0:
            raise errors.UserError(
                f"epoch {epoch + 1}: the network predicts one value for every validation sequence; "
                "its ReLUs have died, and more epochs would not bring them back. Lower "
                "train.learning_rate, try train.loss=l1 or another train.seed, or add a constant "
                "to the expressions if they lie around zero."
            )
