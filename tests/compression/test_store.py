"""What calibration sees, what the store keeps, and what the writer puts into a network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from autocomp.artifacts.side import round_side
from autocomp.compression import store as options
from autocomp.compression.calibration import statistics as calibration
from autocomp.compression.calibration.statistics import calibrate
from autocomp.compression.store import CompressionStore
from autocomp.compression.writer import PlanWriter
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.plan import Plan
from autocomp.data.splits import DataSplits
from autocomp.errors import ChoiceError, PlanError
from autocomp.network.analysis import analyse


class Twice(nn.Module):
    """Embeds, calls one linear layer twice, and an attention by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 4)
        self.linear = nn.Linear(4, 4, bias=False)
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        embedded = self.embed((x * 7).long())
        out = self.linear(self.linear(embedded))
        out = self.attention(query=out, key=out, value=out)[0]
        return out.mean(1)


def test_what_calibration_sees() -> None:
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 1.0, 1.0], [-1.0, 1.0, 0.0]]))
    model.train()
    model[1].eval()
    images = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.25, 9.0]])
    found = calibrate(model, analyse(model, images), [images])
    first, second = found["0"], found["2"]
    assert (first.minimum, first.maximum) == (-2, 9)
    assert first.inputs is not None and first.inputs.tolist() == images.flatten().tolist()
    hidden = model[0](images).relu().detach()
    assert second.inputs is not None and torch.equal(second.inputs, hidden.flatten())
    assert (second.minimum, second.maximum) == (0, float(hidden.max()))
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert not any(m._forward_pre_hooks for m in model.modules())
    (second.inputs + 1).requires_grad_()  # an ordinary tensor, not one of inference mode


def test_calls_are_put_together_and_what_cannot_be_seen_is_none() -> None:
    model = Twice()
    with torch.no_grad():
        model.linear.weight.copy_(torch.eye(4) / 2)  # the second call sees half of the first
    images = torch.rand(3, 5)
    found = calibrate(model, analyse(model, images), [images])
    with torch.no_grad():
        first = model.embed((images * 7).long())
        second = model.linear(first)
    assert found["linear"].minimum == min(float(first.min()), float(second.min()))
    assert found["linear"].maximum == max(float(first.max()), float(second.max()))
    assert found["embed"].inputs is None
    assert found["linear"].inputs is not None and len(found["linear"].inputs) == 2 * 3 * 5 * 4
    assert found["attention.in_proj"].inputs is None  # given by keyword
    assert found["attention.out_proj"].inputs is None


def test_a_large_input_is_sampled_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SAMPLE", 100)
    model = nn.Linear(10, 2)
    images = torch.arange(1000.0).reshape(100, 10)
    statistics = calibrate(model, analyse(model, images), [images])["model"]
    assert statistics.inputs is not None and 80 <= len(statistics.inputs) <= 100
    assert statistics.inputs.max() > 900 and statistics.maximum == 999
    assert len({int(v) % 10 for v in statistics.inputs.tolist()}) == 10  # all ten columns


def test_host_modules() -> None:
    layers = {x.name: x for x in analyse(Twice(), torch.rand(3, 5)).layers}
    assert layers["linear"].host == "linear"
    assert layers["attention.in_proj"].host == "attention"
    assert layers["attention.out_proj"].host == "attention"


def small_store() -> CompressionStore:
    model = nn.Sequential(nn.Linear(4, 1, bias=False), nn.Linear(1, 3))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -2.0, 3.0, -4.0]]))
        model[1].weight.zero_()
    return CompressionStore(model, analyse(model, torch.rand(2, 4)))


def test_errors_by_hand() -> None:
    store = small_store()
    first, second = store.network.layers
    assert store.error(first, NEUTRAL) == 0
    assert store.error(first, Choice.of(sparsity=0.5)) == pytest.approx((1 + 4) / 30)
    assert store.error(first, Choice.of(pattern="1:2")) == pytest.approx((1 + 9) / 30)
    assert store.error(second, Choice.of(weight_bits=2)) == 0  # no energy, no error
    assert torch.equal(store.dense(first), torch.tensor([[1.0, -2.0, 3.0, -4.0]]))


def test_a_weight_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store = small_store()
    first = store.network.layers[0]
    four = store.weight(first, Choice.of(weight_bits=4))
    assert store.weight(first, Choice.of(weight_bits=4, activation_bits=8)) is four
    assert store.weight(first, Choice.of(weight_bits=3)) is not four
    with pytest.raises(ChoiceError, match="no input that can be quantized"):
        store.activation(first, 8)


def test_the_least_recently_used_weight_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "CACHE_BYTES", 40)  # 16 bytes a float weight of four
    store = small_store()
    first = store.network.layers[0]
    a, b, c = (Choice.of(sparsity=s) for s in (0.25, 0.5, 0.75))
    held_a, held_b = store.weight(first, a), store.weight(first, b)
    assert store.weight(first, a) is held_a
    store.weight(first, c)  # 48 bytes: b was used longest ago
    assert store.weight(first, a) is held_a
    again = store.weight(first, b)
    assert again is not held_b and torch.equal(again, held_b)  # type: ignore[arg-type]
    assert store.error(first, c) == pytest.approx((1 + 4 + 9) / 30)


@pytest.fixture
def tiny_store(tiny_net: nn.Module, tiny_data: DataSplits) -> CompressionStore:
    network = analyse(tiny_net, tiny_data.calibration.images)
    stats = calibrate(tiny_net, network, [tiny_data.calibration.images])
    return CompressionStore(tiny_net, network, stats)


def test_writing_plans_one_after_another(tiny_store: CompressionStore) -> None:
    dense = tiny_store.model.state_dict()
    model = copy.deepcopy(tiny_store.model)
    writer = PlanWriter(model, tiny_store)
    neutral = tiny_store.network.neutral_plan()
    coarse = Plan(dict.fromkeys(neutral, Choice.of(sparsity=0.5, weight_bits=3, activation_bits=8)))
    writer.write(coarse)
    for layer in tiny_store.network.layers:
        weight = tiny_store.weight(layer, coarse[layer.name])
        assert torch.equal(model.get_parameter(layer.parameter), weight.dequantize())  # type: ignore[union-attr]
        assert len(model.get_submodule(layer.name)._forward_pre_hooks) == 1
    before = {name: model.state_dict()[name].clone() for name in tiny_store.network.side}
    writer.round_side(coarse)
    rounded = round_side(before, tiny_store.side_form)
    assert {name.split(".")[0] for name in before} == {"1", "4", "6", "10"}
    for name, tensor in rounded.items():
        assert torch.equal(model.state_dict()[name], tensor)
    writer.write(
        coarse.replace("0", Choice.of(activation_bits=4)).replace(
            "3", Choice.of(sparsity=0.5, weight_bits=3)
        )
    )
    assert torch.equal(model.get_parameter("0.weight"), dense["0.weight"])
    hooks = list(model[0]._forward_pre_hooks.values())  # type: ignore[index]
    assert [hook.bits for hook in hooks] == [4]
    assert not model[3]._forward_pre_hooks  # type: ignore[index]
    writer.write(neutral)
    assert all(torch.equal(tensor, dense[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_statistics_changed_in_between_are_put_back(tiny_store: CompressionStore) -> None:
    model = copy.deepcopy(tiny_store.model)
    writer = PlanWriter(model, tiny_store)
    model[1].running_mean.add_(1)  # type: ignore[index,union-attr]
    writer.write(tiny_store.network.neutral_plan())
    assert torch.equal(model[1].running_mean, tiny_store.model[1].running_mean)  # type: ignore[index]


def test_a_plan_of_another_network(tiny_store: CompressionStore) -> None:
    with pytest.raises(PlanError, match="misses layer"):
        PlanWriter(copy.deepcopy(tiny_store.model), tiny_store).write(Plan({"0": NEUTRAL}))
