from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.weights import activation_range
from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.core.choice import BITS
from autocomp.core.layer_spec import LayerSpec
from autocomp.errors import ChoiceError

FEW = [b for b in BITS if b < 32]


def stats_of(inputs: Tensor | None, hookable: bool = True) -> LayerStatistics:
    layer = LayerSpec("a", "a.weight", "linear", (2, 3), 0, 1, 1, 1, 6, 1, hookable, True)
    if inputs is None:
        return LayerStatistics(layer)
    return LayerStatistics(layer, inputs, float(inputs.min()), float(inputs.max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("bits", FEW)
@pytest.mark.parametrize("shift", [-3.0, -0.5, 0.0, 3.0])
def test_range_levels_and_zero(bits: int, shift: float, dtype: torch.dtype) -> None:
    inputs = torch.randn(2000, generator=torch.Generator().manual_seed(0)) + shift
    quantizer = activation_range(stats_of(inputs), bits)
    values = torch.cat([inputs, torch.tensor([0.0, -100.0, 100.0])]).to(dtype)
    result = quantizer.quantize(values)
    assert result.dtype == dtype and result.shape == values.shape
    assert float(result[-3]) == 0.0
    assert len(result.unique()) <= 2**bits
    assert -(2**bits) < quantizer.lower <= 0
    low, high = quantizer.lower, quantizer.lower + 2**bits - 1
    assert float(result.min()) == pytest.approx(low * quantizer.step)
    assert float(result.max()) == pytest.approx(high * quantizer.step)
    inside = (values >= low * quantizer.step) & (values <= high * quantizer.step)
    rounding = 2e-7 * float(values[inside].abs().max())
    assert float((result - values)[inside].abs().max()) <= quantizer.step / 2 + rounding
    assert float(torch.tensor(quantizer.step, dtype=torch.float32)) == quantizer.step


@pytest.mark.parametrize("bits", FEW)
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30))
def test_never_worse_than_the_full_range(bits: int, values: list[float]) -> None:
    inputs = torch.tensor(values)
    low, high = min(0.0, float(inputs.min())), max(0.0, float(inputs.max()))
    step = float(torch.tensor((high - low) / (2**bits - 1))) or 1.0
    full = ActivationQuantizer(bits, step, -min(round(-low / step), 2**bits - 1))
    found = activation_range(stats_of(inputs), bits)

    def error(quantizer: ActivationQuantizer) -> float:
        return float((quantizer.quantize(inputs) - inputs).square().sum())

    assert error(found) <= error(full)


def test_clipping_helps_on_both_sides_of_zero() -> None:
    """Bell-shaped inputs with an outlier a side: half the range halves the error and more."""
    bell = torch.randn(3000, generator=torch.Generator().manual_seed(0))
    inputs = torch.cat([bell, torch.tensor([-8.0, 8.0])])
    found = activation_range(stats_of(inputs), 4)
    full = ActivationQuantizer(4, 16 / 15, -8)
    errors = [float((q.quantize(inputs) - inputs).square().sum()) for q in (found, full)]
    assert errors[0] < errors[1] / 2
    assert found.lower in (-8, -7) and found.step < 0.6


def test_by_hand() -> None:
    quantizer = ActivationQuantizer(2, 0.5, -1)  # -0.5, 0, 0.5, 1
    values = torch.tensor([-9.0, -0.3, -0.2, 0.0, 0.2, 0.3, 0.8, 9.0])
    assert quantizer.quantize(values).tolist() == [-0.5, -0.5, 0, 0, 0, 0.5, 1, 1]
    found = activation_range(stats_of(torch.tensor([-0.5, 0.0, 0.5, 1.0])), 2)
    assert (found.bits, found.step, found.lower) == (2, 0.5, -1)
    rectified = activation_range(stats_of(torch.tensor([0.0, 1.0, 2.0, 3.0])), 2)
    assert (rectified.step, rectified.lower) == (1.0, 0)
    # 900 ones and a single 15: three levels above zero for the ones are worth more than the 15
    outlier = activation_range(stats_of(torch.tensor([1.0] * 900 + [15.0])), 2)
    assert outlier.step < 5.0 and outlier.lower == 0


@pytest.mark.parametrize("bits", FEW)
@pytest.mark.parametrize("value", [0.0, 3.0, -0.7, 1e-44, 1e30])
def test_constant_inputs(bits: int, value: float) -> None:
    inputs = torch.full((10,), value)
    result = activation_range(stats_of(inputs), bits).quantize(inputs)
    assert torch.allclose(result, inputs, rtol=1e-5)


def test_as_a_hook_it_touches_floating_tensors_only() -> None:
    quantizer = ActivationQuantizer(2, 0.5, -1)
    whole = torch.tensor([7, 8])
    out = quantizer(nn.Identity(), (torch.tensor([0.3]), whole, None, "text"))
    assert out[0].tolist() == [0.5] and out[1] is whole and out[2:] == (None, "text")
    module = nn.Identity()
    module.register_forward_pre_hook(quantizer)
    assert module(torch.tensor([0.8])).tolist() == [1.0]


@pytest.mark.parametrize(
    "stats", [stats_of(None), stats_of(torch.ones(3), hookable=False)], ids=["unseen", "unhookable"]
)
def test_no_input_to_quantize(stats: LayerStatistics) -> None:
    with pytest.raises(ChoiceError, match="Layer 'a' has no input.*activation_bits at 32"):
        activation_range(stats, 8)
