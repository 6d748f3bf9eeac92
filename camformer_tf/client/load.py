"""The model of a run, of replicates, of a .keras file, of an export or of a running server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from camformer_tf import errors, files, recipe
from camformer_tf.client import connection, engine
from camformer_tf.model import engines, inference


def load(
    model: files.PathLike | Sequence[files.PathLike],
    *,
    calibration: files.PathLike | None = None,
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
    precision: str = "float32",
    concurrency: int = engine.CONCURRENCY,
    timeout: float = connection.TIMEOUT,
) -> inference.Model:
    """Loads a model, which predicts sequences.

    Args:
        model: a path or a URL, or several, which predict together. A path is a run directory, a run
            of replicates, a .keras file, or an export directory or one of its versions; a URL is
            that of a server, http://HOST:PORT, https://… or grpc://…, of which the newest version
            is asked unless /v1/models/NAME/versions/N follows.
        calibration: a calibration of these models; by default the one in the run, if there is one.
            Not for servers, which answer as they were exported.
        batch_size: the number of sequences that are computed together, or sent in a request.
        precision: of the convolutions, float32 or mixed_bfloat16; exports and servers have float32
            only.
        concurrency: the number of requests that a server is sent at the same time.
        timeout: seconds for each answer of a server.

    Raises:
        errors.UserError: there is no model at a path, no server answers, the models do not go
            together, or the calibration is of other models.
    """
    entries = [model] if isinstance(model, str | os.PathLike) else list(model)
    if not any(map(is_url, entries)):
        return inference.load(
            entries, calibration=calibration, batch_size=batch_size, precision=precision
        )
    if calibration is not None:
        raise errors.UserError(
            f"{calibration}: a calibration cannot be used with a server, which answers as it was "
            "exported. Export the models with their calibration."
        )
    if precision != "float32":
        raise errors.UserError(
            f"a server predicts in float32, found precision {precision}. Load the run instead."
        )
    members: list[engines.Engine] = []
    for entry in entries:
        if is_url(entry):
            members.append(
                engine.load(
                    str(entry), batch_size=batch_size, concurrency=concurrency, timeout=timeout
                )
            )
        else:
            paths = inference.member_paths([Path(entry)])
            members += [engines.load(path, batch_size, precision) for path in paths]
    return inference.Model(members)


def is_url(entry: files.PathLike) -> bool:
    """Returns whether a name of a model is a URL, not a path."""
    return "://" in str(entry)
