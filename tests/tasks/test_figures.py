"""Figures of the tasks by hand, and against scikit-learn; their errors against a bootstrap."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics
from torch import Tensor

from autocomp.core.metric import Metric
from autocomp.core.structured import Structured
from autocomp.errors import AutocompError, DataError, UnknownNameError
from autocomp.tasks import (
    Classification,
    Embedding,
    FunctionMeasure,
    LanguageModel,
    Multilabel,
    Regression,
    Segmentation,
    Task,
    make_task,
)
from autocomp.tasks.measure import standard_error

GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=GENERATOR)


def figure(task: Task, outputs: Tensor, targets: Tensor | None, dense: Any = None) -> float:
    dense = outputs if dense is None else dense
    return task.measure.value(task.measure.rows(outputs, targets, dense))


def test_regression_is_scikit_learns() -> None:
    y, t = normal(50, 3), 2 * normal(50, 3) + 1
    assert figure(Regression(), y, t) == pytest.approx(metrics.r2_score(t, y))
    rmse = math.sqrt(metrics.mean_squared_error(t, y))
    assert figure(Regression("rmse"), y, t) == pytest.approx(rmse)
    mae = metrics.mean_absolute_error(t, y)
    assert figure(Regression("mae"), y, t) == pytest.approx(mae)
    one = Regression()
    one.check(y[:, :1], t[:, 0])
    r2 = metrics.r2_score(t[:, 0], y[:, 0])
    assert figure(one, y[:, :1], t[:, 0]) == pytest.approx(r2)


def test_divergence_of_a_regression_is_what_it_loses_against_itself() -> None:
    y, t = normal(60, 2), normal(60, 2) * torch.tensor([1.0, 100.0])
    lost = 1 - figure(Regression(), y, t)
    task = Regression().fitted(t)
    assert float(task.divergence(y, t).mean()) == pytest.approx(lost, rel=1e-5)
    constant = Regression().fitted(torch.full((4, 1), 3.0))
    assert float(constant.divergence(torch.full((1, 1), 6.0), torch.full((1, 1), 3.0))) == 1


def test_segmentation_by_hand() -> None:
    """Two classes on four pixels; one pixel does not count."""
    labels = torch.tensor([[[0, 0], [1, 255]]])
    chosen = torch.tensor([[[0, 1], [1, 1]]])
    logits = F.one_hot(chosen, 2).movedim(3, 1).float()
    task = Segmentation()
    task.check(logits, labels)
    # class 0: 1 of 2, class 1: 1 of 2
    assert figure(task, logits, labels) == pytest.approx(0.5)
    assert figure(Segmentation("pixel-accuracy"), logits, labels) == pytest.approx(2 / 3)
    wrong, right = -math.log(1 / (1 + math.e)), -math.log(math.e / (1 + math.e))
    assert float(task.loss(logits, labels)) == pytest.approx((2 * right + wrong) / 3)


def test_segmentation_against_scikit_learn() -> None:
    logits, labels = normal(5, 4, 6, 6), torch.randint(4, (5, 6, 6), generator=GENERATOR)
    chosen = logits.argmax(1)
    expected = metrics.jaccard_score(labels.flatten(), chosen.flatten(), average="macro")
    assert figure(Segmentation(), logits, labels) == pytest.approx(expected)


def test_coarse_logits_are_interpolated() -> None:
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    labels[:, :, 2:] = 1
    coarse = torch.tensor([[[[3.0, -3.0]] * 2, [[-3.0, 3.0]] * 2]])
    Segmentation().check(coarse, labels)
    assert figure(Segmentation(), coarse, labels) == 1


def test_multilabel_is_scikit_learns() -> None:
    logits, targets = normal(40, 6), torch.randint(2, (40, 6), generator=GENERATOR)
    chosen = (logits > 0).long()
    f1 = metrics.f1_score(targets, chosen, average="micro")
    assert figure(Multilabel(), logits, targets) == pytest.approx(f1)
    exact = metrics.accuracy_score(targets, chosen)
    assert figure(Multilabel("exact"), logits, targets) == pytest.approx(exact)
    assert figure(Multilabel("label-accuracy"), logits, targets) == pytest.approx(
        float((chosen == targets).double().mean())
    )
    found = figure(Multilabel("average_precision"), logits, targets)
    assert found == pytest.approx(metrics.average_precision_score(targets, logits.sigmoid()))


def test_perplexity_by_hand() -> None:
    """Uniform over 5 tokens: 5, whatever is foretold; ignored and masked tokens do not count."""
    tokens = torch.tensor([[1, 2, 3, 4], [0, 1, 0, 0]])
    inputs = Structured(input_ids=tokens, attention_mask=torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]))
    task = LanguageModel()
    targets = task.targets(None, inputs)
    assert targets is not None and targets.tolist() == [[1, 2, 3, 4], [0, 1, -100, -100]]
    logits = torch.zeros(2, 4, 5)
    assert figure(task, logits, targets) == pytest.approx(5)
    assert task.loss(logits, targets).tolist() == pytest.approx([math.log(5)] * 2)
    sure = F.one_hot(tokens.roll(-1, 1), 5).float() * 50
    assert figure(task, sure, targets) == pytest.approx(1)
    assert figure(LanguageModel("token-accuracy"), sure, targets) == 1
    masked = task.outputs(normal(2, 4, 5), inputs)
    assert bool((masked[1, 2:] == 0).all()) and bool((masked[0] != 0).all())
    assert task.targets(None, tokens) is tokens  # the only tensor of whole numbers


def test_cosine_and_pooling() -> None:
    task, dense = Embedding(), torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert figure(task, 3 * dense, None, dense) == pytest.approx(1)
    assert figure(task, dense.flip(1), None, dense) == pytest.approx(0, abs=1e-7)
    words = torch.tensor([[[1.0, 1.0], [3.0, 5.0], [9.0, 9.0]]])
    inputs = Structured(ids=torch.zeros(1, 3), attention_mask=torch.tensor([[1, 1, 0]]))
    assert task.outputs({"last_hidden_state": words}, inputs).tolist() == [[2.0, 3.0]]
    assert Embedding(pooling="first").outputs(words, inputs).tolist() == [[1.0, 1.0]]
    assert Embedding(pooling="none").outputs(words, inputs) is words
    plain = task.outputs(words, torch.zeros(1, 3)).tolist()
    assert plain == [[pytest.approx(13 / 3), pytest.approx(5)]]
    with pytest.raises(AutocompError, match="mean, first, none"):
        Embedding(pooling="max")


def test_an_accuracys_error_is_the_binomial() -> None:
    logits, labels = normal(30, 3), torch.randint(3, (30,), generator=GENERATOR)
    measure = Classification().measure
    rows = measure.rows(logits, labels, logits)
    p = measure.value(rows)
    assert standard_error(measure.shares(rows)) == pytest.approx(math.sqrt(p * (1 - p) / 30))
    score = Classification().score(rows, 0.0)
    assert score.standard_error == pytest.approx(math.sqrt(p * (1 - p) / 30))


@pytest.mark.parametrize(
    ("task", "outputs", "targets"),
    [
        (Regression(), normal(300, 2), normal(300, 2)),
        (Regression("rmse"), normal(300, 1), normal(300, 1)),
        (Segmentation(), normal(300, 3, 2, 2), torch.randint(3, (300, 2, 2), generator=GENERATOR)),
        (Multilabel(), normal(300, 4), torch.randint(2, (300, 4), generator=GENERATOR)),
        (LanguageModel(), normal(300, 5, 4), torch.randint(4, (300, 5), generator=GENERATOR)),
        (
            Classification(lambda y, t: metrics.f1_score(t, y.argmax(1), average="macro")),
            normal(300, 3), torch.randint(3, (300,), generator=GENERATOR),
        ),
    ],
    ids=lambda x: x.name if isinstance(x, Task) else "",
)  # fmt: skip
def test_errors_are_those_of_a_bootstrap(task: Task, outputs: Tensor, targets: Tensor) -> None:
    rows = task.measure.rows(outputs, targets, outputs)
    drawn = np.random.default_rng(0).integers(0, len(rows), (400, len(rows)))
    figures = [task.measure.value(rows[torch.from_numpy(few)]) for few in drawn]
    rough = isinstance(task.measure, FunctionMeasure)  # of twenty groups: 16 %
    found = standard_error(task.measure.shares(rows))
    assert found == pytest.approx(float(np.std(figures)), rel=0.4 if rough else 0.15)


class Odd:
    def __init__(self, found: Any) -> None:
        self.found = found

    def __call__(self, outputs: Tensor, targets: Tensor) -> Any:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (math.nan, "one finite number, but returned nan"),
        (torch.zeros(3), r"one finite number, but returned of shape \(3,\)"),
        ("high", "one finite number, but returned 'high'"),
        (ValueError("no"), "`metric Odd of outputs .* raised ValueError: no"),
    ],
)
def test_metrics_that_are_none(found: Any, message: str) -> None:
    task = Classification(Odd(found))
    with pytest.raises(DataError, match=message) as caught:
        figure(task, normal(4, 3), torch.zeros(4).long())
    assert "\n" not in str(caught.value)


def test_a_function_needs_targets() -> None:
    with pytest.raises(DataError, match="compares outputs with targets, but there are none"):
        figure(Embedding(Odd(1.0)), normal(4, 3), None)


def test_functions_say_what_they_are() -> None:
    made = FunctionMeasure(Odd(1.0), "error of mine", larger_is_better=False)
    task = Regression(made)
    assert task.metric == Metric(
        "error of mine", False, False, False, divergence_unit="of the variance"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("regresion", "'regresion'.*regression"),
        ("regression:metric=rsme", "task regression named 'rsme'.*rmse"),
        ("regression:metrik=r2", "option of task 'regression'.*metric"),
        ("classification:metric=f2", "task classification named 'f2'"),
    ],
)
def test_misspelt_names(name: str, message: str) -> None:
    with pytest.raises(AutocompError, match=message):
        make_task(name)
    with pytest.raises((UnknownNameError, DataError)):
        make_task(name)


@pytest.mark.parametrize("thing", [Regression, 3, None])
def test_what_is_no_task(thing: Any) -> None:
    with pytest.raises(DataError, match=r"^A task must be"):
        make_task(thing)


BAD = [
    (Classification(), normal(4, 3), torch.zeros(4, 1).long(), r"\(N,\) integers.*\(4, 1\)"),
    (Classification(), normal(4, 3), torch.zeros(4), "integers.*float32.*name the task"),
    (Classification(), normal(4, 3), torch.tensor([0, 1, -1, 0]), "negative.*-1"),
    (Regression(), normal(4, 3), torch.tensor([0.0, math.inf, 0, 0]), "finite"),
    (Regression(), normal(4, 2), torch.tensor([[1.0, 2.0], [3.0, 2.0]]), "R2 is a share .*2"),
    (Regression(), normal(1, 1), torch.ones(1), "R2 is a share .*1 sample.*metric=rmse"),
    (Segmentation(), normal(4, 3, 2, 2), torch.zeros(4).long(), r"\(N, height, width\) integers"),
    (Multilabel(), normal(4, 3), torch.full((4, 3), 0.5), "zeros and ones"),
    (LanguageModel(), normal(4, 3, 2), torch.zeros(4, 3), r"\(N, tokens\) integers"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "outputs", "labels", "message"), BAD)
def test_labels_of_another_kind(task: Task, outputs: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=f"^mine: .*{message}") as caught:
        task.check_labels(labels, "mine")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "outputs", "targets", "message"),
    [
        (Classification(), normal(4, 3, 2), None, r"\(n, classes\), but returned \(4, 3, 2\)"),
        (Classification(), normal(4, 3), torch.full((4,), 3), "3 outputs, but got 3"),
        (Regression(), normal(4, 3), torch.zeros(4), r"targets of shape \(4,\).*\(4, 3\)"),
        (Regression(), torch.zeros(4).long(), None, "int64"),
        (Segmentation(), normal(4, 3), torch.zeros(4, 2, 2).long(), r"returned \(4, 3\)"),
        (Segmentation(), normal(4, 3, 2, 2), torch.full((4, 2, 2), 7), "3 classes, but got 7"),
        (Multilabel(), normal(4, 3), torch.zeros(4, 2), r"\(4, 2\).*returned \(4, 3\)"),
        (Embedding(), normal(4), None, r"vector for each sample.*\(4,\)"),
        (LanguageModel(), normal(4, 3), None, "must be \\(n, tokens, vocabulary\\)"),
        (LanguageModel(), normal(4, 3), torch.zeros(4, 3).long(), r"returned \(4, 3\)"),
        (LanguageModel(), normal(4, 1, 5), torch.zeros(4, 1).long(), "at least two each"),
        (LanguageModel(), normal(4, 3, 5), torch.full((4, 3), 5), "vocabulary of 5, but got 5"),
    ],
)
def test_outputs_that_do_not_fit(
    task: Task, outputs: Tensor, targets: Tensor | None, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        task.check(outputs, targets)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["classification", "multilabel", "segmentation", "language-model"])
def test_the_gap_is_taken_at_temperature_four(name: str) -> None:
    assert make_task(name).temperature == 4


def test_the_gap_of_two_classes_by_hand() -> None:
    """T^2 KL at T = 4 of logits (8, 0) against (0, 0): softened (2, 0), so q = 1 / (1 + e^-2)."""
    task = make_task("classification")
    q = 1 / (1 + math.exp(-2))
    expected = 16 * (0.5 * math.log(0.5 / q) + 0.5 * math.log(0.5 / (1 - q)))
    found = task.gap(torch.tensor([[8.0, 0.0]]), torch.zeros(1, 2))
    assert float(found) == pytest.approx(expected, rel=1e-5)
    # to second order it is half the variance of the logits' error, at any temperature
    small = task.gap(torch.tensor([[0.02, 0.0]]).double(), torch.zeros(1, 2).double())
    assert float(small) == pytest.approx(0.5 * 0.01**2, rel=1e-2)


def test_a_task_of_distances_has_no_temperature() -> None:
    task = make_task("regression").fitted(torch.randn(20, 2, generator=torch.Generator()))
    outputs, dense = torch.ones(3, 2), torch.zeros(3, 2)
    assert torch.equal(task.gap(outputs, dense), task.divergence(outputs, dense))
