"""Predictions from a running server: TensorFlow Serving, or `camformer-tf serve`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from concurrent import futures
from pathlib import Path

import numpy as np

from camformer_tf import errors, progress, recipe
from camformer_tf.client import connection
from camformer_tf.data import predictions, rows, rules

CONCURRENCY, TIMEOUT, RETRIES = 4, 60.0, 5


def connect(
    where: connection.Address, *, timeout: float = TIMEOUT, retries: int = RETRIES
) -> connection.Connection:
    """Returns a connection; nothing is asked yet.

    Args:
        timeout: seconds for each answer.
        retries: how often a question is asked again, waiting longer each time, where the server
            does not answer or is too busy.
    """
    if where.scheme == "grpc":
        from camformer_tf.client import grpc as way  # which needs an extra
    else:
        from camformer_tf.client import rest as way
    made = way.connect(where, timeout, retries)

    def predict(sequences: Sequence[str]) -> dict[str, np.ndarray]:
        found = made.predict(sequences)
        counts = {len(values) for values in found.values()}
        if "expression" not in found or counts != {len(sequences)}:
            told = ", ".join(f"{name}: {len(values)}" for name, values in found.items())
            raise errors.UserError(
                f"{where}: expected expression of {len(sequences)} sequences, found the outputs "
                f"{told or 'none'}. Is it a model of `camformer-tf export`?"
            )
        return found

    return dataclasses.replace(made, predict=predict)


def rule(served: connection.Connection) -> rules.Rule | None:
    """Returns which sequences the served model can read, if the server tells."""
    card = served.card()
    return rules.Rule(**card["rule"]) if card else None


def to_file(
    url: str,
    source: Path,
    out: Path,
    *,
    kind: str = "tsv",
    split: str | None = None,
    columns: dict[str, str] | None = None,
    keys: Path | None = None,
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
    concurrency: int = CONCURRENCY,
    timeout: float = TIMEOUT,
    retries: int = RETRIES,
    report: progress.Report = progress.silent,
) -> int:
    """Writes what a served model predicts of a source, as `model.predict.to_file` does: one version
    all of it, the newest unless the address names another.

    Args:
        url: see `connection.address`.
        batch_size, concurrency: see `answers`. timeout, retries: see `connect`.
    """
    where = connection.address(url)
    if where.version is None:
        newest = connect(where, timeout=timeout, retries=retries).versions()[-1:]
        if not newest:
            raise errors.UserError(f"{where}: no version is available just now. Wait, or ask why.")
        where = dataclasses.replace(where, version=newest[0])
    served = connect(where, timeout=timeout, retries=retries)
    known = rule(served)
    parts = rows.from_source(source, split, columns, known or rules.Rule())
    found = answers(
        served,
        parts,
        known_rule=known is not None,
        batch_size=batch_size,
        concurrency=concurrency,
    )
    return predictions.save(found, source, out, kind, keys, report)


def answers(
    served: connection.Connection,
    parts: Iterable[rows.Rows],
    *,
    known_rule: bool,
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
    concurrency: int = CONCURRENCY,
) -> Iterator[tuple[rows.Rows, dict[str, np.ndarray]]]:
    """Yields rows in order, with the served model's outputs: name → (N,), NaN where it cannot read
    a sequence, for which the rows then have a reason.

    Args:
        parts: as of `rows.read`.
        known_rule: whether these were read by the model's own rule. What that cannot read is not
            sent; otherwise all is, and the server decides.
        batch_size: sequences in a request.
        concurrency: requests under way at a time.
    """
    with futures.ThreadPoolExecutor(concurrency) as pool:
        for part in parts:
            asked = np.array(
                [i for i, reason in enumerate(part.reasons) if not (known_rule and reason)], int
            )
            chunks = [
                [part.sequences[i] for i in asked[start : start + batch_size]]
                for start in range(0, len(asked), batch_size)
            ]
            answers = list(pool.map(served.predict, chunks))
            yield _joined(part, asked, answers)


def _joined(
    part: rows.Rows, asked: np.ndarray, answers: list[dict[str, np.ndarray]]
) -> tuple[rows.Rows, dict[str, np.ndarray]]:
    outputs = {}
    for name in answers[0] if answers else ("expression",):
        outputs[name] = np.full(len(part.sequences), np.nan)
        if answers:
            outputs[name][asked] = np.concatenate([answer[name] for answer in answers])
    reasons = list(part.reasons)
    for i in asked:
        if np.isnan(outputs["expression"][i]):
            reasons[i] = reasons[i] or "the server cannot read it"
        else:
            reasons[i] = None
    return dataclasses.replace(part, reasons=reasons), outputs
