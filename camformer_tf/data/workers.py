"""A function over many tasks, here or in several processes, with results in the tasks' order."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

# glibc gives large arrays back to the system when they are freed and takes them anew, zeroed page
# by page, for the next block: half of the time of a worker whose arrays all have about 1 MB. Told
# so, it keeps them. NumPy's OpenBLAS starts a thread for each core, which no task here has a use
# for: half of the time of importing NumPy. Other systems and libraries ignore these names.
_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 28),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
    "OPENBLAS_NUM_THREADS": "1",
}

Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@contextlib.contextmanager
def pool(count: int) -> Iterator[Run]:
    """Yields a function like `map` that works in `count` processes; 1 works in this one.

    Tasks are taken as workers become free, two ahead for each, so that memory does not grow with
    their number. Processes start afresh (TensorFlow's threads do not survive a fork).
    """
    if count == 1:
        yield map
        return
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    context = multiprocessing.get_context("spawn")
    executor = concurrent.futures.ProcessPoolExecutor(count, context, _end_with_parent)

    def run(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        ahead = collections.deque()
        for task in tasks:
            ahead.append(executor.submit(function, task))
            if len(ahead) > 2 * count:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    try:
        yield run
    finally:
        executor.shutdown(cancel_futures=True)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone, even killed: by itself it would wait
    for its next task for ever.
    """

    def watch() -> None:
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
