"""A chief and two workers on this machine search together."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from camformer_tf import rundir
from camformer_tf.tuning import searchdir

pytestmark = pytest.mark.distributed
ROOT = Path(__file__).parents[2]
SEARCH = """
schema: 1
model:
  residual: false
  padding: 0
  blocks: [{filters: {choice: [4, 8]}, kernel: {choice: [3, 5, 7, 9]}}]
  dense: []
train: {epochs: 60, patience: 60, batch_size: 128}
"""


def worker_of(folder: Path) -> int:
    """Returns the process id of the worker that trains in a trial's folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:
            continue
        if "fit" in words and str(folder) in words:
            stat = (path.parent / "stat").read_text()
            return int(stat.rpartition(")")[2].split()[1])
    return 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_trials_are_distributed_and_a_dead_worker_continues_its_trial(tmp_path):
    recipe, out = tmp_path / "search.yaml", tmp_path / "out"
    recipe.write_text(SEARCH)
    command = [ROOT / "bin" / "tune-workers.sh", "2", recipe, ROOT / "tfrecords" / "sample", out]
    process = subprocess.Popen(
        [*command, "--trials", "4", "--precision", "float32"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        deadline, victim = time.monotonic() + 120, 0
        while not victim and time.monotonic() < deadline:
            for checkpoints in sorted((out / searchdir.FOLDER).glob(f"*/{rundir.CHECKPOINTS}")):
                victim = worker_of(checkpoints.parent)
                if victim:
                    os.kill(victim, signal.SIGKILL)
                    break
            time.sleep(0.1)
        assert victim
        output = process.communicate(timeout=240)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output
    with (out / searchdir.TRIALS).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["COMPLETED"] * 4, output
    assert {row["epochs"] for row in rows} == {"60"}
    assert (out / searchdir.BEST).is_file() and "4 trials" in output
