"""Where convolutions' outputs are rounded for their own sake."""

from __future__ import annotations

from math import inf

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.core.output_quantizer import OutputQuantizer
from autocomp.network.analysis import analyse

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def sites(net: nn.Module) -> dict[str, list[tuple[str, float, float]]]:
    """Returns layer -> (module, low, high) of its sites; those that have none are left out."""
    return {
        x.name: [(s.module, s.low, s.high) for s in x.output_sites]
        for x in analyse(net.eval(), X).layers
        if x.output_sites
    }


class Block(nn.Module):
    """A residual block, with a ReLU module that it calls twice."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=inplace)

    def forward(self, x: Tensor) -> Tensor:
        """Returns relu(x + f(x))."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x
        return self.relu(y)


class Residual(nn.Module):
    """A stem, two blocks, and a head on the mean."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.blocks = nn.Sequential(Block(inplace), Block(inplace))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits."""
        return self.head(self.blocks(relu(self.bn(self.stem(x)))).mean((2, 3)))


@pytest.mark.parametrize("inplace", [False, True])
def test_residual_blocks(inplace: bool) -> None:
    assert sites(Residual(inplace)) == {
        "stem": [("bn", 0.0, inf)],
        "blocks.0.conv2": [("blocks.0.bn2", -inf, inf), ("blocks.0", -inf, inf)],
        "blocks.1.conv2": [("blocks.1.bn2", -inf, inf), ("blocks.1", -inf, inf)],
    }


def test_what_the_next_layer_rounds_has_no_site() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2),
        nn.ReLU6(), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    assert not sites(net)


def test_padding_inside_the_next_layer_is_no_reader_of_its_own() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), nn.Flatten()
    )
    assert not sites(net)


def test_the_networks_own_outputs_are_left_alone() -> None:
    assert not sites(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    assert not sites(nn.Sequential(nn.Conv2d(3, 4, 6), nn.ReLU(), nn.Flatten()))


@pytest.mark.parametrize(
    ("activation", "limits"),
    [
        (nn.ReLU(), (0.0, inf)),
        (nn.ReLU6(), (0.0, 6.0)),
        (nn.Hardtanh(-1.0, 2.0), (-1.0, 2.0)),
        (nn.SiLU(), (-inf, inf)),
        (nn.Identity(), (-inf, inf)),
    ],
)
def test_limits_are_those_of_what_follows(
    activation: nn.Module, limits: tuple[float, float]
) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), activation, nn.AvgPool2d(4), nn.Flatten(),
        nn.Linear(4, 2),
    )  # fmt: skip
    assert sites(net) == {"0": [("1", *limits)]}


class Two(nn.Module):
    """Two layers read one convolution; their outputs are joined, and a third reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.left, self.right = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)
        self.last = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits."""
        x = relu(self.first(x))
        joined = torch.cat([relu(self.left(x)), relu(self.right(x)).clamp(max=1)], 1)
        return self.last(joined.flatten(1))


def test_two_readers_and_a_concatenation() -> None:
    assert sites(Two()) == {
        "first": [("first", 0.0, inf)],
        "left": [("left", 0.0, inf)],
        "right": [("right", 0.0, inf)],
    }


class Twice(nn.Module):
    """One convolution and one norm that are called twice, and a shortcut of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.wide = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 5, 1)
        self.last = nn.Linear(5 * 36, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits."""
        x = self.bn(self.conv(self.bn(self.conv(x))))
        return self.last((self.wide(x) + pad(x, (0, 0, 0, 0, 1, 1))).flatten(1))


def test_modules_that_are_called_twice_are_left_alone() -> None:
    # the sum is no module's output, and the linear layer alone reads it
    assert sites(Twice()) == {"wide": [("wide", -inf, inf)]}


def test_quantizers_that_are_there_already_do_not_hide_sites() -> None:
    net = Residual(False).eval()
    plain = sites(net)
    quantizer = ActivationQuantizer(8, 0.05, 0)
    net.blocks[0].conv1.register_forward_pre_hook(quantizer)
    hook = OutputQuantizer("bn", quantizer)
    net.bn.register_forward_hook(hook)
    assert sites(net) == plain
    assert list(net.bn._forward_hooks.values()) == [hook]
    assert list(net.blocks[0].conv1._forward_pre_hooks.values()) == [quantizer]
    layers = {x.name: x for x in analyse(net, X).layers}
    assert layers["stem"].output_bits == 8 and layers["blocks.0.conv2"].output_bits == 32


class Several(nn.Module):
    """Returns logits, and values that a convolution and a sum give, in a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.same, self.head = nn.Identity(), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Returns logits and what lies on the way."""
        x = relu(self.stem(x))
        total = self.same(x + self.left(x))
        return {"logits": self.head(total.mean((2, 3))), "sum": total, "map": self.right(x)}


@pytest.mark.parametrize("hooked", [False, True])
def test_outputs_beside_the_one_that_counts_are_left_alone(hooked: bool) -> None:
    net = Several()
    if hooked:  # as a search does
        net.register_forward_hook(lambda module, given, output: output["logits"])
    # nor is what they are sums of
    assert not sites(net)


class Sharper(nn.Module):
    """Adds what a convolution finds to an image, as networks that restore images do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns an image."""
        return x + self.last(torch.tanh(self.first(x)))


def test_a_sum_that_is_the_networks_output_is_left_alone() -> None:
    assert sites(Sharper()) == {"first": [("first", -inf, inf)]}
