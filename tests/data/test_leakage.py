"""Leaks found with a filter are those that `family` finds in the whole library; its own tests judge
those against all pairs."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camformer_tf.data import family, leakage, spool, strands

FLANKS = b"TGCATTTTTTTCACATC", b"GGTTACGGCTGTT"


def variants(rng: np.random.Generator, count: int, changes: int, with_n: bool) -> np.ndarray:
    """Promoters, some of which are near copies of another, on either strand."""
    alphabet = np.frombuffer(b"ACGTN" if with_n else b"ACGT", np.uint8)
    cores = alphabet[rng.integers(0, len(alphabet), (count, 80))]
    complement = np.zeros(256, np.uint8)
    complement[list(b"ACGTN")] = list(b"TGCAN")
    for row in range(1, count):
        kind, parent = rng.integers(0, 4), rng.integers(0, row)
        if kind:
            cores[row] = cores[parent] if kind < 3 else complement[cores[parent, ::-1]]
            places = rng.choice(80, rng.integers(0, changes + 2), replace=False)
            cores[row, places] = rng.choice(alphabet, len(places))
    left, right = (np.tile(np.frombuffer(flank, np.uint8), (count, 1)) for flank in FLANKS)
    return np.hstack([left, cores, right])


def spool_parts(letters: np.ndarray, labels: np.ndarray, folder, sizes: list[int]):
    """Parts of a spool file with a gap before each group."""
    empty = np.empty(0, int)
    rows = spool.SpooledRows(folder / "rows", letters.shape[1], False, empty, empty)
    starts, offset = [], 0
    data = np.zeros(len(letters) + len(sizes), rows.type)
    for i, size in enumerate(sizes):
        starts.append(offset + i + 1)
        data["letters"][starts[-1] :][:size] = letters[offset : offset + size]
        offset += size
    data.tofile(rows.path)
    np.save(folder / "labels.npy", labels)
    rows = dataclasses.replace(rows, starts=np.array(starts), counts=np.array(sizes))
    return list(spool.Spool(rows, np.zeros(1)).parts(folder / "labels.npy"))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    mismatches=st.integers(0, 5),
    share=st.floats(0, 1),
    with_n=st.booleans(),
    bits=st.sampled_from([0, 64]),
)
def test_leaks_are_those_of_the_whole_library(
    tmp_path_factory, seed, mismatches, share, with_n, bits
):
    rng = np.random.default_rng(seed)
    letters = variants(rng, rng.integers(2, 300), mismatches, with_n)
    labels = (rng.random(len(letters)) < share).astype(np.uint8) * rng.integers(
        1, 3, len(letters), np.uint8
    )
    cuts = np.sort(rng.integers(0, len(letters) + 1, 7))
    sizes = np.diff([0, *cuts, len(letters)]).tolist()
    folder = tmp_path_factory.mktemp("spool")
    library = strands.pack_library(letters)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leakage, "_BITS", bits)  # 0: a filter that often passes a sequence wrongly
        leaks = leakage.leaks(
            spool_parts(letters, labels, folder, sizes),
            library.columns,
            folder,
            map,
            mismatches=mismatches,
        )
    expected = family.leaks(library, labels == 0, mismatches=mismatches)
    np.testing.assert_array_equal(leaks, expected[labels != 0])
    assert sorted(path.name for path in folder.iterdir()) == ["labels.npy", "rows"]


def test_hardly_any_random_sequence_passes_the_filter(tmp_path, monkeypatch):
    letters = variants(np.random.default_rng(0), 2, 0, False)
    rng = np.random.default_rng(1)
    letters = np.repeat(letters[:1], 20_000, axis=0)
    letters[:, 17:97] = rng.choice(np.frombuffer(b"ACGT", np.uint8), (20_000, 80))
    labels = (np.arange(20_000) % 10 == 0).astype(np.uint8)
    candidates = []

    def count(library, training, **_):
        candidates.append(training.sum())
        return training

    monkeypatch.setattr(family, "leaks", count)
    parts = spool_parts(letters, labels, tmp_path, [5_000] * 4)
    leakage.leaks(parts, strands.pack_library(letters).columns, tmp_path, map)
    assert candidates[0] < 0.1 * 18_000
