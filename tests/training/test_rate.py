"""The bytes of a network in training: code lengths, their gradients, the last exact step."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autocomp.errors import TrainingError
from autocomp.training.coded_weight import CodedWeight
from autocomp.training.file_length import FileLength
from autocomp.training.fitting import fit_codes
from autocomp.training.rate import RateTerm, code_lengths
from autocomp.training.trainable import Latent, latents, trainable


def _weight(values: list[float], top: int = 3) -> Latent:
    latent = nn.Parameter(torch.tensor(values))
    return Latent("w", latent, CodedWeight(torch.ones(len(values)), torch.ones(1), -top, top, True))


def test_code_lengths_by_hand() -> None:
    codes = torch.tensor([0, 0, 0, 1, -1, 1])
    found = code_lengths(codes, -1, 2)
    counts = [1.5, 3.5, 2.5, 0.5]
    assert found.tolist() == pytest.approx([-math.log2(c / 8) for c in counts], rel=1e-5)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=60))
def test_code_lengths_are_those_of_probabilities(codes: list[int]) -> None:
    found = code_lengths(torch.tensor(codes), -3, 3)
    assert float((2**-found).sum()) == pytest.approx(1, rel=1e-4)


def test_bits_are_counted_and_slopes_lead_to_short_codes() -> None:
    weight = _weight([0.1] * 12 + [0.6, 1.4, 2.3, -1.2])
    rate = RateTerm([weight], limit=1.0)
    codes = torch.tensor([0] * 12 + [1, 1, 2, -1])
    lengths = code_lengths(codes, -3, 3)
    assert rate.bits == pytest.approx(float(lengths[codes + 3].sum()), rel=1e-5)
    weight.latent.grad = torch.full_like(weight.latent, 1e-3)
    rate.add_gradients()  # far above the limit: as strong as it gets
    added = weight.latent.grad - 1e-3
    assert rate.strength > 0
    assert bool((added[:12] > 0).all())  # from 0.1 down to 0, the shortest
    assert float(added[15]) < 0  # from -1.2 up
    expected = rate.strength * 1e-3 * float(lengths[4] - lengths[3])
    assert float(added[0]) == pytest.approx(expected, rel=1e-3)


def test_the_strength_falls_where_there_is_room() -> None:
    weight = _weight([0.1, 0.9, 1.6, -1.2] * 10)
    rate = RateTerm([weight], limit=1e6)
    for _ in range(30):
        weight.latent.grad = torch.ones_like(weight.latent)
        rate.add_gradients()
    assert rate.strength < 0  # given back


def test_a_mask_is_left_alone() -> None:
    latent = nn.Parameter(torch.tensor([0.3, 0.3]))
    form = CodedWeight(torch.tensor([0, 1]), torch.ones(1), -1, 1)
    rate = RateTerm([Latent("w", latent, form)], limit=0.1)
    latent.grad = torch.tensor([0.0, 1.0])
    rate.add_gradients()
    assert float(latent.grad[0]) == 0


@given(st.integers(0, 2**31), st.floats(0.5, 1.0))
def test_codes_are_fitted_to_a_limit(seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = _weight((torch.randn(300, generator=generator) * 1.5).clamp(-3.4, 3.4).tolist())
    free = weight.latent.detach().clone()

    def length() -> int:
        codes = weight.form.codes(weight.latent.detach())
        return int(code_lengths(codes, -3, 3)[(codes + 3).long()].sum() / 8) + 1

    weight.latent.data.copy_(weight.form.codes(free))
    whole = length()
    limit = max(12, int(whole * share))
    weight.latent.data.copy_(free)
    assert fit_codes([weight], {}, length, limit) <= limit
    codes = weight.latent.detach()
    assert torch.equal(codes, codes.round())
    if whole <= limit:  # nothing had to give way
        assert torch.equal(codes, weight.form.codes(free))
    elif share > 0.9:  # a code gives way to its neighbours first
        assert float((codes - free).abs().max()) < 1.51


def test_what_counts_much_gives_way_last() -> None:
    values = [0.6] * 4 + [0.0] * 60
    weight = _weight(values)
    importance = torch.ones(64)
    importance[0] = 1e6

    def length() -> int:
        return 1 + int((weight.latent.detach().round() != 0).sum())

    fit_codes([weight], {"w": importance}, length, 2)
    assert weight.latent.detach()[:4].tolist() == [1, 0, 0, 0]


def test_a_limit_out_of_reach_is_said() -> None:
    weight = _weight([1.0, 2.0])
    with pytest.raises(TrainingError, match="at most 5 bytes"):
        fit_codes([weight], {}, lambda: 9, 5)


def test_the_file_s_length_is_that_of_the_file(network: nn.Module, made) -> None:
    from autocomp.artifacts.container import pack
    from autocomp.compression.noted_file import file_of

    packed = file_of(network)
    assert packed is not None
    trainable(network, masks="free")
    found = latents(network)
    length = FileLength(packed, found)
    assert abs(length() - len(made.bytes)) <= 2
    generator = torch.Generator().manual_seed(0)
    for weight in found:
        noise = torch.randn(weight.latent.shape, generator=generator)
        weight.latent.data.add_(noise).clamp_(*weight.form.bounds)
    from autocomp.compression.saving import repacked
    from autocomp.training import freeze

    told = length()
    written = len(pack(repacked(freeze(network))))
    assert told == pytest.approx(written, rel=0.01)
