"""A function over many tasks, here or in several processes, with results in the tasks' order."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

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
    context = multiprocessing.get_context("spawn")
    executor = concurrent.futures.ProcessPoolExecutor(count, context)

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
