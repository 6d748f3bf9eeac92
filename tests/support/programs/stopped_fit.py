"""Trains smoke and stops itself by SIGTERM in a stage: STAGE RECORDS RUN_DIR [OVERRIDES…]."""

import os
import signal
import sys

import camformer_tf as cf
from camformer_tf.training import loop

stage, records, run_dir, *overrides = sys.argv[1:]


def stop(name: str, count: int, total: int) -> None:
    if (name, count) == (stage, 7 * 64):
        os.kill(os.getpid(), signal.SIGTERM)


try:
    cf.fit(
        "smoke", records, run_dir, overrides=overrides, precision="float32", data="stream",
        resume=True, report=stop,
    )  # fmt: skip
except loop.TrainingInterrupt:
    print("stopped")
