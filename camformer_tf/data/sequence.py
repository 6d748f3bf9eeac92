"""The letters of a sequence, and one table for each encoding of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ALPHABET = "ACGTN"

INTEGER_BIT = 128  # a letter's eighth bit, set in training where the expression is an integer

# Rows A, C, G, T, N. Source: Bornelov-lab/Camformer@feaa529, base/utils.py:215-320, where the names
# are onehot, onehotWithN, onehotWithP, onehotWithInt and onehotWithBoth; the last channel of
# onehotWithP and onehotWithBoth says purine (A, G).
_ROWS: dict[str, list[tuple[float, ...]]] = {
    "onehot": [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, 0, 0, 0)],
    "onehot_n": [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0.25,) * 4],
    "onehot_purine": [
        (1, 0, 0, 0, 1),
        (0, 1, 0, 0, 0),
        (0, 0, 1, 0, 1),
        (0, 0, 0, 1, 0),
        (0.25, 0.25, 0.25, 0.25, 0.5),
    ],
    "onehot_integer": [
        (1, 0, 0, 0, 1),
        (0, 1, 0, 0, 1),
        (0, 0, 1, 0, 1),
        (0, 0, 0, 1, 1),
        (0.25, 0.25, 0.25, 0.25, 1),
    ],
    "onehot_integer_purine": [
        (1, 0, 0, 0, 1, 1),
        (0, 1, 0, 0, 1, 0),
        (0, 0, 1, 0, 1, 1),
        (0, 0, 0, 1, 1, 0),
        (0.25, 0.25, 0.25, 0.25, 1, 0.5),
    ],
}
ENCODINGS = tuple(_ROWS)
_INTEGER_CHANNEL = 4  # of the two encodings that have one


def channels(encoding: str) -> int:
    """Returns the number of channels C of an encoding: 4, 5 or 6."""
    return len(_ROWS[encoding][0])


def integer_channel(encoding: str) -> int | None:
    """Returns the channel that says whether the expression is an integer, or None without one.

    It is 0 where the expression is an integer, 1 where it is not or is unknown.
    """
    return _INTEGER_CHANNEL if encoding.startswith("onehot_integer") else None


def table(encoding: str) -> np.ndarray:
    """Returns the channels of every byte, for letters of either case: float32 (256, C).

    A byte that is not a letter of a sequence has the channels of N. The integer channel, if there
    is one, is 1, as everywhere outside training.
    """
    rows = np.tile(np.array(_ROWS[encoding][-1], np.float32), (256, 1))  # (256, C)
    for letter, row in zip(ALPHABET, _ROWS[encoding], strict=True):
        rows[[ord(letter), ord(letter.lower())]] = row
    return rows


def training_table(encoding: str) -> np.ndarray:
    """Returns `table` with rows for letters that have INTEGER_BIT set: float32 (256, C).

    Their integer channel is 0; their other channels are those of the letter.
    """
    rows = table(encoding)  # (256, C)
    rows[INTEGER_BIT:] = rows[:INTEGER_BIT]
    channel = integer_channel(encoding)
    if channel is not None:
        rows[INTEGER_BIT:, channel] = 0
    return rows


def letters(sequences: Sequence[str]) -> np.ndarray:
    """Returns N sequences of one length L as their letters: uint8 (N, L), ASCII upper case.

    Raises:
        ValueError: lengths differ, or a letter is outside ACGTN (either case).
    """
    lengths = {len(sequence) for sequence in sequences}
    if len(lengths) != 1:
        raise ValueError(f"expected sequences of one length, received lengths {sorted(lengths)}")
    text = "".join(sequences).upper()
    if strange := set(text) - set(ALPHABET):
        raise ValueError(f"expected letters {ALPHABET}, received {sorted(strange)}")
    return np.frombuffer(text.encode("ascii"), np.uint8).reshape(len(sequences), lengths.pop())


def text(letters: np.ndarray) -> list[str]:
    """Returns letters, uint8 (N, L), as N strings."""
    length = letters.shape[1]
    string = np.ascontiguousarray(letters).tobytes().decode("ascii")  # N * L characters
    return [string[start : start + length] for start in range(0, len(string), length)]


def encode(sequences: Sequence[str], encoding: str = "onehot") -> np.ndarray:
    """Returns sequences as the channels the model reads: float32 (N, L, C).

    Args:
        sequences: N strings of one length L (110 for the published models), letters ACGTN.
        encoding: "onehot" (C = 4, N all zeros), "onehot_n" (C = 4, N is 0.25 four times),
            "onehot_purine" (C = 5: as onehot_n, then purine 1, pyrimidine 0, N 0.5),
            "onehot_integer" (C = 5: as onehot_n, then 1) or "onehot_integer_purine" (C = 6: as
            onehot_n, then 1, then purine).
    """
    return table(encoding)[letters(sequences)]  # (256, C)[(N, L)] → (N, L, C)
