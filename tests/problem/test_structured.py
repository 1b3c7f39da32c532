"""Plans that take channels away, end to end: shapes, costs, losses, and the file."""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from autocomp.search_spaces import feasible_space, make_space
from torch import Tensor, nn

from autocomp.allocation.dynamic_program import DynamicProgram
from autocomp.allocation.knapsack import Knapsack
from autocomp.artifacts.container import pack, unpack
from autocomp.artifacts.records import weight_bits
from autocomp.compression.calibration.moments import input_moments
from autocomp.compression.loading import load
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.fidelity import Fidelity
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.plan import Plan
from autocomp.core.quantized import Quantized
from autocomp.data.split import Split
from autocomp.data.splits import DataSplits
from autocomp.errors import ArtifactError, BudgetError, ChoiceError, UnknownNameError
from autocomp.models import build_architecture, build_model
from autocomp.models.builder import ModelSource
from autocomp.network.scoring import outputs_on
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.problem.structured import StructuredModel
from autocomp.problem.subnets import LATEST
from autocomp.tasks import Classification

SMALL = ProblemSettings(search_images=60)


def noise_data(shape: tuple[int, ...], classes: int = 4) -> DataSplits:
    """Fixed patterns under noise."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(classes, *shape, generator=generator)

    def split(name: str, n: int) -> Split:
        labels = torch.arange(n) % classes
        images = patterns[labels] + 2 * torch.randn(n, *shape, generator=generator)
        return Split.of(images, labels, f"{shape} {name}")

    return DataSplits("noise", split("a", 96), split("b", 80), split("c", 40), classes)


def vit() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return build_model("vit", image_size=8, dim=24, depth=2, heads=3, num_classes=4)


def mixed() -> nn.Module:
    """Depthwise and grouped convolutions, batch norms, a flattened input; two widths meet."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.PReLU(16), nn.Conv2d(16, 24, 1),
            nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 16, 3, stride=2, groups=4), nn.ReLU(),
            nn.ConvTranspose2d(16, 8, 2), nn.ReLU(), nn.Flatten(), nn.Linear(200, 4),
        ).eval()  # fmt: skip
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return model


@pytest.fixture(scope="module")
def problems(digits_model: Any, digits_data: Any) -> Callable[[str], CompressionProblem]:
    made: dict[str, CompressionProblem] = {}
    budgets = "size=60%,macs=60%,params=60%,bitops=60%"

    def problem(name: str) -> CompressionProblem:
        if name not in made:
            model, data = {
                "digits": lambda: (digits_model, digits_data),
                "vit": lambda: (vit(), noise_data((3, 8, 8))),
                "mixed": lambda: (mixed(), noise_data((3, 9, 9))),
            }[name]()
            made[name] = CompressionProblem(copy.deepcopy(model), data, budgets, SMALL)
        return made[name]

    return problem


@pytest.fixture(params=["digits", "vit", "mixed"])
def problem(request: pytest.FixtureRequest, problems: Any) -> Any:
    return problems(request.param)


def menus_of(problem: CompressionProblem, space: str) -> list[tuple[Choice, ...]]:
    made = make_space(space)
    return [tuple(dict.fromkeys(made.choices(layer))) for layer in problem.subnets.layers]


def random_plan(problem: CompressionProblem, space: str, seed: int) -> Plan:
    rng = random.Random(seed)
    menus = menus_of(problem, space)
    return Plan({x: rng.choice(m) for x, m in zip(problem.network.names, menus, strict=True)})


def with_channels(problem: CompressionProblem, share: float, inside: Choice = NEUTRAL) -> Plan:
    """Returns the plan that takes the same share of every group."""

    def choice(layer: LayerSpec) -> Choice:
        bits = inside.activations.bits if layer.quantizable_input else 32
        share_of = share if layer.units else 1.0
        return inside.replace(activation_bits=bits, channels=share_of)

    return Plan({layer.name: choice(layer) for layer in problem.subnets.layers})


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    """As the problem runs it."""
    last: Any = torch.channels_last
    model = copy.deepcopy(model).eval().to(memory_format=last)
    out: Tensor = model(images.contiguous(memory_format=last) if images.dim() == 4 else images)
    return out


# ---- what is asked for, and what comes back


@pytest.mark.parametrize("field", ["channels", "rank"])
def test_shares_are_validated(field: str) -> None:
    for bad in (0, -0.1, 1.0001, float("nan"), float("inf"), "0.5", None, True):
        with pytest.raises(ChoiceError, match=field) as caught:
            Choice.of(**{field: bad})
        assert "\n" not in str(caught.value)
    assert Choice.of(**{field: 1}).value(field) == 1.0
    assert Choice.of(**{field: 0.33333}).value(field) == 0.3333
    assert Choice.of(**{field: 1e-9}).value(field) == 0.0001


def test_criteria_are_texts_and_need_channels() -> None:
    with pytest.raises(ChoiceError, match="criterion"):
        Choice.of(channels=0.5, criterion=3)  # type: ignore[arg-type]
    assert Choice.of(criterion="l1") == NEUTRAL
    assert Choice.of(channels=0.5, criterion="l1") != Choice.of(channels=0.5)


def test_parts_of_a_choice_make_it_again() -> None:
    choice = Choice.of(
        sparsity=0.3, weight_bits=4, activation_bits=8, channels=0.5, criterion="l1", rank=0.25
    )
    assert choice.inside == Choice.of(sparsity=0.3, weight_bits=4, activation_bits=8)
    assert choice.of_structure == Choice.of(channels=0.5, criterion="l1", rank=0.25)
    assert Choice.from_json(choice.to_json()) == choice
    assert choice.of_weights == Choice.of(sparsity=0.3, weight_bits=4)
    assert "50% channels by l1" in str(choice) and "25% rank" in str(choice)
    plan = Plan({"a": choice, "b": Choice.of(weight_bits=4)})
    assert plan.is_structured and not plan.replace("a", choice.inside).is_structured
    assert plan.structure == Plan({"a": choice.of_structure, "b": NEUTRAL})
    assert plan.structure.key != plan.key and Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("units", "step", "channels", "kept"),
    [
        (16, 1, 0.5, 8), (16, 1, 0.0001, 1), (16, 1, 0.97, 16), (16, 1, 0.96, 15),
        (16, 8, 0.5, 8), (16, 8, 0.1, 8), (16, 8, 0.74, 8), (16, 8, 0.75, 16),
        (20, 8, 0.5, 8), (20, 8, 0.99, 16), (20, 8, 1.0, 20), (20, 8, 0.6, 16),
        (3, 8, 0.1, 3), (3, 1, 0.5, 2), (13, 8, 0.999, 13), (7, 4, 0.3, 4),
    ],
)  # fmt: skip
def test_units_that_stay(units: int, step: int, channels: float, kept: int) -> None:
    layer = LayerSpec(
        "l", "l.weight", "conv", (units, 4, 3, 3), 0, 1, 1, 1, 10, 1, True, True,
        units=units, unit_step=step,
    )  # fmt: skip
    assert layer.units_kept(channels) == kept


@pytest.mark.parametrize("step", [1, 8])
def test_realised_counts_are_multiples_and_show_in_the_network(
    digits_model: Any, digits_data: Any, step: int
) -> None:
    settings = dataclasses.replace(SMALL, unit_step=step)
    problem = CompressionProblem(digits_model, digits_data, "size=60%", settings)
    counts = {x.name: x.units for x in problem.subnets.layers if x.units}
    assert counts == {
        "conv1": 16, "block1.conv1": 16, "block2.conv1": 32, "block2.conv2": 32, "block3.conv1": 32,
    }  # fmt: skip
    for share in (0.1, 0.45, 0.8):
        plan = with_channels(problem, share)
        model, _ = problem.compressed(plan)
        kept = problem.subnets.kept(plan)
        for layer in problem.subnets.layers:
            if layer.units:
                wanted = layer.units_kept(share)
                assert wanted % step == 0
                stay = kept.get(layer.name, range(layer.units))
                assert len(stay) == wanted == model.get_submodule(layer.name).out_channels
                assert list(stay) == sorted(set(stay))
        smaller = problem.subnets.kept(with_channels(problem, share / 2))
        assert all(set(smaller[name]) <= set(stay) for name, stay in kept.items())


def test_the_neutral_plan_is_the_network_bit_for_bit(problem: Any) -> None:
    dense = problem.store.model
    images = problem.data.search.images[:40]
    problem.compressed(
        with_channels(problem, 0.5, Choice.of(sparsity=0.3, weight_bits=3))
    )  # something in between
    model, data = problem.compressed(problem.network.neutral_plan())
    assert torch.equal(logits(model, images), logits(dense, images))
    state = dense.state_dict()
    assert all(torch.equal(t, state[name]) for name, t in unpack(data).state_dict().items())
    assert unpack(data).structure is None


@pytest.mark.parametrize("name", ["digits", "mixed"])
def test_a_share_that_keeps_every_unit_changes_nothing(problems: Any, name: str) -> None:
    """The plan asks for structure, but the counts come out whole."""
    problem = problems(name)
    plan = with_channels(problem, 0.999)
    assert plan.is_structured and problem.subnets.kept(plan) == {}
    model, _ = problem.compressed(plan)
    images = problem.data.search.images[:40]
    assert torch.equal(logits(model, images), logits(problem.store.model, images))


def test_who_leads_no_group_loses_nothing(problems: Any) -> None:
    problem = problems("digits")
    neutral = problem.network.neutral_plan()
    for name, why in (("linear", "makes the network's outputs"), ("block1.conv2", "another layer")):
        with pytest.raises(ChoiceError, match=why) as caught:
            problem.evaluate(neutral.replace(name, Choice.of(channels=0.5)))
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_criterion_orders_the_units(problems: Any) -> None:
    problem = problems("digits")
    subnets = problem.subnets
    orders = {c: subnets.order("block2.conv1", c) for c in ("", "l1", "random:seed=1")}
    assert all(sorted(order) == list(range(32)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 3
    plan = problem.network.neutral_plan().replace(
        "block2.conv1", Choice.of(channels=0.25, criterion="l1")
    )
    assert subnets.kept(plan) == {"block2.conv1": tuple(sorted(orders["l1"][-8:]))}
    with pytest.raises(UnknownNameError, match="l11"):
        problem.evaluate(plan.replace("block2.conv1", Choice.of(channels=0.25, criterion="l11")))


def test_the_latest_networks_are_kept_and_made_again_alike(problems: Any) -> None:
    problem = problems("mixed")
    first = with_channels(problem, 0.5)
    subnet = problem.subnets.of(first)
    assert problem.subnets.of(with_channels(problem, 0.5, Choice.of(weight_bits=4))) is subnet
    data = problem.compressed(first)[1]
    for i in range(LATEST + 1):
        problem.subnets.of(
            problem.network.neutral_plan().replace("0", Choice.of(channels=(i + 1) / 16))
        )
    assert problem.subnets.of(first) is not subnet
    assert problem.compressed(first)[1] == data


def test_evaluation_does_not_depend_on_what_came_before(
    digits_model: Any, digits_data: Any
) -> None:
    plans = []
    found = []
    for order in (1, -1):
        problem = CompressionProblem(digits_model, digits_data, "size=60%", SMALL)
        plans = [random_plan(problem, "structured", seed) for seed in range(3)]
        outcomes = {p.key: problem.evaluate(p) for p in plans[::order]}
        found.append([(outcomes[p.key].merit, outcomes[p.key].costs) for p in plans])
    assert found[0] == found[1]


# ---- costs and losses


SPACES = ["structured", "full:channel_levels=4,levels=3,weight_bits=3/5/8,activation_bits=8/32"]


@pytest.mark.parametrize("space", SPACES)
def test_costs_are_those_of_the_real_network(problem: Any, space: str) -> None:
    """MACs and bit operations exactly; parameters but for biases and norms that go along."""
    menus = menus_of(problem, space)
    allocation = StructuredModel(problem, menus).allocation()
    names = [budget.cost for budget in problem.budgets]
    fixed = np.array([problem.limits[n] for n in names], np.int64) - allocation.limits
    rng = np.random.default_rng(0)
    dense_sides = sides(problem.store.model)
    for _ in range(8):
        indices = [int(rng.integers(len(feasible))) for feasible in menus]
        plan = Plan(
            {x: m[i] for x, m, i in zip(problem.network.names, menus, indices, strict=True)}
        )
        real = problem.costs_of(plan)
        found = dict(zip(names, (allocation.total(indices) + fixed).tolist(), strict=True))
        assert found["macs"] == real["macs"] and found["bitops"] == real["bitops"]
        lost = dense_sides - sides(problem.subnets.of(plan).model)
        assert real["params"] <= found["params"] <= real["params"] + lost
        reference = problem.costs["size"].reference
        if space == "structured":  # nothing is compressed: an upper bound
            assert real["size"] <= found["size"] <= real["size"] + 0.05 * reference
        else:
            assert abs(found["size"] - real["size"]) <= 0.1 * real["size"] + 64
        model, data = problem.compressed(plan)
        assert len(data) <= real["size"] <= len(data) + 16 + len(menus) + 16
        everything = sum(p.numel() for p in model.parameters())
        if space == "structured":
            assert real["params"] == everything


def sides(model: nn.Module) -> int:
    """Returns the number of parameters that are no weights of layers."""
    return sum(p.numel() for p in model.parameters() if p.dim() == 1)


def test_costs_of_a_slice_by_hand() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    problem = CompressionProblem(model, noise_data((6,)), "macs=50%", SMALL)
    plan = problem.network.neutral_plan().replace("0", Choice.of(channels=0.5))
    costs = problem.costs_of(plan)
    assert costs["macs"] == 6 * 4 + 4 * 4
    assert costs["params"] == costs["macs"] + 4 + 4
    assert costs["bitops"] == costs["macs"] * 32 * 32
    half = problem.costs_of(
        plan.replace("0", Choice.of(sparsity=0.5, weight_bits=8, activation_bits=4, channels=0.5))
    )
    assert half["macs"] == 12 + 16 and half["bitops"] == 12 * 8 * 4 + 16 * 32 * 32
    assert problem.limits["macs"] == 40 and problem.is_within(plan)
    more = plan.replace("0", Choice.of(channels=0.625))
    assert problem.costs_of(more)["macs"] == 50 and not problem.is_within(more)


def test_losses_grow_with_what_is_gone(problem: Any) -> None:
    menus = menus_of(problem, "structured")
    losses = StructuredModel(problem, menus).losses()
    for layer, feasible, values in zip(problem.subnets.layers, menus, losses, strict=True):
        assert len(values) == len(feasible) and (values >= 0).all()
        assert values[feasible.index(NEUTRAL)] == 0
        by_share = [
            v for _, v in sorted(zip((c.structure.units for c in feasible), values, strict=True))
        ]
        assert by_share == sorted(by_share, reverse=True)
        if layer.units > 1:
            assert by_share[0] > 0


def test_losses_are_the_measured_divergences(problems: Any) -> None:
    """The fewest channels are always measured: by hand with a sliced network."""
    problem = problems("digits")
    menus = menus_of(problem, "structured")
    losses = StructuredModel(problem, menus).losses()
    large = dict(zip(problem.network.names, losses, strict=True))
    drops = {}
    for name in ("conv1", "block1.conv1", "block3.conv1"):
        plan = problem.network.neutral_plan().replace(name, Choice.of(channels=0.125))
        drops[name] = problem.evaluate(plan, "F2").divergence
    found = [float(large[name].max()) for name in drops]
    assert np.argsort(found).tolist() == np.argsort(list(drops.values())).tolist()
    for value, real in zip(found, drops.values(), strict=True):
        assert 0.3 * real < value < 3 * real


def test_losses_of_structure_and_inside_add(problems: Any) -> None:
    problem = problems("mixed")
    menus = menus_of(problem, "full:channel_levels=3,levels=2,weight_bits=3/8")
    losses = StructuredModel(problem, menus).losses()
    for feasible, values in zip(menus, losses, strict=True):
        at = dict(zip(feasible, values, strict=True))
        for choice in feasible:
            whole = choice.replace(channels=1.0)
            other = next(c for c in feasible if c.inside != choice.inside)
            moved = other.replace(channels=choice.structure.units)
            first = at[choice] - at[whole]
            assert at[moved] - at[other.replace(channels=1.0)] == pytest.approx(first)


def test_a_budget_out_of_reach_names_the_least(digits_model: Any, digits_data: Any) -> None:
    def allocation(budget: str) -> Any:
        problem = CompressionProblem(digits_model, digits_data, budget, SMALL)
        return StructuredModel(problem, menus_of(problem, "structured")).allocation()

    for cost in ("macs", "size"):
        with pytest.raises(BudgetError, match=f"{cost} <= .* at least") as caught:
            allocation(f"{cost}=1%")
        text = str(caught.value)
        assert "\n" not in text
        least = int(text.split("reaches ")[1].split()[0].replace(",", ""))
        assert allocation(f"{cost}={least}").possible
        with pytest.raises(BudgetError):
            allocation(f"{cost}={least - 1}")


# ---- the file


FULL = Choice.of(sparsity=0.4, weight_bits=4, activation_bits=8)


@pytest.mark.parametrize("inside", [NEUTRAL, FULL], ids=["structured", "full"])
def test_the_file_gives_the_evaluated_network(problem: Any, inside: Choice, tmp_path: Any) -> None:
    images = problem.data.search.images[:40]
    for i, share in enumerate((0.34, 0.7)):
        plan = with_channels(problem, share, inside)
        outcome = problem.evaluate(plan, "F2")
        model, data = problem.compressed(plan)
        file = tmp_path / f"{i}.safetensors"
        file.write_bytes(data)
        assert len(data) <= outcome.costs["size"] <= len(data) + 32 + len(plan)
        again = load(file, copy.deepcopy(problem.store.model))
        assert torch.equal(logits(again, images), logits(model, images))
        shapes = {n: t.shape for n, t in model.state_dict().items()}
        assert {n: t.shape for n, t in again.state_dict().items()} == shapes
        assert sum(t.numel() for t in model.parameters()) < sum(
            t.numel() for t in problem.store.model.parameters()
        )
        assert unpack(data).structure is not None


def test_a_vit_loses_heads(problems: Any, tmp_path: Any) -> None:
    problem = problems("vit")
    plan = problem.network.neutral_plan().replace(
        "blocks.1.attention.in_proj", Choice.of(channels=0.34)
    )
    _, data = problem.compressed(plan)
    (tmp_path / "m").write_bytes(data)
    attention = load(tmp_path / "m", vit()).get_submodule("blocks.1.attention")
    assert attention.heads == 1 and attention.in_proj.weight.shape == (24, 24)
    assert attention.out_proj.weight.shape == (24, 8)


def test_a_built_in_network_needs_no_architecture(problems: Any, tmp_path: Any) -> None:
    problem = problems("digits")
    model, data = problem.compressed(with_channels(problem, 0.5, FULL))
    (tmp_path / "m").write_bytes(data)
    images = problem.data.search.images[:20]
    assert torch.equal(logits(load(tmp_path / "m"), images), logits(model, images))


def entropy_bits(codes: Tensor) -> float:
    _, counts = torch.unique(codes, return_counts=True)
    share = counts.double() / counts.sum()
    return float(-(counts * share.log2()).sum())


def test_codes_take_their_order_0_entropy(problems: Any) -> None:
    """Within 2 % over all layers, plus scales and a few bytes for each layer's model."""
    problem = problems("digits")
    plan = with_channels(problem, 0.75, Choice.of(sparsity=0.3, weight_bits=5))
    subnet = problem.subnets.of(plan)
    inside = subnet.inside(plan)
    entropy = spent = sides = 0.0
    for layer in subnet.network.layers:
        option = subnet.store.weight(layer, inside[layer.name])
        assert isinstance(option, Quantized)
        assert option.codes.shape == layer.shape
        entropy += entropy_bits(option.codes)
        spent += weight_bits(option, inside[layer.name])
        sides += 16 * layer.outputs + 8 * 48
    assert entropy < spent <= 1.02 * entropy + sides
    assert len(problem.compressed(plan)[1]) > entropy / 8


# ---- files that do not fit


def test_files_whose_record_does_not_fit(problems: Any, tmp_path: Any) -> None:
    problem = problems("digits")
    _, data = problem.compressed(with_channels(problem, 0.5))
    packed = unpack(data)
    architecture = build_architecture(ModelSource("digits"))
    wrong = dataclasses.replace(packed, side=dict(packed.side))
    wrong.side["linear.bias"] = torch.zeros(9)
    for bad, words in (
        (dataclasses.replace(packed, structure=None), "must have the network's shape"),
        (dataclasses.replace(packed, structure={"sliced": ["conv1"]}), "network's shape"),
        (dataclasses.replace(packed, structure={"sliced": ["nowhere"]}), "record of slices"),
        (dataclasses.replace(packed, structure={"sliced": 1}), "record of slices"),
        (dataclasses.replace(packed, structure={"sliced": ["block1"]}), "names 'block1'"),
        (dataclasses.replace(packed, structure={"heads": {"linear": [8, 1, 8, True, True]}}),
         "replace an attention"),
        (wrong, "those of 'linear' do not fit together"),
    ):  # fmt: skip
        file = tmp_path / "m.safetensors"
        file.write_bytes(pack(bad))
        with pytest.raises(ArtifactError, match=words) as caught:
            load(file, architecture)
        assert "\n" not in str(caught.value)
    file.write_bytes(data)
    with pytest.raises(ArtifactError) as caught:
        load(file, build_architecture(ModelSource("digits", {"width": 4})))
    assert "\n" not in str(caught.value)
    with pytest.raises(ArtifactError):
        load(file, vit())


def test_what_cannot_be_cut_is_seen_in_the_corrected_network(problems: Any) -> None:
    """A grouped convolution's moments are looked at anew, behind batch norms as they will be."""
    problem = problems("mixed")
    plan = with_channels(problem, 0.5)
    subnet = problem.subnets.of(plan, Fidelity.SCREEN)
    layer = next(x for x in subnet.network.layers if x.groups == 4)
    subnet.store.weight(layer, Choice.of(sparsity=0.3))  # asks for the moments
    found = subnet.store.stats[layer.name].gram
    subnet.realise(plan, Fidelity.SCREEN)
    some = dataclasses.replace(subnet.network, layers=(layer,))
    expected = input_moments(subnet.model, some, [problem.data.calibration.images])[layer.name]
    assert found is not None
    torch.testing.assert_close(found.second, expected.second, rtol=1e-4, atol=1e-5)


# ---- front to back


def test_front_to_back_repair_does_not_raise_the_divergence(problems: Any) -> None:
    problem = problems("digits")
    values = []
    for share in (0.75, 0.5, 0.3):
        plan = with_channels(problem, share)
        pair = []
        for level in (Fidelity.FULL, Fidelity.RECONSTRUCTED):
            subnet = problem.subnets.of(plan, level)
            subnet.realise(plan, Fidelity.FULL)
            pair.append(subnet.divergence())
        rebuilt = problem.subnets.of(plan, Fidelity.RECONSTRUCTED)
        assert problem.subnets.of(plan, Fidelity.FULL) is not rebuilt
        assert pair[1] <= pair[0]
        # layers are fitted to the outputs of this network: its batch norms have to be corrected
        teacher = rebuilt.store.model
        batches = [problem.data.calibration.images]
        outputs = (
            outputs_on(teacher, batches, Classification()),
            outputs_on(problem.store.model, batches, Classification()),
        )
        assert float(Classification().divergence(*outputs).mean()) == pytest.approx(
            pair[1], rel=0.02
        )
        values.append(pair[1] / pair[0])
    assert np.mean(values) < 0.9


def test_the_reconstructed_file_is_the_evaluated_network(problems: Any, tmp_path: Any) -> None:
    problem = problems("digits")
    plan = with_channels(problem, 0.5, Choice.of(sparsity=0.3, weight_bits=4))
    outcome = problem.evaluate(plan, "F2S")
    model, data = problem.compressed(plan, "F2S")
    (tmp_path / "m").write_bytes(data)
    images = problem.data.search.images[:40]
    assert torch.equal(logits(load(tmp_path / "m"), images), logits(model, images))
    assert len(data) <= outcome.costs["size"]


def test_the_start_that_keeps_every_channel_is_the_exact_solvers(problems: Any) -> None:
    """It is what the space without structure starts from, and it stands beside the solver's own."""
    problem = problems("digits").under("size=6%")
    inner = "levels=3,weight_bits=3/5/8"
    feasible = feasible_space(problem, f"full:channel_levels=4,{inner}")
    own, whole = (feasible.plan(indices) for indices in feasible.allocation.starts())
    assert own == feasible.plan(feasible.allocation.plan)
    assert not whole.is_structured and own.is_structured
    assert problem.is_within(own) and problem.is_within(whole)
    insides = [tuple(dict.fromkeys(c.inside for c in m)) for m in feasible.choices]
    model = Knapsack(
        [np.array([[problem.costs["size"].of_layer(x, c)] for c in m])
         for x, m in zip(problem.network.layers, insides, strict=True)],
        problem.losses(insides),
        feasible.allocation.limits,
    )  # fmt: skip
    best = model.loss(DynamicProgram(model).plan)
    chosen = [m.index(whole[x.name]) for x, m in zip(problem.network.layers, insides, strict=True)]
    assert model.loss(chosen) == pytest.approx(best)
    # channels alone compress nothing else: there is one start
    alone = feasible_space(problems("digits").under("macs=60%"), "structured")
    assert len(alone.allocation.starts()) == 1


def test_a_level_by_its_text_is_the_same_level(problem: CompressionProblem) -> None:
    plan = with_channels(problem, 0.5)
    for text, level in (("F2S", Fidelity.RECONSTRUCTED), ("F1", Fidelity.SCREEN)):
        assert problem.subnets.of(plan, text) is problem.subnets.of(plan, level)
