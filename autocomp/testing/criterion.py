"""The contract of a saliency criterion."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autocomp.compression.saliency import Batch, Saliency
from autocomp.compression.structure.groups import ChannelGroup
from autocomp.testing.networks import NETS, Case, case

NET = pytest.mark.parametrize("net", NETS)


class CriterionContract:
    """What every saliency criterion promises; subclass it and define `make`.

    A criterion is made once; `scores` is called with a network, groups of its units and batches of
    examples (none, unless `needs_data`), and gives each group's name its units' scores: finite
    float32 numbers, one a unit, without a gradient; higher means keep. The same arguments give the
    same scores. The network, its gradients, hooks and modes stay as they were, and so do the
    examples. How examples are split into batches does not matter. Units in another order have
    their scores in that order. A unit that does nothing is worth least. Labels may be missing: the
    network's own decisions stand in where a criterion needs any.

    Attributes:
        needs_norm: whether it looks at batch norms, so that groups without any are left out. False
            by default.
        tells_apart: whether the units of the small networks get different scores. True by default.
        follows_order: whether scores move with their units. True by default.
        dead_is_least: whether a unit of zeros has score 0, which is the least. True by default.
        sees_examples: whether other examples give other scores; whether it needs any by default
            (None).
        sees_labels: whether other labels give other scores; None, which is not tried, by default.
    """

    needs_norm = False
    tells_apart = True
    follows_order = True
    dead_is_least = True
    sees_examples: bool | None = None
    sees_labels: bool | None = None

    def make(self) -> Saliency:
        """Returns the criterion."""
        raise NotImplementedError

    @NET
    def test_shapes_and_determinism(self, net: str) -> None:
        """A finite float32 number a unit, the same each time."""
        made = case(net)
        found, again = self._scores(made), self._scores(made)
        assert list(found) == [g.name for g in self._groups(made)]
        for g in self._groups(made):
            scores = found[g.name]
            assert scores.shape == (g.units,) and scores.dtype == torch.float32
            assert not scores.requires_grad and bool(scores.isfinite().all())
            assert len(set(scores.tolist())) > 1 or not self.tells_apart
        assert all(torch.equal(found[key], again[key]) for key in found)

    @NET
    def test_the_network_is_left_as_it_was(self, net: str) -> None:
        """Weights, statistics, gradients, hooks, modes; the examples, too."""
        made = case(net)
        model = made.model.train()
        next(model.parameters()).requires_grad_(False)
        list(model.modules())[1].eval()
        last = list(model.parameters())[-1]
        last.grad = torch.ones_like(last)
        before = copy.deepcopy(model.state_dict())
        modes = [m.training for m in model.modules()]
        wanted = [p.requires_grad for p in model.parameters()]
        inputs = made.inputs.clone()
        self._scores(made)
        after = model.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)
        assert modes == [m.training for m in model.modules()]
        assert wanted == [p.requires_grad for p in model.parameters()]
        assert [p.grad is None for p in model.parameters()] == [True] * (len(wanted) - 1) + [False]
        assert torch.equal(last.grad, torch.ones_like(last))
        assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
        assert torch.equal(inputs, made.inputs) and not made.inputs.requires_grad

    @NET
    def test_the_split_into_batches_does_not_matter(self, net: str) -> None:
        """One batch, or two."""
        made = case(net)
        one, two = self._scores(made, [(made.inputs, made.labels)]), self._scores(made)
        for key in one:
            torch.testing.assert_close(one[key], two[key], rtol=2e-4, atol=1e-5)

    @NET
    def test_examples_matter_where_they_are_needed(self, net: str) -> None:
        """None are needed where `needs_data` is False."""
        made, needs = case(net), self.make().needs_data
        assert needs in (True, False)
        if not needs:
            found, without = self._scores(made), self._scores(made, [])
            assert all(torch.equal(found[key], without[key]) for key in found)
        elif self.sees_examples is not False:
            first = self._scores(made, [(made.inputs[:4], made.labels[:4])])
            other = self._scores(made, [(2 * made.inputs[4:], made.labels[4:])])
            assert any(not torch.allclose(first[key], other[key]) for key in first)

    @NET
    def test_units_in_another_order_have_their_scores_in_that_order(self, net: str) -> None:
        """In a network that computes the same."""
        if not self.follows_order:
            pytest.skip("follows_order is False")
        made = case(net)
        before = self._scores(made)
        for g in self._groups(made):
            order = [*range(1, g.units)][::-1] + [0]
            model = _permuted(made, g, order)
            torch.testing.assert_close(model(made.inputs), made.model(made.inputs))
            after = self.make().scores(model, [g], made.batches)[g.name]
            torch.testing.assert_close(after, before[g.name][order], rtol=1e-3, atol=1e-5)

    @NET
    def test_a_dead_unit_is_worth_least(self, net: str) -> None:
        """Nothing."""
        if not self.dead_is_least:
            pytest.skip("dead_is_least is False")
        made = case(net)
        for g in self._groups(made):
            found = self.make().scores(_with_a_dead_unit(made, g), [g], made.batches)[g.name]
            assert float(found[1]) == float(found.min()) == 0.0 < float(found.max())

    @NET
    def test_labels_may_be_missing(self, net: str) -> None:
        """The network's decisions stand in."""
        made = case(net)
        decisions = made.model(made.inputs).argmax(1)
        assert not torch.equal(decisions, made.labels)
        own = self._scores(made, [(made.inputs, None)])
        told = self._scores(made, [(made.inputs, decisions)])
        assert all(torch.equal(own[key], told[key]) for key in own)
        if self.sees_labels is not None:
            true = self._scores(made, [(made.inputs, made.labels)])
            same = all(torch.equal(own[key], true[key]) for key in own)
            close = all(torch.allclose(own[key], true[key]) for key in own)
            assert not close if self.sees_labels else same

    def _groups(self, made: Case) -> list[ChannelGroup]:
        found = [g for g in made.groups if not self.needs_norm or g.by_role("side")]
        if not found:
            pytest.skip("no group has a batch norm")
        return found

    def _scores(self, made: Case, batches: Sequence[Batch] | None = None) -> dict[str, Tensor]:
        given = made.batches if batches is None else batches
        return self.make().scores(made.model, self._groups(made), given)


def _permuted(made: Case, group: ChannelGroup, order: list[int]) -> nn.Module:
    """Returns the network with a group's units in another order."""
    model = copy.deepcopy(made.model)
    done = set()
    for member in group.members:
        module: Any = model.get_submodule(member.module)
        if member.role == "in" and getattr(module, "groups", 1) > 1:
            continue  # its filters move as outputs
        index = torch.arange(max(max(p) for p in member.channels) + 1)
        for new, old in enumerate(order):
            index[list(member.channels[new])] = torch.tensor(member.channels[old])
        axis = 1 if member.role == "in" else 0
        with torch.no_grad():
            for key, tensor in module.state_dict().items():
                if tensor.dim() > axis and (member.module, key, axis) not in done:
                    done.add((member.module, key, axis))
                    tensor.copy_(tensor.index_select(axis, index))
    return model


@torch.no_grad()
def _with_a_dead_unit(made: Case, group: ChannelGroup) -> nn.Module:
    """Returns the network whose unit 1 of a group is made, normed and read by zeros."""
    model = copy.deepcopy(made.model)
    for member in group.members:
        module: Any = model.get_submodule(member.module)
        places = list(member.channels[1])
        if member.role == "in" and getattr(module, "groups", 1) == 1:
            module.weight[:, places] = 0
        elif member.role != "in":
            for parameter in module.parameters():
                parameter[places] = 0
    return model
