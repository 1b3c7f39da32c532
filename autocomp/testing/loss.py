"""The contract of a loss of a training."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.tasks import Classification, Task
from autocomp.training.learned_range import LearnedRange
from autocomp.training.losses import Loss, TrainingBatch
from autocomp.training.taps import tapped


class LossContract:
    """What a loss promises; subclass it and define `make`.

    It is a number for a batch, finite and differentiable, and leads to the trained network's
    parameters; it depends on the batch, its own state and the step's random numbers alone, and it
    changes neither network nor what it is given. What it needs it says: labels, a teacher.

    Attributes:
        task: what the networks of the suite are for.
    """

    task: Task = Classification()

    def make(self) -> Loss:
        """Returns the loss."""
        raise NotImplementedError

    @pytest.fixture
    def networks(self) -> tuple[nn.Module, nn.Module]:
        """A network to train, which rounds the inputs of its last layer, and a wider teacher."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            pair = _Small(4), _Small(6)
        pair[0].last.register_forward_pre_hook(LearnedRange(ActivationQuantizer(6, 0.03, 0)))
        return pair

    def _batch(self, loss: Loss, networks: tuple[nn.Module, nn.Module]) -> TrainingBatch:
        student, teacher = networks
        inputs = torch.randn(6, 1, 5, 5, generator=torch.Generator().manual_seed(1))
        taps = loss.taps(["first", "middle", "last"])
        with tapped(student, taps) as own, tapped(teacher, taps) as other:
            outputs, taught = student(inputs), teacher(inputs)
        return TrainingBatch(
            self.task, outputs, taught if loss.needs_teacher else None,
            torch.arange(6) % 3 if loss.needs_labels else None, None, dict(own), dict(other), 0.5,
            torch.Generator().manual_seed(2), lambda: student(inputs), student,
        )  # fmt: skip

    def _built(self, networks: tuple[nn.Module, nn.Module]) -> tuple[Loss, TrainingBatch]:
        loss = self.make()
        assert isinstance(loss, Loss)
        loss.check(self.task)
        batch = self._batch(loss, networks)
        loss.build(batch)
        return loss, batch

    def test_it_is_a_number_that_can_be_followed(
        self, networks: tuple[nn.Module, nn.Module]
    ) -> None:
        """With the gradient of a parameter of the trained network, finite everywhere."""
        loss, batch = self._built(networks)
        value = loss(batch)
        assert isinstance(value, Tensor) and value.shape == ()
        assert bool(torch.isfinite(value.detach()))
        torch.autograd.backward(value)
        grads = [p.grad for p in networks[0].parameters() if p.grad is not None]
        assert all(bool(torch.isfinite(grad).all()) for grad in grads)
        assert any(bool((grad != 0).any()) for grad in grads)

    def test_it_changes_nothing(self, networks: tuple[nn.Module, nn.Module]) -> None:
        """Neither networks nor outputs nor hooks."""
        before = [copy.deepcopy(network.state_dict()) for network in networks]
        loss, batch = self._built(networks)
        outputs, hooks = batch.outputs.detach().clone(), _hooks(networks[0])
        loss(batch)
        assert torch.equal(batch.outputs.detach(), outputs)
        assert _hooks(networks[0]) == hooks
        for network, state in zip(networks, before, strict=True):
            assert all(torch.equal(state[k], v) for k, v in network.state_dict().items())

    def test_it_repeats(self, networks: tuple[nn.Module, nn.Module]) -> None:
        """From the same state, with the same random numbers: so a killed training goes on."""
        loss, batch = self._built(networks)
        state = copy.deepcopy(loss.state_dict())
        first = loss(batch).detach()
        again, batch = self._built(networks)
        again.load_state_dict(state)
        assert torch.equal(again(batch).detach(), first)


class _Small(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.middle = nn.Conv2d(1, width, 3), nn.Conv2d(width, width, 1)
        self.last = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        seen = nn.functional.softplus(self.middle(nn.functional.softplus(self.first(x))))
        found: Tensor = self.last(seen.mean((2, 3)))
        return found


def _hooks(network: nn.Module) -> list[int]:
    return [len(module._forward_pre_hooks) for module in network.modules()]
