"""Every task keeps the contract."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from autocomp.tasks import (
    TASKS,
    Classification,
    Embedding,
    LanguageModel,
    Multilabel,
    Regression,
    Segmentation,
    Task,
    make_task,
)
from autocomp.testing import TaskContract


class _Classes(TaskContract):
    metric: Any = ""

    def make(self) -> Task:
        return Classification(metric=self.metric)

    def outputs(self, n: int, generator: torch.Generator) -> Tensor:
        return 2 * torch.randn((n, 7), generator=generator)

    def targets(self, n: int, generator: torch.Generator) -> Tensor | None:
        return torch.randint(7, (n,), generator=generator)


class TestClassification(_Classes):
    pass


class TestTop5(_Classes):
    metric = "top5"


class TestScorerOfScikitLearn(_Classes):
    metric = "f1_macro"


class TestFunction(_Classes):
    def make(self) -> Task:
        return Classification(metric=lambda y, t: (y.argmax(1) == t).double().mean())


class _Numbers(TaskContract):
    metric: Any = ""

    def make(self) -> Task:
        return Regression(metric=self.metric)

    def outputs(self, n: int, generator: torch.Generator) -> Tensor:
        return 3 + torch.randn((n, 2), generator=generator) * torch.tensor([1.0, 10.0])

    def targets(self, n: int, generator: torch.Generator) -> Tensor | None:
        return 3 + torch.randn((n, 2), generator=generator)


class TestRegression(_Numbers):
    pass


class TestRootMeanSquare(_Numbers):
    metric = "rmse"


class TestAbsolute(_Numbers):
    metric = "mae"


class TestMedianOfScikitLearn(_Numbers):
    metric = "neg_median_absolute_error"


class TestSegmentation(TaskContract):
    def make(self) -> Task:
        return Segmentation()

    def outputs(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn((n, 3, 4, 4), generator=generator)

    def targets(self, n: int, generator: torch.Generator) -> Tensor | None:
        return torch.randint(3, (n, 4, 4), generator=generator)


class TestMultilabel(TaskContract):
    def make(self) -> Task:
        return Multilabel()

    def outputs(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn((n, 5), generator=generator)

    def targets(self, n: int, generator: torch.Generator) -> Tensor | None:
        return torch.randint(2, (n, 5), generator=generator)


class TestEmbedding(TaskContract):
    def make(self) -> Task:
        return Embedding()

    def outputs(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn((n, 6), generator=generator)

    def targets(self, n: int, generator: torch.Generator) -> Tensor | None:
        return None


class TestLanguageModel(TaskContract):
    def make(self) -> Task:
        return LanguageModel()

    def outputs(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn((n, 4, 9), generator=generator)

    def targets(self, n: int, generator: torch.Generator) -> Tensor | None:
        tokens = torch.randint(9, (n, 4), generator=generator)
        tokens[0, 2:] = -100
        return tokens


def test_every_registered_task_is_tested() -> None:
    cases = [thing for name, thing in globals().items() if name.startswith("Test")]
    assert {case().make().name for case in cases} == set(TASKS)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_names_make_tasks(name: str) -> None:
    assert make_task(name).name == name and isinstance(make_task(name), Task)
