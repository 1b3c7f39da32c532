"""The contract of a network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from autocomp.core.choice import Choice
from autocomp.models import build_model
from autocomp.network.analysis import analyse


class ModelContract:
    """What a network that is offered by name promises; subclass it and define `make`.

    What is registered is a function or class; it is called with options, and returns a network,
    trained or not, of one architecture for equal options. A batch `(n, *shape)` goes in and logits
    `(n, classes)` come out. In evaluation mode the outputs are finite, the same each time, and each
    example's own: they do not depend on the others in its batch. Its state can be put into a
    second one, which then computes the same. At least one layer is found that can be compressed,
    and each of their weights is used by the forward pass.

    Attributes:
        shape: of one example, `(3, 32, 32)` by default.
    """

    shape: tuple[int, ...] = (3, 32, 32)

    def make(self) -> nn.Module:
        """Returns the network."""
        raise NotImplementedError

    @pytest.fixture
    def model(self) -> nn.Module:
        """The network in evaluation mode."""
        made = self.make()
        assert isinstance(made, nn.Module)
        return build_model(made).eval()

    @pytest.fixture
    def inputs(self) -> Tensor:
        """Four examples."""
        return torch.randn(4, *self.shape, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def test_logits_are_finite_and_the_same_each_time(
        self, model: nn.Module, inputs: Tensor
    ) -> None:
        """One row an example."""
        logits = model(inputs)
        assert logits.dim() == 2 and len(logits) == 4
        assert bool(logits.isfinite().all())
        assert torch.equal(model(inputs), logits)

    @torch.no_grad()
    def test_each_example_has_its_own_logits(self, model: nn.Module, inputs: Tensor) -> None:
        """Whatever else is in the batch."""
        alone = torch.cat([model(one[None]) for one in inputs])
        torch.testing.assert_close(model(inputs), alone, rtol=1e-4, atol=1e-4)

    @torch.no_grad()
    def test_a_second_one_takes_its_state(self, model: nn.Module, inputs: Tensor) -> None:
        """All of it, strictly."""
        other = self.make().eval()
        other.load_state_dict(model.state_dict(), strict=True)
        assert torch.equal(other(inputs), model(inputs))
        assert torch.equal(copy.deepcopy(model)(inputs), model(inputs))

    @torch.no_grad()
    def test_its_layers_are_found_and_used(self, model: nn.Module, inputs: Tensor) -> None:
        """Reading leaves the network as it was; a layer of zeros changes the logits."""
        before = copy.deepcopy(model.state_dict())
        network = analyse(model, inputs[:2])
        assert network.layers and network.macs > 0
        assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
        logits = model(inputs)
        for layer in network.layers:
            weight = model.get_parameter(layer.parameter)
            assert tuple(weight.shape) == layer.shape
            assert layer.nonzeros(Choice.of(sparsity=0.5)) < layer.n_weights
        for layer in (network.layers[0], network.layers[-1]):
            weight = model.get_parameter(layer.parameter)
            kept = weight.clone()
            weight.zero_()
            assert not torch.equal(model(inputs), logits), layer.name
            weight.copy_(kept)
