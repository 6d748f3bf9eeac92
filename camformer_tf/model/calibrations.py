"""What maps a model's predictions to another scale and to intervals, stored as a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from camformer_tf import errors, files, rundir, wording
from camformer_tf.metrics import conformal

SCALES = ("model", "affine", "isotonic")

# The fields that have another name in the file.
_KEYS = {"held_out": "measured", "minimum": "least", "maximum": "most"}


@dataclasses.dataclass(frozen=True)
class Scale:
    """A rising map from the model's scale to another, through points (x, y), linear in between.

    Beyond the ends it is linear too ("affine") or constant ("isotonic"). "model" changes nothing.
    """

    kind: str = "model"
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Returns values of any shape on the scale; NaN stays NaN."""
        if self.kind == "model":
            return values
        if self.kind == "affine":
            slope = (self.y[1] - self.y[0]) / (self.x[1] - self.x[0])
            return self.y[0] + slope * (values - self.x[0])
        inner = np.interp(values, self.x, self.y)
        return np.where(np.isnan(values), np.nan, inner)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The scale and the intervals of a model, with their coverage on held-out sequences.

    Attributes:
        members: the sha256 of the file of each member of the model.
        scale: maps predictions to the scale of the intervals.
        band: gives the ends of an interval.
        held_out: the coverage on sequences that were used for nothing else.
        deciles: that coverage by tenths of the measured expression.
    """

    members: tuple[str, ...]
    scale: Scale
    band: conformal.Band
    held_out: conformal.Coverage
    deciles: tuple[conformal.Coverage, ...]

    def summary(self) -> str:
        """Returns a table of the coverage for a person."""
        rows = [("all", self.held_out), *((str(i), d) for i, d in enumerate(self.deciles, 1))]
        head = f"{'tenth':>5} {'expression':>19} {'sequences':>9} {'coverage':>8} {'width':>8}"
        lines = [
            f"{name:>5} {row.minimum:>9.3f} {row.maximum:>9.3f} {row.n:>9,} {row.coverage:>8.3f} "
            f"{row.width:>8.3f}"
            for name, row in rows
        ]
        title = (
            f"intervals of coverage {self.band.coverage:g} from "
            f"{wording.count(self.band.n, 'sequence')}, scale {self.scale.kind}; "
            f"measured on {wording.count(self.held_out.n, 'held-out sequence')}:"
        )
        return "\n".join([title, head, *lines])


def combine(predictions: np.ndarray, scale: Scale) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the mean of M members' predictions on a scale, and their spread on it.

    Args:
        predictions: float64 (M, N).
        scale: the scale that was fitted to the mean.

    Returns:
        The mean, float64 (N,), and the standard deviation of a sample (n - 1), float64 (N,); None
        for one member.
    """
    mean = scale(predictions.mean(axis=0))  # (N,); the scale was fitted to the mean
    spread = scale(predictions).std(axis=0, ddof=1) if len(predictions) > 1 else None
    return mean, spread


def answer(predictions: np.ndarray, calibration: Calibration | None) -> dict[str, np.ndarray]:
    """Returns the outputs for M members' predictions, float64 (M, N).

    They are `expression`, of several members `spread`, and with a calibration `lower` and `upper`:
    (N,) each.
    """
    mean, spread = combine(predictions, calibration.scale if calibration else Scale())
    outputs = {"expression": mean}
    if spread is not None:
        outputs["spread"] = spread
    if calibration:
        outputs["lower"], outputs["upper"] = calibration.band.ends(mean, spread)
    return outputs


def fit_scale(kind: str, prediction: np.ndarray, expression: np.ndarray) -> Scale:
    """Returns the map from predictions to measured values, (N,) each, by least squares.

    Raises:
        errors.UserError: all predictions are equal, or they fall where the measured values rise.
    """
    if kind == "model":
        return Scale()
    if len(prediction) < 2 or not np.ptp(prediction):
        raise errors.UserError(f"--scale {kind}: needs sequences with different predictions.")
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
    # Equal predictions become one point: their mean expression, weighted by their number.
    x, first, counts = np.unique(prediction[order], return_index=True, return_counts=True)
    means = np.add.reduceat(expression[order], first) / counts
    y = optimize.isotonic_regression(means, weights=counts.astype(float)).x
    # Within a constant stretch only its two ends are needed.
    ends = np.flatnonzero(np.r_[True, y[1:] != y[:-1]] | np.r_[y[1:] != y[:-1], True])
    return Scale(kind, tuple(x[ends].tolist()), tuple(y[ends].tolist()))


def fingerprints(members: Sequence[Path]) -> tuple[str, ...]:
    """Returns the sha256 of the file of each model: a run's best, an export's weights."""
    digests = []
    for path in members:
        candidates = [path / rundir.BEST, *sorted(path.rglob("variables.data-*"))]
        file = next((f for f in candidates if f.is_file()), path)
        digests.append(hashlib.sha256(file.read_bytes()).hexdigest())
    return tuple(digests)


def save(calibration: Calibration, path: Path, *, overwrite: bool = False) -> None:
    """Writes a calibration."""
    values = dataclasses.asdict(  # the factory makes the dictionaries of inner dataclasses too
        calibration, dict_factory=lambda items: {_KEYS.get(k, k): v for k, v in items}
    )
    with files.text_output(path, overwrite=overwrite) as file:
        file.write(json.dumps(values, indent=1) + "\n")


def load(path: Path, members: Sequence[Path]) -> Calibration:
    """Returns a calibration of these models.

    Raises:
        errors.UserError: the file is not a calibration, or it is of other models.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        calibration = Calibration(
            members=tuple(values["members"]),
            scale=Scale(
                values["scale"]["kind"], tuple(values["scale"]["x"]), tuple(values["scale"]["y"])
            ),
            band=conformal.Band(**values["band"]),
            held_out=_coverage(values["measured"]),
            deciles=tuple(map(_coverage, values["deciles"])),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.UserError(
            f"{path}: not a calibration ({error}). `camformer-tf calibrate` writes one."
        ) from error
    if sorted(calibration.members) != sorted(fingerprints(members)):
        raise errors.UserError(
            f"{path}: is of other models than these {len(members)} (it is of "
            f"{len(calibration.members)}). Calibrate again: camformer-tf calibrate MODEL... INPUT."
        )
    return calibration


def _coverage(values: dict[str, float]) -> conformal.Coverage:
    return conformal.Coverage(
        n=int(values["n"]),
        coverage=values["coverage"],
        width=values["width"],
        minimum=values["least"],
        maximum=values["most"],
    )
