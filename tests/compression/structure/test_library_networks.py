"""Networks of torchvision and timm, where they are installed: no-op, surgery, masking."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import nn

from autocomp.compression.structure.find import find_groups
from autocomp.compression.structure.heads import with_heads
from autocomp.compression.structure.surgery import masked, sliced
from autocomp.network.analysis import analyse

NETWORKS = [
    ("torchvision.models", "resnet18"),
    ("torchvision.models", "mobilenet_v2"),
    ("torchvision.models", "vgg11_bn"),
    ("torchvision.models", "densenet121"),
    ("timm", "resnet18"),
    ("timm", "mobilenetv3_small_100"),
    ("timm", "vit_tiny_patch16_224"),
]


@pytest.fixture(params=NETWORKS, ids=lambda pair: ".".join(pair))
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, torch.Tensor]:
    """Random weights, running statistics of their own, and a few images."""
    library, name = request.param
    try:
        module: Any = import_module(library)
    except Exception as error:  # torchvision raises what it likes beside another torch
        pytest.skip(f"{library} does not import here ({type(error).__name__}: {error})")
    build: Callable[..., nn.Module] = (
        (lambda: module.create_model(name, num_classes=10))
        if library == "timm"
        else (lambda: getattr(module, name)(num_classes=10))
    )
    torch.manual_seed(0)
    model = build()
    x = torch.randn(2, 3, *(2 * [224 if "224" in name else 64]))
    model.train()
    with torch.no_grad():
        for _ in range(3):  # batch norms see real statistics
            model(torch.randn(4, *x.shape[1:]))
    return model.eval(), x


def test_surgery_is_masking_and_nothing_gone_changes_nothing(
    network: tuple[nn.Module, torch.Tensor],
) -> None:
    plain, x = network
    model = copy.deepcopy(plain)
    with_heads(model, x)
    layers = analyse(model, x)
    found = find_groups(model, layers, x)
    assert layers.layers and found.groups
    with torch.inference_mode():
        dense = plain(x)
        same = sliced(model, found.groups, {})(x)
        assert torch.equal(same, model(x))
        torch.testing.assert_close(same, dense, atol=1e-5, rtol=1e-5)
        kept = {g.name: tuple(range(max(1, g.units // 2))) for g in found.groups}
        small = sliced(model, found.groups, kept)
        gap = (small(x) - masked(model, found.groups, kept)(x)).abs().max()
    scale = max(1.0, float(dense.abs().max()))
    assert float(gap) <= 1e-5 * scale
    before = sum(p.numel() for p in model.parameters())
    assert sum(p.numel() for p in small.parameters()) < 0.9 * before
