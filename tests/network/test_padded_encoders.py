"""Encoders that pack padded texts compute the same unpacked, and are put back."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import autocomp
from autocomp.network.padded_encoders import packed_again, unpacked


class Reader(nn.Module):
    """Texts with padding, averaged over all positions: so zeros at padded ones count."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(16) if norm else None)
        self.last = nn.Linear(16, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        seen = self.encoder(self.table(tokens), src_key_padding_mask=tokens == 0)
        return self.last(seen.mean(1))


def _texts(left: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, 20, (32, 8), generator=generator)
    lengths = torch.randint(3, 9, (32, 1), generator=generator)
    places = torch.arange(8).flip(0) if left else torch.arange(8)
    return tokens.masked_fill(places >= lengths, 0)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_it_computes_the_same(norm: bool, left: bool) -> None:
    reader, tokens = Reader(norm).eval(), _texts(left)
    with torch.inference_mode():
        expected = reader(tokens)
        plain = unpacked(copy.deepcopy(reader))
        assert not plain.encoder.use_nested_tensor
        assert torch.allclose(plain(tokens), expected, atol=1e-5)
        again = packed_again(copy.deepcopy(plain))
        assert again.encoder.use_nested_tensor
        assert not again.encoder._forward_pre_hooks and not again.encoder.layers[-1]._forward_hooks
        assert torch.allclose(again(tokens), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_it_is_searched() -> None:
    reader, tokens = Reader().eval(), _texts()
    with torch.inference_mode():
        labels = reader(tokens).argmax(1)
    pair = (tokens, labels)
    result = autocomp.search(
        reader, (pair, pair, pair), "size=20%", agent="dp", evaluations=1, report="none",
        progress=False, cache="none",
    )  # fmt: skip
    assert result.summary.test_dense.accuracy == 1
    assert result.model.encoder.use_nested_tensor
    again = autocomp.load(result.file, Reader())
    with torch.inference_mode():
        assert torch.allclose(again(tokens), result.model(tokens), atol=1e-5)
