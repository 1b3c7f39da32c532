"""Copies that stand for a network: whatever holds its modules, they compute with their own."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from types import MethodType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.data.splits import DataSplits
from autocomp.errors import LayerError, ModelError
from autocomp.network.analysis import analyse
from autocomp.network.faithful import check_copy, try_channels_last, without_effect
from autocomp.network.rebinding import copy_network
from autocomp.network.working_copy import working_copy
from autocomp.problem.problem import CompressionProblem

CPU = torch.device("cpu")
X = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 8)
        self.b = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.a(x)))  # type: ignore[no-any-return]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = Block()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x))  # type: ignore[no-any-return]


def in_closure(net: Any) -> None:
    inner = net.block.forward
    net.block.forward = lambda x: inner(x)


def in_two_closures(net: Any) -> None:
    in_closure(net)
    in_closure(net)


def in_default(net: Any) -> None:
    net.block.forward = lambda x, inner=net.block.forward: inner(x)


def in_keyword(net: Any) -> None:
    def forward(x: Tensor, *, inner: Any = net.block) -> Any:
        return inner.b(F.relu(inner.a(x)))

    net.block.forward = forward


def in_decorator(net: Any) -> None:
    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*given: Any) -> Any:
            return function(*given)

        return wrapper

    net.block.forward = timed(net.block.forward)


def in_partial(net: Any) -> None:
    def forward(module: Any, x: Tensor) -> Any:
        return module.b(F.relu(module.a(x)))

    net.block.old_forward = net.block.forward
    net.block.forward = functools.partial(forward, net.block)


def in_partial_of_closure(net: Any) -> None:
    block = net.block

    def forward(scale: float, x: Tensor) -> Any:
        return block.b(F.relu(block.a(x))) * scale

    net.block.forward = functools.partial(forward, 1.0)


def in_method(net: Any) -> None:
    block = net.block
    net.block.forward = MethodType(lambda self, x: block.b(F.relu(self.a(x))), net.block)


def in_callable_object(net: Any) -> None:
    class Timed:
        def __init__(self, function: Any) -> None:
            self.function = function

        def __call__(self, x: Tensor) -> Any:
            return self.function(x)

    timed = Timed(net.block.forward)
    net.block.forward = timed
    net.head.forward = (lambda t, own: lambda x: own(x))(timed, net.head.forward)


def in_weak_reference(net: Any) -> None:
    block = weakref.ref(net.block)
    net.block.forward = lambda x: block().b(F.relu(block().a(x)))


def in_container(net: Any) -> None:
    layers = {"first": [net.block.a], "second": (net.block.b,)}
    net.block.forward = lambda x: layers["second"][0](F.relu(layers["first"][0](x)))


def in_hook(net: Any) -> None:
    other = net.block.b
    net.block.b.register_forward_hook(lambda m, i, out: out + F.linear(i[0], other.weight))


def in_captured_parameter(net: Any) -> None:
    weight, bias = net.head.weight, net.head.bias
    net.head.forward = lambda x: F.linear(x, weight, bias)


def in_recursive_closure(net: Any) -> None:
    inner = net.block.forward

    def forward(x: Tensor, again: bool = True) -> Any:
        return forward(x, False) if again else inner(x)

    net.block.forward = forward


HOLDERS = [value for name, value in dict(globals()).items() if name.startswith("in_")]


@pytest.mark.parametrize("hold", HOLDERS, ids=lambda f: f.__name__)
def test_a_copy_computes_with_its_own_weights(hold: Callable[[nn.Module], None]) -> None:
    torch.manual_seed(0)
    net = Net().eval()
    hold(net)
    before = net(X)
    copied = working_copy(net, CPU)
    check_copy(net, copied, X)
    assert torch.equal(copied(X), before)
    macs = sum(layer.macs for layer in analyse(copied, X).layers)
    assert macs == 6 * 8 * 2 + 6 * 3 or hold is in_captured_parameter
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert not copied(X).any()
    assert torch.equal(net(X), before)  # and the network keeps its own
    again = copy_network(copied)  # a copy of a copy, too
    with torch.no_grad():
        again.head.bias.fill_(3.0)  # type: ignore[union-attr, operator]
    assert torch.equal(again(X), torch.full((5, 3), 3.0)) and not copied(X).any()


def in_the_class(net: Any) -> None:
    block = net.block
    kind = type("Wrapped", (Block,), {"forward": lambda self, x: block.b(F.relu(block.a(x)))})
    net.block.__class__ = kind


def in_a_generator(net: Any) -> None:
    class Cell:
        __slots__ = ("block",)

    cell = Cell()
    cell.block = net.block  # type: ignore[attr-defined]
    net.block.forward = lambda x: cell.block.b(F.relu(cell.block.a(x)))  # type: ignore[attr-defined]


@pytest.mark.parametrize("hold", [in_the_class, in_a_generator])
def test_what_cannot_be_put_in_terms_of_the_copy_is_refused(hold: Any) -> None:
    net = Net().eval()
    hold(net)
    with pytest.raises(ModelError, match=r"'block\.[ab]\.(weight|bias)' of the network") as caught:
        check_copy(net, working_copy(net, CPU), X)
    assert "\n" not in str(caught.value)


def test_other_outputs_are_refused() -> None:
    class Counting(Net):
        def __deepcopy__(self, memo: Any) -> Any:
            made = Net()
            made.load_state_dict(self.state_dict())
            with torch.no_grad():
                made.head.bias.add_(1)
            return made

    net = Counting().eval()
    with pytest.raises(ModelError, match="must compute what the network computes"):
        check_copy(net, working_copy(net, CPU), X)


def test_a_network_of_chance_is_refused() -> None:
    class Random(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(F.dropout(x, 0.5, training=True))

    net = Random().eval()
    with pytest.raises(ModelError, match="same outputs for the same inputs"):
        check_copy(net, working_copy(net, CPU), X)


def test_outputs_that_are_no_numbers_are_refused() -> None:
    net = Net().eval()
    with pytest.raises(ModelError, match="outputs must be finite"):
        check_copy(net, working_copy(net, CPU), X * float("nan"))


def test_a_copy_that_shares_memory_is_refused() -> None:
    class Same(Net):
        def __deepcopy__(self, memo: Any) -> Any:
            return self

    class Partly(Net):
        def __deepcopy__(self, memo: Any) -> Any:
            made = Partly()
            made.block, made.head = self.block, copy_network(self.head)
            return made

    for net in (Same().eval(), Partly().eval()):
        with pytest.raises(ModelError, match="must have memory of its own"):
            check_copy(net, working_copy(net, CPU), X)


def test_a_network_that_does_more_in_eval_is_not_switched() -> None:
    """As one that merges an adapter into its weights there."""

    class Merging(Net):
        merged = False

        def train(self, mode: bool = True) -> Any:
            if not mode and not self.merged:
                with torch.no_grad():
                    self.head.weight.add_(1.0)
            self.merged = not mode
            return super().train(mode)

        def forward(self, x: Tensor) -> Tensor:
            weight = self.head.weight if self.merged else self.head.weight + 1.0
            return F.linear(self.block(x), weight, self.head.bias)

    net = Merging()
    before = net.head.weight.detach().clone()
    check_copy(net, working_copy(net, CPU), X)
    assert torch.equal(net.head.weight, before) and net.training and not net.merged


def test_a_copy_that_is_built_anew_is_in_the_same_mode() -> None:
    class Built(Net):
        def __deepcopy__(self, memo: Any) -> Any:
            made = Built()
            made.load_state_dict(self.state_dict())
            return made

    assert not copy_network(Built().eval()).training


def test_the_network_stays_as_it_was() -> None:
    class Counting(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.norm = nn.BatchNorm1d(6)

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(self.norm(x))

    net = Counting().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    check_copy(net, working_copy(net, CPU), X)
    assert net.training and net.norm.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


class Kept(Net):
    """Works its weight out once, and never looks at it again."""

    def __init__(self) -> None:
        super().__init__()
        self.known: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.known is None:
            self.known = self.head.weight.detach() * 2
        return F.linear(self.block(x), self.known)


def test_weights_that_are_not_read_stay_dense() -> None:
    net = Net().eval()
    net.spare = nn.Linear(6, 6)
    network = analyse(net, X)
    assert network.unread == ("spare",) and network.names == ("block.a", "block.b", "head")
    assert [layer.name for layer in network.frozen] == ["spare"]
    kept = Kept().eval()
    assert analyse(kept, X).unread == ("head",)


class Standardised(nn.Linear):
    """Reads its weight in each pass, and computes with a copy that it made in the first one."""

    kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        fresh = self.weight - self.weight.mean()
        if self.kept is None:
            self.kept = fresh.detach()
        return F.linear(x, self.kept, self.bias)


def test_a_weight_without_effect_stays_dense(tiny_data: DataSplits) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), Standardised(8, 4)).eval()
    weights = {"1": net[1].weight, "3": net[3].weight}
    x = torch.randn(4, 3, 8, 8)
    net(x)
    assert without_effect(net, weights, x) == ("3",)
    with pytest.warns(RuntimeWarning, match="'3'"):
        problem = CompressionProblem(net, tiny_data, "size=90%")
    assert problem.network.names == ("1",) and problem.network.unread == ("3",)


def test_layers_that_are_not_called_are_told_where_operations_count(tiny_data: DataSplits) -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(192, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(F.linear(x.flatten(1), self.a.weight))  # type: ignore[no-any-return]

    with pytest.warns(RuntimeWarning, match="as if nothing removed any: 'a'"):
        CompressionProblem(Functional().eval(), tiny_data, "macs=90%")
    CompressionProblem(Functional().eval(), tiny_data, "size=90%")


def test_weights_that_are_read_without_a_call_are_layers() -> None:
    class Functional(Net):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.block(x), self.head.weight)

    assert analyse(Functional().eval(), X).names == ("block.a", "block.b", "head")


def test_layers_that_some_inputs_reach_alone_are_layers() -> None:
    class Gated(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.block(x)) if (x[:, 0] > 50).any() else self.head(x)

    inputs = X.clone()
    inputs[-1, 0] = 100
    assert analyse(Gated().eval(), inputs).unread == ()
    assert analyse(Gated().eval(), X).unread == ("block.a", "block.b")


def test_writing_must_change_the_outputs() -> None:
    net = Net().eval()
    weights = {"block.a": net.block.a.weight, "head": net.head.weight}
    before = [weight.detach().clone() for weight in weights.values()]
    assert without_effect(net, weights, X) == ()
    assert all(torch.equal(a, b) for a, b in zip(weights.values(), before, strict=True))
    kept = Kept().eval()
    kept(X)
    with pytest.raises(ModelError, match="must change its outputs"):
        without_effect(kept, {"head": kept.head.weight}, X)


class Viewed(nn.Module):
    def __init__(self, view: bool) -> None:
        super().__init__()
        self.c, self.f = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6 * 16, 4)
        self.view = view

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.c(x)), 2)
        flat = x.view(len(x), -1) if self.view else x.flatten(1)
        return self.f(flat)  # type: ignore[no-any-return]


class Strided(Viewed):
    """Runs in any order of memory, and gives other outputs in each."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.c(x)), 2).contiguous(memory_format=torch.preserve_format)
        return self.f(torch.as_strided(x, (len(x), 96), (96, 1)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("net", "last"), [(Viewed(False), True), (Viewed(True), False),
                                           (Strided(False), False)])  # fmt: skip
def test_the_order_of_memory_is_kept_where_it_matters(net: Viewed, last: bool) -> None:
    x = torch.randn(4, 3, 8, 8)
    before = net(x)
    assert try_channels_last(net, x) is last
    assert net.c.weight.is_contiguous(memory_format=torch.channels_last) is last
    assert torch.allclose(net(x), before, atol=1e-5) or last


def test_a_network_that_does_not_run_is_refused() -> None:
    net = Net().eval()
    with pytest.raises(LayerError, match="must run on its example inputs"):
        check_copy(net, working_copy(net, CPU), torch.randn(2, 7))
