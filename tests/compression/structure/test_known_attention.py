"""Heads of attention as timm and transformers write it: known by names, proved by removal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import autocomp
from autocomp.compression.structure.find import find_groups
from autocomp.compression.structure.known_attention import known_groups, note_heads
from autocomp.compression.structure.surgery import masked, sliced
from autocomp.network.analysis import analyse

WIDTH, HEADS, TOKENS = 24, 4, 5


class Separate(nn.Module):
    """Three projections, any number of heads, as in transformers."""

    def __init__(self, keys: int = HEADS) -> None:
        super().__init__()
        self.head_dim, self.share = WIDTH // HEADS, HEADS // keys
        self.q_proj = nn.Linear(WIDTH, WIDTH)
        self.k_proj = nn.Linear(WIDTH, keys * self.head_dim)
        self.v_proj = nn.Linear(WIDTH, keys * self.head_dim)
        self.o_proj = nn.Linear(WIDTH, WIDTH)

    def mixed(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:-1], -1, self.head_dim)
        q, k, v = (
            layer(x).view(shape).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        k, v = (t.repeat_interleave(self.share, 1) for t in (k, v))
        out = F.scaled_dot_product_attention(q, k, v)
        return out.transpose(1, 2).reshape(*x.shape[:-1], -1)

    def forward(self, x: Tensor) -> Tensor:
        return self.o_proj(self.mixed(x))


class Inner(Separate):
    """Its output layer lies beside it, as in BERT."""

    def __init__(self) -> None:
        super().__init__()
        del self.o_proj

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.mixed(x),)


class Beside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self, self.output = Inner(), nn.ModuleDict({"dense": nn.Linear(WIDTH, WIDTH)})

    def forward(self, x: Tensor) -> Tensor:
        return self.output["dense"](self.self(x)[0])


class Packed(nn.Module):
    """One projection and a number of heads of its own, as in timm."""

    def __init__(self, with_width: bool = True) -> None:
        super().__init__()
        self.num_heads, self.head_dim = HEADS, WIDTH // HEADS
        if with_width:
            self.attn_dim = WIDTH
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        packed = self.qkv(x).reshape(n, length, 3, self.num_heads, self.head_dim)
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        width = getattr(self, "attn_dim", self.num_heads * self.head_dim)
        return self.proj(out.reshape(n, length, width))


class Conv1D(nn.Module):
    """As transformers writes it."""

    __module__ = "transformers.pytorch_utils"

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x: Tensor) -> Tensor:
        size = (*x.size()[:-1], self.nf)
        return torch.addmm(self.bias, x.reshape(-1, x.size(-1)), self.weight).view(size)


class Turned(nn.Module):
    """Packed, with weights the other way and a size to split at, as GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.split_size = HEADS, WIDTH // HEADS, WIDTH
        self.c_attn, self.c_proj = Conv1D(3 * WIDTH, WIDTH), Conv1D(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:-1], -1, self.head_dim)
        parts = self.c_attn(x).split(self.split_size, dim=2)
        q, k, v = (part.view(shape).transpose(1, 2) for part in parts)
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.c_proj(out.reshape(*x.shape[:-1], -1))


class Feedforward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_fc, self.c_proj = Conv1D(10, WIDTH), Conv1D(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x)))


class Odd(Separate):
    """Its heads have weights of their own: none can go."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(HEADS))

    def mixed(self, x: Tensor) -> Tensor:
        out = super().mixed(x).unflatten(-1, (HEADS, -1)) * self.gain[:, None]
        return out.flatten(-2)


class Block(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention, self.norm = attention, nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((x + self.attention(self.norm(x))).mean(1))


def block(attention: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3)
    return Block(attention).eval()


CASES = {
    "separate": (Separate, "attention.q_proj", HEADS),
    "fewer keys": (lambda: Separate(keys=2), "attention.q_proj", 2),
    "beside": (Beside, "attention.self.q_proj", HEADS),
    "packed": (Packed, "attention.qkv", HEADS),
    "packed, no width": (lambda: Packed(with_width=False), "attention.qkv", HEADS),
    "turned": (Turned, "attention.c_attn", HEADS),
    "neurons": (Feedforward, "attention.c_fc", 10),
}
X = torch.randn((60, TOKENS, WIDTH), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("case", list(CASES))
def test_heads_are_found_and_go_like_masked_ones(case: str) -> None:
    make, leader, heads = CASES[case]
    model = block(make())
    found = find_groups(model, analyse(model, X[:4]), X[:4])
    group = next(g for g in found.groups if g.name == leader)
    assert group.units == heads
    assert leader not in found.skipped
    for kept in ((0,), tuple(range(1, heads))):
        small = sliced(model, [group], {leader: kept})
        wanted = masked(model, [group], {leader: kept})
        with torch.no_grad():
            assert torch.allclose(small(X), wanted(X), atol=1e-5)
    with torch.no_grad():  # trying left nothing behind
        assert torch.equal(model(X), block(make())(X))


def test_heads_that_cannot_go_say_why() -> None:
    model = block(Odd())
    found = find_groups(model, analyse(model, X[:4]), X[:4])
    assert "without a unit the network fails" in found.skipped["attention.q_proj"]
    assert "attention.q_proj" not in {group.name for group in found.groups}


def test_what_is_no_attention_is_left_alone() -> None:
    class Three(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(6, 6) for _ in range(3))
            self.o = nn.Linear(6, 6)

    assert known_groups(Three()) == []  # no width of a head
    lone = Packed()
    lone.num_heads, lone.head_dim = 1, WIDTH
    assert known_groups(lone) == []
    before = dict(vars(lone))
    note_heads(lone)
    assert vars(lone) == before


@pytest.mark.parametrize("case", list(CASES))
def test_a_search_takes_heads_out_and_the_file_gives_them_back(case: str, tmp_path: Path) -> None:
    make, leader, _ = CASES[case]
    model = block(make())
    with torch.no_grad():
        labels = model(X).argmax(1)
    data = [(X[a:b], labels[a:b]) for a, b in ((0, 30), (30, 45), (45, 60))]
    found = autocomp.search(
        model, data, "macs=60%", space="structured", agent="dp", evaluations=1,
        out=tmp_path / "r", report="none", progress=False, cache="none",
    )  # fmt: skip
    assert found.plan[leader].structure.units < 1
    again = autocomp.load(found.file, model=block(make()))
    with torch.no_grad():
        assert torch.allclose(again(X), found.model(X), atol=1e-6)
        assert model(X).shape == again(X).shape
    small = again.get_submodule(leader.rpartition(".")[0])
    if isinstance(small, Turned):
        assert small.split_size == 6 * small.num_heads < WIDTH
    if isinstance(small, Packed):
        assert small.num_heads < HEADS and small.qkv.out_features == 3 * small.num_heads * 6
