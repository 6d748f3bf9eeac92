"""A served model: its address, and what it can be asked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from camformer_tf import errors

NAME = "camformer"  # of a served model that a URL does not name
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
