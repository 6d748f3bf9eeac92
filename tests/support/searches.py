"""A search space and trials of it that were never trained."""

from pathlib import Path

import numpy as np

from camformer_tf.tuning import ranking, space

TEXT = """
schema: 1
model:
  residual: false
  blocks: {count: {int: [1, 2]}, each: {filters: {choice: [4, 8, 16]}, kernel: {int: [3, 9]}}}
  dense: []
train: {learning_rate: {log: [0.0001, 0.01]}, loss: {choice: [l1, mse]}}
"""


def search_space(folder: Path) -> space.Space:
    """Returns a small space."""
    path = folder / "my search.yaml"
    path.write_text(TEXT)
    return space.load(path)


def trials(search_space: space.Space, count: int) -> ranking.Ranking:
    """Returns complete trials and a failed one.

    The score depends on the learning rate, and half as much on the filters.
    """
    rng, rows = np.random.default_rng(4), []
    for i in range(count):
        values = {
            "model.blocks.count": int(rng.integers(1, 3)),
            "model.blocks.0.filters": int(rng.choice([4, 8, 16])),
            "model.blocks.0.kernel": int(rng.integers(3, 10)),
            "train.learning_rate": float(10 ** rng.uniform(-4, -2)),
            "train.loss": str(rng.choice(["l1", "mse"])),
        }
        if values["model.blocks.count"] == 2:
            values |= {"model.blocks.1.filters": 4, "model.blocks.1.kernel": 3}
        score = 1 + (np.log10(values["train.learning_rate"]) + 4) / 4
        score += 0.25 * (values["model.blocks.0.filters"] == 16)
        rows.append(
            ranking.Trial(f"{i:02d}", "COMPLETED", score, score, score / 2, score / 2, 1.0, 5,
                          1000 * (i + 1), rng.uniform(50, 500), 3.0, False, False, "", values)
        )  # fmt: skip
    failure = ranking.Trial("99", "FAILED", *[None] * 6, 1, None, None, False, False,
                            "it <died>", values)  # fmt: skip
    return ranking.rank([failure, *rows], "max", list(search_space.ranges))
