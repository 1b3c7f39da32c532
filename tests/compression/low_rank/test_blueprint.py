from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from autocomp.compression.low_rank import (
    DECOMPOSITIONS,
    Blueprint,
    applies_to,
    blueprint,
    decompose,
)
from autocomp.compression.recovery.gram import Gram
from autocomp.errors import ArtifactError, LayerError

Make = Callable[..., tuple[Any, Tensor]]
Moments = Callable[..., Gram]
CONV: dict[str, Any] = {
    "type": "conv2d", "ins": 4, "outs": 6, "kernel": [3, 3], "stride": [1, 1],
    "padding": [1, 1], "dilation": [1, 1],
}  # fmt: skip


@torch.no_grad()
def test_round_trip(name: str, make: Make, moments: Moments) -> None:
    """Through JSON text, an empty network and the state dict, to the same outputs."""
    module, x = make(name)
    for method in DECOMPOSITIONS:
        if not applies_to(module, method):
            continue
        chain = decompose(module, method, 2, moments(module, x))
        plan = Blueprint.of(chain)
        assert plan == blueprint(module, method, 2)
        text = json.dumps(plan.to_json(), allow_nan=False)
        read = Blueprint.from_json(text)
        assert read == plan == Blueprint.from_json(json.loads(text))
        assert hash(read) == hash(plan)
        rebuilt = read.build(dtype=torch.float64)
        assert not any(p.any() for p in rebuilt.parameters())
        rebuilt.load_state_dict(chain.state_dict(), strict=True)
        assert torch.equal(rebuilt(x), chain(x))


def test_json_holds_what_differs() -> None:
    assert Blueprint.of(decompose(nn.Linear(5, 4), "svd", 2)).to_json() == [
        {"type": "linear", "ins": 5, "outs": 2},
        {"type": "linear", "ins": 2, "outs": 4, "bias": True},
    ]
    layer = nn.Conv2d(4, 6, 3, padding="same", groups=2, padding_mode="reflect")
    assert Blueprint.of(nn.Sequential(layer)).to_json() == [
        {
            "type": "conv2d", "ins": 4, "outs": 6, "kernel": [3, 3], "stride": [1, 1],
            "padding": "same", "dilation": [1, 1], "groups": 2, "bias": True,
            "padding_mode": "reflect",
        }
    ]  # fmt: skip


def test_building_draws_no_random_number_and_may_allocate_nothing() -> None:
    plan = Blueprint.from_json([CONV])
    state = torch.get_rng_state()
    made = plan.build(dtype=torch.float16)
    assert torch.equal(state, torch.get_rng_state())
    assert made[0].weight.dtype == torch.float16 and made[0].weight.device.type == "cpu"
    assert all(p.is_meta for p in plan.build("meta").parameters())
    assert plan.n_weights == 6 * 4 * 9 and plan.shapes == {"0.weight": (6, 4, 3, 3)}
    assert plan.macs((4, 5, 5)) == 25 * 6 * 4 * 9


@pytest.mark.parametrize("parts", [[], [nn.ReLU()], [nn.Linear(3, 3), nn.Dropout()]])
def test_only_chains_of_plain_layers(parts: list[nn.Module]) -> None:
    with pytest.raises(LayerError):
        Blueprint.of(nn.Sequential(*parts))
    with pytest.raises(LayerError, match="but got Linear"):
        Blueprint.of(nn.Linear(3, 3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"type": "Linear"}, "type out of"),
        ({"type": ["conv2d"]}, "type out of"),
        ({"type": "os.system"}, "type out of"),
        ({"type": "linear"}, "no kernel"),
        ({"type": "conv1d"}, "1 numbers"),
        ({"ins": 0}, "whole `ins`"),
        ({"ins": -4}, "whole `ins`"),
        ({"ins": 4.0}, "whole `ins`"),
        ({"outs": True}, "whole `outs`"),
        ({"outs": 1 << 25}, "whole `outs`"),
        ({"outs": "6"}, "whole `outs`"),
        ({"outs": None}, "whole `outs`"),
        ({"outs": math.nan}, "whole `outs`"),
        ({"kernel": 3}, "2 numbers for `kernel`"),
        ({"kernel": [3]}, "2 numbers for `kernel`"),
        ({"kernel": [3, 0]}, "whole `kernel`"),
        ({"kernel": [3, [3]]}, "whole `kernel`"),
        ({"stride": [1, 0]}, "whole `stride`"),
        ({"dilation": [1, 10**30]}, "whole `dilation`"),
        ({"padding": [1, -1]}, "whole `padding`"),
        ({"padding": "valid"}, "2 numbers for `padding`"),
        ({"padding": "same", "stride": [2, 1]}, "stride of 1"),
        ({"groups": 3}, "groups divide"),
        ({"groups": 0}, "whole `groups`"),
        ({"bias": 1}, "true or false"),
        ({"padding_mode": "wrap"}, "padding_mode out of"),
        ({"padding_mode": {}}, "padding_mode out of"),
        ({"device": "cuda"}, "only the fields"),
    ],
)
def test_hostile_fields(change: dict[str, Any], words: str) -> None:
    Blueprint.from_json([CONV])
    with pytest.raises(ArtifactError, match=words) as raised:
        Blueprint.from_json([{**CONV, **change}])
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("[", "must be JSON"),
        (b"\xff\xfe", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        (None, "list of 1 to"),
        ({}, "list of 1 to"),
        ([], "list of 1 to"),
        ([CONV] * 17, "one of 17"),
        ([3], "mapping of fields"),
        ([[]], "mapping of fields"),
        ([{1: 2}], "mapping of fields"),
        ([{}], "type out of"),
        ([{k: v for k, v in CONV.items() if k != "stride"}], "2 numbers for `stride`"),
        ([CONV, CONV], "6 outputs stands before"),
        ([{"type": "linear", "ins": 3, "outs": 4}, CONV], "a linear with 4 outputs"),
        ([{"type": "linear", "ins": 1 << 24, "outs": 1 << 24}], "at most"),
        ([{"type": "linear", "ins": 1, "outs": 1 << 24, "bias": True, "x" * 500: 1}], "only"),
    ],
)
def test_hostile_chains(values: Any, words: str) -> None:
    with pytest.raises(ArtifactError, match=words) as raised:
        Blueprint.from_json(values)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["linear", "conv1d", "conv2d", "conv3d"]) | JSON,
        **{
            field: st.integers(-1, 8) | st.lists(st.integers(0, 4), max_size=3) | JSON
            for field in (
                "ins", "outs", "kernel", "stride", "padding", "dilation", "groups", "bias",
                "padding_mode",
            )
        },
    },
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(FIELDS | JSON, max_size=3) | JSON)
def test_anything_is_refused_or_builds(values: Any) -> None:
    try:
        found = Blueprint.from_json(values)
    except ArtifactError:
        return
    built = found.build("meta")
    assert {k: tuple(v.shape) for k, v in built.state_dict().items()} == found.shapes
    assert Blueprint.of(built) == found == Blueprint.from_json(found.to_json())
