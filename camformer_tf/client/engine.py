"""A served model as what computes the predictions of a `Model`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from concurrent import futures

import numpy as np

from camformer_tf import errors, recipe
from camformer_tf.client import connection
from camformer_tf.data import rows, rules

CONCURRENCY = 4


def connect(
    address: connection.Address,
    *,
    timeout: float = connection.TIMEOUT,
    retries: int = connection.RETRIES,
) -> connection.Connection:
    """Returns a connection; nothing is asked yet.

    Args:
        address: where the model is served.
        timeout: seconds for each answer.
        retries: how often a question is repeated, after longer and longer waits, if the server does
            not answer or is too busy.
    """
    if address.scheme == "grpc":
        from camformer_tf.client import grpc  # which needs an extra

        return grpc.GrpcConnection(address, timeout, retries)
    from camformer_tf.client import rest

    return rest.RestConnection(address, timeout, retries)


class ServedEngine:
    """A served model as an engine: see `camformer_tf.model.engines.Engine`.

    A server that gives no model card decides itself what it can read: then everything is sent, and
    `rule` is that of the package, of the model's length if the server gives that.
    """

    parameters = None

    def __init__(
        self,
        served_model: connection.Connection,
        *,
        batch_size: int = recipe.PREDICT_BATCH_SIZE,
        concurrency: int = CONCURRENCY,
    ) -> None:
        """Asks a server for the model's card.

        Args:
            served_model: the connection; its address should name a version, so that all answers are
                of one model.
            batch_size: sequences in a request.
            concurrency: the number of requests at the same time.

        Raises:
            errors.UserError: no answer.
        """
        card = served_model.card() or {}
        self.name = str(served_model.address)
        self.encoding: str | None = card.get("encoding")
        self._has_card = "rule" in card
        self.rule = rules.Rule(**card["rule"]) if "rule" in card else _default_rule(served_model)
        self._served_model = served_model
        self._batch_size, self._concurrency = batch_size, concurrency

    def answer(self, part: rows.Rows) -> tuple[rows.Rows, Mapping[str, np.ndarray]]:
        """Returns N rows with the server's reasons, and the outputs for them.

        Outputs are by name, float64 (N,) each, NaN where the model cannot read a sequence.
        """
        # A row that the model's own rule refuses is not sent; the server would refuse it too.
        positions = np.array(
            [i for i, reason in enumerate(part.reasons) if not (self._has_card and reason)], int
        )
        batches = [
            [part.sequences[i] for i in positions[start : start + self._batch_size]]
            for start in range(0, len(positions), self._batch_size)
        ]
        with futures.ThreadPoolExecutor(self._concurrency) as pool:
            answers = list(pool.map(self._served_model.predict, batches))
        outputs = {}
        for name in answers[0] if answers else ("expression",):
            outputs[name] = np.full(len(part.sequences), np.nan)  # (N,)
            if answers:
                outputs[name][positions] = np.concatenate([answer[name] for answer in answers])
        reasons = list(part.reasons)
        for i in positions:
            is_readable = not np.isnan(outputs["expression"][i])
            reasons[i] = None if is_readable else reasons[i] or "the server cannot read it"
        return dataclasses.replace(part, reasons=reasons), outputs


def load(
    url: str,
    *,
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
    concurrency: int = CONCURRENCY,
    timeout: float = connection.TIMEOUT,
    retries: int = connection.RETRIES,
) -> ServedEngine:
    """Returns the model that a server has: one version of it, the newest unless the URL names one.

    Args:
        url: see `connection.Address.from_url`.
        batch_size: sequences in a request.
        concurrency: the number of requests at the same time.
        timeout: see `connect`.
        retries: see `connect`.

    Raises:
        errors.UserError: it is not such a URL, no server answers, or it has no such version.
    """
    address = connection.Address.from_url(url)
    versions = connect(address, timeout=timeout, retries=retries).versions()
    if not versions:
        raise errors.UserError(
            f"{address}: no version is available now. Wait until one is loaded, or read the "
            "server's log."
        )
    if address.version is None:
        address = dataclasses.replace(address, version=versions[-1])
    elif address.version not in versions:
        numbers = ", ".join(map(str, versions))
        raise errors.UserError(f"{address}: there is no such version. Available: {numbers}.")
    served_model = connect(address, timeout=timeout, retries=retries)
    return ServedEngine(served_model, batch_size=batch_size, concurrency=concurrency)


def _default_rule(served_model: connection.Connection) -> rules.Rule:
    length = served_model.length()
    return rules.Rule() if length is None else rules.Rule(length=length)
