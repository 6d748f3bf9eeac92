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

_BUSY = (429, 502, 503, 504)  # status codes of a server that may answer later
_CONNECTIONS = 32  # kept open at most


class RestConnection:
    """A connection over HTTP: see `connection.Connection`."""

    def __init__(self, address: connection.Address, timeout: float, retries: int) -> None:
        """Prepares a connection; nothing is asked yet.

        Args:
            address: of scheme http or https.
            timeout: seconds for each answer.
            retries: see `engine.connect`.
        """
        self.address = address
        retry = urllib3.Retry(
            retries,
            status_forcelist=_BUSY,
            allowed_methods=None,  # predictions change nothing, so that POST can be repeated too
            backoff_factor=0.2,
            raise_on_status=False,
        )
        self._pool = urllib3.PoolManager(
            maxsize=_CONNECTIONS, retries=retry, timeout=urllib3.Timeout(total=timeout)
        )

    def predict(self, sequences: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns the outputs of `serving_default` for N sequences, by name, (N,) each."""
        body = {"inputs": {"sequence": list(sequences)}}
        answer = self._ask(f"{self.address}:predict", body)
        outputs = answer.get("outputs")
        if not isinstance(outputs, dict):
            raise errors.UserError(
                f"{self.address}: expected named outputs, found {str(answer)[:200]}."
            )
        arrays = {name: np.array(values) for name, values in outputs.items()}
        return connection.check_outputs(self.address, arrays, len(sequences))

    def regress(self, sequences: Sequence[str]) -> np.ndarray:
        """Returns the expression of N sequences, float32 (N,), by the Regress API."""
        examples = [{"sequence": sequence} for sequence in sequences]
        body = {"signature_name": "regress", "examples": examples}
        values = np.array(self._ask(f"{self.address}:regress", body)["results"], np.float32)
        connection.check_outputs(self.address, {"expression": values}, len(sequences))
        return values

    def versions(self) -> list[int]:
        """Returns the numbers of the versions that are available, in ascending order."""
        model = dataclasses.replace(self.address, version=None)
        states = self._ask(str(model))["model_version_status"]
        return sorted(int(state["version"]) for state in states if state["state"] == "AVAILABLE")

    def signatures(self) -> list[str]:
        """Returns the names of the model's signatures."""
        return sorted(self._signatures())

    def length(self) -> int | None:
        """Returns the number of letters that the model reads; None if its metadata has none."""
        try:
            onehot = self._signatures()["onehot"]["inputs"]["onehot"]
            return int(onehot["tensor_shape"]["dim"][1]["size"])  # of (N, L, C)
        except (errors.UserError, LookupError, TypeError, ValueError):
            return None

    def card(self) -> dict | None:
        """Returns the model card; None if the server has none, as TensorFlow Serving."""
        url = f"{self.address}/card"
        status, body = self._request(url)
        return _parse(url, status, body) if status == 200 else None

    def _signatures(self) -> dict[str, dict]:
        return self._ask(f"{self.address}/metadata")["metadata"]["signature_def"]["signature_def"]

    def _ask(self, url: str, body: dict | None = None) -> dict:
        status, contents = self._request(url, body)
        answer = _parse(url, status, contents)
        if status != 200:
            raise errors.UserError(f"{url}: answers {status}: {answer.get('error', answer)}")
        return answer

    def _request(self, url: str, body: dict | None = None) -> tuple[int, bytes]:
        """Returns the status code and the body of an answer: GET without a body, else POST."""
        try:
            answer = self._pool.request("GET" if body is None else "POST", url, json=body)
        except (urllib3.exceptions.HTTPError, ssl.SSLError) as error:
            reason = getattr(error, "reason", None) or error  # without the story of the retries
            raise errors.UserError(
                f"{url}: no server answers ({reason}). Is it running?"
            ) from error
        return answer.status, answer.data


def _parse(url: str, status: int, body: bytes) -> dict:
    try:
        return json.loads(body)
    except ValueError as error:
        raise errors.UserError(
            f"{url}: answers {status} and {body[:80]!r}, which is not JSON. Is it a server of "
            "TensorFlow Serving's REST API?"
        ) from error
