import subprocess
import sys

import psutil
import pytest

from camformer_tf.data import workers

PROGRAM = """
import time
from camformer_tf.data import workers

if __name__ == "__main__":
    with workers.pool(2) as run:
        print(sum(run(abs, range(-8, 0))), flush=True)
        time.sleep(600)
"""


@pytest.mark.parametrize("count", [1, 3])
def test_results_come_in_the_order_of_the_tasks(count):
    with workers.pool(count) as run:
        assert list(run(abs, range(-50, 0))) == list(range(50, 0, -1))


def test_tasks_are_taken_only_as_results_are(monkeypatch):
    taken = []
    with workers.pool(2) as run:
        results = run(abs, (taken.append(task) or task for task in range(100)))
        next(results)
        assert len(taken) < 10
        assert len(list(results)) == 99


def test_an_error_of_a_task_is_raised():
    with workers.pool(2) as run, pytest.raises(TypeError):
        list(run(abs, [1, "a", 2]))


def test_the_processes_of_one_that_is_killed_end(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    program = subprocess.Popen([sys.executable, tmp_path / "program.py"], stdout=subprocess.PIPE)
    assert program.stdout.readline() == b"36\n"
    children = psutil.Process(program.pid).children()
    program.kill()
    program.wait()
    assert len(children) >= 2  # and perhaps Python's own resource tracker
    assert psutil.wait_procs(children, timeout=20)[1] == []
