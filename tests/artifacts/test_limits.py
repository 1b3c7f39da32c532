"""What a file may ask for, and what it names: nothing is allocated, imported or built for it."""

from __future__ import annotations

import hashlib
import json
import resource
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn

import autocomp
from autocomp.artifacts.container import pack, unpack
from autocomp.artifacts.deflate import deflate, inflate
from autocomp.artifacts.limits import DEEPEST, check_depth, shape_of
from autocomp.artifacts.packed import LayerEntry, PackedModel
from autocomp.compression.loading import load, read
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.core.quantized import Quantized
from autocomp.errors import ArtifactError, AutocompError

ENTRY = ["a", [4, 3]]


def index_of(**parts: Any) -> list[Any]:
    """Returns an index of one layer and one bias, with other parts."""
    found = {
        "layers": [ENTRY], "norms": [], "side": [["a.bias", [4]]], "exact": [], "aliases": {},
        "source": None, "structure": None, "history": [],
    }  # fmt: skip
    return list({**found, **parts}.values())


def file_of(index: Any, rest: bytes = b"") -> bytes:
    head = deflate(json.dumps(index).encode()) if not isinstance(index, bytes) else deflate(index)
    return sealed(struct.pack("<I", len(head)) + head + rest)


def sealed(payload: bytes) -> bytes:
    """Returns a file of this payload, with a checksum that fits."""
    digest = hashlib.sha256(payload).hexdigest()[:32]
    metadata = {"format": "autocomp", "version": "2", "sha256": digest}
    return save({"payload": torch.frombuffer(bytearray(payload), dtype=torch.uint8)}, metadata)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize(
    "parts",
    [
        {"layers": [["a", [1 << 40]]]},
        {"layers": [["a", [1 << 20, 1 << 20]]]},
        {"layers": [["a", [-1, 3]]]},
        {"layers": [["a", [1.5]]]},
        {"layers": [["a", [True]]]},
        {"layers": [["a", "33"]]},
        {"layers": [["a", [1] * 99]]},
        {"layers": [["a", [1 << 70]]]},
        {"layers": [[["x"], [4, 3]]]},
        {"layers": [["a", [4, 3], "a.weight", ["host"], "float32"]]},
        {"layers": [["a", [4, 3], 7, "a", "float32"]]},
        {"layers": [["a", [4, 3], "a.weight", "a", "float8"]]},
        {"layers": [["a", [4, 3], "a.weight", "a", []]]},
        {"layers": [ENTRY, ENTRY]},
        {"layers": {"a": [4, 3]}},
        {"layers": 3},
        {"layers": [[]]},
        {"layers": [["a", [1 << 29, 0]]]},
        {"layers": [[f"a{i}", [1]] for i in range(60_000)] + [["a0", [1]]]},
        {"norms": [["n", 1 << 40, 1]]},
        {"norms": [["n", "4", 1]]},
        {"side": [["a.bias", [1 << 39]]]},
        {"side": [["a.weight", [4]]]},
        {"exact": [["e", [1 << 38], "uint8"]]},
        {"aliases": {"b": "nosuch"}},
        {"aliases": {"b": "b"}},
        {"aliases": {"b": ["a.weight"]}},
        {"aliases": {"a.weight": "a.bias"}},
        {"aliases": []},
        {"source": 3},
        {"structure": [1]},
        {"history": [{"a": 3}]},
        {"history": 7},
    ],
)
def test_an_index_that_asks_for_what_no_file_may_hold(parts: dict[str, Any]) -> None:
    before = peak()
    with pytest.raises(ArtifactError) as caught:
        unpack(file_of(index_of(**parts), bytes(64)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert peak() - before < 200_000  # KiB


@pytest.mark.parametrize(
    "text", [b"[" * 10_000_000, b'{"a":' * 3_000_000, b"[0" + b",0" * 9_000_000]
)
def test_a_bomb_is_not_inflated(text: bytes) -> None:
    before = peak()
    with pytest.raises(ArtifactError):
        unpack(file_of(text))
    assert peak() - before < 300_000


def test_unchanged_tensors_are_inflated_as_far_as_they_are_named() -> None:
    with pytest.raises(ArtifactError, match="more follows"):
        inflate(deflate(b"abc") + b"padding", 100)
    bomb = deflate(bytes(100_000_000))
    with pytest.raises(ArtifactError, match="may hold 5 bytes, but holds more"):
        inflate(bomb, 5)
    assert inflate(bomb, 100_000_000) == bytes(100_000_000)
    with pytest.raises(ArtifactError, match="cut off"):
        inflate(bomb[:-9], 100_000_000)


def test_what_is_nested() -> None:
    value: Any = 1
    for _ in range(DEEPEST - 1):
        value = [value, {"a": value}][:1]
    check_depth(value)
    with pytest.raises(ArtifactError, match="nested 32 deep"):
        check_depth([[value]])
    assert shape_of([]) == () and shape_of([0, 3]) == (0, 3)


def zeros(n: int) -> PackedModel:
    weight = Quantized(torch.zeros(n, 16, dtype=torch.int8), torch.ones(1, 1))
    return PackedModel(
        Plan({"a": Choice.of(weight_bits=4)}), (LayerEntry("a", "a.weight", "a"),),
        {"a.weight": weight}, {}, {},
    )  # fmt: skip


def test_a_short_file_of_many_weights_is_read_for_its_network_alone(tmp_path: Path) -> None:
    """A layer of zeros takes no bytes; how many there may be, the network says."""
    model = zeros(1 << 20)
    data = pack(model)
    file = tmp_path / "m.safetensors"
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match="give the network that it belongs to"):
        read(file)
    assert len(unpack(data, {"a.weight": (1 << 20, 16)}).weights) == 1
    with pytest.raises(ArtifactError, match="must be of the network"):
        unpack(data, {"a.weight": (1 << 19, 16)})
    network = nn.Sequential()
    network.a = nn.Linear(16, 1 << 20, bias=False)
    assert not load(file, network).a.weight.any()
    network.a = nn.Linear(16, 9, bias=False)
    with pytest.raises(ArtifactError, match=r"must have the network's shape \(9, 16\)"):
        load(file, network)


@pytest.mark.parametrize(
    "source",
    [
        {"name": "vit", "options": {"depth": 10**9}},
        {"name": "vit", "options": {"dim": 3 * 10**7}},
        {"name": "mlp", "options": {"hidden": [10**8] * 3}},
        {"name": "mlp", "options": {"in_features": 2 * 10**8, "hidden": [1]}},
        {"name": "mlp", "options": {"hidden": [1] * 100_000}},
        {"name": "resnet20", "options": {"num_classes": 10**10}},
        {"name": "resnet20", "options": {"nosuch": 1}},
        {"name": "resnet20", "options": {"num_classes": "x"}},
        {"name": ["resnet20"], "options": {}},
        {"name": "resnet20"},
        {"name": "", "options": {}},
    ],
)
def test_an_architecture_is_compared_before_it_is_built(
    source: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "m.safetensors"
    file.write_bytes(file_of(index_of(source=source), bytes(64)))
    before = peak()
    with pytest.raises(AutocompError) as caught:
        load(file)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
    assert peak() - before < 200_000


@pytest.mark.parametrize(
    "name", ["torch:_dynamo.config", "torch.nn:Linear", "os:system", "builtins:exec", "made:lazy",
             "made:Net.made", "made:Other", "nosuch:Net", "made:", ":Net", "made:Net:x"],
)  # fmt: skip
def test_a_name_in_a_file_triggers_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Made(ModuleType):
        def __getattr__(self, attribute: str) -> Any:
            raise AssertionError(f"{attribute} was made")

    class Meta(type):
        def __getattr__(cls, attribute: str) -> Any:
            raise AssertionError(f"{attribute} was made")

    class Net(metaclass=Meta):
        pass

    module = Made("made")
    module.Net, module.Other = Net, 7
    monkeypatch.setitem(sys.modules, "made", module)
    file = tmp_path / "m.safetensors"
    file.write_bytes(file_of(index_of(source={"name": name, "options": {}}), bytes(64)))
    before = set(sys.modules)
    with pytest.raises(AutocompError) as caught:
        autocomp.load(file)
    assert set(sys.modules) == before
    assert "\n" not in str(caught.value)
