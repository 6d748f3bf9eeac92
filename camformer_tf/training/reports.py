"""What a training writes and reports, in files and on the terminal, as Keras callbacks."""

from __future__ import annotations

import datetime
import logging
import time
from pathlib import Path
from typing import Any

import keras

from camformer_tf import progress, wording
from camformer_tf.training import callbacks

_log = logging.getLogger(__name__)

_HISTORY = {  # column of history.csv → name in the logs
    "train_loss": "loss",
    "val_loss": "val_loss",
    "train_pearson": "pearson",
    "val_pearson": "val_pearson",
    "train_spearman": "spearman",
    "val_spearman": "val_spearman",
    "learning_rate": "learning_rate",
}


class _TextFile(callbacks.Stateful):
    """Writes a text file line by line. Its state is what it has written."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def state(self) -> dict[str, Any]:
        return {"text": self._path.read_text(encoding="utf-8")}

    def restore(self, state: dict[str, Any]) -> None:
        self._path.write_text(state["text"], encoding="utf-8")

    def _add(self, line: str) -> None:
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")


class HistoryFile(_TextFile):
    """Writes history.csv, a line an epoch; floats in the fewest digits that give them back.

    A value that no callback before has put into the logs stays empty (Keras' own `fit` has no
    training correlations).
    """

    def on_train_begin(self, logs: callbacks.Logs | None = None) -> None:
        """Writes the header."""
        self._path.write_text("")
        self._add(",".join(["epoch", *_HISTORY, "seconds", "improved"]))

    def on_epoch_begin(self, epoch: int, logs: callbacks.Logs | None = None) -> None:
        """Notes the time."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: callbacks.Logs) -> None:
        """Writes the line of the epoch."""
        seconds = round(time.perf_counter() - self._start, 3)
        values = [logs.get(key, "") for key in _HISTORY.values()]
        row = [epoch + 1, *values, seconds, int(logs.get("improved", 0))]
        self._add(",".join(map(str, row)))


class ReferenceLog(_TextFile):
    """Writes log.txt, the original's table line for line, and passes the lines to logging.

    Source: script:363, 435-452, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69.

    Args:
        path: of the file.
        early_stop: knows why the training ended.
    """

    def __init__(self, path: Path, early_stop: callbacks.EarlyStop) -> None:
        super().__init__(path)
        self._early_stop = early_stop

    def on_train_begin(self, logs: callbacks.Logs | None = None) -> None:
        """Writes the header."""
        self._path.write_text("")
        self._write("\t\tT loss\tV loss\tT r\tV r\tT rho\tV rho")

    def on_epoch_end(self, epoch: int, logs: callbacks.Logs) -> None:
        """Writes the line of the epoch."""
        keys = [key for name, key in _HISTORY.items() if name != "learning_rate"]
        values = [logs.get(key, float("nan")) for key in keys]
        columns = [f"Epoch {epoch + 1}:", *(str(round(value, 4)) for value in values)]
        self._write("\t".join([*columns, "*"] if logs.get("improved") else columns))

    def on_train_end(self, logs: callbacks.Logs | None = None) -> None:
        """Writes the last line if the training stopped early."""
        if self._early_stop.has_stopped:
            self._write(f"Early stop, best epoch {self._early_stop.best_epoch}")

    def _write(self, line: str) -> None:
        self._add(line)
        _log.info(line)


class Estimate(keras.callbacks.Callback):
    """Logs after the first epoch how fast it was, and when the last will end.

    Args:
        epochs: the number of the last one.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._epochs, self._has_logged = epochs, False

    def on_epoch_begin(self, epoch: int, logs: callbacks.Logs | None = None) -> None:
        """Notes the time."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: callbacks.Logs) -> None:
        """Logs the estimate, once."""
        remaining = self._epochs - epoch - 1
        if self._has_logged or not remaining:
            return
        self._has_logged, seconds = True, time.perf_counter() - self._start
        _log.info(
            f"{logs['sequences_per_second']:,.0f} sequences/s, {seconds:,.0f} s an epoch with "
            f"validation; {time_left(remaining, seconds, datetime.datetime.now())}"
        )


def time_left(epochs: int, seconds: float, start: datetime.datetime) -> str:
    """Returns "1 epoch left, done by 02:19", with the date where that is another day.

    Args:
        epochs: how many are left.
        seconds: that one takes.
        start: the time from which they count.
    """
    end = start + datetime.timedelta(seconds=epochs * seconds)
    form = "%H:%M" if end.date() == start.date() else "%Y-%m-%d %H:%M"
    return f"{wording.count(epochs, 'epoch')} left, done by {end:{form}}"


class ProgressReport(keras.callbacks.Callback):
    """Reports how far an epoch has come, in sequences.

    Args:
        report: where to.
        epochs: the number of the last one.
        steps: in an epoch.
        batch_size: sequences in a step.
    """

    def __init__(self, report: progress.Report, epochs: int, steps: int, batch_size: int) -> None:
        super().__init__()
        self._report, self._epochs = report, epochs
        self._steps, self._batch_size = steps, batch_size

    def on_epoch_begin(self, epoch: int, logs: callbacks.Logs | None = None) -> None:
        """Begins a stage."""
        self._stage = f"epoch {epoch + 1}/{self._epochs}"

    def on_train_batch_end(self, batch: int, logs: callbacks.Logs | None = None) -> None:
        """Reports the steps that are done."""
        count = (batch + 1) * self._batch_size
        self._report(self._stage, count, self._steps * self._batch_size)
