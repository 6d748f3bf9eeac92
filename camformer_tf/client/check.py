"""Whether a running server gives the golden predictions of an export."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from camformer_tf import errors, exportdir, files
from camformer_tf.client import connection, engine


@dataclasses.dataclass(frozen=True, repr=False)
class ServeCheck:
    """A server that gives the golden predictions of an export.

    Attributes:
        address: of the served model.
        version: the version that was compared.
        sequences: the number of golden sequences.
        differences: the largest difference of each output, by what was asked.
    """

    address: connection.Address
    version: int
    sequences: int
    differences: dict[str, float]

    def __repr__(self) -> str:
        largest = max(self.differences.values())
        return f"<ServeCheck {self._facts()}; largest difference {largest:.2g}>"

    def summary(self) -> str:
        """Returns the check as text for a person, a line for each output."""
        head = f"{self._facts()}; largest difference of"
        return "\n".join([head, *(f"{name:<32} {d:.2g}" for name, d in self.differences.items())])

    def _facts(self) -> str:
        return (
            f"{self.address}: version {self.version} answers the {self.sequences} golden sequences "
            "as exported"
        )


def serve_check(
    url: str, export_dir: files.PathLike, *, timeout: float = connection.TIMEOUT
) -> ServeCheck:
    """Compares a server with an export: all golden sequences at once, one by one and by Regress.

    Args:
        url: see `connection.Address.from_url`. If it names no version, the server's newest must be
            the newest of the export.
        export_dir: a folder that `export` wrote, or one of its version folders.
        timeout: seconds for each answer.

    Raises:
        errors.UserError: no golden predictions, no answer, another version, or another answer.
    """
    folder = _version_folder(Path(export_dir))
    golden = json.loads((folder / exportdir.GOLDEN).read_text(encoding="utf-8"))
    address = connection.Address.from_url(url)
    served_model = engine.connect(address, timeout=timeout)
    version = address.version or max(served_model.versions(), default=None)
    if version != int(folder.name):
        raise errors.UserError(
            f"{address}: serves version {version}, {folder} is version {folder.name}. Wait until "
            "the server has loaded it, or name the version in the URL or the folder."
        )
    sequences = golden["sequences"]
    comparison = _GoldenComparison(address, golden)
    comparison.add("all at once", served_model.predict(sequences), range(len(sequences)))
    for i, sequence in enumerate(sequences):
        comparison.add("one by one", served_model.predict([sequence]), [i])
    if "regress" in served_model.signatures():
        expression = golden["answers"]["expression"]
        rows = [i for i, value in enumerate(expression) if value is not None]
        values = served_model.regress([sequences[i] for i in rows])
        comparison.add("by the Regress API", {"expression": values}, rows, ["expression"])
    return ServeCheck(address, version, len(sequences), comparison.differences)


class _GoldenComparison:
    """The answers of a server beside the golden ones; keeps the largest difference of each output.

    Attributes:
        differences: "output, question" → the largest difference until now.
    """

    def __init__(self, address: connection.Address, golden: dict) -> None:
        self._address, self._golden = address, golden
        self.differences: dict[str, float] = {}

    def add(
        self,
        question: str,
        answers: Mapping[str, np.ndarray],
        rows: Sequence[int],
        names: Sequence[str] | None = None,
    ) -> None:
        """Compares answers, (N,) each, to those of N rows of the golden sequences.

        Raises:
            errors.UserError: an output is missing, or differs by more than its tolerance.
        """
        golden = self._golden["answers"]
        expected = {name: [golden[name][i] for i in rows] for name in names or golden}
        if missing := set(expected) - set(answers):
            raise errors.UserError(
                f"{self._address}: {question}: no output {', '.join(sorted(missing))}."
            )
        for name, values in expected.items():
            difference = _difference(np.array(values, float), np.asarray(answers[name], float))
            key, largest = f"{name}, {question}", float(difference.max())
            self.differences[key] = max(self.differences.get(key, 0.0), largest)
            if largest > self._golden["tolerance"][name]:
                i = int(difference.argmax())
                raise errors.UserError(
                    f"{self._address}: {question}: {name} of golden sequence {rows[i]} is "
                    f"{answers[name][i]}, the exported one is {golden[name][rows[i]]}. The server "
                    "has another model, or computes wrongly."
                )


def _difference(expected: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Returns absolute differences, (N,); infinite where only one of the two is NaN."""
    if answers.shape != expected.shape:
        return np.full(max(len(expected), 1), np.inf)
    is_nan = np.isnan(expected) & np.isnan(answers)
    return np.where(is_nan, 0.0, np.nan_to_num(np.abs(expected - answers), nan=np.inf))


def _version_folder(export_dir: Path) -> Path:
    """Returns the version folder itself, or the newest of an export directory."""
    newest = exportdir.newest(export_dir)
    if newest is None or not (newest / exportdir.GOLDEN).is_file():
        raise errors.UserError(
            f"{newest or export_dir}: not an export: there is no {exportdir.GOLDEN} in it. "
            "`camformer-tf export` writes one."
        )
    return newest
