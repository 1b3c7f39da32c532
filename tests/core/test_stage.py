"""Telling how far the work before the first evaluation is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from autocomp.compression.parallel import in_parallel
from autocomp.core.stage import Stage, StageCount


def test_pieces_add_up_from_any_thread() -> None:
    told: list[Stage] = []
    count = StageCount("tables", 50, told.append)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count.add, [1.0] * 50))
    assert [s.done for s in told] == list(range(51))
    assert {(s.name, s.total) for s in told} == {("tables", 50)}


def test_never_more_than_all_and_nothing_to_do_is_no_division_by_zero() -> None:
    told: list[Stage] = []
    count = StageCount("losses", 0, told.append)
    count.add(3)
    assert all(0 <= s.done / s.total <= 1 for s in told)


@pytest.mark.parametrize("threads", [1, 2])
def test_each_job_is_told_once_when_it_is_done(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        done: list[int] = []
        told: list[int] = []

        def after(job: int) -> None:
            assert job in done
            told.append(job)

        in_parallel(done.append, range(20), after)
        assert sorted(told) == list(range(20))
    finally:
        torch.set_num_threads(before)
