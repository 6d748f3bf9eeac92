import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from camformer_tf.data import workers

PROGRAM = Path(__file__).parents[1] / "support" / "programs" / "pool_of_two.py"


@pytest.mark.parametrize("count", [1, 3])
def test_results_come_in_the_order_of_the_tasks(count):
    with workers.pool(count) as mapper:
        assert list(mapper(abs, range(-50, 0))) == list(range(50, 0, -1))


def test_tasks_start_only_as_results_are_taken(monkeypatch):
    starts = []
    with workers.pool(2) as mapper:
        results = mapper(abs, (starts.append(task) or task for task in range(100)))
        next(results)
        assert len(starts) < 10
        assert len(list(results)) == 99


def test_an_error_of_a_task_is_raised():
    with workers.pool(2) as mapper, pytest.raises(TypeError):
        list(mapper(abs, [1, "a", 2]))


def test_the_workers_of_a_killed_process_end():
    program = subprocess.Popen([sys.executable, PROGRAM], stdout=subprocess.PIPE)
    assert program.stdout.readline() == b"36\n"
    children = psutil.Process(program.pid).children()
    program.kill()
    program.wait()
    assert len(children) >= 2  # and perhaps Python's own resource tracker
    assert psutil.wait_procs(children, timeout=20)[1] == []
