"""Sequential reconstruction: its least squares, its budget, and that nothing else is touched."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from autocomp.artifacts.container import unpack
from autocomp.compression.recovery.layout import Layout
from autocomp.compression.recovery.sequential import RIDGE, PairedRuns
from autocomp.compression.recovery.unfold import unfolded
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.data import DataSplits
from autocomp.errors import AutocompError
from autocomp.models import build_model
from autocomp.problem.problem import CompressionProblem


def test_unchanged_inputs_want_the_unchanged_weight(case: Any) -> None:
    moments = PairedRuns(case.model, case.model, [case.x]).moments(case.layer, case.gram.centred)
    assert moments is not None
    torch.testing.assert_close(moments.target(case.weight), case.weight)
    torch.testing.assert_close(moments.gram.second, case.gram.second)
    nothing = moments.shift(case.weight, case.weight)
    torch.testing.assert_close(nothing, torch.zeros_like(nothing))


@pytest.mark.parametrize("bias", [True, False])
def test_the_target_is_the_ridge_regression(bias: bool) -> None:
    """Against the normal equations on the vectors themselves."""
    torch.manual_seed(0)
    first, second = nn.Linear(5, 6), nn.Linear(6, 3, bias=bias)
    dense = nn.Sequential(first, nn.ReLU(), second).double().eval()
    other = nn.Linear(5, 6).double()
    compressed = nn.Sequential(other, nn.ReLU(), second).eval()
    data = torch.randn(300, 5, dtype=torch.float64)
    from autocomp.network.analysis import analyse

    layer = analyse(dense, data).layer("2")
    moments = PairedRuns(dense, compressed, [data[:90], data[90:]]).moments(layer, bias)
    assert moments is not None and moments.gram.count == 300
    with torch.no_grad():
        x, z = torch.relu(first(data)), torch.relu(other(data))
        weight = second.weight
        wanted = x @ weight.T
        if bias:
            z, wanted = z - z.mean(0), wanted - wanted.mean(0)
        gram = z.T @ z / 300
        ridge = RIDGE * gram.diagonal().mean() * torch.eye(6, dtype=torch.float64)
        expected = torch.linalg.solve(gram + ridge, z.T @ wanted / 300 + ridge @ weight.T).T
    target = moments.target(weight.detach())
    torch.testing.assert_close(target, expected)
    with torch.no_grad():
        shift = (torch.relu(other(data)) @ target.T - x @ weight.T).mean(0)
    torch.testing.assert_close(moments.shift(weight.detach(), target), shift)


def test_only_what_is_needed_is_run() -> None:
    class Counted(nn.Module):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return x

    layer = nn.Linear(4, 4)
    whole = nn.Sequential(layer, nn.ReLU())
    from autocomp.network.analysis import analyse

    spec = analyse(whole, torch.randn(2, 4)).layers[0]
    last = Counted()
    model = nn.Sequential(layer, last)
    runs = PairedRuns(model, model, [torch.randn(7, 4)])
    traced = last.calls
    found = runs.moments(spec, True)
    assert found is not None and found.gram.count == 7 and last.calls == traced


def test_running_on_gives_the_same_moments_as_running_all() -> None:
    from autocomp.network.analysis import analyse

    torch.manual_seed(0)
    dense = build_model("resnet20").eval()
    compressed, batches = copy.deepcopy(dense), [torch.randn(140, 3, 8, 8), torch.randn(5, 3, 8, 8)]
    runs = PairedRuns(dense, compressed, batches)
    for layer in analyse(dense, batches[1]).layers[::4]:
        found = runs.moments(layer, True)
        expected = PairedRuns(dense, compressed, batches).moments(layer, True)
        assert found is not None and expected is not None
        torch.testing.assert_close(found.gram.second, expected.gram.second)
        torch.testing.assert_close(found.cross, expected.cross)
        torch.testing.assert_close(found.mean, expected.mean)
        with torch.no_grad():
            compressed.get_parameter(layer.parameter).mul_(0.7)


def heavy(problem: CompressionProblem) -> Plan:
    return Plan({n: Choice.of(sparsity=0.6, weight_bits=3) for n in problem.network.names})


def test_outputs_come_nearer(tiny_problem: CompressionProblem) -> None:
    plan = heavy(tiny_problem)
    parallel = tiny_problem.evaluate(plan, "F2")
    rebuilt = tiny_problem.evaluate(plan, "F2S")
    assert rebuilt.fidelity == "F2S" and rebuilt.n == parallel.n
    assert rebuilt.divergence < parallel.divergence
    # nothing of it is left behind
    again = CompressionProblem(
        tiny_problem.store.model, tiny_problem.data, "size=60%", tiny_problem.settings
    )
    assert again.evaluate(plan).loss == tiny_problem.evaluate(plan).loss
    assert again.evaluate(plan, "F2S").loss == rebuilt.loss


@pytest.mark.parametrize("size", ["exact", "60%"])
def test_the_file_is_what_was_evaluated_and_fits(
    tiny_net: nn.Module, tiny_data: DataSplits, tiny_problem: CompressionProblem, size: str
) -> None:
    plan = heavy(tiny_problem)
    limit = tiny_problem.costs_of(plan)["size"]
    budget = f"size={limit}B" if size == "exact" else "size=60%"
    problem = CompressionProblem(tiny_net, tiny_data, budget, tiny_problem.settings)
    outcome = problem.evaluate(plan, "F2S")
    assert outcome.within_budget and outcome.costs["size"] <= problem.limits["size"]
    model, data = problem.compressed(plan, "F2S")
    assert outcome.costs["size"] - 64 <= len(data) <= outcome.costs["size"]
    state = unpack(data).state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(state[name].to(tensor.dtype), tensor, rtol=1e-6, atol=1e-6)
    changed = unpack(problem.compressed(plan)[1]).state_dict()
    assert any(not torch.equal(state[n], changed[n]) for n in ("0.weight", "6.weight"))


def test_patterns_and_neutral_layers_keep_theirs(tiny_problem: CompressionProblem) -> None:
    names = tiny_problem.network.names
    plan = tiny_problem.network.neutral_plan().replace(
        names[2], Choice.of(pattern="2:4", weight_bits=4)
    )
    tiny_problem.evaluate(plan, "F2S")
    model, _ = tiny_problem.compressed(plan, "F2S")
    layer = tiny_problem.network.layer(names[2])
    zeros = int((model.get_parameter(layer.parameter) == 0).sum())
    assert zeros >= layer.zeros(plan[names[2]])
    first = tiny_problem.network.layers[0]
    assert torch.equal(model.get_parameter(first.parameter), tiny_problem.store.dense(first))


def test_unknown_level(tiny_problem: CompressionProblem) -> None:
    with pytest.raises(AutocompError, match="no fidelity named 'F9'.*F2S"):
        tiny_problem.evaluate(heavy(tiny_problem), "F9")


def test_pieces_pair_up(case: Any) -> None:
    """Both networks unfold a layer's inputs in the same order."""
    layout = Layout.of(case.layer)
    one = torch.cat(list(unfolded(case.layer, case.module, (case.x,), {})), 1)
    assert one.shape[0] == layout.groups and one.shape[2] == layout.inputs
