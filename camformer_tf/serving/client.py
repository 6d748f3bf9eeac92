"""Predictions from a running server: TensorFlow Serving, or `camformer-tf serve`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from pathlib import Path

import numpy as np

from camformer_tf import errors, progress, recipe
from camformer_tf.data import predictions, rows, rules

NAME = "camformer"  # of a served model that a URL does not name
CONCURRENCY, TIMEOUT, RETRIES = 4, 60.0, 5

_URL = re.compile(
    r"(?P<scheme>https?|grpc)://(?P<host>[^/\s]+)"
    r"(?:/v1/models/(?P<name>[^/:\s]+)(?:/versions/(?P<version>\d+))?)?/?"
)


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a model is served. `host`: with its port; `version`: None is the server's choice."""

    scheme: str
    host: str
    name: str = NAME
    version: int | None = None

    def __str__(self) -> str:
        version = "" if self.version is None else f"/versions/{self.version}"
        return f"{self.scheme}://{self.host}/v1/models/{self.name}{version}"


@dataclasses.dataclass(frozen=True)
class Connection:
    """What a served model can be asked, from several threads at once. Each raises UserError where
    the server does not answer, or refuses.

    predict: N sequences → the outputs of `serving_default` by name, (N,) each.
    regress: N sequences → expression float32 (N,), by the Regress API.
    versions: → the numbers of those that are available.
    signatures: → the names of the model's signatures.
    card: → the model card; None where the server has none to give, as TensorFlow Serving has not.
    """

    address: Address
    predict: Callable[[Sequence[str]], dict[str, np.ndarray]]
    regress: Callable[[Sequence[str]], np.ndarray]
    versions: Callable[[], list[int]]
    signatures: Callable[[], list[str]]
    card: Callable[[], dict | None]


def address(url: str) -> Address:
    """Returns what a URL means: SCHEME://HOST:PORT[/v1/models/NAME[/versions/N]], the scheme http,
    https or grpc.

    Raises:
        errors.UserError: it means nothing of this kind.
    """
    found = _URL.fullmatch(url)
    if not found:
        raise errors.UserError(
            f"{url}: expected a server such as http://127.0.0.1:8501 or grpc://127.0.0.1:8500, "
            "with /v1/models/NAME/versions/N behind it if wanted."
        )
    version = found["version"] and int(found["version"])
    return Address(found["scheme"], found["host"], found["name"] or NAME, version)


def connect(where: Address, *, timeout: float = TIMEOUT, retries: int = RETRIES) -> Connection:
    """Returns a connection; nothing is asked yet.

    Args:
        timeout: seconds for each answer.
        retries: how often a question is asked again, waiting longer each time, where the server
            does not answer or is too busy.
    """
    if where.scheme == "grpc":
        from camformer_tf.serving import grpc_client as way  # which needs an extra
    else:
        from camformer_tf.serving import rest_client as way
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


def rule(connection: Connection) -> rules.Rule | None:
    """Returns which sequences the served model can read, if the server tells."""
    card = connection.card()
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
        url: see `address`.
        batch_size, concurrency: see `answers`. timeout, retries: see `connect`.
    """
    where = address(url)
    if where.version is None:
        newest = connect(where, timeout=timeout, retries=retries).versions()[-1:]
        if not newest:
            raise errors.UserError(f"{where}: no version is available just now. Wait, or ask why.")
        where = dataclasses.replace(where, version=newest[0])
    connection = connect(where, timeout=timeout, retries=retries)
    known = rule(connection)
    parts = rows.of_source(source, split, columns, known or rules.Rule())
    found = answers(
        connection,
        parts,
        known_rule=known is not None,
        batch_size=batch_size,
        concurrency=concurrency,
    )
    return predictions.save(found, source, out, kind, keys, report)


def answers(
    connection: Connection,
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
            answers = list(pool.map(connection.predict, chunks))
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
