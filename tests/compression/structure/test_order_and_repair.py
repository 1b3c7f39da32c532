"""Greedy order and least-squares repair against closed forms computed from the data themselves."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.compression.calibration.moments import input_moments
from autocomp.compression.calibration.norms import NormCorrection
from autocomp.compression.recovery import gram as gram_module
from autocomp.compression.recovery.gram import Gram
from autocomp.compression.structure.find import find_groups
from autocomp.compression.structure.groups import ChannelGroup
from autocomp.compression.structure.heads import with_heads
from autocomp.compression.structure.order import _Reader, removal_order
from autocomp.compression.structure.repair import column_mask, removed_inputs, repair
from autocomp.compression.structure.sequential import repair_sequentially
from autocomp.compression.structure.surgery import masked, sliced
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.network.analysis import analyse


class Flat(nn.Module):
    """A flattened input: a unit is nine columns."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 5, 3), nn.Linear(45, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(F.relu(self.first(x)).flatten(1))
        return out


class Two(nn.Module):
    """Two readers of one group, beside a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.other = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(x))
        out: Tensor = self.other(y + self.inner(y)).mean((2, 3))
        return out


def chain(*modules: nn.Module) -> nn.Module:
    return nn.Sequential(*modules, nn.Flatten())


NETS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (lambda: chain(nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 4)), (7,)),
    "linear, no bias": (
        lambda: chain(nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 4, bias=False)), (7,)),
    "conv": (lambda: chain(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 3, 3, padding=1)),
             (2, 7, 7)),
    "conv, norm": (
        lambda: chain(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(),
                      nn.Conv2d(6, 3, 3, bias=False), nn.BatchNorm2d(3)), (2, 7, 7)),
    "grouped": (lambda: chain(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3, groups=2)),
                (2, 7, 7)),
    "transposed": (lambda: chain(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 3, 2, 2)),
                   (2, 6, 6)),
    "flat": (Flat, (2, 5, 5)),
    "two": (Two, (2, 6, 6)),
}  # fmt: skip


class Known:
    """A network, its first group and the moments of its layers' inputs."""

    def __init__(self, name: str) -> None:
        build, shape = NETS[name]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.model: nn.Module = build().eval()
            # a direction that all images share, so that inputs are not centred
            self.x = torch.randn(160, *shape) + torch.randn(shape)
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        self.network: Network = analyse(self.model, self.x)
        self.groups = find_groups(self.model, self.network, self.x).groups
        self.group: ChannelGroup = self.groups[0]
        self.moments = input_moments(self.model, self.network, [self.x[:90], self.x[90:]])

    def readers(self) -> list[tuple[LayerSpec, Tensor, Gram, tuple[tuple[int, ...], ...]]]:
        found = []
        for member in self.group.by_role("in"):
            layer = next(x for x in self.network.layers if x.name == member.module)
            weight = self.model.get_parameter(layer.parameter).detach()
            found.append((layer, weight, self.moments[layer.name], member.channels))
        return found

    def cost(self, gone: list[int]) -> float:
        """The share of its readers' energy that is lost with some units, after least squares.

        sum over readers of tr W (H - H_:S H_SS^-1 H_S:) W^T / tr W M W^T, block by block.
        """
        total = 0.0
        for layer, weight, gram, channels in self.readers():
            places = [c for unit in gone for c in channels[unit]]
            per_block = layer.inputs // layer.groups
            rows = gram.layout.split(weight)
            energy = float(sum(torch.trace(w @ m @ w.T) for w, m in zip(rows, gram.moment)))  # noqa: B905
            for block in range(layer.groups):
                inside = [p - block * per_block for p in places if p // per_block == block]
                lost = {k * per_block + i for k in range(layer.kernel) for i in inside}
                stay = [c for c in range(gram.layout.width) if c not in lost]
                h, w = gram.hessian[block], rows[block]
                rest = h - h[:, stay] @ torch.linalg.solve(h[stay][:, stay], h[stay])
                total += float(torch.trace(w @ rest @ w.T)) / energy
        return total


@pytest.fixture(params=NETS)
def known(request: pytest.FixtureRequest) -> Known:
    return Known(request.param)


# ---- order


def test_the_costs_of_a_prefix_add_up_to_the_error_of_the_repair(known: Known) -> None:
    readers = [_Reader(*parts) for parts in known.readers()]
    left, spent, gone = list(range(known.group.units)), 0.0, []
    for unit in (known.group.units - 1, 0, 1):
        spent += sum(float(reader.costs(left)[left.index(unit)]) for reader in readers)
        for reader in readers:
            reader.remove(unit)
        left.remove(unit)
        gone.append(unit)
        assert spent == pytest.approx(known.cost(gone), rel=1e-6, abs=1e-9)


def test_the_order_is_greedy(known: Known) -> None:
    order = removal_order(known.model, known.network, known.moments, known.group)
    assert sorted(order) == list(range(known.group.units))
    gone: list[int] = []
    for unit in order[:-1]:
        costs = {u: known.cost([*gone, u]) for u in order if u not in gone}
        assert costs[unit] <= min(costs.values()) * (1 + 1e-9) + 1e-12
        gone.append(unit)
    again = removal_order(known.model, known.network, known.moments, known.group)
    assert again == order


def test_greedy_is_close_to_the_best_pair(known: Known) -> None:
    units = range(known.group.units)
    order = removal_order(known.model, known.network, known.moments, known.group)
    costs = {pair: known.cost(list(pair)) for pair in itertools.combinations(units, 2)}
    assert known.cost(order[:2]) <= sorted(costs.values())[len(costs) // 4]
    # and far from the worst, so that an order turned around would fail
    assert known.cost(order[-2:]) > known.cost(order[:2])


def test_a_unit_that_another_repeats_goes_first() -> None:
    model = chain(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    model[0].weight.data[3] = model[0].weight.data[1]  # type: ignore[index, union-attr]
    model[0].bias.data[3] = model[0].bias.data[1]  # type: ignore[index, union-attr]
    x = torch.randn(200, 4)
    network = analyse(model, x)
    group = find_groups(model, network, x).groups[0]
    order = removal_order(model, network, input_moments(model, network, [x]), group)
    assert order[0] in (1, 3)


def test_a_silent_unit_goes_first_and_costs_nothing() -> None:
    model = chain(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    model[2].weight.data[:, 2] = 0  # type: ignore[index, union-attr]
    x = torch.randn(50, 4)
    network = analyse(model, x)
    group = find_groups(model, network, x).groups[0]
    assert removal_order(model, network, input_moments(model, network, [x]), group)[0] == 2


def test_ties_go_to_the_later_unit() -> None:
    model = chain(nn.Linear(4, 4, bias=False), nn.Linear(4, 2))
    model[0].weight.data = torch.eye(4)  # type: ignore[index, union-attr]
    model[1].weight.data = torch.ones(2, 4)  # type: ignore[index, union-attr]
    x = torch.cat([torch.eye(4), -torch.eye(4)])
    network = analyse(model, x)
    group = find_groups(model, network, x).groups[0]
    order = removal_order(model, network, input_moments(model, network, [x]), group)
    assert order == [3, 2, 1, 0]


@pytest.mark.parametrize("transposed", [False, True])
def test_without_moments_the_smallest_go_first(transposed: bool) -> None:
    first: Any = nn.ConvTranspose2d(4, 6, 2, 2) if transposed else nn.Conv2d(4, 6, 3)
    model = chain(first, nn.Conv2d(6, 2, 1)).eval()
    sizes = torch.tensor([3.0, 1, 6, 2, 5, 4])
    first.weight.data.fill_(1).mul_(sizes.reshape((1, 6, 1, 1) if transposed else (6, 1, 1, 1)))
    x = torch.randn(2, 4, 5, 5)
    network = analyse(model, x)
    group = find_groups(model, network, x).groups[0]
    assert removal_order(model, network, {}, group) == [1, 3, 0, 5, 4, 2]


def test_heads_are_ordered_by_what_reads_them(cases: Any) -> None:
    case = cases("vit")
    model = copy.deepcopy(case.model)
    name = "blocks.1.attention.out_proj"
    model.get_submodule(name).weight.data[:, 8:16] *= 1e-4
    moments = input_moments(model, case.network, [case.x])
    group = next(g for g in case.found.groups if g.name == "blocks.1.attention.in_proj")
    assert removal_order(model, case.network, moments, group)[0] == 1


# ---- repair


def unfold(model: nn.Module, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the vectors `(n, columns)` that a linear layer or convolution multiplies, and W."""
    module: Any = model.get_submodule(name)
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(x)
    handle.remove()
    weight = module.weight.detach().double().reshape(len(module.weight), -1)
    if isinstance(module, nn.Linear):
        return seen[0].double(), weight
    patches = F.unfold(seen[0].double(), module.kernel_size, padding=module.padding)
    return patches.transpose(1, 2).reshape(-1, patches.shape[1]), weight


def repaired(known: Known, kept: dict[str, list[int]]) -> nn.Module:
    model = copy.deepcopy(known.model)
    repair(model, known.network, known.moments, known.groups, kept)
    return model


@pytest.mark.parametrize("name", ["linear", "linear, no bias", "conv", "conv, norm", "flat"])
def test_repair_is_least_squares(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_module, "DAMPING", 1e-9)
    monkeypatch.setattr(gram_module, "SPARSE_DAMPING", 0.0)
    known = Known(name)
    ((layer, _, gram, channels),) = known.readers()
    stay = [0, 2, 3]
    model = repaired(known, {known.group.name: stay})
    vectors, weight = unfold(known.model, layer.name, known.x)
    per_unit = vectors.shape[1] // known.group.units
    if name != "flat":
        assert channels == tuple((u,) for u in range(known.group.units))
    columns = [u * per_unit + i for u in stay for i in range(per_unit)]
    module: Any = model.get_submodule(layer.name)
    found = module.weight.detach().double().reshape(len(weight), -1)
    gone = sorted(set(range(vectors.shape[1])) - set(columns))
    assert (found[:, gone] == 0).all() and (found[:, columns] != 0).all()
    inputs, wanted = vectors, vectors @ weight.T
    if name != "linear, no bias":  # the mean is made up for elsewhere
        inputs, wanted = vectors - vectors.mean(0), wanted - wanted.mean(0)
    best = torch.linalg.lstsq(inputs[:, columns], wanted).solution.T
    if name != "flat":  # some pixels are nearly always zero, so that their weights hardly matter
        torch.testing.assert_close(found[:, columns], best, rtol=5e-3, atol=5e-3)
    least = float((inputs[:, columns] @ best.T - wanted).square().sum())
    error = float((inputs @ found.T - wanted).square().sum())
    plain = float((inputs[:, columns] @ weight[:, columns].T - wanted).square().sum())
    assert least * (1 - 1e-9) <= error <= least * 1.001 < plain
    dense: Any = known.model.get_submodule(layer.name)
    if module.bias is None:
        return
    before = (vectors @ weight.T).mean(0) + dense.bias.double()
    after = (vectors @ found.T).mean(0) + module.bias.double()
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_repair_never_does_worse_than_masking(known: Known, count: int) -> None:
    """With the real damping, on the calibration inputs, reader by reader."""
    order = removal_order(known.model, known.network, known.moments, known.group)
    kept = {known.group.name: sorted(order[min(count, len(order) - 1) :])}
    fixed, zeroed = repaired(known, kept), masked(known.model, known.groups, kept)
    for layer, weight, gram, _ in known.readers():
        errors = [
            gram.error(m.get_parameter(layer.parameter).detach() - weight) for m in (fixed, zeroed)
        ]
        assert errors[0] <= errors[1] * (1 + 1e-6)
        assert errors[0] < errors[1] or errors[1] == 0
    read = {parts[0].parameter for parts in known.readers()}
    read |= {name.removesuffix("weight") + "bias" for name in read}
    for name, tensor in fixed.state_dict().items():
        assert name in read or torch.equal(tensor, known.model.state_dict()[name])


@pytest.mark.parametrize("name", [name for name in NETS if "norm" not in name])
def test_a_repaired_network_gives_nearer_outputs(name: str) -> None:
    """But where a norm behind the reader is corrected afterwards."""
    known = Known(name)
    order = removal_order(known.model, known.network, known.moments, known.group)
    kept = {known.group.name: sorted(order[1:])}
    with torch.no_grad():
        wanted = known.model(known.x)
        fixed = sliced(repaired(known, kept), known.groups, kept)(known.x)
        plain = sliced(known.model, known.groups, kept)(known.x)
    assert (fixed - wanted).square().mean() < (plain - wanted).square().mean()


def test_layers_without_moments_keep_what_stays(known: Known) -> None:
    kept = {known.group.name: [0]}
    model = copy.deepcopy(known.model)
    repair(model, known.network, {}, known.groups, kept)
    state = masked(known.model, known.groups, kept).state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_nothing_gone_changes_nothing(known: Known) -> None:
    for kept in ({}, {known.group.name: list(range(known.group.units))}):
        assert removed_inputs(known.model, known.network, known.groups, kept) == {}
        state = repaired(known, kept).state_dict()
        assert all(torch.equal(t, state[n]) for n, t in known.model.state_dict().items())


def test_column_masks_by_hand(cases: Any) -> None:
    layers = {x.name: x for x in cases("dense").network.layers}
    mask = column_mask(layers["up"], [1])
    assert mask.shape == (6, 4, 2, 2)
    assert mask[1].sum() == 0 and mask.sum() == 5 * 4 * 4
    mask = column_mask(layers["g"], [0, 3])  # first of group 0, second of group 1
    assert mask[:4, 0].sum() == 0 == mask[4:, 1].sum()
    assert mask[:4, 1].min() == 1 == mask[4:, 0].min()


# ---- front to back


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 24), nn.Linear(24, 24)
        self.c, self.d = nn.Linear(24, 24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.b(F.relu(self.a(x))))
        out: Tensor = self.d(F.relu(self.c(x)))
        return out


def sequence(model: nn.Module, kept: dict[str, list[int]], x: Tensor) -> nn.Module:
    network = analyse(model, x)
    groups = find_groups(model, network, x).groups
    made = copy.deepcopy(model)
    repair_sequentially(model, made, network, groups, kept, [x], NormCorrection(model, [x]))
    return made


def test_front_to_back_is_nearer_than_all_at_once() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = Deep().eval(), torch.randn(800, 6) + 0.3
    network = analyse(model, x)
    groups = find_groups(model, network, x).groups
    moments = input_moments(model, network, [x])
    kept = {
        g.name: sorted(removal_order(model, network, moments, g)[g.units // 2 :]) for g in groups
    }
    parallel = copy.deepcopy(model)
    repair(parallel, network, moments, groups, kept)
    front_to_back = sequence(model, kept, x)
    plain = masked(model, groups, kept)
    with torch.no_grad():
        errors = [
            float((m(x) - model(x)).square().mean()) for m in (front_to_back, parallel, plain)
        ]
        small = sliced(front_to_back, groups, kept)
        torch.testing.assert_close(small(x), front_to_back(x), rtol=1e-4, atol=1e-5)
    assert errors[0] < 0.95 * errors[1] and errors[1] < 0.95 * errors[2]


def test_front_to_back_leaves_alone_what_nothing_reaches() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = Deep().eval(), torch.randn(300, 6)
    before = copy.deepcopy(model.state_dict())
    same = sequence(model, {}, x)
    made = sequence(model, {"b": list(range(20))}, x)
    for name, tensor in before.items():
        assert torch.equal(same.state_dict()[name], tensor)
        assert torch.equal(model.state_dict()[name], tensor)
        if name[0] in "ab":
            assert torch.equal(made.state_dict()[name], tensor)
    assert (made.get_parameter("c.weight")[:, 20:] == 0).all()


def test_too_few_inputs_teach_nothing() -> None:
    """A fit on three vectors a column would learn the images by heart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = Deep().eval(), torch.randn(72, 6)
    kept = {"a": list(range(12))}
    found = sequence(model, kept, x)
    network = analyse(model, x)
    wanted = masked(model, find_groups(model, network, x).groups, kept).state_dict()
    assert all(torch.equal(t, wanted[n]) for n, t in found.state_dict().items())
    more = sequence(model, kept, torch.randn(96, 6))
    assert not torch.equal(more.get_parameter("b.weight"), wanted["b.weight"])


def test_heads_are_repaired_too(cases: Any) -> None:
    case = cases("vit")
    model = copy.deepcopy(case.plain)
    with_heads(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = torch.randn(40, 3, 8, 8)
    network = analyse(model, x)
    moments = input_moments(model, network, [x])
    kept = {g.name: [0, 2] for g in case.found.groups if g.units == 3}
    fixed = copy.deepcopy(model)
    repair(fixed, network, moments, case.found.groups, kept)
    front_to_back = sequence(model, kept, x)
    with torch.no_grad():
        wanted = model(x)
        plain = masked(model, case.found.groups, kept)(x)
        errors = [float((m(x) - wanted).square().mean()) for m in (fixed, front_to_back)]
    assert max(errors) < float((plain - wanted).square().mean())
