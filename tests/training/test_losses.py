"""Losses, each against a value by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from autocomp.errors import TrainingError, UnknownNameError
from autocomp.tasks import Classification, Embedding, Regression
from autocomp.testing import LossContract
from autocomp.training import Loss, TrainingBatch, make_loss
from autocomp.training.losses import LOSSES, Tap
from autocomp.training.losses.attribution import gradient_map
from autocomp.training.losses.contrastive import info_nce
from autocomp.training.losses.relational import angles, distances
from autocomp.training.losses.subclass import diversity

STUDENT = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0]])
TEACHER = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 0.0]])
LABELS = torch.tensor([0, 2])


def batch(**more: Any) -> TrainingBatch:
    given: dict[str, Any] = {
        "task": Classification(), "outputs": STUDENT, "teacher": TEACHER, "targets": LABELS,
        "generator": torch.Generator().manual_seed(0),
    }  # fmt: skip
    return TrainingBatch(**{**given, **more})


def softmax(values: list[float], t: float = 1.0) -> list[float]:
    powers = [math.exp(v / t) for v in values]
    return [p / sum(powers) for p in powers]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_task_loss_is_the_cross_entropy() -> None:
    rows = [-math.log(softmax(z.tolist())[y]) for z, y in zip(STUDENT, LABELS, strict=True)]
    assert float(make_loss("task")(batch())) == pytest.approx(sum(rows) / 2)
    other = (torch.tensor([1, 1]), 0.75)
    rest = [-math.log(softmax(z.tolist())[1]) for z in STUDENT]
    mixed = 0.75 * sum(rows) / 2 + 0.25 * sum(rest) / 2
    assert float(make_loss("ce")(batch(other=other))) == pytest.approx(mixed)


@pytest.mark.parametrize("t", [1.0, 4.0])
def test_distillation_is_hinton_s(t: float) -> None:
    rows = [
        kl(softmax(b.tolist(), t), softmax(a.tolist(), t))
        for a, b in zip(STUDENT, TEACHER, strict=True)
    ]
    found = float(make_loss(f"kd(T={t})")(batch()))
    assert found == pytest.approx(t * t * sum(rows) / 2, rel=1e-5)
    assert float(make_loss("kd")(batch(outputs=TEACHER))) == pytest.approx(0, abs=1e-6)


def test_distillation_of_vectors_and_numbers_has_no_temperature() -> None:
    task = Embedding()
    expected = float(task.divergence(STUDENT, TEACHER).mean())
    assert float(make_loss("kd(T=4)")(batch(task=task))) == pytest.approx(expected)
    fitted = Regression().fitted(TEACHER)
    expected = float(fitted.divergence(STUDENT, TEACHER).mean())
    assert float(make_loss("kd(T=9)")(batch(task=fitted))) == pytest.approx(expected)


def test_label_smoothing_by_hand() -> None:
    rows = []
    for z, y in zip(STUDENT, LABELS, strict=True):
        p = [0.9 * (k == y) + 0.1 / 3 for k in range(3)]
        rows.append(-sum(a * math.log(b) for a, b in zip(p, softmax(z.tolist()), strict=True)))
    assert float(make_loss("label-smoothing(e=0.1)")(batch())) == pytest.approx(sum(rows) / 2)


def test_a_virtual_teacher_by_hand() -> None:
    rows = []
    for z, y in zip(STUDENT, LABELS, strict=True):
        p = [0.9 if k == y else 0.05 for k in range(3)]
        soft = softmax([math.log(a) for a in p], 20)
        rows.append(400 * kl(soft, softmax(z.tolist(), 20)))
    assert float(make_loss("virtual-teacher")(batch())) == pytest.approx(sum(rows) / 2, rel=1e-4)


def test_a_noisy_teacher_is_noisy_for_some() -> None:
    plain = float(make_loss("kd(T=4)")(batch()))
    assert float(make_loss("noisy-teacher(sigma=0)")(batch())) == pytest.approx(plain)
    assert float(make_loss("noisy-teacher(share=0)")(batch())) == pytest.approx(plain)
    noisy = make_loss("noisy-teacher(sigma=1,share=1)")
    assert float(noisy(batch())) != pytest.approx(plain)
    assert float(noisy(batch())) == pytest.approx(float(noisy(batch())))  # by the step's numbers


def _maps(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_hints_compare_equal_widths_and_regress_others() -> None:
    tap = Tap("b")
    a, b = _maps(0, 2, 4, 3, 3), _maps(1, 2, 4, 3, 3)
    hints = make_loss("hints")
    assert hints.taps(["a", "b", "c"]) == (tap,)
    both = batch(student_features={tap: a}, teacher_features={tap: b})
    hints.build(both)
    assert float(hints(both)) == pytest.approx(float(0.5 * (a - b).square().mean()))
    assert not list(hints.parameters())
    narrow = batch(student_features={tap: a[:, :2]}, teacher_features={tap: b})
    regressed = make_loss("hints(at=b)")
    regressed.taps(["a"])
    regressed.build(narrow)
    assert [tuple(p.shape) for p in regressed.parameters()] == [(4, 2)]
    chosen = make_loss("hints(at=b,keep=0/2)")
    chosen.taps(["a"])
    chosen.build(narrow)
    expected = 0.5 * (a[:, :2] - b[:, [0, 2]]).square().mean()
    assert float(chosen(narrow)) == pytest.approx(float(expected))
    with pytest.raises(TrainingError, match="must name the 2 channels"):
        wrong = make_loss("hints(at=b,keep=0/1/2)")
        wrong.taps(["a"])
        wrong.build(narrow)


def test_attention_maps_by_hand() -> None:
    tap = Tap("b")
    a = torch.zeros(1, 2, 1, 2)
    a[0, 0, 0, 0] = 3.0  # all of it at the first place
    b = torch.ones(1, 5, 1, 2)  # alike at both
    loss = make_loss("attention")
    loss.taps(["b"])
    found = float(loss(batch(student_features={tap: a}, teacher_features={tap: b})))
    root = 1 / math.sqrt(2)
    assert found == pytest.approx((1 - root) ** 2 + root**2)
    with pytest.raises(TrainingError, match="same positions"):
        loss(batch(student_features={tap: a}, teacher_features={tap: torch.ones(1, 2, 2, 2)}))
    with pytest.raises(TrainingError, match="need features with positions"):
        loss(batch(student_features={tap: a[:, :, 0, 0]}, teacher_features={tap: a[:, :, 0, 0]}))


def test_relations_by_hand() -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    mean = (3 + 4 + 5) / 3
    assert distances(points)[0, 1] == pytest.approx(3 / mean)
    assert distances(points)[1, 2] == pytest.approx(5 / mean)
    cosines = angles(points)
    assert cosines[0, 1, 2] == pytest.approx(0.0, abs=1e-6)  # a right angle at the first point
    assert cosines[1, 0, 2] == pytest.approx(0.6)
    tap = Tap("last", "in")
    for name in ("rkd-distance", "rkd-angle"):
        loss = make_loss(name)
        assert loss.taps(["first", "last"]) == (tap,)
        same = batch(student_features={tap: 2 * points}, teacher_features={tap: points})
        assert float(loss(same)) == pytest.approx(0, abs=1e-6)  # of any scale
        bent = batch(student_features={tap: points**2}, teacher_features={tap: points})
        assert float(loss(bent)) > 0


def test_info_nce_by_hand() -> None:
    s = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), dim=1)
    t = F.normalize(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), dim=1)
    bank = torch.tensor([[-1.0, 0.0]])
    r = math.sqrt(0.5)
    first = -math.log(math.exp(r / 0.1) / sum(math.exp(x / 0.1) for x in (r, 0.0, -1.0)))
    second = -math.log(math.exp(1 / 0.1) / sum(math.exp(x / 0.1) for x in (r, 1.0, 0.0)))
    assert float(info_nce(s, t, bank, 0.1)) == pytest.approx((first + second) / 2, rel=1e-4)


def test_a_contrastive_bank_fills_and_turns_over() -> None:
    tap = Tap("last", "in")
    loss = make_loss("crd(bank=6,width=4)")
    loss.taps(["last"])
    one = batch(student_features={tap: _maps(0, 4, 3)}, teacher_features={tap: _maps(1, 4, 5)})
    loss.build(one)
    for _ in range(3):
        assert math.isfinite(float(loss(one).detach()))
    term = loss.terms[0]
    assert int(term.filled) == 12
    assert torch.allclose(term.bank.norm(dim=1), torch.ones(6))
    again = make_loss("crd(bank=6,width=4)")
    again.taps(["last"])
    again.build(one)
    again.load_state_dict(loss.state_dict())  # what a killed training goes on from
    assert float(again(one).detach()) == float(loss(one).detach())


def test_diversity_by_hand() -> None:
    v = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    unit = F.normalize((v - v.mean(0)) / v.std(0, unbiased=False).clamp(min=1e-6), dim=1)
    expected = math.log((math.exp(1 / 2) + math.exp(-1 / 2)) / 2) - 1 / 2
    assert torch.allclose(unit[:, 0], torch.tensor([1.0, -1.0]))
    assert float(diversity(v, 2.0)) == pytest.approx(expected)
    alike = torch.ones(3, 4)
    assert float(diversity(alike, 2.0)) == pytest.approx(0, abs=1e-6)


def test_subclasses_follow_the_teacher_s_classes() -> None:
    tap = Tap("last", "in")
    features = _maps(0, 16, 6)
    teacher = features @ _maps(1, 6, 3)
    loss = make_loss("subclass(beta=0)")
    loss.taps(["last"])
    given = {
        "outputs": teacher, "teacher": teacher, "targets": None,
        "student_features": {tap: features}, "teacher_features": {tap: features},
    }  # fmt: skip
    loss.build(batch(**given))
    optimizer = torch.optim.Adam(loss.parameters(), 0.05)
    first = float(loss(batch(**given)).detach())
    for _ in range(300):
        optimizer.zero_grad()
        loss(batch(**given)).backward()
        optimizer.step()
    assert float(loss(batch(**given)).detach()) < 0.2 * first
    head = loss.terms[0].teacher(features)
    summed = head.detach().softmax(1).view(-1, 3, 2).sum(2)
    assert float((summed - teacher.softmax(1)).abs().max()) < 0.2


def test_a_gradient_map_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]], requires_grad=True)  # (1, 2, 1, 2)
    weights = torch.tensor([[1.0, -1.0], [0.5, 0.5]])
    outputs = features.mean((2, 3)) @ weights.T
    found = gradient_map(outputs, features, torch.tensor([[1]]), graph=True)
    # d/dF of the class 1 logit: 0.25 everywhere; maps summed: (4, 2) / 4, of length one
    expected = torch.tensor([[4.0, 2.0]]) / math.sqrt(20)
    assert torch.allclose(found, expected)


def test_a_sum_weighs_its_terms_and_says_what_it_needs() -> None:
    whole = make_loss(" 0.9*kd(T=4) + 1e-1*task")
    parts = 0.9 * float(make_loss("kd(T=4)")(batch())) + 0.1 * float(make_loss("task")(batch()))
    assert float(whole(batch())) == pytest.approx(parts, rel=1e-5)
    assert whole.needs_labels and whole.needs_teacher
    assert not make_loss("kd").needs_labels
    assert not make_loss("task").needs_teacher
    assert make_loss("1e+1*kd+task").weights == (10.0, 1.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must read as"), ("kd +", "must read as"), ("0.9*", "must read as"),
        ("kd(T=4", "must read as"), ("1.2.3*kd", "must be a number"), ("kd(T=-1)", "positive"),
        ("kd(S=4)", "option"), ("label-smoothing(e=1)", "0 <= e < 1"),
        ("virtual-teacher(a=1)", "0 < a < 1"), ("noisy-teacher(share=2)", "share"),
        ("speq(share=0)", "share"),
    ],
)  # fmt: skip
def test_a_wrong_text_is_refused(text: str, says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        make_loss(text)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'kd'"):
        make_loss("kdd")
    with pytest.raises(TrainingError, match="must be a text"):
        make_loss(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["label-smoothing", "virtual-teacher", "subclass", "attribution"])
def test_losses_of_classes_refuse_other_tasks(name: str) -> None:
    with pytest.raises(TrainingError, match="needs logits of classes"):
        make_loss(name).check(Regression())
    make_loss(name).check(Classification())


def test_a_loss_of_one_s_own() -> None:
    class Squared(Loss):
        needs_teacher = True

        def forward(self, batch: TrainingBatch) -> Tensor:
            return (batch.outputs - batch.taught()).square().mean()

    whole = make_loss(Squared())
    assert whole.needs_teacher
    assert float(whole(batch())) == pytest.approx(float((STUDENT - TEACHER).square().mean()))


@pytest.mark.parametrize("name", LOSSES, scope="class")
class TestEveryLoss(LossContract):
    """Each built-in loss keeps the contract."""

    @pytest.fixture(autouse=True)
    def _named(self, name: str) -> None:
        self.name = name

    def make(self) -> Loss:
        return make_loss(self.name)
