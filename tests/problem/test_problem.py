from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autocomp.artifacts.container import unpack
from autocomp.compression.writer import PlanWriter
from autocomp.core.choice import BITS, NEUTRAL, Choice
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.data.split import Split
from autocomp.data.splits import DataSplits
from autocomp.errors import ChoiceError
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.tasks import Classification
from tests.problem.plans import MENU, plan_of, random_plan


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    """As the problem runs it: evaluation mode, channels last."""
    model = copy.deepcopy(model).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    out: Tensor = model(images.contiguous(memory_format=torch.channels_last))
    return out


def accuracy(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(1) == labels).double().mean())


# ---- the neutral plan


def test_the_neutral_plan_is_the_network(digits_model: nn.Module, digits_data: DataSplits) -> None:
    problem = CompressionProblem(digits_model, digits_data, "size=50%")
    neutral = problem.network.neutral_plan()
    problem.evaluate(
        plan_of(problem, Choice.of(sparsity=0.7, weight_bits=2, activation_bits=4))
    )  # something else in between
    model, data = problem.compressed(neutral)
    search = digits_data.search
    dense = logits(digits_model, search.images)
    assert torch.equal(logits(model, search.images), dense)
    state = digits_model.state_dict()
    assert all(torch.equal(found, state[name]) for name, found in model.state_dict().items())
    assert all(torch.equal(found, state[name]) for name, found in unpack(data).state_dict().items())
    outcome = problem.evaluate(neutral, "F2")
    assert outcome.accuracy == problem.dense_score("F2").accuracy == accuracy(dense, search.labels)
    assert outcome.loss == problem.dense_score("F2").loss
    assert outcome.loss == pytest.approx(
        float(nn.functional.cross_entropy(dense, search.labels)), rel=1e-5
    )
    assert not outcome.within_budget and outcome.costs["macs"] == problem.network.macs


def test_f1_scores_a_fixed_subset(tiny_net: nn.Module, tiny_data: DataSplits) -> None:
    problem = CompressionProblem(
        tiny_net, tiny_data, "size=60%", ProblemSettings(search_images=40, batch_size=7)
    )
    plan = plan_of(problem, Choice.of(weight_bits=4))
    subset = tiny_data.search.subset(40, seed=0)
    assert problem.evaluate(plan).n == problem.dense_score().n == 40
    assert problem.dense_score().accuracy == accuracy(
        logits(tiny_net, subset.images), subset.labels
    )
    assert problem.evaluate(plan, "F2").n == len(tiny_data.search) == 120


# ---- memory and order


def test_a_plan_is_scored_once(tiny_problem: CompressionProblem) -> None:
    plan = plan_of(tiny_problem, Choice.of(sparsity=0.5, weight_bits=4))
    assert not tiny_problem.known(plan)
    outcome = tiny_problem.evaluate(plan)
    assert tiny_problem.known(plan) and not tiny_problem.known(plan, "F2")
    assert tiny_problem.evaluate(Plan(dict(plan))) is outcome
    assert tiny_problem.evaluate(plan, "F2") is not outcome
    assert not tiny_problem.known(plan.replace("0", NEUTRAL))
    assert outcome.fidelity == "F1" and outcome.seconds > 0 and outcome.plan == plan


def test_outcomes_of_an_earlier_session(tiny_problem: CompressionProblem) -> None:
    plan = plan_of(tiny_problem, Choice.of(weight_bits=3))
    told = Outcome(plan, 0.123, 4.5, 6, {"size": 7}, True, "F1", 0.1)
    tiny_problem.remember([told])
    assert tiny_problem.known(plan) and tiny_problem.evaluate(plan) is told
    assert not tiny_problem.known(plan, "F2")


def test_a_result_does_not_depend_on_what_came_before(
    tiny_net: nn.Module, tiny_data: DataSplits
) -> None:
    def fresh() -> CompressionProblem:
        return CompressionProblem(tiny_net, tiny_data, "size=60%")

    first = fresh()
    rng = random.Random(1)
    plans = [random_plan(first, rng) for _ in range(6)] + [
        plan_of(first, Choice.of(sparsity=0.8, weight_bits=2, activation_bits=2)),
        plan_of(first, NEUTRAL, Choice.of(activation_bits=4)),
        first.network.neutral_plan(),
    ]
    images = tiny_data.search.images

    def results(problem: CompressionProblem, order: list[Plan]) -> dict[Plan, Any]:
        found = {}
        for plan in order:
            outcome = problem.evaluate(plan)
            out = logits(problem.compressed(plan)[0], images)
            found[plan] = (outcome.accuracy, outcome.loss, dict(outcome.costs), out)
        return found

    one, turned = results(first, plans), results(fresh(), plans[::-1])
    alone = {plan: results(fresh(), [plan])[plan] for plan in plans[:3]}
    for plan in plans:
        for other in (turned, alone):
            if plan in other:
                assert one[plan][:3] == other[plan][:3]
                assert torch.equal(one[plan][3], other[plan][3])


def test_a_plan_that_fails_leaves_nothing_behind(tiny_data: DataSplits) -> None:
    """The error comes from the second layer, when the first one is written already."""
    model = Attention()
    problem = CompressionProblem(model, tiny_data, "size=60%")
    assert problem.network.names == ("attention.in_proj", "attention.out_proj", "head")
    coarse = Choice.of(weight_bits=2, activation_bits=4)
    with pytest.raises(ChoiceError, match=r"'attention\.out_proj' has no input"):
        problem.evaluate(plan_of(problem, coarse))
    neutral = problem.network.neutral_plan()
    outcome = problem.evaluate(neutral)
    assert (outcome.accuracy, outcome.loss) == (
        problem.dense_score().accuracy, problem.dense_score().loss,
    )  # fmt: skip
    dense = logits(model, tiny_data.search.images)
    assert torch.equal(logits(problem.compressed(neutral)[0], tiny_data.search.images), dense)


class Attention(nn.Module):
    """Attention over the three channels of an image as tokens, then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.attention = nn.MultiheadAttention(64, 2, batch_first=True)
            self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        out: Tensor = self.head(self.attention(tokens, tokens, tokens)[0].mean(1))
        return out


def test_the_network_that_is_given_is_never_modified(
    tiny_net: nn.Module, tiny_data: DataSplits
) -> None:
    tiny_net.train()
    tiny_net[1].eval()
    before = {name: tensor.clone() for name, tensor in tiny_net.state_dict().items()}
    pointers = {name: tensor.data_ptr() for name, tensor in tiny_net.state_dict().items()}
    modes = [module.training for module in tiny_net.modules()]
    problem = CompressionProblem(tiny_net, tiny_data, "size=60%")
    plan = plan_of(problem, Choice.of(sparsity=0.5, weight_bits=3, activation_bits=4))
    for fidelity in ("F1", "F2"):
        problem.evaluate(plan, fidelity)
        problem.dense_score(fidelity)
    compressed, _ = problem.compressed(plan)
    problem.test(plan)
    with torch.no_grad():
        for parameter in compressed.parameters():
            parameter.zero_()  # what is handed out shares nothing either
    assert [module.training for module in tiny_net.modules()] == modes
    for name, tensor in tiny_net.state_dict().items():
        assert torch.equal(tensor, before[name]) and tensor.data_ptr() == pointers[name]
    assert any("num_batches_tracked" in name for name in before)
    for module in tiny_net.modules():
        assert not (module._forward_hooks or module._forward_pre_hooks)
    assert all(p.grad is None and p.requires_grad for p in tiny_net.parameters())
    outcome = CompressionProblem(tiny_net, tiny_data, "size=60%").evaluate(plan)
    assert outcome.accuracy == problem.evaluate(plan).accuracy


# ---- batch norms


def test_correcting_batch_norms_never_moves_the_outputs_further_away(
    digits_model: nn.Module, digits_data: DataSplits
) -> None:
    problem = CompressionProblem(digits_model, digits_data, "size=50%")
    plain = copy.deepcopy(digits_model).eval()
    writer = PlanWriter(plain, problem.store)
    images = digits_data.calibration.images
    dense = logits(digits_model, images)
    rng = random.Random(0)
    plans = [random_plan(problem, rng) for _ in range(6)]
    plans += [
        plan_of(problem, c)
        for c in (
            Choice.of(sparsity=0.9),
            Choice.of(sparsity=0.6, weight_bits=2),
            Choice.of(weight_bits=16),
        )
    ]
    improved = 0
    for plan in plans:
        writer.write(plan)
        writer.round_side(plan)
        before = float(Classification().divergence(logits(plain, images), dense).mean())
        after = float(
            Classification().divergence(logits(problem.compressed(plan)[0], images), dense).mean()
        )
        assert after <= before * (1 + 1e-5) + 1e-9, plan
        improved += after < before * 0.9
    assert improved >= 3  # else it would be of no use


@pytest.mark.parametrize(("batch_size", "n"), [(95, 96), (500, 1), (1, 3)])
def test_a_batch_of_a_single_image(tiny_data: DataSplits, batch_size: int, n: int) -> None:
    """One image has no variance to normalise with; it must not break the search."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    images, labels = tiny_data.calibration.images[:n], tiny_data.calibration.labels[:n]
    few = Split.of(images, labels, "few")
    data = DataSplits("few", few, tiny_data.search, tiny_data.test, 4)
    problem = CompressionProblem(
        model.eval(), data, "size=60%", ProblemSettings(batch_size=batch_size)
    )
    assert 0 <= problem.evaluate(plan_of(problem, Choice.of(weight_bits=2))).accuracy <= 1


# ---- what comes out


def test_what_is_handed_out_is_what_was_evaluated(
    digits_model: nn.Module, digits_data: DataSplits
) -> None:
    problem = CompressionProblem(digits_model, digits_data, "size=20%")
    search = digits_data.search
    rng = random.Random(2)
    plans = [random_plan(problem, rng) for _ in range(4)]
    plans.append(
        plan_of(
            problem,
            *(
                Choice.of(sparsity=0.2, weight_bits=b, activation_bits=a)
                for b, a in zip(BITS, BITS, strict=True)
            ),
        )
    )
    for plan in plans:
        outcome = problem.evaluate(plan, "F2")
        model, data = problem.compressed(plan)
        problem.evaluate(problem.network.neutral_plan(), "F2")  # must not touch what was given out
        scores = logits(model, search.images)
        assert outcome.accuracy == accuracy(scores, search.labels)
        assert outcome.loss == pytest.approx(
            float(nn.functional.cross_entropy(scores, search.labels)), rel=1e-5
        )
        found = unpack(data)
        state = model.state_dict()
        assert found.plan == plan and set(found.state_dict()) == set(state)
        assert all(torch.equal(tensor, state[n]) for n, tensor in found.state_dict().items())
        again = copy.deepcopy(digits_model)
        again.load_state_dict(found.state_dict())
        for layer in found.layers:
            if layer.name in found.activations:
                host = again.get_submodule(layer.host)
                host.register_forward_pre_hook(found.activations[layer.name])
        assert torch.equal(logits(again, search.images), scores)


def test_a_kept_layer_stays(tiny_net: nn.Module, tiny_data: DataSplits) -> None:
    problem = CompressionProblem(tiny_net, tiny_data, "size=60%", ProblemSettings(keep=("6",)))
    assert problem.network.names == ("0", "3", "10")
    model, data = problem.compressed(plan_of(problem, Choice.of(sparsity=0.5, weight_bits=2)))
    weight = tiny_net.state_dict()["6.weight"]
    assert torch.equal(model.state_dict()["6.weight"], weight)
    assert torch.equal(unpack(data).state_dict()["6.weight"], weight)
    assert not torch.equal(model.state_dict()["0.weight"], tiny_net.state_dict()["0.weight"])


# ---- the test split


def test_the_test_split_is_read_once_at_the_end(tiny_net: nn.Module, tiny_data: DataSplits) -> None:
    test = Split(lambda: (tiny_data.test.images, tiny_data.test.labels), "counted")
    data = DataSplits("tiny", tiny_data.calibration, tiny_data.search, test, 4)
    problem = CompressionProblem(tiny_net, data, "size=60%")
    plan = plan_of(problem, Choice.of(sparsity=0.5, weight_bits=4))
    problem.evaluate(plan)
    problem.evaluate(plan, "F2")
    problem.dense_score("F2")
    problem.allocation([MENU] * 4)
    model, _ = problem.compressed(plan)
    assert test.reads == 0
    dense, compressed = problem.test(plan)
    assert test.reads == 1 and dense.n == compressed.n == 80
    assert dense.accuracy == accuracy(logits(tiny_net, test.images), test.labels)
    assert compressed.accuracy == accuracy(logits(model, test.images), test.labels)
    assert dense.accuracy > 0.5  # the data can be learned, or these comparisons say little


def test_the_device_is_what_was_asked_for(tiny_net: nn.Module, tiny_data: DataSplits) -> None:
    problem = CompressionProblem(tiny_net, tiny_data, "size=60%", ProblemSettings(device="cpu"))
    plan = plan_of(problem, Choice.of(sparsity=0.5, weight_bits=4))
    model, _ = problem.compressed(plan)
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert (
        problem.evaluate(plan).accuracy
        == CompressionProblem(tiny_net, tiny_data, "size=60%").evaluate(plan).accuracy
    )


@pytest.mark.parametrize("fidelity", ["F2", "F2S"])
def test_two_plans_are_compared_image_by_image(
    tiny_problem: CompressionProblem, fidelity: str
) -> None:
    neutral = tiny_problem.network.neutral_plan()
    coarse = Plan(dict.fromkeys(neutral, Choice.of(weight_bits=2)))
    first, second = (tiny_problem.evaluate(plan, fidelity) for plan in (neutral, coarse))
    found = tiny_problem.paired(first, second)
    assert found.n == len(tiny_problem.data.search)
    assert found.difference == pytest.approx(first.accuracy - second.accuracy)
    assert found.low <= found.difference <= found.high
    again = tiny_problem.under(tiny_problem.budgets)  # as after a resume: nothing is known
    again.remember([first, second])
    assert again.paired(first, second) == found
