"""What turns an ensemble's predictions into another scale and into intervals, kept as a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from camformer_tf import errors, files, rundir
from camformer_tf.metrics import conformal

SCALES = ("model", "affine", "isotonic")


@dataclasses.dataclass(frozen=True)
class Scale:
    """A rising map from the model's scale to another: through points (x, y), in between straight;
    beyond the ends straight on ("affine") or level ("isotonic"). "model" changes nothing.
    """

    kind: str = "model"
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def __call__(self, values: np.ndarray) -> np.ndarray:
        if self.kind == "model":
            return values
        if self.kind == "affine":
            slope = (self.y[1] - self.y[0]) / (self.x[1] - self.x[0])
            return self.y[0] + slope * (values - self.x[0])
        mapped = np.interp(values, self.x, self.y)
        return np.where(np.isnan(values), np.nan, mapped)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Of which models (the sha256 of each one's file), on what scale, with which band; and what was
    measured on examples that were used for neither.
    """

    members: tuple[str, ...]
    scale: Scale
    band: conformal.Band
    measured: conformal.Coverage
    deciles: tuple[conformal.Coverage, ...]

    def summary(self) -> str:
        """Returns for a person what was measured."""
        rows = [("all", self.measured), *((str(i), d) for i, d in enumerate(self.deciles, 1))]
        head = f"{'tenth':>5} {'expression':>19} {'sequences':>9} {'coverage':>8} {'width':>8}"
        lines = [
            f"{name:>5} {one.least:>9.3f} {one.most:>9.3f} {one.n:>9,} {one.coverage:>8.3f} "
            f"{one.width:>8.3f}"
            for name, one in rows
        ]
        told = (
            f"intervals of coverage {self.band.coverage:g} from {self.band.n:,} sequences, scale "
            f"{self.scale.kind}; measured on {self.measured.n:,} others:"
        )
        return "\n".join([told, head, *lines])


def combine(each: np.ndarray, scale: Scale) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the mean of M models' predictions, float64 (M, N), on a scale, and the spread that
    these have on it (None of one model).
    """
    mean = scale(each.mean(axis=0))  # for the mean it was fitted
    return mean, scale(each).std(axis=0, ddof=1) if len(each) > 1 else None


def answer(each: np.ndarray, known: Calibration | None) -> dict[str, np.ndarray]:
    """Returns what M models' predictions, float64 (M, N), come to: `expression`, of several models
    `spread`, and with a calibration `lower` and `upper`, (N,) each.
    """
    mean, spread = combine(each, known.scale if known else Scale())
    found = {"expression": mean}
    if spread is not None:
        found["spread"] = spread
    if known:
        found["lower"], found["upper"] = known.band.ends(mean, spread)
    return found


def fit_scale(kind: str, prediction: np.ndarray, expression: np.ndarray) -> Scale:
    """Returns the map from predictions to measured values, (N,) each, by least squares.

    Raises:
        errors.UserError: no two predictions differ, or they fall where the measured values rise.
    """
    if kind == "model":
        return Scale()
    if len(prediction) < 2 or not np.ptp(prediction):
        raise errors.UserError(f"--scale {kind}: needs sequences of different predictions.")
    if kind == "affine":
        slope, intercept = np.polyfit(prediction, expression, 1)
        if slope <= 0:
            raise errors.UserError(
                f"--scale affine: measured values fall where predictions rise (slope {slope:g}). "
                "Are they of the same sequences, and of expression?"
            )
        return Scale(kind, (0.0, 1.0), (float(intercept), float(intercept + slope)))
    from scipy import optimize

    order = np.argsort(prediction, kind="stable")
    x, first, counts = np.unique(prediction[order], return_index=True, return_counts=True)
    means = np.add.reduceat(expression[order], first) / counts
    y = optimize.isotonic_regression(means, weights=counts.astype(float)).x
    ends = np.flatnonzero(np.r_[True, y[1:] != y[:-1]] | np.r_[y[1:] != y[:-1], True])
    return Scale(kind, tuple(x[ends].tolist()), tuple(y[ends].tolist()))


def fingerprints(members: Sequence[Path]) -> tuple[str, ...]:
    """Returns the sha256 of the file of each model: a run's best, an export's weights."""
    found = []
    for path in members:
        inside = [path / rundir.BEST, *sorted(path.rglob("variables.data-*"))]
        file = next((f for f in inside if f.is_file()), path)
        found.append(hashlib.sha256(file.read_bytes()).hexdigest())
    return tuple(found)


def save(found: Calibration, path: Path, *, overwrite: bool = False) -> None:
    """Writes a calibration."""
    with files.new_file(path, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(found), indent=1) + "\n")


def load(path: Path, members: Sequence[Path]) -> Calibration:
    """Returns a calibration of these models.

    Raises:
        errors.UserError: there is none, or it is of other models.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        found = Calibration(
            members=tuple(kept["members"]),
            scale=Scale(
                kept["scale"]["kind"], tuple(kept["scale"]["x"]), tuple(kept["scale"]["y"])
            ),
            band=conformal.Band(**kept["band"]),
            measured=conformal.Coverage(**kept["measured"]),
            deciles=tuple(conformal.Coverage(**one) for one in kept["deciles"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.UserError(
            f"{path}: is no calibration ({error}). `camformer-tf calibrate` writes one."
        ) from error
    if sorted(found.members) != sorted(fingerprints(members)):
        raise errors.UserError(
            f"{path}: is of other models than these {len(members)} (it is of "
            f"{len(found.members)}). Calibrate again: camformer-tf calibrate MODEL... INPUT."
        )
    return found
