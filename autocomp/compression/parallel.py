"""Many small jobs on torch's own number of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Job = TypeVar("Job")


def in_parallel(work: Callable[[Job], object], jobs: Sequence[Job]) -> None:
    """Runs `work` on every job; the first exception is raised.

    Thousands of operations on small matrices gain nothing from splitting each over threads, and
    lose much when another program wants the same cores; whole jobs on threads of their own do not.
    """
    threads = torch.get_num_threads()
    if threads == 1 or not jobs:
        for job in jobs:
            work(job)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                for done in [pool.submit(work, job) for job in jobs]:
                    done.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)
