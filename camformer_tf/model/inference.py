"""A model that predicts sequences: one type for runs, replicates, .keras files and exports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from camformer_tf import errors, files, progress, recipe, rundir
from camformer_tf.data import rows, rules, sequence
from camformer_tf.model import calibrations, engines

_PART = 1 << 14  # sequences between two reports
_IS_LETTER = np.zeros(256, bool)  # the bytes that letters may have: either case
_IS_LETTER[list((sequence.ALPHABET + sequence.ALPHABET.lower()).encode())] = True


class Model:
    """One or several members that predict expression together, perhaps calibrated.

    The prediction of several members is their mean, and `spread` their standard deviation (of a
    sample, n - 1). With a calibration both are on its scale, and `lower` and `upper` are the ends
    of its intervals. Predictions are float32.

    Attributes:
        members: what computes: a network, an export or a served model each.
        rule: which sequences the model can read.
        calibration: scale and intervals; None where there are none.
    """

    def __init__(
        self,
        members: Sequence[engines.Engine],
        calibration: calibrations.Calibration | None = None,
        name: str | None = None,
    ) -> None:
        """Makes a model of members that read the same sequences.

        Args:
            members: one or more.
            calibration: of these members.
            name: what `repr` calls the model; by default the names of its members.

        Raises:
            errors.UserError: there is no member, or they read other sequences.
        """
        if not members:
            raise errors.UserError("no model: name one run, .keras file or export, or several.")
        check_rules([(member.name, member.rule) for member in members])
        self.members = tuple(members)
        self.calibration = calibration
        self.rule = members[0].rule
        self._name = name or ", ".join(member.name for member in members)

    def __repr__(self) -> str:
        count = len(self.members)
        # An export or a server may combine several networks and be calibrated, which is not known
        # here, so nothing is shown.
        is_open = all(member.parameters is not None for member in self.members)
        facts = [f"length {self.rule.length}"]
        if is_open or count > 1:
            facts.append(f"{count} member{'s' * (count > 1)}")
        encodings = {member.encoding for member in self.members} - {None}
        if encodings:
            facts.insert(0, "encoding " + ", ".join(sorted(map(str, encodings))))
        if parameters := [m.parameters for m in self.members if m.parameters is not None]:
            facts.append(f"{parameters[0]:,} parameters" + " each" * (count > 1))
        if is_open or self.calibration:
            facts.append("calibrated" if self.calibration else "not calibrated")
        return f"<Model {self._name}: {', '.join(facts)}>"

    def predict(self, sequences: Any, *, report: progress.Report | None = None) -> pd.DataFrame:
        """Predicts raw sequences: either case, U for T, white space around them ignored.

        Args:
            sequences: one string, or a list, tuple, NumPy array or pandas Series of N strings, or
                of bytes.
            report: receives the progress; by default a bar in a notebook or terminal where there
                are many sequences.

        Returns:
            A table of N rows in order, with the index of a Series: `sequence` as given;
            `prediction` float32, NaN where the sequence cannot be read; `spread`, `lower` and
            `upper` float32, where the model has them; and `reason`, why a sequence cannot be read,
            None where it can.

        Raises:
            errors.UserError: the input is of another type, or holds something else than strings.
        """
        texts, index = _texts(sequences)
        show = progress.auto(report) if len(texts) > _PART else report or progress.silent
        parts = []
        for start in range(0, max(len(texts), 1), _PART):  # one part at least, for its columns
            raw = [text.strip().encode("utf-8", "replace") for text in texts[start : start + _PART]]
            part, answer = self.answer(rows.from_sequences(raw, None, self.rule))
            parts.append({**answer, "reason": np.array(part.reasons, object)})
            show("predicting", start + len(raw), len(texts))
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        table: dict[str, pd.Series] = {"sequence": pd.Series(texts, index, dtype=object)}
        for name in [name for name in engines.OUTPUTS if name in columns]:
            title = "prediction" if name == "expression" else name
            table[title] = pd.Series(columns[name].astype(np.float32), index)
        table["reason"] = pd.Series(columns["reason"], index, dtype=object)  # else None is NaN
        return pd.DataFrame(table, index)

    def predict_letters(self, letters: np.ndarray) -> np.ndarray:
        """Predicts sequences as letters; of several members, the mean on the calibrated scale.

        Args:
            letters: uint8 (N, L), the ASCII codes of A, C, G, T and N in either case, L the
                model's length. The number of N is not limited here.

        Returns:
            float32 (N,), the column `prediction` of `predict`.

        Raises:
            errors.UserError: another dtype or shape, or another letter.
        """
        letters = check_letters(letters, self.rule.length)
        texts = sequence.text(letters) if len(letters) else []
        _, answer = self.answer(rows.Rows(texts, letters, None, [None] * len(letters)))
        return answer["expression"].astype(np.float32)

    def answer(self, part: rows.Rows) -> tuple[rows.Rows, engines.Answer]:
        """Returns N rows and the outputs for them: name, of `engines.OUTPUTS`, → (N,).

        An output is NaN where a row has a reason. One member without a calibration answers with
        all of its own outputs, as an export of an ensemble has several.
        """
        if len(self.members) == 1 and self.calibration is None:
            return self.members[0].answer(part)
        part, predictions = self.member_predictions(part)
        return part, calibrations.answer(predictions, self.calibration)

    def member_predictions(self, part: rows.Rows) -> tuple[rows.Rows, np.ndarray]:
        """Returns N rows and what each of M members predicts for them: float64 (M, N)."""
        predictions = []
        for member in self.members:
            part, answer = member.answer(part)
            predictions.append(answer["expression"])
        return part, np.stack(predictions).astype(np.float64)


def load(
    paths: files.PathLike | Sequence[files.PathLike],
    *,
    calibration: files.PathLike | None = None,
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
    precision: str = "float32",
) -> Model:
    """Returns the model at one path, or that of several together.

    Args:
        paths: run directories, runs of replicates, .keras files or export directories.
        calibration: a calibration of these models; by default the one in the run, if there is one.
        batch_size: the number of sequences that are computed together.
        precision: the policy of the convolutions, float32 or mixed_bfloat16; an export has float32
            only.

    Raises:
        errors.UserError: a path where there is no model, models that read other sequences, or
            another ensemble's calibration.
    """
    folders = _folders(paths)
    file = None if calibration is None else Path(calibration)
    fitted_calibration = find_calibration(folders, file)
    members = load_members(folders, batch_size, precision)
    return Model(members, fitted_calibration, ", ".join(map(str, folders)))


def load_members(
    paths: Sequence[Path],
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
    precision: str = "float32",
) -> list[engines.Engine]:
    """Returns what computes for each of several models; arguments and errors as of `load`."""
    return [engines.load(path, batch_size, precision) for path in member_paths(paths)]


def from_network(
    network: keras.Model,
    settings: recipe.Recipe,
    *,
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
    precision: str = "float32",
) -> Model:
    """Returns a network of a recipe as a model, with its weights of this moment."""
    return Model([engines.from_network(network, settings, precision, batch_size)])


def member_paths(paths: Sequence[Path]) -> list[Path]:
    """Returns models, each run of replicates as the runs in it.

    Raises:
        errors.UserError: a replicate that is not finished.
    """
    members: list[Path] = []
    for path in paths:
        runs = rundir.replicates(path)
        if open_runs := [run.name for run in runs if not (run / rundir.RUN).is_file()]:
            raise errors.UserError(
                f"{path}: not finished: {', '.join(open_runs)}. Continue with fit --resume, or "
                "name the finished ones as models."
            )
        members += runs or [path]
    return members


def find_calibration(
    paths: Sequence[Path], file: Path | None = None
) -> calibrations.Calibration | None:
    """Returns the calibration of models: that in a file, else that in the one run, if it has one.

    Raises:
        errors.UserError: it is of other models.
    """
    default = paths[0] / rundir.CALIBRATION if len(paths) == 1 else None
    path = file or (default if default and default.is_file() else None)
    return calibrations.load(path, member_paths(paths)) if path else None


def check_rules(members: Sequence[tuple[str, rules.Rule]]) -> None:
    """Raises UserError unless all members, (name, rule) each, read the same sequences."""
    for name, rule in members:
        if rule != members[0][1]:
            raise errors.UserError(
                f"{name}: reads {rule}, the first model {members[0][1]}. Use them one by one."
            )


def check_letters(letters: np.ndarray, length: int) -> np.ndarray:
    """Returns letters, uint8 (N, length), of A, C, G, T and N in either case.

    Raises:
        errors.UserError: another dtype, shape or letter.
    """
    if not isinstance(letters, np.ndarray) or letters.dtype != np.uint8 or letters.ndim != 2:
        kind = (
            f"{letters.dtype} of shape {letters.shape}"
            if isinstance(letters, np.ndarray)
            else type(letters).__name__
        )
        raise errors.UserError(
            f"letters: expected an array uint8 (N, {length}) of ASCII codes, found {kind}. "
            "Use predict for strings."
        )
    if letters.shape[1] != length:
        raise errors.UserError(
            f"letters: the model reads {length} letters, found shape {letters.shape}."
        )
    if not _IS_LETTER[letters].all():
        row, position = np.argwhere(~_IS_LETTER[letters])[0]
        code = int(letters[row, position])
        text = repr(chr(code)) if code < 128 else f"code {code}"
        raise errors.UserError(
            f"letters: {text} at sequence {row}, position {position} (both from 0), is not one of "
            "A, C, G, T, N."
        )
    return letters


def _folders(paths: files.PathLike | Sequence[files.PathLike]) -> list[Path]:
    """Returns one path or several as a list."""
    items = paths if isinstance(paths, Sequence) and not isinstance(paths, str) else [paths]
    return [Path(path) for path in items]


def _texts(sequences: Any) -> tuple[list[str], pd.Index | None]:
    """Returns N strings, and the index of a Series.

    Raises:
        errors.UserError: the input is of another type, or an item is not a string.
    """
    if isinstance(sequences, str):
        return [sequences], None
    is_list = isinstance(sequences, list | tuple | pd.Series | pd.Index)
    if not is_list and not (isinstance(sequences, np.ndarray) and sequences.ndim == 1):
        shape = f" of shape {np.shape(sequences)}" if hasattr(sequences, "shape") else ""
        raise errors.UserError(
            "sequences: expected a string, or a list, tuple, one-dimensional array or Series of "
            f"strings, found {type(sequences).__name__}{shape}."
        )
    texts = [s.decode("ascii", "replace") if isinstance(s, bytes) else s for s in sequences]
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise errors.UserError(
                f"sequences: expected strings, found {text!r} ({type(text).__name__}) at position "
                f"{position} (from 0)."
            )
    return [str(text) for text in texts], sequences.index if hasattr(sequences, "iloc") else None
