"""Scales go into the batch norms behind them where that changes nothing but bytes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autocomp.artifacts.container import pack
from autocomp.compression.noted_file import file_of
from autocomp.compression.saving import repacked
from autocomp.core.choice import Choice
from autocomp.core.quantized import Quantized
from autocomp.data import load_data
from autocomp.training.fold_scales import fold_scales


def test_it_computes_the_same_in_fewer_bytes(network: nn.Module, images: Tensor, made) -> None:
    packed = file_of(network)
    assert packed is not None
    before = {k: t.clone() for k, t in network.state_dict().items()}
    folded = fold_scales(network, packed, images)
    assert len(folded.factors) == len(packed.norms)
    with torch.inference_mode():
        expected = network(images)
        assert torch.allclose(folded.network(images), expected, atol=1e-4)
    for name in folded.factors:
        weight = folded.packed.weights[name]
        assert isinstance(weight, Quantized)
        assert len(weight.scale.unique()) == 1
        assert torch.equal(weight.codes, packed.weights[name].codes)
        assert torch.equal(folded.network.get_parameter(name), weight.dequantize())
    assert len(pack(repacked(folded.network))) < len(made.bytes)
    assert all(torch.equal(before[k], t) for k, t in network.state_dict().items())
    dense = made.dense.state_dict()
    source = folded.source(dense)
    name = next(iter(folded.factors))
    ratio = packed.weights[name].scale / folded.packed.weights[name].scale
    assert torch.allclose(source[name] * ratio, dense[name], rtol=1e-5)


def test_outputs_that_go_elsewhere_too_keep_their_scales(compress) -> None:
    torch.manual_seed(0)

    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 6, 3, bias=False), nn.BatchNorm2d(6)
            self.last = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            seen = self.conv(x)
            return self.last((self.norm(seen) + seen).relu().mean((2, 3)))

    model = Split().eval()
    pair = (torch.randn(64, 2, 6, 6), torch.randint(3, (64,)))
    found = compress(model, load_data((pair, pair, pair)), Choice.of(weight_bits=4))
    packed = file_of(found.network)
    assert packed is not None and packed.norms
    folded = fold_scales(found.network, packed, pair[0][:8])
    assert not folded.factors
    assert folded.packed is packed
