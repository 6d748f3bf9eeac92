"""What each member of a model predicts of text, FASTA, tables and records, part by part."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from camformer_tf import remote
from camformer_tf.data import rows
from camformer_tf.model import inference


def member_predictions(
    predictor: inference.Model,
    source: remote.AnyPath,
    split: str | None = None,
    columns: dict[str, str] | None = None,
) -> Iterator[tuple[rows.Rows, np.ndarray]]:
    """Yields the rows of a source, part by part, and what each of M members predicts.

    The predictions are float64 (M, N), NaN where a sequence cannot be read.

    Args:
        predictor: the model.
        source: text, FASTA, a table or a records directory: see `rows.from_source`.
        split: the split of a records directory.
        columns: see `rows.read`; by default as the header names them.

    Raises:
        errors.UserError: a source that cannot be read, or a split or columns that it does not have.
    """
    for part in rows.from_source(source, split, columns, predictor.rule):
        yield predictor.member_predictions(part)
