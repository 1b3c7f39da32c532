from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from autocomp.compression.calibration.norms import (
    NormCorrection,
    batch_norms,
    corrected,
    install,
    measure,
    running,
)
from autocomp.models import build_model
from autocomp.tasks import Classification


def net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU(),
            nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.BatchNorm2d(5, track_running_stats=False),
            nn.InstanceNorm2d(5, track_running_stats=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        ).train()  # fmt: skip
        for _ in range(3):
            model(torch.randn(8, 3, 8, 8) * 2 + 1)
    return model.eval()


def images(n: int = 6) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 + 1


def test_which_norms() -> None:
    assert list(batch_norms(net())) == ["1", "4"]


@torch.no_grad()
def test_measured_by_hand() -> None:
    """The moments of all values together; each batch is normalised with its own."""
    model, batches = net(), [images(6), images(4) + 1]
    found = measure(model, batches)
    first = [model[0](x) for x in batches]
    together = torch.cat(first).transpose(0, 1).flatten(1)
    assert torch.allclose(found["1"][0], together.mean(1), atol=1e-6)
    assert torch.allclose(found["1"][1], together.var(1), atol=1e-5)
    # the second norm sees what the first one, normalising with its batch, lets through
    normed = copy.deepcopy(model[1]).train()
    second = torch.cat([model[3](model[2](normed(x))) for x in first]).transpose(0, 1).flatten(1)
    assert torch.allclose(found["4"][0], second.mean(1), atol=1e-6)
    assert torch.allclose(found["4"][1], second.var(1), atol=1e-6)


@torch.no_grad()
@given(cuts=st.lists(st.integers(2, 30), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_uneven_batches_weigh_by_their_samples(cuts: list[int]) -> None:
    """A first norm's statistics do not depend on how the images are cut into batches."""
    model, all_images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval(), images(150)
    pieces = list(all_images[: sum(cuts)].split(cuts))
    pieces[-1] = pieces[-1] * 3  # a small batch that is unlike the others must not count as much
    whole, parts = measure(model, [torch.cat(pieces)]), measure(model, pieces)
    for one, several in zip(whole["1"], parts["1"], strict=True):
        assert torch.allclose(one, several, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails: bool) -> None:
    model = net()
    model[4].train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    momenta = [m.momentum for m in batch_norms(model).values()]
    if fails:
        with pytest.raises(RuntimeError):
            measure(model, [images(), torch.rand(2, 7, 8, 8)])
    else:
        measure(model, [images()])
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [m.momentum for m in batch_norms(model).values()] == momenta


def test_a_batch_of_one_image_is_left_out() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192)).eval()
    both, alone = measure(flat, [images(6), images(1)]), measure(flat, [images(6)])
    assert torch.equal(both["1"][0], alone["1"][0])
    only = measure(flat, [images(1)])
    assert torch.equal(only["1"][0], torch.zeros(192)) and torch.equal(
        only["1"][1], torch.ones(192)
    )


def test_corrected_by_hand() -> None:
    def pair(mean: float, var: float) -> dict[str, tuple[Tensor, Tensor]]:
        return {"a": (torch.tensor([mean]), torch.tensor([var]))}

    (mean, var) = corrected(pair(1.0, 4.0), pair(1.5, 2.0), pair(1.25, 3.0))["a"]
    assert mean.tolist() == [0.75] and var.tolist() == [6.0]
    # a channel that is constant on these images tells nothing about its variance
    (_, var) = corrected(pair(1.0, 4.0), pair(1.0, 0.0), pair(1.0, 5.0))["a"]
    assert var.tolist() == [4.0]


def test_nothing_changed_means_nothing_corrected() -> None:
    model = net()
    measured = measure(model, [images()])
    kept = running(model)
    for name, (mean, var) in corrected(kept, measured, measured).items():
        assert torch.allclose(mean, kept[name][0]) and torch.allclose(var, kept[name][1])


def test_install_and_running_copy() -> None:
    model = net()
    kept = running(model)
    install(model, {name: (mean + 1, var * 2) for name, (mean, var) in kept.items()})
    for name, norm in batch_norms(model).items():
        assert torch.equal(norm.running_mean, kept[name][0] + 1)
        assert torch.equal(norm.running_var, kept[name][1] * 2)
    install(model, kept)
    assert torch.equal(model[1].running_mean, kept["1"][0])
    assert model[1].running_mean.data_ptr() != kept["1"][0].data_ptr()


def test_without_batch_norms_nothing_is_corrected() -> None:
    model = nn.Linear(3, 2)
    correction = NormCorrection(model, [torch.rand(4, 3)])
    with torch.no_grad():
        model.weight.zero_()
    assert correction.statistics() == {}


def test_the_correction_is_the_paired_one() -> None:
    model, batches = net(), [images(32)]
    correction = NormCorrection(model, batches)
    kept, dense = running(model), measure(model, batches)
    unchanged = correction.statistics()
    with torch.no_grad():
        model[0].weight.mul_(3)
    found = correction.statistics()
    expected = corrected(kept, dense, measure(model, batches))
    for name, (mean, var) in found.items():
        assert torch.equal(mean, expected[name][0]) and torch.equal(var, expected[name][1])
        assert torch.allclose(unchanged[name][0], kept[name][0])
        assert not torch.allclose(mean, kept[name][0])
    assert torch.equal(model[1].running_mean, kept["1"][0])  # nothing is written


def test_weights_twice_as_large() -> None:
    """They double the mean and quadruple the variance of what the batch norm sees."""
    model, batches = net(), [images(32)]
    with torch.no_grad():
        dense = model(batches[0])
        measured, kept = measure(model, batches), running(model)
        model[0].weight.mul_(2)
        model[0].bias.mul_(2)
        changed = float(Classification().divergence(model(batches[0]), dense).mean())
        install(model, corrected(kept, measured, measure(model, batches)))
        # the mean moves by what the batch mean moved by: 2 mu - mu
        expected = kept["1"][0] + measured["1"][0]
        assert torch.allclose(model[1].running_mean, expected, atol=1e-5)
        assert torch.allclose(model[1].running_var, kept["1"][1] * 4, rtol=1e-4)
        assert float(Classification().divergence(model(batches[0]), dense).mean()) < changed / 3


def test_a_channel_that_became_constant_gives_the_norm_s_own_shift() -> None:
    """Its variance is 0: dividing by it would multiply the channel by 300."""
    model, batches = net(), [images(32)]
    correction = NormCorrection(model, batches)
    with torch.no_grad():
        model[0].weight[2] = 0
        model[0].bias[2] = 0.7
        statistics = correction.statistics()
        assert float(statistics["1"][1][2]) == float(model[1].running_var[2])
        install(model, statistics)
        out = model[1](model[0](batches[0]))[:, 2]
    assert torch.allclose(out, model[1].bias[2].expand_as(out), atol=1e-5)


def test_front_to_back_finds_the_same_statistics_layer_by_layer() -> None:
    """Every layer changes in turn; what is measured before it equals a measurement from scratch."""
    torch.manual_seed(0)
    model = build_model("resnet20").eval()
    batches = [torch.randn(6, 3, 16, 16), torch.randn(4, 3, 16, 16), torch.randn(1, 3, 16, 16)]
    correction = NormCorrection(model, batches)
    here = correction.front_to_back()
    hosts = [name for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    for host in hosts:
        found = here.before(host)
        scratch = correction.statistics()
        assert (host == "conv1") == (not found)
        for name, (mean, var) in found.items():
            torch.testing.assert_close(mean, scratch[name][0])
            torch.testing.assert_close(var, scratch[name][1])
        with torch.no_grad():
            model.get_submodule(host).weight.mul_(0.8)
    assert set(found) == set(scratch)
