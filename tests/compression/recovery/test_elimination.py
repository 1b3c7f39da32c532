"""Optimal-brain-surgeon elimination against its definition and against brute force."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autocomp.compression.recovery import elimination
from autocomp.compression.recovery.elimination import Groups, eliminate
from autocomp.compression.recovery.factor import factorise


def problem(seed: int, rows: int = 3, width: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4 * width, width, generator=generator, dtype=torch.float64)
    x = x @ torch.randn(width, width, generator=generator, dtype=torch.float64)
    hessian = (x.T @ x / len(x) + 1e-3 * torch.eye(width, dtype=torch.float64))[None]
    weights = torch.randn(1, rows, width, generator=generator, dtype=torch.float64)
    return hessian, weights, torch.ones(1, 1, width, dtype=torch.bool)


def least_error(hessian: Tensor, row: Tensor, kept: list[int]) -> float:
    """Error of the best weights on a set of columns, by solving the normal equations."""
    fitted = torch.zeros_like(row)
    if kept:
        system = hessian[kept][:, kept]
        fitted[kept] = torch.linalg.solve(system, (hessian @ row)[kept])
    difference = fitted - row
    return float(difference @ hessian @ difference)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_each_step_is_the_cheapest_and_costs_what_it_says(seed: int) -> None:
    hessian, weights, valid = problem(seed)
    trace = eliminate(hessian, weights, valid)
    for row in range(3):
        order = trace.rank[0, row].argsort().tolist()
        kept, spent, worst = list(range(6)), 0.0, 0.0
        for column in order:
            increase = {
                c: least_error(hessian[0], weights[0, row], [k for k in kept if k != c]) - spent
                for c in kept
            }
            assert increase[column] == pytest.approx(min(increase.values()), rel=1e-6, abs=1e-9)
            worst = max(worst, increase[column])
            assert float(trace.loss[0, row, column]) == pytest.approx(worst, rel=1e-6, abs=1e-9)
            spent += increase[column]
            kept.remove(column)
        whole = weights[0, row] @ hessian[0] @ weights[0, row]
        assert spent == pytest.approx(float(whole), rel=1e-6)


def test_against_brute_force() -> None:
    """One weight less is exactly optimal; of three, never below the optimum and mostly at it."""
    at_optimum, mine_of_all, magnitude_of_all = 0, 0.0, 0.0
    for seed in range(40):
        hessian, weights, valid = problem(seed, rows=1)
        row = weights[0, 0]
        trace = eliminate(hessian, weights, valid)
        for zeros in (1, 3):
            kept = trace.kept(zeros)[0, 0].nonzero().flatten().tolist()
            best = min(
                least_error(hessian[0], row, list(subset))
                for subset in itertools.combinations(range(6), 6 - zeros)
            )
            mine = least_error(hessian[0], row, kept)
            assert mine >= best - 1e-9
            assert zeros > 1 or mine == pytest.approx(best, rel=1e-6)
        at_optimum += mine <= best * 1.0001
        mine_of_all += mine
        largest = row.abs().argsort(descending=True)[:3].sort().values.tolist()
        magnitude_of_all += least_error(hessian[0], row, largest)
    assert at_optimum >= 20
    assert mine_of_all < 0.7 * magnitude_of_all


def test_rows_are_merged_by_loss() -> None:
    hessian, weights, valid = problem(3)
    weights[0, 1] *= 100  # a row of large weights keeps them
    trace = eliminate(hessian, weights, valid)
    for zeros in range(19):
        kept = trace.kept(zeros)
        assert int((~kept).sum()) == zeros
    kept = trace.kept(10)
    assert int(kept[0, 1].sum()) > int(kept[0, 0].sum())
    for row in range(3):  # each row loses a head of its own order
        gone = trace.rank[0, row][~kept[0, row]]
        assert sorted(gone.tolist()) == list(range(len(gone)))


def test_lazy_updates_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hessian, weights, valid = problem(5, rows=4, width=40)
    traces = []
    for lazy in (1, 3, 32, 64):
        monkeypatch.setattr(elimination, "_LAZY", lazy)
        traces.append(eliminate(hessian, weights, valid))
    for trace in traces[1:]:
        assert torch.equal(trace.rank, traces[0].rank)
        torch.testing.assert_close(trace.loss, traces[0].loss)


def test_rows_in_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hessian, weights, valid = problem(5, rows=7, width=12)
    whole = eliminate(hessian, weights, valid)
    monkeypatch.setattr(elimination, "_BYTES", 8 * 12 * 12 * 2)
    pieces = eliminate(hessian, weights, valid)
    assert torch.equal(whole.rank, pieces.rank)


def test_padding_goes_first_and_free() -> None:
    hessian, weights, valid = problem(2)
    padded = torch.zeros(1, 3, 8, dtype=torch.float64)
    padded[..., :6] = weights
    wide = torch.eye(8, dtype=torch.float64)[None].clone()
    wide[0, :6, :6] = hessian
    room = torch.ones(1, 1, 8, dtype=torch.bool)
    room[..., 6:] = False
    plain, other = eliminate(hessian, weights, valid), eliminate(wide, padded, room)
    assert torch.equal(plain.rank, other.rank[..., :6])
    for zeros in (0, 5, 17):
        assert torch.equal(other.kept(zeros, 6)[..., :6], plain.kept(zeros))
        assert not other.kept(zeros, 6)[..., 6:].any()


def test_groups_keep_their_allowance() -> None:
    hessian, weights, valid = problem(9, rows=4, width=10)
    of = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    trace = eliminate(hessian, weights, valid, Groups(of, torch.tensor([2, 2, 0])))
    kept = trace.kept(16)
    counts = torch.stack([(~kept[0][:, of == g]).sum(1) for g in range(3)], 1)
    assert counts.tolist() == [[2, 2, 0]] * 4


@given(st.integers(0, 10_000), st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_factors_multiply_to_the_system(seed: int, share: float) -> None:
    hessian, weights, _ = problem(seed)
    generator = torch.Generator().manual_seed(seed)
    kept = torch.rand(1, 3, 6, generator=generator) >= share
    factor = factorise(hessian, kept)
    gathered = factor.gather(weights)
    torch.testing.assert_close(factor.scatter(gathered), weights * kept)
    product = factor.lower @ factor.lower.transpose(1, 2)
    systems = 1 if factor.shared else 3
    for system in range(systems):
        mask = factor.valid[system]
        columns = factor.columns[system][mask]
        assert set(columns.tolist()) == set(kept[0, system].nonzero().flatten().tolist())
        expected = hessian[0][columns][:, columns]
        torch.testing.assert_close(product[system][mask][:, mask], expected)
        assert torch.equal(factor.lower[system], factor.lower[system].tril())
        diagonal = hessian[0].diagonal()[columns]
        assert torch.equal(diagonal, diagonal.sort().values)


def test_many_rows_of_different_lengths() -> None:
    hessian, weights, _ = problem(4, rows=50, width=12)
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(1, 50, 1, generator=generator)
    kept = torch.rand(1, 50, 12, generator=generator) < shares
    factor = factorise(hessian, kept)
    torch.testing.assert_close(factor.scatter(factor.gather(weights)), weights * kept)
    product = factor.lower @ factor.lower.transpose(1, 2)
    for row in range(50):
        mask = factor.valid[row]
        columns = factor.columns[row][mask]
        torch.testing.assert_close(product[row][mask][:, mask], hessian[0][columns][:, columns])
