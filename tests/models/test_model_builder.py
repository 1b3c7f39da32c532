from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autocomp.errors import ModelError, UnknownNameError
from autocomp.models import MODELS, ModelSource, build_architecture, build_model, source_of
from autocomp.models.resnet_cifar import CifarResNet

SOURCE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.layer = nn.Linear(width, width)

class Needing(nn.Module):
    def __init__(self, width):
        super().__init__()

def make(width=2, act=None):
    return Net(width)

def raising():
    raise ValueError("broken\\nhere")

def number():
    return 5

net = Net()

def local():
    class Inside(nn.Module):
        pass
    return Inside()
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module `autocomp_user_net`, in the working directory."""
    (tmp_path / "autocomp_user_net.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("autocomp_user_net", None)
    build_model("autocomp_user_net:make")
    yield sys.modules["autocomp_user_net"]
    sys.modules.pop("autocomp_user_net", None)


def test_source_there_and_back() -> None:
    source = ModelSource("resnet20", {"num_classes": 100})
    assert ModelSource.from_json(json.loads(json.dumps(source.to_json()))) == source
    assert ModelSource("mlp").options == {}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "'name' and 'options', but got 3"),
        ({"name": "mlp"}, "'name' and 'options'"),
        ({"name": "", "options": {}}, "needs a name"),
        ({"name": 3, "options": {}}, "needs a name"),
        ({"name": "mlp", "options": [1]}, "dict with string keys"),
        ({"name": "mlp", "options": {1: 2}}, "dict with string keys"),
        ({"name": "mlp", "options": {"act": nn.ReLU}}, "writable as JSON"),
    ],
)
def test_what_is_no_source(data: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ModelSource.from_json(data)


def test_names_and_options() -> None:
    model = build_model("resnet20", num_classes=7, in_channels=1)
    assert source_of(model) == ModelSource("resnet20", {"num_classes": 7, "in_channels": 1})
    assert source_of(copy.deepcopy(model)) == source_of(model)
    with torch.no_grad():
        assert model(torch.rand(1, 1, 32, 32)).shape == (1, 7)
    with pytest.raises(
        UnknownNameError, match="no model named 'resnet-20'. Did you mean 'resnet20'"
    ):
        build_model("resnet-20")
    with pytest.raises(ModelError, match="'resnet20': .*'depth'.*takes.*num_classes"):
        build_model("resnet20", depth=3)
    with pytest.raises(ModelError, match="'digits': .*'seed'"):
        build_model("digits", seed=3)
    with pytest.raises(ModelError, match="`resnet20` raised TypeError"):
        build_model("resnet20", num_classes="ten")


def test_trained_weights_can_be_required() -> None:
    for name in MODELS:
        if name != "digits":
            with pytest.raises(ModelError, match=f"model '{name}' needs trained weights: give --w"):
                build_model(name, require_weights=True)


def test_a_users_function(user: Any) -> None:
    before = torch.random.get_rng_state()
    model = build_model("autocomp_user_net:make", width=5, require_weights=True)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not model.training
    source = source_of(model)
    assert source == ModelSource("autocomp_user_net:make", {"width": 5})
    again = build_architecture(source)
    assert type(again) is user.Net and source_of(again) == source
    with pytest.raises(ModelError, match="importing it runs that code"):
        build_architecture(source, allow_import=False)
    assert build_architecture(ModelSource("mlp"), allow_import=False)


def test_callables_and_networks(user: Any) -> None:
    assert source_of(build_model(user.make, width=4)) == ModelSource(
        "autocomp_user_net:make", {"width": 4}
    )
    assert source_of(build_model(user.make, act=nn.ReLU)) is None  # its class has other shapes
    anonymous = build_model(lambda: user.Needing(3))
    assert source_of(anonymous) is None
    net = user.Net()
    assert build_model(net) is net
    assert source_of(net) == ModelSource("autocomp_user_net:Net")
    assert source_of(user.Net(4)) is None
    assert source_of(user.local()) is None
    assert source_of(nn.Sequential(nn.Linear(2, 2))) is None
    assert source_of(CifarResNet(20)) == ModelSource("autocomp.models.resnet_cifar:CifarResNet")
    assert source_of(CifarResNet(32)) is None
    with pytest.raises(ModelError, match=r"takes no options, but got \['width'\]"):
        build_model(net, width=3)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("autocomp_user_net:raising", "`autocomp_user_net:raising` raised ValueError: broken here"),
        ("autocomp_user_net:number", "must return an nn.Module, but returned a int"),
        ("autocomp_user_net:net", "must be a function or class.*Net"),
        ("autocomp_user_net:Needing", "missing a required argument: 'width'"),
        ("autocomp_user_net:maker", "no attribute 'maker'. Did you mean 'make'"),
        ("autocomp_nowhere:make", "no module 'autocomp_nowhere'"),
    ],
)
def test_a_users_function_that_fails(user: Any, spec: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        build_model(spec)
    assert "\n" not in str(caught.value)
