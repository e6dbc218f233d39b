# SPDX-License-Identifier: MIT
"""The library's tasks on Python's own thread pool: each runs without the GIL, which is held only between them."""

import concurrent.futures
import itertools
import threading
from typing import Optional

from . import _abi

_lock = threading.Lock()
_threads = 1
_executor: Optional[_abi.Executor] = None


def _make_executor(threads: int) -> _abi.Executor:
    pool = concurrent.futures.ThreadPoolExecutor(threads - 1, thread_name_prefix="bnorm")

    def run(context, tasks, task, argument):
        numbers = itertools.count()

        def work():
            for number in numbers:
                if number >= tasks:
                    return
                task(argument, number)

        others = [pool.submit(work) for _ in range(min(threads, tasks) - 1)]
        work()
        for other in others:
            if not other.cancel():
                other.result()

    return _abi.Executor(_abi.Run(run), None, threads)


def set_num_threads(threads: int) -> None:
    """Makes later calls of the process use so many threads, at least 1, which is what it begins with.

    Only speed depends on it. A call costs 20 to 30 microseconds more with two threads.
    """
    global _threads, _executor
    if threads < 1:
        raise ValueError("threads: at least 1")
    with _lock:
        if threads != _threads:
            _threads, _executor = threads, _make_executor(threads) if threads > 1 else None


def get_num_threads() -> int:
    """How many threads calls use."""
    return _threads


def executor() -> Optional[_abi.Executor]:
    return _executor
