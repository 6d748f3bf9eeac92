"""Only for `records.build_records`: a function over many tasks, in one process or several."""

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

# glibc returns large arrays to the system when they are freed, and takes new pages, zeroed one by
# one, for the next block. That is half of the time of a worker whose arrays all have about 1 MB;
# these thresholds make glibc keep them. NumPy's OpenBLAS starts a thread for each core, which no
# task here uses: half of the time of importing NumPy. Other systems and libraries ignore these
# names.
_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 28),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
    "OPENBLAS_NUM_THREADS": "1",
}

Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]  # called as map is


@contextlib.contextmanager
def pool(count: int) -> Iterator[Mapper]:
    """Yields a function like `map` that works in `count` processes; with 1, in this process.

    A task is taken when a worker is free, two ahead for each worker, so that memory does not grow
    with the number of tasks. Processes are spawned, since TensorFlow's threads do not survive a
    fork.
    """
    if count == 1:
        yield map
        return
    original = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    context = multiprocessing.get_context("spawn")
    executor = concurrent.futures.ProcessPoolExecutor(count, context, _end_with_parent)

    def mapper(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        futures: collections.deque[concurrent.futures.Future[Any]] = collections.deque()
        for task in tasks:
            futures.append(executor.submit(function, task))
            if len(futures) > 2 * count:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()

    try:
        yield mapper
    finally:
        executor.shutdown(cancel_futures=True)
        for name, value in original.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _end_with_parent() -> None:
    """Ends this process when its parent ends, even if the parent is killed.

    Otherwise the process would wait for its next task for ever.
    """
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            multiprocessing.connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
