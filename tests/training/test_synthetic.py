"""Inputs without data: nearer to what batch norms saw than noise is, answered as wanted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import autocomp
from autocomp.core.stage import Stage
from autocomp.data import load_data
from autocomp.errors import DataError, TrainingError
from autocomp.models import build_model
from autocomp.training.synthetic import synthetic_inputs, synthetic_splits
from autocomp.training.synthetic.norm_gap import NormGap
from autocomp.training.synthetic.targets import class_targets, dirichlet_targets


def test_the_gap_by_hand() -> None:
    norm = nn.BatchNorm2d(1, eps=0.0).eval()
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(4.0)
    gap = NormGap(norm)
    norm(torch.tensor([2.0, 4.0, 2.0, 4.0]).view(4, 1, 1, 1))  # mean 3, variance 1
    expected = (3 - 1) ** 2 / 4 + float(torch.tensor(0.25).log()) ** 2 / 4
    assert float(gap.take()) == pytest.approx(expected)
    assert float(gap.take()) == 0
    gap.close()
    norm(torch.zeros(2, 1, 1, 1))
    assert float(gap.take()) == 0


def test_class_targets_are_balanced() -> None:
    found = class_targets(30, 10, torch.Generator().manual_seed(0))
    assert found.sum(0).tolist() == [3.0] * 10
    assert found.sum(1).tolist() == [1.0] * 30


def test_dirichlet_targets_follow_the_likeness_of_classes() -> None:
    last = torch.tensor([[1.0, 0.0], [0.9, 0.4], [-1.0, 0.1]])
    generator = torch.Generator().manual_seed(0)
    found = dirichlet_targets(3000, last, generator)
    assert torch.allclose(found.sum(1), torch.ones(3000), atol=1e-5)
    first = found[found.argmax(1) == 0].mean(0)
    assert first[1] > 5 * first[2]  # the first class is like the second, not like the third


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return build_model("digits").eval()


def test_made_inputs_are_like_those_of_the_training(network: nn.Module) -> None:
    before = {k: t.clone() for k, t in network.state_dict().items()}
    stages: list[Stage] = []
    made = synthetic_inputs(network, (1, 8, 8), 40, steps=60, on_stage=stages.append)
    assert made.inputs.shape == (40, 1, 8, 8)
    assert made.gap < 0.2 * made.noise_gap
    assert stages[-1].done == stages[-1].total
    with torch.inference_mode():
        chosen = network(made.inputs).argmax(1)
    assert len(chosen.unique()) == 10
    assert all(torch.equal(before[k], t) for k, t in network.state_dict().items())
    again = synthetic_inputs(network, (1, 8, 8), 40, steps=60)
    assert torch.equal(again.inputs, made.inputs)
    soft = synthetic_inputs(network, (1, 8, 8), 10, steps=5, targets="dirichlet")
    plain = synthetic_inputs(network, (1, 8, 8), 10, steps=5, targets="none")
    assert not torch.equal(soft.inputs, plain.inputs)


def test_splits_without_data_are_labelled_by_the_network(network: nn.Module) -> None:
    splits = synthetic_splits(network, (1, 8, 8), 20, 12, 8, steps=5)
    assert [len(s) for s in (splits.calibration, splits.search, splits.test)] == [20, 12, 8]
    assert splits.train is not None and len(splits.train) == 32
    with torch.inference_mode():
        assert torch.equal(network(splits.test.images).argmax(1), splits.test.labels)
    assert "gap" in splits.calibration.name


def test_what_cannot_be_made_is_refused(network: nn.Module) -> None:
    with pytest.raises(TrainingError, match="kind of targets"):
        synthetic_inputs(network, (1, 8, 8), targets="soft")
    with pytest.raises(TrainingError, match="n >= 2"):
        synthetic_inputs(network, (1, 8, 8), n=1)
    with pytest.raises(TrainingError, match="neither; give data"):
        synthetic_inputs(nn.Sequential(nn.Linear(4, 4)).eval(), (3, 4), 4, 2, targets="none")
    with pytest.raises(TrainingError, match="must run on its made-up inputs"):
        synthetic_inputs(network, (3, 8, 8), 4, 2)
    with pytest.raises(DataError, match="Data can be left out of a search alone"):
        load_data("none")


def test_a_search_without_data(tmp_path: Path) -> None:
    options = "none:shape=1x8x8,calibration=64,search=40,test=20,steps=30"
    result = autocomp.search(
        "digits", options, "size=12%", agent="dp", evaluations=1, report="none", progress=False,
        out=tmp_path / "run", finetune="steps=10",
    )  # fmt: skip
    assert result.summary.test_dense.accuracy == 1  # its own labels
    assert result.summary.training is not None
    real = autocomp.evaluate(result.file, "digits")
    assert real.accuracy > 0.9
    again = autocomp.resume(tmp_path / "run")
    assert again.plan == result.plan
    with pytest.raises(DataError, match="Did you mean 'steps'"):
        autocomp.search("digits", "none:step=3", "size=12%")
    with pytest.raises(DataError, match="at least 2"):
        autocomp.search("digits", "none:steps=0.5", "size=12%")
    with pytest.raises(DataError, match="must know the shape"):
        autocomp.search(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "none", "size=12%")
