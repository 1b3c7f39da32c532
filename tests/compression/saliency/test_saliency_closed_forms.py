"""Each named criterion against its formula, written out with autograd on the plain network."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.compression.saliency import (
    CRITERIA,
    Criterion,
    CriterionError,
    RandomCriterion,
    criterion_names,
    make_criterion,
)
from autocomp.compression.structure.groups import ChannelGroup, Member
from autocomp.errors import AutocompError, DataError, LayerError, ModelError, UnknownNameError

# two inputs, two hidden units, two classes
W1 = torch.tensor([[1.0, -2.0], [3.0, 1.0]])
W2 = torch.tensor([[2.0, -1.0], [1.0, 1.0]])
X = torch.tensor([[1.0, 1.0], [3.0, 1.0], [2.0, 0.0]])
Y = torch.tensor([0, 1, 1])
GROUP = ChannelGroup("0", 2, (Member("0", "out", ((0,), (1,))), Member("2", "in", ((0,), (1,)))))
HIDDEN = torch.tensor([[0.0, 4.0], [1.0, 10.0], [2.0, 6.0]])  # relu(X W1^T)


def network() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(W1)
        model[2].weight.copy_(W2)
    return model


def scores(spec: str, batches: Any = None) -> list[float]:
    batches = [(X, Y)] if batches is None else batches
    found: list[float] = make_criterion(spec).scores(network(), [GROUP], batches)["0"].tolist()
    return found


def gate_gradients(absolute: bool = False) -> Tensor:
    """a dL/da of each example and unit, from dL/dz of the two losses by hand."""
    p = (HIDDEN @ W2.t()).softmax(1)
    wanted = F.one_hot(Y, 2).float()
    dz = p - wanted
    if absolute:  # L = 2 (1 - p_y), so dL/dz_k = -2 p_y ([k = y] - p_k)
        dz = -2 * p.gather(1, Y[:, None]) * (wanted - p)
    return HIDDEN * (dz @ W2)


def weight_gradients() -> Tensor:
    """dL/dW1 of each example: (3, 2, 2)."""
    dz = (HIDDEN @ W2.t()).softmax(1) - F.one_hot(Y, 2).float()
    active = (HIDDEN > 0).float()
    return (dz @ W2 * active)[:, :, None] * X[:, None, :]


BY_HAND: dict[str, list[float]] = {
    "l1": [3, 4],
    "l2": [math.sqrt(5), math.sqrt(10)],
    "geometric-median": [math.sqrt(13), math.sqrt(13)],
    "activation-mean": [1, 20 / 3],
    "activation-variance": [2 / 3, 56 / 9],
    "apoz": [2 / 3, 1],
    # cov = (0*4 + 1*10 + 2*6)/3 - 20/3 = 2/3; unit 1 varies more
    "redundancy": [math.sqrt(2 / 3 * (1 - (4 / 9) / (2 / 3 * 56 / 9))), math.sqrt(56 / 9)],
    # column sums of |W2|, 3 and 2, over their mean
    "nisp": [3 / 2.5, 2 / 2.5],
    # example 0: class 0, z = -4, no positive contribution; 1: z_1 = 11 = 1 + 10; 2: 8 = 2 + 6
    "lrp": [(1 + 2) / 3, (10 + 6) / 3],
    "skeletonization": gate_gradients(absolute=True).abs().mean(0).tolist(),
    "taylor": (gate_gradients().abs().mean(0) / gate_gradients().abs().mean(0).norm()).tolist(),
    "fisher": gate_gradients().square().mean(0).tolist(),
    "taylor-weight": (weight_gradients().mean(0) * W1).square().sum(1).tolist(),
    "obd": (weight_gradients().square().mean(0) * W1.square() / 2).sum(1).tolist(),
    "compose": [3, 4],
}


@pytest.mark.parametrize("name", [n for n in CRITERIA if n not in ("random", "slimming")])
def test_by_hand(name: str) -> None:
    assert scores(name) == pytest.approx(BY_HAND[name], rel=2e-4)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("compose:base=outgoing", [3, 2]),
        ("l1:scaling=size", [3 / 4, 4 / 4]),  # 2 weights make a unit, 2 read it
        ("l1:scaling=macs", [3 / 4, 4 / 4]),
        ("l1:scaling=layer_mean", [3 / 3.5, 4 / 3.5]),
        ("l1:scaling=layer_norm", [3 / 5, 4 / 5]),
        ("l1:reduction=mean", [1.5, 2]),
        ("l1:reduction=max", [2, 3]),
        ("compose:pointwise=square", [5, 10]),
        ("compose:base=activation,pointwise=square,reduction=mean", [5 / 3, 152 / 3]),
        ("compose:base=activation,pointwise=identity,reduction=max", [1, 20 / 3]),
        ("compose:base=activation,pointwise=gate",
         [-float(v) for v in gate_gradients().mean(0)]),
        ("compose:base=activation,pointwise=taylor", gate_gradients().abs().mean(0).tolist()),
        ("compose:base=activation,pointwise=taylor2",
         gate_gradients().square().mean(0).tolist()),
        ("compose:base=activation,pointwise=obd",
         (gate_gradients().square().mean(0) / 2).tolist()),
        ("compose:base=gradient,pointwise=abs",
         (((HIDDEN @ W2.t()).softmax(1) - F.one_hot(Y, 2)) @ W2).abs().mean(0).tolist()),
        ("compose:pointwise=taylor", (weight_gradients().mean(0) * W1).abs().sum(1).tolist()),
        ("compose:pointwise=gate,reduction=abs_sum",
         (weight_gradients().mean(0) * W1).sum(1).abs().tolist()),
        ("nisp:scaling=none", [3, 2]),
    ],
)  # fmt: skip
def test_compositions_by_hand(spec: str, expected: list[float]) -> None:
    assert scores(spec) == pytest.approx(expected, rel=1e-5)


def test_the_criteria_differ() -> None:
    found = [tuple(round(v, 6) for v in values) for n, values in BY_HAND.items() if n != "compose"]
    assert len(set(found)) == len(found)


def test_a_gate_on_a_weight_and_on_its_activation_are_one(case: Any) -> None:
    """Without biases and norms behind ReLU, sum of w dL/dw = sum of a dL/da (Euler)."""
    weight = scores("compose:pointwise=gate")
    activation = scores("compose:base=activation,pointwise=gate")
    assert weight == pytest.approx(activation, rel=1e-5)


@pytest.mark.parametrize("name", ["mlp", "chain", "residual", "depthwise", "flatten"])
def test_a_gate_is_the_derivative_of_a_mask(name: str, case: Any) -> None:
    """Summed over readers -a dL/da is the slope of the loss as one unit fades everywhere."""
    found = case(name)
    model = found.model.double()
    batches = [(found.inputs.double(), found.labels)]
    criterion = Criterion(base="activation", pointwise="gate")
    for group in found.groups:
        slope = criterion.scores(model, [group], batches)[group.name]
        for unit in range(group.units):
            losses = []
            for factor in (1 + 1e-5, 1 - 1e-5):
                handles = []
                for member in group.by_role("in"):
                    module = model.get_submodule(member.module)
                    if getattr(module, "groups", 1) > 1:
                        continue  # a depthwise convolution: what is behind it counts
                    places = list(member.channels[unit])
                    axis = -1 if isinstance(module, nn.Linear) else 1

                    def fade(module: Any, inputs: Any, p: Any = places, f: float = factor,
                             a: int = axis) -> Any:  # fmt: skip
                        x = inputs[0].clone()
                        x.movedim(a, 0)[p] *= f
                        return (x,)

                    handles.append(module.register_forward_pre_hook(fade))
                with torch.no_grad():
                    losses.append(float(F.cross_entropy(model(batches[0][0]), found.labels)))
                for handle in handles:
                    handle.remove()
            numeric = -(losses[0] - losses[1]) / 2e-5
            assert float(slope[unit]) == pytest.approx(numeric, rel=1e-3, abs=1e-6)


def test_slimming_by_hand(case: Any) -> None:
    found = case("residual")
    got = make_criterion("slimming").scores(found.model, found.groups, [])
    assert torch.equal(got["stem"], found.model.bn2.weight.abs().detach())
    assert torch.equal(got["conv1"], found.model.bn1.weight.abs().detach())


def test_coupled_producers_are_summed_or_averaged(case: Any) -> None:
    found = case("residual")
    parts = [found.model.stem.weight, found.model.conv2.weight]
    expected = sum(w.detach().abs().flatten(1).sum(1) for w in parts)
    total = make_criterion("l1").scores(found.model, found.groups, [])["stem"]
    mean = make_criterion("l1:combine=mean").scores(found.model, found.groups, [])["stem"]
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(mean, expected / 2)


def test_readers_see_what_is_behind_norm_and_activation(case: Any) -> None:
    found = case("residual")
    model = found.model
    got = make_criterion("activation-mean").scores(model, found.groups, found.batches)
    with torch.no_grad():
        x = F.relu(model.stem(found.inputs))
        inner = F.relu(model.bn1(model.conv1(x)))
        out = F.relu(model.bn2(model.conv2(inner)) + x)
    torch.testing.assert_close(got["conv1"], inner.mean((0, 2, 3)))
    both = x.mean((0, 2, 3)) + out.mean((0, 2, 3))  # conv1 reads x, head reads the pooled output
    torch.testing.assert_close(got["stem"], both)


def test_flattened_channels(case: Any) -> None:
    found = case("flatten")
    with torch.no_grad():
        pooled = found.model[:3](found.inputs)
    got = make_criterion("activation-mean").scores(found.model, found.groups, found.batches)
    torch.testing.assert_close(got["0"], pooled.mean((0, 2, 3)))
    outgoing = make_criterion("compose:base=outgoing").scores(found.model, found.groups, [])
    expected = found.model[4].weight.detach().abs().reshape(3, 3, 4).sum((0, 2))
    torch.testing.assert_close(outgoing["0"], expected)


def test_a_layer_that_is_called_twice_counts_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.second(self.first(x)) + self.second(input=2 * self.first(x))
            return found

    model = Twice()
    members = tuple(Member(m, r, ((0,), (1,))) for m, r in (("first", "out"), ("second", "in")))
    got = Criterion(base="activation").scores(model, [ChannelGroup("g", 2, members)], [(X, Y)])
    expected = 3 * model.first(X).detach().abs().mean(0)
    torch.testing.assert_close(got["g"], expected)


def test_absent_units_get_nothing_from_that_member() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(2, 1)})
    members = (
        Member("a", "out", ((0,), (1,), (2,))),
        Member("b", "out", ((), (0,), ())),
    )
    got = make_criterion("l1").scores(model, [ChannelGroup("g", 3, members)], [])["g"]
    expected = model["a"].weight.detach().abs().sum(1)
    expected[1] += model["b"].weight.detach().abs().sum()
    torch.testing.assert_close(got, expected)
    mean = make_criterion("l1:combine=mean").scores(model, [ChannelGroup("g", 3, members)], [])
    torch.testing.assert_close(mean["g"], expected / torch.tensor([1.0, 2.0, 1.0]))


def test_attention_heads_are_units() -> None:
    """A head is made by its rows of q, k and v, and read by its columns."""
    from autocomp.compression.structure.heads import HeadAttention

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = HeadAttention(4, 2, 3, True, True)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.head(self.attention(x)[0].mean(1))
            return scores

    torch.manual_seed(0)
    model = Net()
    inside = [tuple(range(3)), tuple(range(3, 6))]
    packed = tuple(tuple(c + 6 * p for p in range(3) for c in unit) for unit in inside)
    members = (
        Member("attention.in_proj", "out", packed),
        Member("attention.out_proj", "in", tuple(inside)),
    )
    group = ChannelGroup("heads", 2, members)
    x = torch.randn(5, 7, 4)
    l1 = make_criterion("l1").scores(model, [group], [])["heads"]
    weight = model.attention.in_proj.weight.detach().abs().reshape(3, 2, 3, 4)
    torch.testing.assert_close(l1, weight.sum((0, 2, 3)))
    for name in CRITERIA:
        if name != "slimming":
            found = make_criterion(name).scores(model, [group], [(x, None)])["heads"]
            assert found.shape == (2,) and bool((found > 0).all())


def test_random_scores_depend_on_seed_and_name_only(case: Any) -> None:
    found = case("mlp")
    one = RandomCriterion().scores(found.model, found.groups, [])
    assert (
        one["0"].tolist()
        == RandomCriterion(0).scores(nn.Linear(1, 1), found.groups, [])["0"].tolist()
    )
    assert one["0"].tolist() != one["2"].tolist()[:4]
    other = make_criterion("random:seed=1").scores(found.model, found.groups, [])
    assert one["0"].tolist() != other["0"].tolist()
    assert all(0 <= float(v) < 1 for v in one["2"])


def test_names() -> None:
    assert criterion_names()[: len(CRITERIA)] == list(CRITERIA)
    assert make_criterion("compose:base=activation,pointwise=taylor") == Criterion(
        base="activation", pointwise="taylor"
    )
    assert not Criterion().needs_data and not RandomCriterion().needs_data
    assert Criterion(pointwise="obd").needs_data and Criterion(scaling="macs").needs_data
    assert Criterion(base="importance", pointwise="identity").needs_data


def test_no_groups() -> None:
    assert Criterion().scores(network(), [], []) == {}


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("l3", UnknownNameError, "no criterion named 'l3'.*Did you mean 'l[12]'"),
        ("l1:base=wieght", UnknownNameError, "no base named 'wieght'.*'weight'"),
        ("compose:pointwise=cube", UnknownNameError, "no pointwise"),
        ("compose:reduction=median", UnknownNameError, "no reduction"),
        ("compose:scaling=flops", UnknownNameError, "no scaling"),
        ("compose:combine=max", UnknownNameError, "no combine"),
        ("compose:loss=mse", UnknownNameError, "no loss"),
        ("l1:basis=weight", CriterionError, "option of criterion 'l1' named 'basis'.*'base'"),
        ("random:seed=x", CriterionError, "must be a whole number"),
        ("nisp:pointwise=taylor", CriterionError, "'taylor' multiplies.*base 'importance'"),
    ],
)
def test_wrong_specs(spec: str, error: type[AutocompError], words: str) -> None:
    with pytest.raises(error, match=words):
        make_criterion(spec)


@pytest.mark.parametrize(
    ("spec", "batches", "error", "words"),
    [
        ("taylor", [], DataError, "at least one example"),
        ("apoz", [(X[:0], None)], DataError, "at least one example"),
        ("obd", [], DataError, "at least one example"),
        ("l1:scaling=macs", [], DataError, "at least one example"),
        ("taylor", [(X, Y[:2])], DataError, "2 labels for 3 inputs"),
        ("taylor", [(X, torch.tensor([0, 1, 2]))], DataError, "from 0 to 1.*from 0 to 2"),
        ("obd", [(X, torch.tensor([0, -1, 0]))], DataError, "from 0 to 1"),
        ("lrp", [(X, Y.float())], DataError, "torch.float32"),
        ("fisher", [(X, Y[:, None])], DataError, "shape"),
        ("slimming", [], LayerError, "normalises.*'0' has none"),
        ("taylor", [(X * math.inf, Y)], ModelError, "must be finite.*nan"),
    ],
)
def test_wrong_data(spec: str, batches: Any, error: type[AutocompError], words: str) -> None:
    with pytest.raises(error, match=words):
        scores(spec, batches)


@pytest.mark.parametrize(
    ("spec", "members", "error", "words"),
    [
        ("apoz", (Member("0", "out", ((0,), (1,))),), LayerError, "reads the units"),
        ("l1", (Member("2", "in", ((0,), (1,))),), LayerError, "makes the units"),
        ("l1", (Member("1", "out", ((0,), (1,))),), LayerError, "ReLU has none"),
        ("l1", (Member("9", "out", ((0,), (1,))),), LayerError, "module of group 'g' named '9'"),
        ("apoz", (Member("9", "in", ((0,), (1,))),), LayerError, "module of group 'g' named '9'"),
    ],
)
def test_groups_that_do_not_fit(
    spec: str, members: tuple[Member, ...], error: type[AutocompError], words: str
) -> None:
    with pytest.raises(error, match=words):
        make_criterion(spec).scores(network(), [ChannelGroup("g", 2, members)], [(X, Y)])


def test_a_reader_that_is_never_called() -> None:
    model = network()
    model.spare = nn.Linear(2, 2)  # type: ignore[assignment]
    model.forward = lambda x: model[2](model[1](model[0](x)))  # type: ignore[method-assign]
    group = ChannelGroup("g", 2, (Member("spare", "in", ((0,), (1,))),))
    with pytest.raises(LayerError, match="'spare' to be called"):
        make_criterion("apoz").scores(model, [group], [(X, Y)])


@pytest.mark.parametrize("spec", ["taylor", "obd", "nisp"])
def test_a_network_that_gives_no_scores(spec: str) -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Tensor) -> Any:
            return (self.net(x),)

    members = tuple(Member(f"net.{m.module}", m.role, m.channels) for m in GROUP.members)
    with pytest.raises(ModelError, match="must return scores.*tuple"):
        make_criterion(spec).scores(Pair(), [ChannelGroup("g", 2, members)], [(X, Y)])
