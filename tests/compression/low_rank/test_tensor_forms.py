from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autocomp.compression.low_rank import composed_weight, decompose, full_rank, useful_ranks
from autocomp.compression.low_rank.axes import kernel_axes
from autocomp.compression.low_rank.chain import compose, cross, spread
from autocomp.compression.recovery.gram import Gram
from autocomp.errors import AutocompError

Make = Callable[..., tuple[Any, Tensor]]
Moments = Callable[..., Gram]


def conv_of(weight: Tensor) -> nn.Conv2d:
    outs, ins, *kernel = weight.shape
    module = nn.Conv2d(ins, outs, tuple(kernel), bias=False, dtype=torch.float64)
    module.weight.data.copy_(weight)
    return module


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lost(module: Any, method: str, rank: int, gram: Gram | None = None) -> float:
    """Returns the squared error of the weight, or with `gram` that of the outputs."""
    off = composed_weight(decompose(module, method, rank, gram)) - module.weight.data
    return gram.error(off) if gram else float(off.square().sum())


@pytest.mark.parametrize("method", ["tucker", "cp", "tt"])
def test_what_has_low_rank_is_found(method: str) -> None:
    """A kernel made of two components has every kind of rank 2."""
    parts = [random(n, 2, seed=n) for n in (7, 6, 3, 4)]
    module = conv_of(torch.einsum("ar,br,cr,dr->abcd", *parts))
    total = float(module.weight.detach().square().sum())
    # Tucker's rank 2 keeps 2 of 7 outputs, and 2 of 6 inputs
    assert lost(module, method, 2) < (1e-6 if method == "cp" else 1e-20) * total
    assert lost(module, method, 1) > 1e-3 * total


def test_tucker_is_as_good_as_tensorly() -> None:
    from tensorly.decomposition import partial_tucker
    from tensorly.tenalg import multi_mode_dot

    module = conv_of(random(8, 6, 3, 3))
    weight = module.weight.detach()
    for rank in (1, 3, 4, 6):
        ranks = [rank, -(-rank * 6 // 8)]
        (core, factors), _ = partial_tucker(weight.numpy(), ranks, modes=[0, 1], tol=1e-10)
        rebuilt = torch.from_numpy(np.array(multi_mode_dot(core, factors, modes=[0, 1])))
        theirs = float((rebuilt - weight).square().sum())
        chain = decompose(module, "tucker", rank)
        assert [layer.weight.shape[0] for layer in chain] == [ranks[1], ranks[0], 8]
        assert lost(module, "tucker", rank) == pytest.approx(theirs, rel=2e-3)


def test_tucker_keeps_orthonormal_ends() -> None:
    first, _, last = decompose(conv_of(random(8, 6, 3, 3)), "tucker", 4)
    rows, columns = first.weight.flatten(1), last.weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(3).double())
    torch.testing.assert_close(columns.T @ columns, torch.eye(4).double())


@pytest.mark.parametrize("seed", range(3))
def test_tensor_train_truncates_no_worse_than_its_bound(seed: int) -> None:
    """The squared error is at most the sum of the unfoldings' tails (Oseledets 2011, th. 2.2)."""
    module = conv_of(random(6, 5, 3, 2, seed=seed))
    train = module.weight.detach().movedim(0, -1)
    for rank in range(1, full_rank(module, "tt") + 1):
        tails = [
            float(torch.linalg.svdvals(train.reshape(rows, -1))[rank:].square().sum())
            for rows in (5, 15, 30)
        ]
        error = lost(module, "tt", rank)
        assert max(tails) - 1e-12 <= error <= sum(tails) + 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_cp_gets_better_with_rank(seed: int) -> None:
    module = conv_of(random(6, 5, 3, 3, seed=seed))
    errors = [lost(module, "cp", rank) for rank in (1, 3, 6, 12, 24, 45)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3 * errors[0]


@pytest.mark.filterwarnings("ignore:Trying to compute SVD with n_eigenvecs:UserWarning")
@pytest.mark.parametrize("shape", [(7, 6, 3, 4), (7, 6, 3), (4, 5, 2, 3, 2)])
def test_cp_is_what_tensorly_computes(shape: tuple[int, ...]) -> None:
    from tensorly import cp_to_tensor
    from tensorly.decomposition import parafac

    weight = random(*shape)
    norm = float(weight.norm())
    axes = len(shape) - 2
    module = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](shape[1], shape[0], shape[2:])
    module = module.double()
    module.weight.data.copy_(weight)
    for rank in (2, 5, 12):
        theirs = cp_to_tensor(
            parafac(
                (weight / norm).numpy(), rank, n_iter_max=100, tol=1e-5, l2_reg=1e-9,
                random_state=0,
            )
        )  # fmt: skip
        ours = composed_weight(decompose(module, "cp", rank)) / norm
        torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-5, atol=1e-6)


def test_cp_vectors_of_a_component_have_one_norm() -> None:
    weights = [p.weight for p in decompose(conv_of(random(6, 5, 3, 3)), "cp", 4)]
    first, *along, last = (w.flatten(1) for w in weights)
    for vectors in (*along, last.T):
        torch.testing.assert_close(vectors.norm(dim=1), first.norm(dim=1))


@pytest.mark.parametrize("method", ["spatial-svd", "tucker", "cp", "tt"])
def test_moments_lower_the_error_of_the_outputs(method: str, make: Make, moments: Moments) -> None:
    for name in ("conv", "strided", "conv1d"):
        module, x = make(name)
        gram = moments(module, x)
        if not useful_ranks(module, method):
            continue
        gains = []
        for rank in useful_ranks(module, method):
            off = composed_weight(decompose(module, method, rank)) - module.weight.data
            gains.append(gram.error(off) / lost(module, method, rank, gram))
        # fitting the last layer cannot hurt; Tucker's subspaces are others
        assert method == "tucker" or min(gains) >= 1 - 1e-6
        assert sum(gains) / len(gains) > 1.05, (name, gains)


@pytest.mark.parametrize("method", ["spatial-svd", "cp", "tt"])
def test_the_last_layer_is_the_least_squares_one(method: str, make: Make, moments: Moments) -> None:
    """What is left of the outputs correlates with nothing that the last layer hears."""
    module, x = make("conv")
    gram = moments(module, x)
    weight = module.weight.data
    factors = [p.weight.data for p in decompose(module, method, 3, gram)]
    heard = spread(compose(factors[:-1]), factors[-1].shape[2:])
    left = cross(weight - compose(factors), heard, gram)
    assert float(left.abs().max()) < 1e-6 * float(cross(weight, heard, gram).abs().max())


def test_tucker_with_moments_is_the_best_one_for_its_inputs(make: Make, moments: Moments) -> None:
    """No move of the core or the last layer lowers the outputs' error."""
    module, x = make("conv")
    gram = moments(module, x)
    least = lost(module, "tucker", 3, gram)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        chain = decompose(module, "tucker", 3, gram)
        for layer in list(chain)[1:]:
            noise = torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64)
            layer.weight.data.add_(1e-2 * noise)
        assert gram.error(composed_weight(chain) - module.weight.data) > least


def test_axes_of_the_kernel() -> None:
    assert kernel_axes((3, 3)) == [(0,), (1,)]
    assert kernel_axes((1, 3)) == [(0, 1)]
    assert kernel_axes((3, 1)) == [(0, 1)]
    assert kernel_axes((2, 1, 3)) == [(0, 1), (2,)]
    assert kernel_axes((5,)) == [(0,)]


def test_layers_of_the_forms() -> None:
    module = nn.Conv2d(8, 16, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2))
    shapes = {
        method: [tuple(p.weight.shape) for p in decompose(module, method, 4)]
        for method in ("spatial-svd", "tucker", "cp", "tt")
    }
    assert shapes == {
        "spatial-svd": [(4, 8, 3, 1), (16, 4, 1, 5)],
        "tucker": [(2, 8, 1, 1), (4, 2, 3, 5), (16, 4, 1, 1)],
        "cp": [(4, 8, 1, 1), (4, 1, 3, 1), (4, 1, 1, 5), (16, 4, 1, 1)],
        "tt": [(4, 8, 1, 1), (4, 4, 3, 1), (4, 4, 1, 5), (16, 4, 1, 1)],
    }
    _, tall, wide, _ = decompose(module, "cp", 4)
    assert (tall.stride, tall.padding, tall.groups) == ((2, 1), (1, 0), 4)
    assert (wide.stride, wide.padding, wide.dilation) == ((1, 1), (0, 2), (1, 2))


def test_the_users_backend_stays() -> None:
    import tensorly

    module = conv_of(random(4, 3, 3, 3))
    expected = decompose(module, "tt", 2)
    before = tensorly.get_backend()
    found: list[tuple[str, nn.Sequential, str]] = []

    def work() -> None:
        start = tensorly.get_backend()
        found.append((start, decompose(module, "tt", 2), tensorly.get_backend()))

    try:
        tensorly.set_backend("pytorch")
        work()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        tensorly.set_backend(before)
    assert [(start, end) for start, _, end in found] == [("pytorch", "pytorch")] * 2
    for _, chain, _ in found:
        torch.testing.assert_close(chain.state_dict(), expected.state_dict())


def test_without_tensorly(monkeypatch: pytest.MonkeyPatch) -> None:
    module = conv_of(random(4, 3, 3, 3))
    monkeypatch.setitem(sys.modules, "tensorly", None)
    with pytest.raises(AutocompError, match="tensorly is needed"):
        decompose(module, "tt", 2)
    assert len(decompose(module, "tucker", 2)) == 3
