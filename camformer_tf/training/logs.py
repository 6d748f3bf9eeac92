"""What is told of a training, in files and on the terminal, as keras callbacks."""

from __future__ import annotations

import datetime
import logging
import time
from pathlib import Path
from typing import Any

import keras

from camformer_tf import progress
from camformer_tf.training import callbacks

_log = logging.getLogger(__name__)

_HISTORY = {
    "train_loss": "loss",
    "val_loss": "val_loss",
    "train_pearson": "pearson",
    "val_pearson": "val_pearson",
    "train_spearman": "spearman",
    "val_spearman": "val_spearman",
    "learning_rate": "learning_rate",
}


class _TextFile(callbacks.Stateful):
    """Writes a text file line by line. Where it stands is what it has written."""

    def __init__(self, path: Path):
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

    What no callback before has put into the logs stays empty (Keras' own `fit` knows no training
    correlations).
    """

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._path.write_text("")
        self._add(",".join(["epoch", *_HISTORY, "seconds", "improved"]))

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        seconds = round(time.perf_counter() - self._start, 3)
        values = [logs.get(key, "") for key in _HISTORY.values()]
        row = [epoch + 1, *values, seconds, int(logs.get("improved", 0))]
        self._add(",".join(map(str, row)))


class ReferenceLog(_TextFile):
    """Writes log.txt, the original's table line for line, and passes the lines to logging.

    Source: script:363, 435-452, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69.
    """

    def __init__(self, path: Path, early_stop: callbacks.EarlyStop):
        super().__init__(path)
        self._early_stop = early_stop

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._path.write_text("")
        self._write("\t\tT loss\tV loss\tT r\tV r\tT rho\tV rho")

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        keys = [key for name, key in _HISTORY.items() if name != "learning_rate"]
        values = [logs.get(key, float("nan")) for key in keys]
        columns = [f"Epoch {epoch + 1}:", *(str(round(value, 4)) for value in values)]
        self._write("\t".join([*columns, "*"] if logs.get("improved") else columns))

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._early_stop.stopped:
            self._write(f"Early stop, best epoch {self._early_stop.best_epoch}")

    def _write(self, line: str) -> None:
        self._add(line)
        _log.info(line)


class Estimate(keras.callbacks.Callback):
    """Says after the first epoch how fast it was, and when the last will end."""

    def __init__(self, epochs: int):
        super().__init__()
        self._epochs, self._said = epochs, False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        left = self._epochs - epoch - 1
        if self._said or not left:
            return
        self._said, seconds = True, time.perf_counter() - self._start
        end = datetime.datetime.now() + datetime.timedelta(seconds=left * seconds)
        _log.info(
            f"{logs['sequences_per_second']:,.0f} sequences/s, {seconds:,.0f} s an epoch with "
            f"validation; {left} more epochs end at {end:%Y-%m-%d %H:%M} at the latest"
        )


class Report(keras.callbacks.Callback):
    """Passes on how far an epoch has come, in sequences."""

    def __init__(self, report: progress.Report, epochs: int, steps: int, batch_size: int):
        super().__init__()
        self._report, self._epochs = report, epochs
        self._steps, self._batch_size = steps, batch_size

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._stage = f"epoch {epoch + 1}/{self._epochs}"

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        done = (batch + 1) * self._batch_size
        self._report(self._stage, done, self._steps * self._batch_size)
