"""Targets that look right and are not: shifted, left out, of other shapes; unknown errors."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from autocomp.core.score import WORST
from autocomp.core.structured import Structured
from autocomp.errors import DataError
from autocomp.network.scoring import Predicted, Tally
from autocomp.tasks import (
    Classification,
    Embedding,
    FunctionMeasure,
    LanguageModel,
    Multilabel,
    Regression,
    Segmentation,
    check_task,
    make_task,
)  # fmt: skip
from autocomp.tasks.language_model import IGNORED

TOKENS = torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]])


def test_labels_that_are_shifted_already_are_taken_so() -> None:
    task = LanguageModel()
    after = torch.cat([TOKENS[:, 1:], torch.tensor([[9], [9]])], 1)
    found = task.targets(after, TOKENS)
    assert found is not None
    assert torch.equal(found[:, 1:], TOKENS[:, 1:])
    assert bool((found[:, 0] == IGNORED).all())
    same = task.targets(TOKENS, TOKENS)
    assert same is not None and torch.equal(same, TOKENS)


def test_nothing_is_foretold_from_padding() -> None:
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])
    found = LanguageModel().targets(None, Structured(input_ids=TOKENS, attention_mask=mask))
    assert found is not None
    assert found[:, 1:].tolist() == [[IGNORED, IGNORED, 8], [2, 3, IGNORED]]


def test_tokens_must_be_told_from_other_numbers() -> None:
    with pytest.raises(DataError, match="called input_ids"):
        LanguageModel().targets(None, Structured(src=TOKENS, tgt=TOKENS))
    task = LanguageModel()
    assert task.targets(TOKENS, Structured(src=TOKENS, tgt=TOKENS)) is TOKENS
    assert task.targets(None, torch.randn(2, 3)) is None
    task.check(torch.randn(2, 3, 9), None)
    with pytest.raises(DataError, match="none of its inputs is"):
        task.measure.rows(torch.randn(2, 3, 9), None, torch.randn(2, 3, 9))


def test_labels_that_count_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="must count some tokens"):
        LanguageModel().check_labels(torch.full((2, 3), IGNORED), "texts")
    with pytest.raises(DataError, match="must count some pixels"):
        Segmentation().check_labels(torch.full((2, 3, 3), 255), "maps")
    with pytest.raises(DataError, match="whole number"):
        Segmentation(ignore="a")  # type: ignore[arg-type]


def test_shapes_are_not_folded_together() -> None:
    task = Regression()
    with pytest.raises(DataError, match=r"\(4, 3, 2\).*\(4, 2, 3\)"):
        task.check(torch.randn(4, 2, 3), torch.randn(4, 3, 2))
    task.check(torch.randn(4, 1), torch.randn(4))
    task.check(torch.randn(4, 2, 3), torch.randn(4, 2, 3))


def test_remedies_are_said() -> None:
    with pytest.raises(DataError, match=r"task=multilabel with labels\[:, None\]"):
        Classification().check(torch.randn(4, 1), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(DataError, match="argmax"):
        Segmentation().check(torch.randn(4, 3, 2, 2), torch.zeros(4, 3, 2, 2).long())
    with pytest.raises(DataError, match=r"labels\[:, None\]"):
        Multilabel().check_labels(torch.tensor([0, 1]), "mine")
    mask = Structured(x=torch.randn(2, 3), attention_mask=torch.ones(2, 5))
    with pytest.raises(DataError, match="attention_mask must have"):
        Embedding().outputs(torch.randn(2, 3, 4), mask)


def test_an_error_that_is_not_known_is_said() -> None:
    def picky(outputs: Tensor, targets: Tensor) -> float:
        return 0.5 if int(targets.sum()) == 3 else math.nan

    measure = FunctionMeasure(picky)
    targets = torch.tensor([1, 1, 1, 0, 0, 0])
    rows = measure.rows(torch.randn(6, 2), targets, torch.randn(6, 2))
    score = Classification(metric=measure).score(rows, 1.0)
    assert score.error == WORST
    assert str(score).endswith("+- unknown")


def test_an_embedding_s_loss_is_its_divergence_with_labels_too() -> None:
    task = Embedding()
    tally = Tally(task)
    outputs, dense = torch.randn(5, 3), torch.randn(5, 3)
    tally.add(Predicted(outputs, torch.arange(5)), dense)
    expected = float(task.divergence(outputs, dense).mean())
    assert tally.score().loss == pytest.approx(expected)


def test_scikit_learn_s_functions_take_the_targets_first() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    task = Regression(metric=metrics.r2_score)
    outputs, targets = torch.randn(40), torch.randn(40)
    rows = task.measure.rows(outputs[:, None], targets, outputs[:, None])
    expected = metrics.r2_score(targets.numpy(), outputs.numpy())
    assert task.measure.value(rows) == pytest.approx(float(expected), rel=1e-4)
    with pytest.raises(DataError, match="takes the targets first"):
        Classification(metric=metrics.fbeta_score)


def test_two_labels_are_no_two_classes() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    task = make_task("multilabel:metric=roc_auc")
    outputs = torch.randn(60, 2)
    targets = (torch.rand(60, 2) > 0.5).float()
    found = task.measure.value(task.measure.rows(outputs, targets, outputs))
    expected = metrics.roc_auc_score(targets.numpy(), outputs.sigmoid().numpy())
    assert found == pytest.approx(float(expected))


class _Own(Classification):
    name: ClassVar[str] = "own"
    gives: Any = None

    def divergence(self, outputs: Tensor, dense: Tensor) -> Tensor:
        given = self.gives
        return given(outputs) if callable(given) else super().divergence(outputs, dense)


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        (lambda y: y.sum(), r"gave \(\)"), (lambda y: y[:, 0] * math.nan, "finite"),
        (lambda y: y, r"gave \(4, 3\)"), (lambda y: 1 + y[:, 0] * 0, "0 where nothing changed"),
        (lambda y: y.nothing, "raised AttributeError"), (lambda y: 0.5, "float"),
    ],
)  # fmt: skip
def test_a_divergence_of_one_s_own_is_looked_at(gives: Any, says: str) -> None:
    task = _Own()
    check_task(task, torch.randn(4, 3))
    task.gives = gives
    with pytest.raises(DataError, match=says):
        check_task(task, torch.randn(4, 3))
