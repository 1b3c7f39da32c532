from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

from autocomp.data import load_data
from autocomp.data.digits import digits
from autocomp.data.split import Split
from autocomp.models import ModelSource, build_architecture, build_model, source_of

digits_cnn = import_module("autocomp.models.digits_cnn")


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    model = build_model("digits", require_weights=True)
    assert torch.equal(before, torch.random.get_rng_state())
    assert threads == torch.get_num_threads()
    return model


def test_accuracy(trained: nn.Module) -> None:
    assert not trained.training
    data = load_data("digits")
    for split in (data.search, data.test):
        with torch.no_grad():
            right = (trained(split.images).argmax(1) == split.labels).float().mean()
        assert right >= 0.97


def test_source_builds_the_architecture_without_training(trained: nn.Module) -> None:
    source = source_of(trained)
    assert source == ModelSource("digits", {})
    again = build_architecture(source)
    again.load_state_dict(trained.state_dict())
    x = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(again(x), trained(x))


@pytest.fixture
def one_epoch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Trains for one epoch, and leaves no such network behind."""
    monkeypatch.setattr(digits_cnn, "_EPOCHS", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    digits_cnn._trained.cache_clear()
    yield
    digits_cnn._trained.cache_clear()


@pytest.mark.usefixtures("one_epoch")
def test_training_repeats_and_reads_only_train(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = digits()
    monkeypatch.setattr(digits_cnn, "digits", lambda: data)
    states = []
    for number, seed in enumerate((0, 0, 1)):
        digits_cnn._trained.cache_clear()  # each is trained
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / str(number)))
        states.append(digits_cnn.train_digits(seed).state_dict())
    parts: list[Split] = [data.calibration, data.search, data.test]
    assert [part.reads for part in parts] == [0, 0, 0]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["conv1.weight"], states[2]["conv1.weight"])


@pytest.mark.usefixtures("one_epoch")
def test_width_is_an_option() -> None:
    model = build_model("digits", width=4)
    assert source_of(model) == ModelSource("digits", {"width": 4})
    assert model.conv1.weight.shape == (4, 1, 3, 3)  # type: ignore[union-attr]


@pytest.mark.usefixtures("one_epoch")
@pytest.mark.parametrize("damage", [b"", b"\0" * 3000, None])
def test_it_trains_once_and_again_where_what_was_kept_is_damaged(
    damage: bytes | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = digits_cnn.train_digits(5, width=4).state_dict()
    (file,) = (tmp_path / "autocomp" / "trained").iterdir()
    runs = []
    train = digits_cnn._train
    monkeypatch.setattr(digits_cnn, "_train", lambda *given: runs.append(given) or train(*given))

    def again() -> dict[str, torch.Tensor]:
        digits_cnn._trained.cache_clear()
        found: dict[str, torch.Tensor] = digits_cnn.train_digits(5, width=4).state_dict()
        return found

    for name, tensor in again().items():
        assert torch.equal(tensor, first[name])
    assert not runs
    good = file.read_bytes()
    if damage is None:  # one bit of a weight
        damage = good[:-5] + bytes([good[-5] ^ 4]) + good[-4:]
    file.write_bytes(damage)
    with pytest.warns(RuntimeWarning, match="is damaged, and what it held is made anew"):
        assert torch.equal(again()["conv1.weight"], first["conv1.weight"])
    assert runs == [(5, 4, 10)] and file.read_bytes() == good
    digits_cnn.train_digits(6, width=4)  # another seed is another network
    assert len(runs) == 2


@pytest.mark.usefixtures("one_epoch")
def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "autocomp").write_text("a file")
    assert not digits_cnn.train_digits(5, width=4).training
