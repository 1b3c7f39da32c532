"""The contract of a layer: a function that says how modules multiply by a matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from autocomp.network.analysis import analyse
from autocomp.network.layers import LayerFinder, MatrixUse


class LayerContract:
    """What a function `module -> MatrixUse | None` promises; subclass it and define three methods.

    Of a module that it knows, the named parameter is a matrix W and the named bias a vector b, and
    the module computes y = W x + b along the last axis of its first input: nothing before, nothing
    after. Of any other module it says nothing, and it changes none.
    """

    def make(self) -> LayerFinder:
        """Returns the function."""
        raise NotImplementedError

    def module(self) -> nn.Module:
        """Returns a module that it knows."""
        raise NotImplementedError

    def inputs(self, n: int) -> Tensor:
        """Returns `n` inputs for it."""
        raise NotImplementedError

    @pytest.fixture
    def known(self) -> nn.Module:
        """The module, in evaluation mode."""
        return self.module().eval()

    @pytest.fixture
    def use(self, known: nn.Module) -> MatrixUse:
        """What the function says of it."""
        found = self.make()(known)
        assert isinstance(found, MatrixUse)
        return found

    def test_parameters_are_there(self, known: nn.Module, use: MatrixUse) -> None:
        """A matrix, and a vector of its outputs or none."""
        weight = known.get_parameter(use.parameter)
        assert weight.dim() == 2 and weight.is_floating_point()
        if use.bias and known._parameters.get(use.bias) is not None:
            outputs = weight.shape[0 if use.outputs_first else 1]
            assert known.get_parameter(use.bias).shape == (outputs,)

    def test_it_is_that_product(self, known: nn.Module, use: MatrixUse) -> None:
        """With weights drawn anew, too."""
        x = self.inputs(3)
        weight, bias = known.get_parameter(use.parameter), known._parameters.get(use.bias)
        for seed in range(2):
            with torch.no_grad():
                matrix = weight if use.outputs_first else weight.T
                expected = x @ matrix.T + (0 if bias is None else bias)
                torch.testing.assert_close(known(x), expected, rtol=1e-4, atol=1e-4)
                generator = torch.Generator().manual_seed(seed)
                weight.copy_(torch.randn(weight.shape, generator=generator))

    def test_others_are_not_taken_for_one(self, known: nn.Module) -> None:
        """And nothing is changed."""
        before = {name: x.clone() for name, x in known.state_dict().items()}
        self.make()(known)
        for other in (nn.ReLU(), nn.Sequential(), nn.LayerNorm(4)):
            assert self.make()(other) is None
        assert all(torch.equal(before[name], x) for name, x in known.state_dict().items())

    def test_a_network_with_it_has_a_layer(
        self, known: nn.Module, use: MatrixUse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its MACs are those of the product."""
        from autocomp.network import layers

        monkeypatch.setitem(layers.LAYERS, "under test", self.make())
        network = analyse(nn.Sequential(known), self.inputs(2))
        found = next(x for x in network.layers if x.parameter == f"0.{use.parameter}")
        places = self.inputs(1)[0].numel() // found.inputs
        assert found.macs == places * found.n_weights
        assert network.other_macs == 0
