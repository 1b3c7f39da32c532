from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn

from autocomp.core.choice import NEUTRAL
from autocomp.core.plan import Plan
from autocomp.data.split import Split
from autocomp.data.splits import DataSplits
from autocomp.errors import DataError, LayerError, PlanError
from autocomp.problem.problem import CompressionProblem


def with_labels(data: DataSplits, labels: Tensor, n_classes: int) -> DataSplits:
    search = Split.of(data.search.images, labels, "relabelled")
    return DataSplits("relabelled", data.calibration, search, data.test, n_classes)


def test_labels_out_of_range(tiny_net: nn.Module, tiny_data: DataSplits) -> None:
    labels = tiny_data.search.labels + 5
    with pytest.raises(DataError, match=r"labels must be below n_classes=4, but one is 8"):
        CompressionProblem(tiny_net, with_labels(tiny_data, labels, 4), "size=60%")
    problem = CompressionProblem(tiny_net, with_labels(tiny_data, labels, 9), "size=60%")
    with pytest.raises(DataError, match=r"below the network's 4 outputs, but got 8") as caught:
        problem.dense_score()
    assert "\n" not in str(caught.value)


def test_test_labels_out_of_range(tiny_net: nn.Module, tiny_data: DataSplits) -> None:
    test = Split.of(tiny_data.test.images, tiny_data.test.labels + 1, "shifted")
    data = DataSplits("shifted", tiny_data.calibration, tiny_data.search, test, 4)
    problem = CompressionProblem(tiny_net, data, "size=60%")
    with pytest.raises(DataError, match=r"below the network's 4 outputs, but got 4"):
        problem.test(problem.network.neutral_plan())


def test_a_wrong_number_of_channels(digits_model: nn.Module, tiny_data: DataSplits) -> None:
    with pytest.raises(LayerError, match=r"batch of shape \(4, 3, 8, 8\) raised RuntimeError"):
        CompressionProblem(digits_model, tiny_data, "size=60%")


class Odd(nn.Module):
    """Returns its logits in some other form."""

    def __init__(self, form: Any, norm: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3) if norm else nn.Identity()
        self.linear = nn.Linear(192, 4)
        self.form = form

    def forward(self, x: Tensor) -> Any:
        return self.form(self.linear(self.norm(x).flatten(1)))


def cube(x: Tensor) -> Any:
    return x[:, :, None]


def fewer(x: Tensor) -> Any:
    return x[:-1]


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize(("form", "shown"), [(cube, r"\(\d+, 4, 1\)"), (fewer, r"\(\d+, 4\)")])
def test_outputs_that_are_no_logits(
    tiny_data: DataSplits, form: Any, shown: str, norm: bool
) -> None:
    said = rf"must return .*, but returned {shown} for \d+"
    with pytest.raises(DataError, match=said) as caught:
        CompressionProblem(Odd(form, norm).eval(), tiny_data, "size=60%").dense_score()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("plan", "error"),
    [
        (Plan({"0": NEUTRAL}), "misses layer '3'"),
        (Plan({"0": NEUTRAL, "x": NEUTRAL}), "no layer named 'x'"),
    ],
)
def test_a_plan_for_another_network(
    tiny_problem: CompressionProblem, plan: Plan, error: str
) -> None:
    with pytest.raises(PlanError, match=error):
        tiny_problem.evaluate(plan)
