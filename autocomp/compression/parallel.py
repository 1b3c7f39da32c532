"""Many small jobs on torch's own number of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

import torch

Job = TypeVar("Job")


def in_parallel(
    work: Callable[[Job], object],
    jobs: Sequence[Job],
    after: Callable[[Job], object] | None = None,
) -> None:
    """Runs `work` on every job; the first exception is raised.

    Thousands of operations on small matrices gain nothing from splitting each over threads, and
    lose much when another program wants the same cores; whole jobs on threads of their own do not.

    Args:
        work: what to do.
        jobs: with each of these.
        after: called, on the caller's thread, with each job that is done.
    """
    threads = torch.get_num_threads()
    if threads == 1 or not jobs:
        for job in jobs:
            work(job)
            if after is not None:
                after(job)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                for done in as_completed(waiting := {pool.submit(work, job): job for job in jobs}):
                    done.result()
                    if after is not None:
                        after(waiting[done])
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)
