"""Whether a running server answers what an export's golden predictions say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from camformer_tf import errors, exportdir
from camformer_tf.client import client, connection


@dataclasses.dataclass(frozen=True)
class Checked:
    """A server that answers as it should: by how much the outputs differ at most, by what was
    asked.
    """

    address: connection.Address
    version: int
    sequences: int
    differences: dict[str, float]

    def summary(self) -> str:
        """Returns it for a person."""
        told = [
            f"{self.address}: version {self.version} answers the {self.sequences} golden sequences "
            "as exported; largest difference of"
        ]
        return "\n".join(told + [f"{name:<32} {d:.2g}" for name, d in self.differences.items()])


def check(url: str, export_dir: Path, *, timeout: float = 60, retries: int = 5) -> Checked:
    """Asks a server the golden sequences, all at once, one by one and by the Regress API.

    Args:
        url: see `connection.address`. Without a version in it, the server's newest must be the
            newest of the export.
        export_dir: of `export`, or one of its version folders.

    Raises:
        errors.UserError: no golden predictions, no answer, another version, or another answer.
    """
    folder = _version(export_dir)
    golden = json.loads((folder / exportdir.GOLDEN).read_text(encoding="utf-8"))
    where = connection.address(url)
    asked = client.connect(where, timeout=timeout, retries=retries)
    version = where.version or max(asked.versions(), default=None)
    if version != int(folder.name):
        raise errors.UserError(
            f"{where}: serves version {version}, {folder} is version {folder.name}. Wait until the "
            "server has loaded it, or name the version in the address or the folder."
        )
    found = {}

    def compare(what: str, answers: dict[str, np.ndarray], rows: list[int]) -> None:
        expected = {name: [values[i] for i in rows] for name, values in golden["answers"].items()}
        if missing := set(expected) - set(answers):
            raise errors.UserError(f"{where}: {what}: no output {', '.join(sorted(missing))}.")
        for name, values in expected.items():
            wrong = _difference(np.array(values, float), np.asarray(answers[name], float))
            key = f"{name}, {what}"
            found[key] = max(found.get(key, 0.0), float(wrong.max()))
            if found[key] > golden["tolerance"][name]:
                row = rows[int(wrong.argmax())]
                raise errors.UserError(
                    f"{where}: {what}: {name} of golden sequence {row} is "
                    f"{answers[name][int(wrong.argmax())]}, exported was "
                    f"{golden['answers'][name][row]}. It serves another model, or computes wrongly."
                )

    sequences = golden["sequences"]
    everything = list(range(len(sequences)))
    compare("all at once", asked.predict(sequences), everything)
    for i in everything:
        compare("one by one", asked.predict(sequences[i : i + 1]), [i])
    if "regress" in asked.signatures():
        golden = golden | {"answers": {"expression": golden["answers"]["expression"]}}
        rows = [i for i, value in enumerate(golden["answers"]["expression"]) if value is not None]
        values = asked.regress([sequences[i] for i in rows])
        compare("by the Regress API", {"expression": values}, rows)
    return Checked(where, version, len(sequences), found)


def _difference(expected: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """Returns absolute differences; infinite where one of the two is no number."""
    if answered.shape != expected.shape:
        return np.full(max(len(expected), 1), np.inf)
    both = np.isnan(expected) & np.isnan(answered)
    return np.where(both, 0.0, np.nan_to_num(np.abs(expected - answered), nan=np.inf))


def _version(export_dir: Path) -> Path:
    """Returns the version folder itself, or the newest of an export directory."""
    newest = exportdir.newest(export_dir)
    if newest is None or not (newest / exportdir.GOLDEN).is_file():
        raise errors.UserError(
            f"{newest or export_dir}: not an export: there is no {exportdir.GOLDEN} in it. "
            "`camformer-tf export` writes one."
        )
    return newest
