from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from autocomp.data import load_data
from autocomp.errors import ModelError
from autocomp.models import MODELS, ModelSource, build_architecture, build_model
from autocomp.models.resnet_cifar import CifarResNet, ZeroPadShortcut
from autocomp.models.vit import CifarViT

SHARED = Path(os.environ.get("AUTOCOMP_SHARED", Path(__file__).parents[2] / ".." / "shared"))
WEIGHTS = SHARED / "models" / "resnet20.safetensors"
FOLDER = SHARED / "data" / "cifar10-jpeg"
PARAMETERS = {
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "vgg11": 9_228_362,
    "vgg13": 9_413_066,
    "vgg16": 14_724_042,
    "mobilenetv2": 2_236_682,
    "vit": 2_693_578,
    "mlp": 50_610,
    "digits": 38_266,
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model(name: str) -> None:
    """Its size, its output for any batch, its gradient, and the same weights every time."""
    model = build_architecture(ModelSource(name, {"num_classes": 10}))
    assert not model.training
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    shape = (1, 8, 8) if name in ("digits", "mlp") else (3, 32, 32)
    images = torch.rand(3, *shape)
    with torch.no_grad():
        scores, one = model(images), model(images[:1])
    assert scores.shape == (3, 10) and torch.isfinite(scores).all()
    assert torch.allclose(scores[:1], one, atol=1e-4)
    again = build_architecture(ModelSource(name))
    for mine, theirs in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    assert MODELS[name].__doc__ and "\n" not in MODELS[name].__doc__


@pytest.mark.parametrize("name", MODELS)
def test_classes_are_an_option(name: str) -> None:
    assert list(build_architecture(ModelSource(name, {"num_classes": 7})).parameters())[
        -1
    ].shape == (7,)


def test_gradients_reach_every_weight_of_the_small_ones() -> None:
    for name, shape in (("resnet20", (3, 32, 32)), ("vit", (3, 32, 32)), ("digits", (1, 8, 8))):
        model = build_architecture(ModelSource(name)).train()
        model(torch.rand(2, *shape)).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_shortcut_by_hand() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    out = ZeroPadShortcut(1)(x)
    assert out.shape == (1, 3, 2, 2)
    assert out[0, 1].tolist() == [[0, 2], [8, 10]]
    assert out[0, 0].sum() == out[0, 2].sum() == 0


def test_wrong_sizes() -> None:
    with pytest.raises(ModelError, match="6 n \\+ 2.*depth=21"):
        CifarResNet(21)
    with pytest.raises(ModelError, match="patch=5"):
        CifarViT(patch=5)
    with pytest.raises(ModelError, match="at least 1"):
        build_model("mlp", hidden=[0])


@pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"needs the shared weights {WEIGHTS}")
def test_resnet20_has_the_names_of_the_shared_weights() -> None:
    state = build_architecture(ModelSource("resnet20")).state_dict()
    with safe_open(WEIGHTS, "pt") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    assert shapes == {name: list(value.shape) for name, value in state.items()}


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"needs the shared data in {FOLDER}")
@pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"needs the shared weights {WEIGHTS}")
def test_resnet20_reaches_its_published_accuracy() -> None:
    pytest.importorskip("pyarrow")
    model = build_model("resnet20", WEIGHTS, require_weights=True)
    search = load_data(f"cifar10:{FOLDER}").search
    with torch.no_grad():
        right = sum(
            int((model(images).argmax(1) == labels).sum())
            for images, labels in (
                search.batch(slice(i, i + 500)) for i in range(0, len(search), 500)
            )
        )
    assert right == pytest.approx(0.8850 * len(search), abs=3)


def test_conv_layers_of_the_digits_network() -> None:
    model = build_architecture(ModelSource("digits"))
    kinds = [type(module) for module in model.modules()]
    assert kinds.count(nn.Conv2d) == 8 and kinds.count(nn.Linear) == 1
