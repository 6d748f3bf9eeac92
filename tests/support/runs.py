"""Runs as `fit` leaves them, for tests that need no training."""

from camformer_tf import rundir


def run(**values) -> rundir.Run:
    """Returns the contents of a run.json of a small run, with some values changed."""
    defaults = {
        "versions": {"camformer_tf": "0.1.0", "keras": "3.15.1"},
        "devices": ["CPU:0"],
        "strategy": "one",
        "workers": 1,
        "precision": "float32",
        "data": "memory",
        "parameters": 59073,
        "records_manifest_sha256": "ab" * 32,
        "epochs": 5,
        "best_epoch": 3,
        "best_score": 1.25,
        "best_pearson": 0.63,
        "best_spearman": 0.62,
        "best_loss": 1.5,
        "stop_reason": "all epochs done",
        "seconds": 12.3,
        "sequences_per_second": 15000.4,
    }
    return rundir.Run(**{**defaults, **values})
