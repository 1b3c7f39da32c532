"""What holds for every registered criterion on every kind of group."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autocomp.compression.saliency import CRITERIA, make_criterion

WITHOUT_DATA = ("l1", "l2", "geometric-median", "slimming", "random", "compose")
ALL = list(CRITERIA)


def groups_for(name: str, case: Any) -> list[Any]:
    """Leaves out groups without batch norm where the criterion looks at those."""
    groups = [g for g in case.groups if name != "slimming" or g.by_role("side")]
    if not groups:
        pytest.skip("no group has a batch norm")
    return groups


def scores(name: str, case: Any, batches: Any = None) -> dict[str, Tensor]:
    groups = groups_for(name, case)
    batches = case.batches if batches is None else batches
    return make_criterion(name).scores(case.model, groups, batches)


@pytest.mark.parametrize("name", ALL)
def test_shapes_and_determinism(name: str, any_case: Any) -> None:
    found = scores(name, any_case)
    groups = groups_for(name, any_case)
    assert list(found) == [g.name for g in groups]
    for g in groups:
        assert found[g.name].shape == (g.units,) and found[g.name].dtype == torch.float32
        assert not found[g.name].requires_grad and bool(found[g.name].isfinite().all())
        assert len(found[g.name].unique()) > 1 or name == "apoz"
    again = scores(name, any_case)
    assert all(torch.equal(found[key], again[key]) for key in found)


@pytest.mark.parametrize("name", ALL)
def test_the_network_is_left_as_it_was(name: str, any_case: Any) -> None:
    model = any_case.model.train()
    next(model.parameters()).requires_grad_(False)
    list(model.modules())[1].eval()
    last = list(model.parameters())[-1]
    last.grad = torch.ones_like(last)
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    wanted = [p.requires_grad for p in model.parameters()]
    inputs = any_case.inputs.clone()
    scores(name, any_case)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(),
                                                  strict=True))  # fmt: skip
    assert modes == [m.training for m in model.modules()]
    assert wanted == [p.requires_grad for p in model.parameters()]
    assert [p.grad is None for p in model.parameters()] == [True] * (len(wanted) - 1) + [False]
    assert torch.equal(last.grad, torch.ones_like(last))
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert torch.equal(inputs, any_case.inputs) and not any_case.inputs.requires_grad


@pytest.mark.parametrize("name", ALL)
def test_the_split_into_batches_does_not_matter(name: str, any_case: Any) -> None:
    one = scores(name, any_case, [(any_case.inputs, any_case.labels)])
    many = scores(name, any_case)
    for key in one:
        torch.testing.assert_close(one[key], many[key], rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_it_says_whether_it_needs_examples(name: str) -> None:
    assert make_criterion(name).needs_data == (name not in WITHOUT_DATA)


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_criteria_of_weights_need_no_examples(name: str, any_case: Any) -> None:
    with_data, without = scores(name, any_case), scores(name, any_case, [])
    assert all(torch.equal(with_data[key], without[key]) for key in with_data)


def permuted(case: Any, group: Any, order: list[int]) -> nn.Module:
    """Returns the network with a group's units in another order."""
    model: nn.Module = copy.deepcopy(case.model)
    done = set()
    for member in group.members:
        module: Any = model.get_submodule(member.module)
        depthwise = getattr(module, "groups", 1) > 1
        if member.role == "in" and depthwise:
            continue  # its filters move as outputs
        count = max(max(p) for p in member.channels) + 1
        index = torch.arange(count)
        for new, old in enumerate(order):
            index[list(member.channels[new])] = torch.tensor(member.channels[old])
        with torch.no_grad():
            for key, tensor in module.state_dict().items():
                axis = 1 if member.role == "in" else 0
                if tensor.dim() > axis and (member.module, key, axis) not in done:
                    done.add((member.module, key, axis))
                    tensor.copy_(tensor.index_select(axis, index))
    return model


@pytest.mark.parametrize("name", [n for n in ALL if n != "random"])
def test_units_in_another_order_have_their_scores_in_that_order(name: str, any_case: Any) -> None:
    before = scores(name, any_case)
    for g in groups_for(name, any_case):
        order = list(range(1, g.units))[::-1] + [0]
        model = permuted(any_case, g, order)
        # the network computes the same
        torch.testing.assert_close(model(any_case.inputs), any_case.model(any_case.inputs))
        after = make_criterion(name).scores(model, [g], any_case.batches)[g.name]
        torch.testing.assert_close(after, before[g.name][order], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "name", [n for n in ALL if n not in ("random", "geometric-median")]
)  # the distance of a dead unit to the others is not the least
def test_a_dead_unit_is_worth_least(name: str, any_case: Any) -> None:
    for g in groups_for(name, any_case):
        model = copy.deepcopy(any_case.model)
        for member in g.members:
            module: Any = model.get_submodule(member.module)
            places = list(member.channels[1])
            with torch.no_grad():
                if member.role == "in" and getattr(module, "groups", 1) == 1:
                    module.weight[:, places] = 0
                elif member.role != "in":
                    for parameter in module.parameters():
                        parameter[places] = 0
        found = make_criterion(name).scores(model, [g], any_case.batches)[g.name]
        assert float(found[1]) == float(found.min()) == 0.0 < float(found.max())


@pytest.mark.parametrize("name", [n for n in ALL if n not in WITHOUT_DATA and n != "nisp"])
def test_examples_matter(name: str, any_case: Any) -> None:
    first = scores(name, any_case, [(any_case.inputs[:4], any_case.labels[:4])])
    other = scores(name, any_case, [(2 * any_case.inputs[4:], any_case.labels[4:])])
    assert any(not torch.allclose(first[key], other[key]) for key in first)


LABELLED = ("taylor", "taylor-weight", "skeletonization", "fisher", "obd", "lrp")


@pytest.mark.parametrize("name", LABELLED)
def test_without_labels_the_decisions_of_the_network_stand_in(name: str, any_case: Any) -> None:
    decisions = any_case.model(any_case.inputs).argmax(1)
    assert not torch.equal(decisions, any_case.labels)
    own = scores(name, any_case, [(any_case.inputs, None)])
    told = scores(name, any_case, [(any_case.inputs, decisions)])
    assert all(torch.equal(own[key], told[key]) for key in own)
    true = scores(name, any_case, [(any_case.inputs, any_case.labels)])
    assert any(not torch.allclose(own[key], true[key]) for key in own)


@pytest.mark.parametrize("name", [n for n in ALL if n not in LABELLED])
def test_labels_do_not_matter_elsewhere(name: str, any_case: Any) -> None:
    without = scores(name, any_case, [(any_case.inputs, None)])
    told = scores(name, any_case, [(any_case.inputs, any_case.labels)])
    assert all(torch.equal(without[key], told[key]) for key in told)
