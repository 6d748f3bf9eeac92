"""A served model: its address, and what a client can ask it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from camformer_tf import errors, wording

NAME = "camformer"  # of a served model that a URL does not name
TIMEOUT, RETRIES = 60.0, 5

_URL = re.compile(
    r"(?P<scheme>https?|grpc)://(?P<host>[^/\s]+)"
    r"(?:/v1/models/(?P<name>[^/:\s]+)(?:/versions/(?P<version>\d+))?)?/?"
)


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a model is served.

    Attributes:
        scheme: http, https or grpc.
        host: the host with its port.
        name: the name of the model on that server.
        version: None if the server decides.
    """

    scheme: str
    host: str
    name: str = NAME
    version: int | None = None

    @classmethod
    def from_url(cls, url: str) -> Address:
        """Returns the address in a URL: SCHEME://HOST:PORT[/v1/models/NAME[/versions/N]].

        Raises:
            errors.UserError: it is not such a URL.
        """
        match = _URL.fullmatch(url)
        if not match:
            raise errors.UserError(
                f"{url}: expected the URL of a server, such as http://127.0.0.1:8501 or "
                "grpc://127.0.0.1:8500, optionally followed by /v1/models/NAME/versions/N."
            )
        version = int(match["version"]) if match["version"] else None
        return cls(match["scheme"], match["host"], match["name"] or NAME, version)

    def __str__(self) -> str:
        version = "" if self.version is None else f"/versions/{self.version}"
        return f"{self.scheme}://{self.host}/v1/models/{self.name}{version}"


class Connection(Protocol):
    """A served model, which several threads may ask at once.

    Each method raises UserError if the server does not answer, or refuses.
    """

    @property
    def address(self) -> Address:
        """The address of the model."""
        ...

    def predict(self, sequences: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns the outputs of `serving_default` for N sequences, by name, (N,) each."""
        ...

    def regress(self, sequences: Sequence[str]) -> np.ndarray:
        """Returns the expression of N sequences, float32 (N,), by the Regress API."""
        ...

    def versions(self) -> list[int]:
        """Returns the numbers of the versions that are available, in ascending order."""
        ...

    def signatures(self) -> list[str]:
        """Returns the names of the model's signatures."""
        ...

    def length(self) -> int | None:
        """Returns the number of letters that the model reads; None if its metadata has none."""
        ...

    def card(self) -> dict | None:
        """Returns the model card; None if the server has none, as TensorFlow Serving."""
        ...


def check_outputs(
    address: Address, outputs: dict[str, np.ndarray], count: int
) -> dict[str, np.ndarray]:
    """Returns the outputs of a served model for N sequences.

    Raises:
        errors.UserError: they have no `expression`, or are not N.
    """
    counts = {len(values) for values in outputs.values()}
    if "expression" not in outputs or counts != {count}:
        names = ", ".join(f"{name}: {len(values)}" for name, values in outputs.items())
        raise errors.UserError(
            f"{address}: expected expression of {wording.count(count, 'sequence')}, "
            "found the outputs "
            f"{names or 'none'}. Is it a model of `camformer-tf export`?"
        )
    return outputs
