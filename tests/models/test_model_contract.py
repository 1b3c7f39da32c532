"""The contract of a network, for every one that is offered by name."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from autocomp.models import MODELS
from autocomp.testing import ModelContract

SHAPES = {"digits": (1, 8, 8), "mlp": (64,)}
# one of each family; the others differ in depth
NAMES = [n for n in MODELS if not n.startswith("resnet") and n not in ("vgg13", "vgg16")]


@pytest.mark.parametrize("name", [*NAMES, "resnet20"])
class TestBuiltIn(ModelContract):
    @pytest.fixture(autouse=True)
    def _choose(self, name: str) -> None:
        self.name = name
        self.shape = SHAPES.get(name, (3, 32, 32))

    def make(self) -> nn.Module:
        made: Any = MODELS[self.name]()
        return made
