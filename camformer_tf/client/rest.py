"""A served model by TensorFlow Serving's REST API."""

from __future__ import annotations

import dataclasses
import json
import ssl
from collections.abc import Sequence

import numpy as np
import urllib3

from camformer_tf import errors
from camformer_tf.client import connection

_BUSY = (429, 502, 503, 504)  # codes of a server that may answer later
_CONNECTIONS = 32  # kept open at most


def connect(where: connection.Address, timeout: float, retries: int) -> connection.Connection:
    """Returns a connection; see `client.connect`."""
    again = urllib3.Retry(
        retries,
        status_forcelist=_BUSY,
        allowed_methods=None,  # predictions change nothing, so that POST can be repeated too
        backoff_factor=0.2,
        raise_on_status=False,
    )
    pool = urllib3.PoolManager(
        maxsize=_CONNECTIONS, retries=again, timeout=urllib3.Timeout(total=timeout)
    )
    base = dataclasses.replace(where, version=None)

    def ask(path: str, body: dict | None = None) -> dict:
        code, found = _answer(pool, path, body)
        if code != 200:
            raise errors.UserError(f"{path}: answers {code}: {found.get('error', found)}")
        return found

    def predict(sequences: Sequence[str]) -> dict[str, np.ndarray]:
        found = ask(f"{where}:predict", {"inputs": {"sequence": list(sequences)}})
        outputs = found.get("outputs")
        if not isinstance(outputs, dict):
            raise errors.UserError(f"{where}: expected named outputs, found {str(found)[:200]}.")
        return {name: np.array(values) for name, values in outputs.items()}

    def regress(sequences: Sequence[str]) -> np.ndarray:
        body = {
            "signature_name": "regress",
            "examples": [{"sequence": one} for one in sequences],
        }
        return np.array(ask(f"{where}:regress", body)["results"], np.float32)

    def versions() -> list[int]:
        states = ask(str(base))["model_version_status"]
        return sorted(int(one["version"]) for one in states if one["state"] == "AVAILABLE")

    def signatures() -> list[str]:
        return sorted(ask(f"{where}/metadata")["metadata"]["signature_def"]["signature_def"])

    def card() -> dict | None:
        code, found = _answer(pool, f"{where}/card")
        return found if code == 200 else None

    return connection.Connection(where, predict, regress, versions, signatures, card)


def _answer(pool: urllib3.PoolManager, path: str, body: dict | None = None) -> tuple[int, dict]:
    try:
        answer = pool.request("GET" if body is None else "POST", path, json=body)
    except (urllib3.exceptions.HTTPError, ssl.SSLError) as error:
        raise errors.UserError(f"{path}: no server answers ({error}). Is it running?") from error
    try:
        return answer.status, json.loads(answer.data)
    except ValueError as error:
        raise errors.UserError(
            f"{path}: answers {answer.status} and {answer.data[:80]!r}, which is no JSON. Is it a "
            "server of TensorFlow Serving's REST API?"
        ) from error
