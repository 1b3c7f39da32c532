"""A digits network under a plan, as a file gives it: few bits, zeros, some bits for inputs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from autocomp.artifacts.container import unpack
from autocomp.compression.noted_file import note_file, shapes_of
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.data import load_data
from autocomp.data.splits import DataSplits
from autocomp.models import build_model
from autocomp.problem.problem import CompressionProblem
from autocomp.tasks import Classification
from autocomp.training import TrainingConfig, TrainingSetup


@dataclass(frozen=True)
class Compressed:
    """A compressed network, its file, and what it came from."""

    dense: nn.Module
    data: DataSplits
    plan: Plan
    network: nn.Module
    bytes: bytes

    def setup(self, **changes: object) -> TrainingSetup:
        """Returns a short training of it, with a limit of its own bytes."""
        settings = {k: changes.pop(k) for k in list(changes) if k in TrainingConfig.__annotations__}
        given: dict[str, object] = {
            "network": self.network, "dense": self.dense, "task": Classification(),
            "train": self.data.train, "limit": len(self.bytes),
            "config": TrainingConfig(**{"steps": 20, "batch_size": 32, **settings}),
        }  # fmt: skip
        return TrainingSetup(**{**given, **changes})  # type: ignore[arg-type]


def compressed(dense: nn.Module, data: DataSplits, choice: Choice) -> Compressed:
    """Returns a network with one choice for every layer."""
    problem = CompressionProblem(dense, data, "size=100%")
    plan = Plan({layer.name: layer.in_effect(choice) for layer in problem.network.layers})
    model, packed = problem.compressed(plan)
    note_file(model, unpack(packed, shapes_of(model)))
    return Compressed(dense, data, plan, model, packed)


@pytest.fixture(scope="session")
def made() -> Compressed:
    """The digits network with 60 % zeros, 3 bits, and 6 bits for inputs."""
    choice = Choice.of(sparsity=0.6, weight_bits=3, activation_bits=6)
    return compressed(build_model("digits"), load_data("digits"), choice)


@pytest.fixture
def network(made: Compressed) -> nn.Module:
    """A copy of the compressed network."""
    copied = copy.deepcopy(made.network)
    note_file(copied, unpack(made.bytes, shapes_of(copied)))
    return copied.eval()


@pytest.fixture
def images(made: Compressed) -> torch.Tensor:
    """Some inputs."""
    return made.data.search.batch(slice(0, 64))[0]


@pytest.fixture
def compress() -> Callable[[nn.Module, DataSplits, Choice], Compressed]:
    """What makes a compressed network of any."""
    return compressed
