"""What a file says of a network's shapes: everything that is needed, and nothing is trusted."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autocomp.compression.structure.find import find_groups
from autocomp.compression.structure.heads import HeadAttention, with_heads
from autocomp.compression.structure.record import rebuild, record_of
from autocomp.compression.structure.surgery import sliced
from autocomp.errors import ArtifactError
from autocomp.network.analysis import analyse


def test_a_record_and_tensors_make_the_network_again(drawn: Any) -> None:
    case, seed = drawn
    small = sliced(case.model, case.found.groups, case.kept(seed))
    record = json.loads(json.dumps(record_of(case.plain, small)))
    again = copy.deepcopy(case.plain)
    rebuild(again, record, small.state_dict())
    again.load_state_dict(small.state_dict())
    last: Any = torch.channels_last
    with torch.inference_mode():
        assert torch.equal(
            again.to(memory_format=last)(case.x), small.to(memory_format=last)(case.x)
        )
    for name, module in small.named_modules():
        assert again.get_submodule(name).extra_repr() == module.extra_repr()


def test_a_whole_network_has_no_record(cases: Any) -> None:
    assert record_of(cases("dense").plain, cases("dense").model) == {}
    heads = record_of(cases("vit").plain, cases("vit").model)
    assert heads == {
        "heads": {f"blocks.{i}.attention": [24, 3, 8, True, True] for i in range(2)}
    }  # fmt: skip


class Narrow(nn.Module):
    """Attention whose tokens can lose width, too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.mixed = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        y = torch.relu(self.middle(self.mixed(y, y, y)[0]))
        out: torch.Tensor = self.last(y.mean(1))
        return out


def test_attention_on_narrower_tokens() -> None:
    plain = Narrow().eval()
    model, x = copy.deepcopy(plain), torch.randn(2, 3, 8)
    with_heads(model, x)
    groups = find_groups(model, analyse(model, x), x).groups
    assert [group.name for group in groups] == [
        "first",
        "mixed.in_proj",
        "mixed.out_proj",
        "middle",
    ]
    small = sliced(model, groups, {"first": [1, 2, 7], "mixed.in_proj": [1], "mixed.out_proj": [4]})
    rebuild(plain, record_of(plain, small), small.state_dict())
    plain.load_state_dict(small.state_dict())
    with torch.inference_mode():
        assert torch.equal(plain(x), small(x))


# ---- hostile


def plain_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 2),
        nn.Conv2d(8, 8, 1, groups=2),
    )  # fmt: skip


T = torch.zeros


@pytest.mark.parametrize(
    ("record", "tensors", "words"),
    [
        ({"sliced": ["0"]}, {"0.weight": T(9, 3, 3, 3)}, "cut out of one of shape"),
        ({"sliced": ["0"]}, {"0.weight": T(4, 3, 5, 5)}, "cut out of one of shape"),
        ({"sliced": ["0"]}, {"0.weight": T(0, 3, 3, 3)}, "cut out of one of shape"),
        ({"sliced": ["0"]}, {"0.weight": T(4, 3)}, "cut out of one of shape"),
        ({"sliced": ["0"]}, {"0.weight": T(())}, "cut out of one of shape"),
        ({"sliced": ["1"]}, {"1.running_mean": T(9)}, "cut out of one of shape"),
        ({"sliced": ["0"]}, {"0.weight": T(4, 3, 3, 3)}, "those of '0' do not fit together"),
        ({"sliced": ["0"]}, {"0.bias": T(4)}, "those of '0' do not fit together"),
        ({"sliced": ["1"]}, {"1.weight": T(4), "1.bias": T(5)}, "those of '1' do not fit"),
        ({"sliced": ["4"]}, {"4.weight": T(1, 8)}, "those of '4' do not fit together"),
        ({"sliced": ["5"]}, {"5.weight": T(3, 4, 1, 1), "5.bias": T(3)}, "those of '5' do not"),
        ({"sliced": ["2"]}, {}, "names '2', a ReLU"),
        ({"sliced": ["3"]}, {}, "names '3', a MultiheadAttention"),
        ({"sliced": [""]}, {}, "names '', a Sequential"),
        ({"sliced": ["7"]}, {}, "fit its network"),
        ({"sliced": ["0.weight"]}, {}, "fit its network"),
        ({"sliced": [["0"]]}, {}, "fit its network"),
        ({"sliced": 5}, {}, "fit its network"),
        ({"sliced": None}, {}, "fit its network"),
        ({"heads": 5}, {}, "fit its network"),
        ({"heads": ["3"]}, {}, "fit its network"),
        ({"heads": {"3": [8, 1, 4]}}, {}, "fit its network"),
        ({"heads": {"3": None}}, {}, "fit its network"),
        ({"heads": {"3": [8, 1, 4, True, True, 1]}}, {}, "fit its network"),
        ({"heads": {"9": [8, 1, 4, True, True]}}, {}, "fit its network"),
        ({"heads": {"0": [8, 1, 4, True, True]}}, {}, "replace an attention"),
        ({"heads": {"3": [16, 1, 4, True, True]}}, {}, "replace an attention"),
        ({"heads": {"3": [8, 0, 4, True, True]}}, {}, "replace an attention"),
        ({"heads": {"3": [8, -1, 4, True, True]}}, {}, "replace an attention"),
        ({"heads": {"3": [8, 1.5, 4, True, True]}}, {}, "replace an attention"),
        ({"heads": {"3": [8, "1", 4, True, True]}}, {}, "replace an attention"),
        ({"heads": {"3": [8, 1, 1 << 40, True, True]}}, {}, "replace an attention"),
        ({"heads": {"3": [8, (1 << 24) - 1, (1 << 24) - 1, True, True]}}, {}, "replace an att"),
        ({"heads": {"3": [8, 3, 4, True, True]}}, {}, "replace an attention"),
    ],
    ids=lambda value: repr(value)[:50] if isinstance(value, dict) else None,
)  # fmt: skip
def test_hostile_records(record: Any, tensors: Any, words: str) -> None:
    with pytest.raises(ArtifactError, match=words) as caught:
        rebuild(plain_net(), record, tensors)
    assert "\n" not in str(caught.value)


def test_a_record_that_forgets_a_tensor_leaves_its_shape() -> None:
    model = plain_net()
    rebuild(model, {"sliced": ["0"]}, {})
    assert model[0].weight.shape == (8, 3, 3, 3)  # type: ignore[index, union-attr]
    rebuild(model, {"heads": {"3": [8, 1, 4, True, True]}}, {})
    assert isinstance(model[3], HeadAttention) and model[3].heads == 1  # type: ignore[index]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_factors_have_the_type_of_the_layer_that_they_stand_for(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    from autocomp.compression.loading import load
    from autocomp.core.choice import Choice
    from autocomp.data import load_data
    from autocomp.problem.problem import CompressionProblem

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 24), nn.ReLU(), nn.Linear(24, 4)).to(dtype).eval()
    inputs, labels = torch.randn(96, 20), torch.arange(96) % 4
    data = load_data(tuple((inputs[i : i + 32], labels[i : i + 32]) for i in (0, 32, 64)))
    problem = CompressionProblem(net, data, "size=100%")
    plan = problem.network.neutral_plan().replace("0", Choice.of(weight_bits=8, rank=0.5))
    network, file = problem.compressed(plan)
    (tmp_path / "model.safetensors").write_bytes(file)
    loaded = load(tmp_path / "model.safetensors", net)
    assert {p.dtype for p in loaded.parameters()} == {dtype}
    with torch.no_grad():
        assert torch.equal(loaded(inputs.to(dtype)), network(inputs.to(dtype)))
