from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from autocomp.core.score import WORST, Score
from autocomp.data.split import Split
from autocomp.errors import DataError
from autocomp.network.batches import Batches
from autocomp.network.scoring import Reference, checked, outputs_on, score
from autocomp.tasks import Classification

TASK = Classification()
CPU = torch.device("cpu")


def divergence(outputs: Tensor, dense: Tensor) -> float:
    return float(TASK.divergence(outputs, dense).mean())


def batches(images: Tensor, labels: list[int], size: int = 2) -> Batches:
    return Batches(Split.of(images, torch.tensor(labels), "toy"), size, CPU)


@pytest.mark.parametrize("size", [1, 2, 3, 500])
def test_score_by_hand(size: int) -> None:
    """Logits (0, log 3): probabilities 1/4 and 3/4, whatever the batches."""
    images = torch.tensor([[0.0, math.log(3)]]).repeat(4, 1)
    found = score(nn.Identity(), batches(images, [1, 1, 0, 1], size), TASK)
    assert found.accuracy == 0.75 and found.n == 4
    assert found.loss == pytest.approx((3 * math.log(4 / 3) + math.log(4)) / 4)
    assert found.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 4))


def test_a_perfect_score_has_no_error() -> None:
    assert Score(1.0, 0.0, 10).standard_error == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite(value: float) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * value

    assert score(Broken(), batches(torch.ones(2, 3), [0, 1]), TASK).loss == WORST
    plain = Reference(nn.Identity(), [torch.ones(2, 3)], TASK)
    assert plain.divergence(Broken()) == WORST


def test_batches_are_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    split = Split.of(torch.rand(5, 3, 4, 4), torch.arange(5), "toy")
    calls = []
    original = split.batch
    monkeypatch.setattr(split, "batch", lambda rows: calls.append(rows) or original(rows))
    found = Batches(split, 2, CPU)
    first, second = list(found), list(found)
    assert len(found) == 5 and [len(labels) for _, labels in first] == [2, 2, 1]
    assert len(calls) == 3
    assert all(a[0] is b[0] for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.cat([images for images, _ in first]), split.images)
    assert first[0][0].is_contiguous()
    last = Batches(split, 2, CPU, channels_last=True)
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x, _ in last)


def test_an_abandoned_pass_keeps_nothing_half() -> None:
    found = batches(torch.rand(5, 3), [0, 1, 2, 0, 1])
    next(iter(found))
    assert sum(len(labels) for _, labels in found) == 5


def test_large_batches_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autocomp.network.batches._KEEP_BYTES", 10)
    found = batches(torch.rand(5, 3), [0, 1, 2, 0, 1])
    first, second = list(found), list(found)
    assert first[0][0] is not second[0][0] and torch.equal(first[0][0], second[0][0])


def test_large_inputs_come_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autocomp.network.batches.LARGEST", 9)
    found = list(batches(torch.rand(8, 3), [0, 1, 2, 0, 1, 0, 0, 0], size=5))
    assert [len(images) for images, _ in found] == [3, 3, 2]
    monkeypatch.setattr("autocomp.network.batches.LARGEST", 1)  # norms need two
    found = list(batches(torch.rand(5, 3), [0, 1, 2, 0, 1], size=5))
    assert [len(images) for images, _ in found] == [2, 2, 1]


def test_divergence_by_hand() -> None:
    """KL(p || q) with p = (1/2, 1/2) and q = (1/4, 3/4); zero where nothing changed."""
    dense, other = torch.zeros(3, 2), torch.tensor([[0.0, math.log(3)]]).repeat(3, 1)
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert divergence(other, dense) == pytest.approx(expected, rel=1e-5)
    assert divergence(dense + 7, dense) == pytest.approx(0, abs=1e-6)
    reverse = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert divergence(dense, other) == pytest.approx(reverse, rel=1e-5)


def test_outputs_on_all_batches() -> None:
    parts = [torch.rand(2, 3), torch.rand(1, 3)]
    assert torch.equal(outputs_on(nn.Identity(), parts, TASK), torch.cat(parts))
    with pytest.raises(DataError, match=r"\(n, classes\), but returned \(2, 3, 1\) for 2 samples"):
        outputs_on(nn.Identity(), [torch.rand(2, 3, 1)], TASK)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (torch.rand(2), r"returned \(2,\) for 2 samples; wrap it"),
        (torch.rand(3, 5), r"returned \(3, 5\) for 2 samples"),
        (torch.rand(()), r"returned \(\) for 2 samples"),
        ((torch.rand(2, 5),), r"tensor of real numbers, but returned tuple"),
        (torch.rand(2, 3), r"below the network's 3 outputs, but got 4"),
    ],
)
def test_what_are_no_logits(logits: object, message: str) -> None:
    labels = torch.tensor([0, 4])
    checked(torch.rand(2, 5), 2, TASK, labels)
    with pytest.raises(DataError, match=message):
        checked(logits, 2, TASK, labels)
