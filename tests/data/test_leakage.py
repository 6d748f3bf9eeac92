"""Leaks found by way of a filter are those that `family` finds in the whole library, which its own
tests judge against all pairs."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camformer_tf.data import family, leakage, spool, strands

FLANKS = b"TGCATTTTTTTCACATC", b"GGTTACGGCTGTT"


def variants(rng: np.random.Generator, count: int, changes: int, with_n: bool) -> np.ndarray:
    """Promoters, some of which are others' near copies, on either strand."""
    alphabet = np.frombuffer(b"ACGTN" if with_n else b"ACGT", np.uint8)
    cores = alphabet[rng.integers(0, len(alphabet), (count, 80))]
    turned = np.zeros(256, np.uint8)
    turned[list(b"ACGTN")] = list(b"TGCAN")
    for row in range(1, count):
        kind, parent = rng.integers(0, 4), rng.integers(0, row)
        if kind:
            cores[row] = cores[parent] if kind < 3 else turned[cores[parent, ::-1]]
            changed = rng.choice(80, rng.integers(0, changes + 2), replace=False)
            cores[row, changed] = rng.choice(alphabet, len(changed))
    left, right = (np.tile(np.frombuffer(flank, np.uint8), (count, 1)) for flank in FLANKS)
    return np.hstack([left, cores, right])


def parts_of(letters: np.ndarray, labels: np.ndarray, folder, sizes: list[int]):
    """Parts of a spool file with a gap before each run."""
    rows = spool.Rows(folder / "rows", letters.shape[1], False, np.empty(0, int), np.empty(0, int))
    starts, done = [], 0
    data = np.zeros(len(letters) + len(sizes), rows.type)
    for i, size in enumerate(sizes):
        starts.append(done + i + 1)
        data["letters"][starts[-1] :][:size] = letters[done : done + size]
        done += size
    data.tofile(rows.path)
    np.save(folder / "labels.npy", labels)
    made = spool.Spool(np.zeros(1))
    made.rows = dataclasses.replace(rows, starts=np.array(starts), counts=np.array(sizes))
    return list(made.parts(folder / "labels.npy"))


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
    library = strands.of(letters)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leakage, "_BITS", bits)  # 0: a filter that is often wrong
        found = leakage.leaked(
            parts_of(letters, labels, folder, sizes),
            library.columns,
            folder,
            map,
            mismatches=mismatches,
        )
    expected = family.leaked(library, labels == 0, mismatches=mismatches)
    np.testing.assert_array_equal(found, expected[labels != 0])
    assert sorted(path.name for path in folder.iterdir()) == ["labels.npy", "rows"]


def test_hardly_any_random_sequence_passes_the_filter(tmp_path, monkeypatch):
    letters = variants(np.random.default_rng(0), 2, 0, False)
    rng = np.random.default_rng(1)
    letters = np.repeat(letters[:1], 20_000, axis=0)
    letters[:, 17:97] = rng.choice(np.frombuffer(b"ACGT", np.uint8), (20_000, 80))
    labels = (np.arange(20_000) % 10 == 0).astype(np.uint8)
    compared = []
    monkeypatch.setattr(
        family, "leaked", lambda library, training, **_: compared.append(training.sum()) or training
    )
    parts = parts_of(letters, labels, tmp_path, [5_000] * 4)
    leakage.leaked(parts, strands.of(letters).columns, tmp_path, map)
    assert compared[0] < 0.1 * 18_000
