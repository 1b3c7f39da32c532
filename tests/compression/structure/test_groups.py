"""Which channels go together, and what is left alone and why."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.compression.structure.find import PruningGroups, find_groups
from autocomp.compression.structure.groups import ROLES
from autocomp.network.analysis import analyse


def found_in(model: nn.Module, *shape: int, keep: tuple[str, ...] = ()) -> PruningGroups:
    model.eval()
    x = torch.randn(3, *shape)
    before = copy.deepcopy(model.state_dict())
    found = find_groups(model, analyse(model, x, keep), x)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    return found


# ---- what is found


def test_units_cover_the_axes_that_they_live_on(case: Any) -> None:
    modules = dict(case.model.named_modules())
    axes: dict[tuple[str, str], set[int]] = {}
    for group in case.found.groups:
        assert group.units >= 2 and group.by_role("out") and group.by_role("in")
        assert group.name == next(
            x.name
            for x in case.network.layers
            if x.name in {m.module for m in group.by_role("out")}
        )
        for member in group.members:
            assert member.role in ROLES and len(member.channels) == group.units
            places = [c for unit in member.channels for c in unit]
            assert len(places) == len(set(places))
            taken = axes.setdefault((member.module, member.role), set())
            assert not taken & set(places)  # a place belongs to one unit of one group
            taken.update(places)
            assert member.of([1, 0]) == sorted((*member.channels[0], *member.channels[1]))
    for (name, role), places in axes.items():
        layer = next((x for x in case.network.layers if x.name == name), None)
        if layer is not None:
            n = layer.outputs if role == "out" else layer.inputs
        else:
            n = len(modules[name].weight)
        assert places == set(range(n))
    leaders = [group.name for group in case.found.groups]
    names = list(case.network.names)
    assert leaders == sorted(leaders, key=names.index)
    assert not set(leaders) & set(case.found.skipped)


def test_groups_by_hand(cases: Any) -> None:
    def summary(name: str) -> dict[str, tuple[int, set[tuple[str, str]]]]:
        groups = cases(name).found.groups
        return {g.name: (g.units, {(m.module, m.role) for m in g.members}) for g in groups}

    dense = summary("dense")
    assert dense["a"] == (
        8, {("a", "out"), ("bn", "side"), ("b", "in"), ("bn2", "side"), ("c", "in")},
    )  # fmt: skip
    assert dense["b"] == (8, {("b", "out"), ("bn2", "side"), ("c", "in")})
    assert dense["up"] == (2, {("up", "out"), ("g", "in")})  # one of each group, so 2 of 4
    assert {n: u for n, (u, _) in dense.items()} == {
        "a": 8, "b": 8, "c": 6, "up": 2, "g": 4, "h": 2,
    }  # fmt: skip
    by_name = {g.name: g for g in cases("dense").found.groups}
    columns = {m.module: m.channels for m in by_name["b"].members}
    assert columns["c"] == tuple((8 + u,) for u in range(8))  # behind those of `a`
    assert {m.module: m.channels for m in by_name["up"].members}["g"] == ((0, 2), (1, 3))
    flat = {m.module: m.channels for m in by_name["h"].members}["l"]
    assert [len(unit) for unit in flat] == [512, 512]
    assert flat[0] == (*range(256), *range(512, 768))

    signal = summary("signal")
    assert signal["stem"][0] == 3 and signal["up"] == (4, {("up", "out"), ("out", "in")})
    assert signal["stem"][1] == {
        ("stem", "out"), ("depth", "out"), ("bn", "side"), ("mix", "in"), ("mix", "out"),
        ("up", "in"),
    }  # fmt: skip
    assert summary("mlp") == {
        "layers.1": (16, {("layers.1", "out"), ("layers.3", "in")}),
        "layers.3": (12, {("layers.3", "out"), ("layers.5", "in")}),
    }
    vit = summary("vit")
    assert {n: u for n, (u, _) in vit.items()} == {
        "blocks.0.attention.in_proj": 3, "blocks.0.fc1": 96,
        "blocks.1.attention.in_proj": 3, "blocks.1.fc1": 96,
    }  # fmt: skip
    heads = next(g for g in cases("vit").found.groups if g.units == 3)
    assert heads.by_role("in")[0].channels[1] == tuple(range(8, 16))
    assert heads.by_role("out")[0].channels[1] == tuple(
        c for c in range(72) if c % 24 in range(8, 16)
    )
    assert len(summary("resnet20")) == 9 and len(summary("resnet56")) == 27
    assert len(summary("vgg11")) == 8 and len(summary("mobilenetv2")) == 25


def test_what_is_kept_is_named_with_its_reason(cases: Any) -> None:
    def kept(name: str) -> dict[str, str]:
        found: dict[str, str] = cases(name).found.skipped
        return found

    for name in ("dense", "grouped", "signal", "digits", "mlp", "vit", "vgg11", "resnet20"):
        last = cases(name).network.names[-1]
        assert kept(name)[last] == "it makes the network's outputs"
        assert not any("\n" in reason for reason in kept(name).values())
    assert kept("grouped")["a"] == "'g' is grouped and takes channels from elsewhere"
    # the zeros that a shortcut pads with are a fixed number of channels
    assert "without a unit the network fails" in kept("resnet20")["conv1"]
    assert "a parameter of its own" in kept("vit")["patches"]


# ---- what cannot be


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        if hidden.requires_grad:
            raise RuntimeError("no gradients\nhere")
        out: Tensor = self.second(hidden)
        return out


class Detached(Untraceable):
    """Autograd does not see who reads the first layer's outputs."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(F.relu(self.first(x)).detach())
        return out


def test_a_graph_that_cannot_be_traced_is_kept_and_named() -> None:
    found = found_in(Untraceable(), 4)
    assert found.groups == () and list(found.skipped) == ["first"]
    reason = found.skipped["first"]
    assert reason.startswith("the graph cannot be traced (RuntimeError") and "\n" not in reason


def test_a_walk_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Swin, whose merging of patches the library maps onto itself again and again."""
    from torch_pruning.dependency import Group

    plain = Group.add_dep
    monkeypatch.setattr("autocomp.compression.structure.find._INDICES", (5, 5))
    found = found_in(Chain(nn.ReLU()), 3, 5, 5)
    assert found.groups == () and Group.add_dep is plain
    assert found.skipped["first"] == "its channels are mapped onto each other without end"


def test_readers_behind_a_cut_in_the_graph_are_not_forgotten() -> None:
    found = found_in(Detached(), 4)
    assert found.groups == ()
    assert found.skipped == {
        "first": "the traced graph does not reach it", "second": "it makes the network's outputs"
    }  # fmt: skip


class Chain(nn.Module):
    """Two layers and whatever stands between them."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.first, self.between = nn.Conv2d(3, 6, 3, padding=1), between
        self.second = nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.between(self.first(x)))
        return out


class Centred(nn.Module):
    """Mixes channels without weights: removing one changes the others."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(1, keepdim=True)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, 6, 1, 1) + torch.rand(1, 6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (nn.GroupNorm(2, 6), r"it holds 'between' \(GroupNorm\), which is left whole"),
        (nn.InstanceNorm2d(6, affine=True), r"\(InstanceNorm2d\), which is left whole"),
        (Scaled(), "it holds a parameter of its own, which is left whole"),
        (Centred(), "the outputs are not those of the masked network"),
        (nn.Sequential(nn.PixelShuffle(1), nn.Unflatten(1, (2, 3)), nn.Flatten(1, 2)), "fails"),
    ],
    ids=["group norm", "instance norm", "parameter", "mixing", "shapes"],
)  # fmt: skip
def test_groups_that_cannot_lose_units(between: nn.Module, reason: str) -> None:
    found = found_in(Chain(between), 3, 5, 5)
    assert found.groups == ()
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.skipped["first"])


@pytest.mark.parametrize("between", [nn.ReLU(), nn.PReLU(), nn.PReLU(6), nn.BatchNorm2d(6)])
def test_groups_that_can(between: nn.Module) -> None:
    (group,) = found_in(Chain(between), 3, 5, 5).groups
    assert (group.name, group.units) == ("first", 6)


@pytest.mark.parametrize("layer", ["first", "second"])
def test_a_group_with_a_kept_layer_is_kept(layer: str) -> None:
    found = found_in(Chain(nn.ReLU()), 3, 5, 5, keep=(layer,))
    assert found.groups == ()
    if layer == "second":
        assert found.skipped["first"] == "'second' is frozen"
    else:
        assert found.skipped == {"second": "it makes the network's outputs"}


def test_one_unit_stays() -> None:
    model = nn.Sequential(nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 3))
    assert found_in(model, 4).skipped["0"] == "it has one unit only"


def test_shared_weights_stay_whole() -> None:
    model = nn.Sequential(
        nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 7), nn.Linear(7, 3)
    )
    model[2].weight = model[0].weight
    found = found_in(model, 5)
    assert [group.name for group in found.groups] == ["4"]
    assert "shares its weight" in found.skipped["0"]


def test_a_computed_weight_stays_whole() -> None:
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 2))
    torch.nn.utils.parametrizations.weight_norm(model[2])
    found = found_in(model, 5)
    assert found.groups == ()
    assert all(found.skipped.values())


def test_depthwise_on_the_networks_own_inputs_stays() -> None:
    """Its channels are the image's, which cannot go."""
    model = nn.Sequential(
        nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)
    )
    found = found_in(model, 3, 6, 6)
    assert [group.name for group in found.groups] == ["1"]
    assert "0" in found.skipped


def test_a_plain_module_is_a_network_too() -> None:
    found = found_in(nn.Linear(4, 3), 4)
    assert found.groups == () and list(found.skipped) == ["model"]


# ---- on how much it is tried


class Watched(nn.Module):
    """Says what sizes its images had, copies of it too."""

    seen: ClassVar[list[int]] = []

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, stride=4), nn.Conv2d(4, 4, 3, stride=4)
        self.last = nn.Linear(4 if pooled else 4 * 6 * 6, 2)
        self.pooled = pooled

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.shape[-1])
        x = torch.relu(self.b(torch.relu(self.a(x))))
        return self.last(x.mean((2, 3)) if self.pooled else x.flatten(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("pooled", [True, False])
def test_removals_are_tried_on_small_images_where_a_network_takes_them(pooled: bool) -> None:
    model = Watched(pooled).eval()
    x = torch.randn(2, 3, 100, 100)
    network = analyse(model, x)
    Watched.seen.clear()
    found = find_groups(model, network, x)
    seen = list(Watched.seen)
    assert {g.name for g in found.groups} == {"a", "b"}
    assert seen[:2] == [100, 64]  # whether it takes them
    assert set(seen[2:]) == ({64} if pooled else {100})
