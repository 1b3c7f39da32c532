"""Trainings: the same by seed, within their bytes, resumed to the bit, refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import autocomp
from autocomp.artifacts.container import unpack
from autocomp.compression.noted_file import file_of
from autocomp.core.choice import Choice
from autocomp.core.quantized import Quantized
from autocomp.data import load_data
from autocomp.data.split import Split
from autocomp.errors import BudgetError, RunError, TrainingError
from autocomp.models import build_model
from autocomp.network.batches import Batches
from autocomp.tasks import Regression
from autocomp.training import TrainingConfig, TrainingPoint, finetune
from autocomp.training.course import train
from autocomp.training.finish import finished
from autocomp.training.setup import TrainingSetup
from autocomp.training.trainer import Trainer


def _inputs(setup: TrainingSetup) -> list[Any]:
    return [inputs for inputs, _ in Batches(setup.train, 256, torch.device("cpu"))]


def _run(setup: TrainingSetup) -> Any:
    return finetune(setup, _inputs(setup))


@pytest.mark.parametrize("masks", ["free", "fixed"])
def test_it_learns_within_its_bytes(made, masks: str) -> None:
    points: list[TrainingPoint] = []
    setup = made.setup(steps=120, masks=masks, on_point=points.append)
    trained = _run(setup)
    assert len(trained.data) <= len(made.bytes)
    assert trained.flipped > 0
    assert [p.step for p in points][-1] == 120
    first, last = points[0].loss, points[-1].loss
    assert last < first
    packed, before = unpack(trained.data), unpack(made.bytes)
    for name, weight in packed.weights.items():
        old = before.weights[name]
        assert isinstance(weight, Quantized) and isinstance(old, Quantized)
        alike = len(weight.scale.unique()) == 1  # what a norm behind it holds is left out
        assert alike or torch.equal(weight.scale, old.scale)
        if masks == "fixed":
            assert not bool((weight.codes[old.codes == 0] != 0).any())
    # what it hands back is what its file says
    images = made.data.search.batch(slice(0, 50))[0]
    path = Path("m.safetensors")
    assert file_of(trained.network) is not None
    assert packed.plan == before.plan
    del path
    state = packed.state_dict()
    for name, tensor in trained.network.state_dict().items():
        assert torch.equal(tensor, state[name])
    assert torch.isfinite(trained.network(images)).all()


def test_the_network_and_its_teacher_stay_as_they_were(made) -> None:
    before = {k: t.clone() for k, t in made.network.state_dict().items()}
    dense = {k: t.clone() for k, t in made.dense.state_dict().items()}
    _run(made.setup(steps=5))
    assert all(torch.equal(before[k], t) for k, t in made.network.state_dict().items())
    assert all(torch.equal(dense[k], t) for k, t in made.dense.state_dict().items())


def test_a_seed_decides_everything(made) -> None:
    first, again, other = (
        _run(made.setup(steps=12, seed=seed, mixup=0.4)).data for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


LOSS = "0.9*noisy-teacher+0.1*task+0.5*crd(bank=64,width=8)"


@pytest.mark.parametrize("killed_at", [1, 7, 13])
def test_a_killed_training_goes_on_to_the_same_weights(
    made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    settings = {
        "steps": 16,
        "lr": 0.05,
        "loss": LOSS,
        "average": 0.8,
        "augment": "crop1",
        "validations": 4,
    }
    search = Batches(made.data.search.subset(50, 0), 50, torch.device("cpu"))
    whole = _run(made.setup(**settings, search=search))
    monkeypatch.setattr("autocomp.training.course._STATE_SECONDS", 0.0)
    setup = made.setup(**settings, search=search, state=tmp_path / "state.safetensors")
    killed = Trainer(setup)
    advance = killed.advance

    def until() -> float:
        if killed.step == killed_at:
            raise KeyboardInterrupt
        return advance()

    monkeypatch.setattr(killed, "advance", until)
    with pytest.raises(KeyboardInterrupt):
        train(killed)
    resumed = Trainer(setup)
    train(resumed)
    assert finished(resumed, _inputs(setup)).data == whole.data


def test_codes_that_cannot_fit_go_back_to_those_of_before(
    made, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def never(*given: Any) -> int:
        raise TrainingError("no codes fit")

    monkeypatch.setattr("autocomp.training.finish.fit_codes", never)
    setup = made.setup(steps=12, lr=0.01)
    with caplog.at_level("WARNING", "autocomp"):
        trained = _run(setup)
    assert trained.flipped == 0
    assert len(trained.data) <= len(made.bytes)
    assert "those of before are kept" in caplog.text


def test_a_state_of_another_training_is_refused(
    made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocomp.training.course._STATE_SECONDS", 0.0)
    state = tmp_path / "state.safetensors"
    _run(made.setup(steps=4, state=state))
    assert state.exists()
    with pytest.raises(RunError, match="of another; delete it"):
        _run(made.setup(steps=4, seed=3, state=state))
    with pytest.raises(RunError, match="of another; delete it"):
        _run(made.setup(steps=4, state=state, change=lambda images, generator: images))
    data = state.read_bytes()
    for broken in (data[: len(data) // 2], b"", b"{}" * 40, data[:-40] + b"x" * 40):
        state.write_bytes(broken)
        with pytest.raises(RunError, match="delete it"):
            _run(made.setup(steps=5, state=state))


def test_the_average_and_the_best_are_handed_back(made) -> None:
    search = Batches(made.data.search.subset(60, 0), 60, torch.device("cpu"))
    points: list[TrainingPoint] = []
    setup = made.setup(
        steps=40, average=0.9, validations=10, patience=2, search=search, on_point=points.append
    )
    trainer = Trainer(setup)
    train(trainer)
    looks = [p.quality for p in points if p.quality is not None]
    assert 3 <= len(looks) <= 10
    assert trainer.look() == pytest.approx(max(looks))


def test_memory_that_does_not_suffice_takes_a_batch_in_parts(
    made, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = Trainer(made.setup(steps=3, batch_size=32, norms="fused"))
    parts = Trainer(made.setup(steps=3, batch_size=32, norms="fused"))
    real = parts._backward

    def tight(indices: torch.Tensor, view: int) -> float:
        if len(indices) // parts.parts > 8:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return real(indices, view)

    monkeypatch.setattr(parts, "_backward", tight)
    with caplog.at_level("WARNING", "autocomp"):
        first, second = whole.advance(), parts.advance()
    assert parts.parts == 4
    assert "taken in 4 parts" in caplog.text
    assert second == pytest.approx(first, rel=1e-5)
    for a, b in zip(whole.parameters, parts.parameters, strict=True):
        if a.grad is not None and b.grad is not None:
            assert torch.allclose(a.grad, b.grad, atol=1e-5)


def test_numbers_that_are_not_finite_stop_it(made, tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    trainer = Trainer(made.setup(steps=40, state=state))
    advance = trainer.advance

    def poisoned() -> float:
        if trainer.step == 20:
            with torch.no_grad():
                trainer.network.bn1.weight[0] = float("nan")
        return advance()

    trainer.advance = poisoned  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"step 21 of 40.*try lr=.*last good state.*delete"):
        train(trainer)
    again = Trainer(made.setup(steps=40, state=state))
    train(again)  # from the last good state, to the end
    assert all(bool(torch.isfinite(p).all()) for p in again.network.parameters())


def test_a_learning_rate_that_diverges_is_said(made) -> None:
    with pytest.warns(RuntimeWarning, match=r"too large; try lr=0\.62"):
        _run(made.setup(steps=30, optimizer="sgd", lr=2.5, norms="frozen", loss="task"))


def test_floating_weights_keep_their_zeros_and_train_their_norms(compress) -> None:
    made = compress(build_model("digits"), load_data("digits"), Choice.of(sparsity=0.7))
    trained = _run(made.setup(steps=60, limit=None))
    before = unpack(made.bytes)
    moved = 0
    for name, weight in unpack(trained.data).weights.items():
        old = before.weights[name]
        assert isinstance(weight, torch.Tensor) and isinstance(old, torch.Tensor)
        assert torch.equal(weight == 0, old == 0)
        moved += int((weight != old).sum())
    assert moved > 0
    mean = "bn1.running_mean"
    assert not torch.equal(unpack(trained.data).side[mean], before.side[mean])


@pytest.mark.parametrize("settings", [
    {"scales": "learned"}, {"optimizer": "sgd", "lr": 1e-3}, {"optimizer": "adamw"},
    {"clip": 0.1}, {"norms": "frozen"}, {"norms": "train"}, {"mixup": 1.0},
    {"augment": "crop1+flip+cutout2"}, {"loss": "kd"}, {"loss": "kd+hints+attention(at=block2)"},
    {"precision": "bfloat16"}, {"loss": "task+subclass"}, {"loss": "kd+speq"},
    {"loss": "kd+attribution(at=block3)"}, {"views": 1, "augment": "none", "steps": 70},
])  # fmt: skip
def test_every_setting_ends_in_a_file(made, settings: dict[str, Any]) -> None:
    trained = _run(made.setup(**{"steps": 6, **settings}))
    assert len(trained.data) <= len(made.bytes)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types_of_numbers(compress, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 36, 10),
    ).to(dtype).eval()  # fmt: skip
    made = compress(model, load_data("digits"), Choice.of(weight_bits=4))
    assert {p.dtype for p in made.network.parameters()} == {dtype}
    trained = _run(made.setup(steps=30, lr=0.02))
    assert {p.dtype for p in trained.network.parameters()} == {dtype}
    assert len(trained.data) <= len(made.bytes)
    assert trained.flipped > 0


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_stacks_are_trained(compress, kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stack = kind(6, 8, 2, batch_first=True, bidirectional=True)
            self.last = nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.stack(x)[0].mean(1))

    pair = (torch.randn(80, 5, 6), torch.randint(3, (80,)))
    made = compress(Reader().eval(), load_data((pair, pair, pair)), Choice.of(weight_bits=3))
    trained = _run(made.setup(train=made.data.calibration, steps=20))
    assert trained.flipped > 0
    state = unpack(trained.data).state_dict()
    assert all(torch.equal(t, state[k]) for k, t in trained.network.state_dict().items())


def test_an_augmentation_of_one_s_own(made) -> None:
    seen = []

    def darker(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append(images.shape)
        return images * torch.rand((), generator=generator)

    _run(made.setup(steps=3, change=darker))
    assert len(seen) >= 3
    with pytest.raises(TrainingError, match="must return inputs of shape"):
        _run(made.setup(steps=3, change=lambda images, generator: images[:1]))


def test_what_does_not_fit_is_refused(made) -> None:
    images = made.data.search.images
    unlabelled = Split.of(images, None, "pictures")
    _run(made.setup(steps=2, train=unlabelled))  # distils without labels
    with pytest.raises(TrainingError, match="needs labels"):
        Trainer(made.setup(train=unlabelled, loss="task"))
    with pytest.raises(TrainingError, match="outputs of one shape"):
        Trainer(made.setup(dense=nn.Sequential(nn.Flatten(), nn.Linear(64, 4))))
    with pytest.raises(TrainingError, match=r"module 'nowhere'"):
        Trainer(made.setup(loss="kd+hints(at=nowhere)"))
    with pytest.raises(TrainingError, match="needs logits of classes"):
        Trainer(made.setup(task=Regression(), loss="subclass"))
    with pytest.raises(TrainingError, match="must hold codes"):
        Trainer(made.setup(limit=50))
    with pytest.raises(TrainingError, match=r"autocomp\.load"):
        Trainer(made.setup(network=made.dense))
    with pytest.raises((BudgetError, TrainingError), match="at most|cheapest"):
        _run(made.setup(steps=1, limit=2200))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs=-1", "<= epochs"), ("epochs=x", "finite number"), ("epoch=1", "Did you mean"),
        ("batch_size=0", "batch_size"), ("masks=loose", "masks"), ("optimizer=rms", "optimizer"),
        ("loss=nothing", "no loss"), ("augment=spin", "augmentation"), ("lr=nan", "finite"),
        ("patience=3", "validations"), ("norms=off", "norms"), ("steps=1.5", "whole number"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(text: str, says: str) -> None:
    with pytest.raises(autocomp.AutocompError, match=says):
        TrainingConfig.of(text)


def test_settings_are_read_from_a_text() -> None:
    assert TrainingConfig.of("3") == TrainingConfig(epochs=3.0)
    found = TrainingConfig.of("epochs=2, loss=0.9*kd(T=4)+crd(bank=64,width=8), masks=fixed")
    assert (found.epochs, found.masks) == (2.0, "fixed")
    assert found.loss == "0.9*kd(T=4)+crd(bank=64,width=8)"
