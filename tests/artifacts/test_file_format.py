"""The compressed file: what goes in comes out, it is as long as `Size` says, damage is noticed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor, nn

from autocomp.artifacts.container import pack, unpack
from autocomp.artifacts.packed import LayerEntry, PackedModel
from autocomp.artifacts.records import weight_bits
from autocomp.artifacts.scales import round_scale
from autocomp.artifacts.side import side_bytes
from autocomp.compression.calibration.statistics import calibrate
from autocomp.compression.packing import packed
from autocomp.compression.store import CompressionStore
from autocomp.compression.weights import Pipeline, UniformQuantizer
from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.core.choice import BITS, NEUTRAL, Choice
from autocomp.core.plan import Plan
from autocomp.core.quantized import Quantized
from autocomp.costs import make_cost, total
from autocomp.data.splits import DataSplits
from autocomp.errors import ArtifactError
from autocomp.models import build_model
from autocomp.network.analysis import analyse

NARROW, WIDE = Choice.of(weight_bits=8), Choice.of(weight_bits=16)


def one_layer(weight: Quantized | Tensor, choice: Choice) -> PackedModel:
    return PackedModel(
        Plan({"a": choice}), (LayerEntry("a", "a.weight", "a"),), {"a.weight": weight}, {}, {}
    )


def codes_come_back(codes: Tensor, choice: Choice, scale: Tensor | None = None) -> PackedModel:
    scale = torch.ones(1) if scale is None else scale
    model = one_layer(Quantized(codes, scale), choice)
    found = unpack(pack(model))
    weight = found.weights["a.weight"]
    assert isinstance(weight, Quantized)
    assert torch.equal(weight.codes.int(), codes.int()) and weight.codes.shape == codes.shape
    assert torch.equal(weight.scale.expand(codes.shape), scale.expand(codes.shape))
    assert found.plan == model.plan and found.layers == model.layers
    assert torch.equal(found.state_dict()["a.weight"], model.state_dict()["a.weight"])
    return found


@given(
    st.one_of(
        st.lists(st.integers(-3, 3), max_size=60),
        st.lists(st.integers(-127, 127), max_size=60),
        st.lists(st.integers(-255, 255), max_size=60),
        st.lists(st.integers(-1, 1), max_size=400),
    )
)
def test_narrow_codes(codes: list[int]) -> None:
    codes_come_back(torch.tensor(codes, dtype=torch.int32), NARROW)


@given(
    st.one_of(
        st.lists(st.integers(-32767, 32767), max_size=60),
        st.lists(st.integers(-65535, 65535), max_size=60),
        st.lists(st.sampled_from([0, 0, 0, 256, 257, -255, 511, 512, -512, 65535]), max_size=60),
        st.lists(st.integers(65000, 65535), max_size=20),
        st.lists(st.integers(-65535, -65000), max_size=20),
    )
)
def test_wide_codes(codes: list[int]) -> None:
    codes_come_back(torch.tensor(codes, dtype=torch.int32), WIDE)


@given(st.integers(1, 5000), st.integers(-65535, 65535))
def test_a_single_symbol(count: int, value: int) -> None:
    codes_come_back(torch.full((count,), value, dtype=torch.int32), WIDE)


@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0, 2), (1,), (2, 3), (2, 3, 1, 1, 2)])
def test_shapes_and_nothing_but_zeros(shape: tuple[int, ...]) -> None:
    codes_come_back(torch.zeros(shape, dtype=torch.int8), NARROW)
    codes_come_back(torch.zeros(shape, dtype=torch.int32), WIDE)


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 3000), st.floats(0, 0.99))
def test_bell_shaped_codes(seed: int, width: float, zeros: float) -> None:
    """Large enough for every symbol model to be the cheapest now and then."""
    rng = np.random.default_rng(seed)
    codes = np.rint(rng.normal(0, width, 3000)).clip(-32767, 32767).astype(np.int32)
    codes[rng.random(3000) < zeros] = 0
    codes_come_back(torch.from_numpy(codes), WIDE)


@pytest.mark.parametrize("axis", [0, 1])
def test_one_scale_an_index(axis: int) -> None:
    codes = torch.arange(-12, 12, dtype=torch.int8).reshape(4, 6)
    shape = [1, 1]
    shape[axis] = codes.shape[axis]
    for scale in (torch.rand(shape).to(torch.bfloat16).float(), round_scale(torch.rand(shape))):
        found = codes_come_back(codes, NARROW, scale)
        assert found.weights["a.weight"].scale.shape == scale.shape  # type: ignore[union-attr]


@given(
    st.lists(st.floats(2.0**-126, 3e38), min_size=1, max_size=40), st.booleans(), st.integers(0, 39)
)
def test_scales_on_the_grid_and_off_it(steps: list[float], on: bool, odd: int) -> None:
    """Those on the grid cost less; a single one that is not makes all of them bfloat16."""
    scale = round_scale(torch.tensor(steps))
    if not on:
        scale[odd % len(steps)] = 1.0078125  # between the grid values 1 and 1.09375
    codes = torch.ones(len(steps), 3, dtype=torch.int8)
    scale = scale.reshape(-1, 1)
    codes_come_back(codes, NARROW, scale)
    raw = weight_bits(Quantized(codes, torch.full_like(scale, 1.0078125)), NARROW)
    assert weight_bits(Quantized(codes, scale), NARROW) <= raw
    assert on or weight_bits(Quantized(codes, scale), NARROW) == raw


def test_scales_of_a_real_layer_take_five_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = round_scale(0.1 * torch.exp(0.4 * torch.randn(64, 1, generator=generator)))
    codes = torch.zeros(64, 9, dtype=torch.int8)
    bare = weight_bits(Quantized(codes, torch.ones(1)), NARROW)
    assert 64 * 3 < weight_bits(Quantized(codes, scale), NARROW) - bare < 64 * 5 + 40


def test_scales_along_two_axes_are_refused() -> None:
    model = one_layer(Quantized(torch.ones(2, 3, dtype=torch.int8), torch.ones(2, 3)), NARROW)
    with pytest.raises(ArtifactError, match=r"scales along one .* but those of layer 'a' have"):
        pack(model)


@given(
    values=st.lists(
        st.one_of(st.just(0.0), st.floats(width=32, allow_nan=False)), min_size=1, max_size=50
    ),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    choice=st.sampled_from([NEUTRAL, Choice.of(sparsity=0.5), Choice.of(pattern="2:4")]),
)
def test_floating_weights(values: list[float], dtype: torch.dtype, choice: Choice) -> None:
    weight = torch.tensor(values, dtype=torch.float64).to(dtype)
    found = unpack(pack(one_layer(weight, choice))).weights["a.weight"]
    assert isinstance(found, Tensor) and found.dtype == dtype
    assert torch.equal(found, weight)


@pytest.mark.parametrize(
    "choice",
    [
        Choice.of(sparsity=s, pattern=p, weight_bits=w, activation_bits=a)
        for s, p in [(0, ""), (0.1234, ""), (0.9999, ""), (0, "1:255")]
        for w in (2, 16, 32)
        for a in (2, 16, 32)
    ],
    ids=str,
)
def test_a_choice_and_its_activation_range(choice: Choice) -> None:
    weight: Quantized | Tensor = torch.ones(3)
    if choice.weights.bits < 32:
        weight = Quantized(torch.ones(3, dtype=torch.int8), torch.ones(1))
    model = one_layer(weight, choice)
    if choice.activations.bits < 32:
        step = float(torch.tensor(0.1, dtype=torch.float32))
        lower = 1 - 2**choice.activations.bits
        quantizer = ActivationQuantizer(choice.activations.bits, step, lower)
        model = replace(model, activations={"a": quantizer})
    found = unpack(pack(model))
    assert found.plan["a"] == choice and found.activations == model.activations


DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64,
]  # fmt: skip


@pytest.mark.parametrize("quantized", [True, False])
def test_all_other_tensors(quantized: bool) -> None:
    exact = {str(d): (torch.arange(6).reshape(2, 3) - 2).to(d) for d in DTYPES}
    exact |= {"scalar": torch.tensor(7), "empty": torch.zeros(0, 3)}
    exact |= {"mask": torch.tensor([0.0, -torch.inf])}
    side = {
        "bias": torch.tensor([1e-9, 0.1, -3.0, 1e9]),
        "double": torch.tensor([0.1], dtype=torch.float64),
        "brain": torch.tensor([0.1], dtype=torch.bfloat16),
    }
    weight = Quantized(torch.ones(3, dtype=torch.int8), torch.ones(1))
    model = replace(
        one_layer(weight, NARROW) if quantized else one_layer(torch.ones(3), NEUTRAL),
        side=side, exact=exact, aliases={"b.weight": "a.weight"},
        source={"name": "digits", "options": {"width": 8}},
    )  # fmt: skip
    found = unpack(pack(model))
    for name, tensor in exact.items():
        assert found.exact[name].dtype == tensor.dtype and torch.equal(found.exact[name], tensor)
    for name, tensor in side.items():
        expected = tensor.clamp(-65504, 65504).half().to(tensor.dtype) if quantized else tensor
        assert found.side[name].dtype == tensor.dtype and torch.equal(found.side[name], expected)
    assert found.source == model.source and found.aliases == model.aliases
    state = found.state_dict()
    assert set(state) == {"a.weight", "b.weight", *side, *exact}
    assert torch.equal(state["b.weight"], state["a.weight"])


def test_a_tensor_that_no_file_can_hold() -> None:
    model = replace(one_layer(torch.ones(3), NEUTRAL), exact={"x": torch.zeros(2).to(torch.uint16)})
    with pytest.raises(ArtifactError, match=r"must hold tensors of .* but got 'uint16'"):
        pack(model)


def test_the_same_bytes_every_time() -> None:
    model = one_layer(Quantized(torch.arange(-9, 9, dtype=torch.int8), torch.ones(1)), NARROW)
    assert pack(model) == pack(model) == pack(unpack(pack(model)))


def test_nothing_in_it_is_code() -> None:
    data = pack(one_layer(torch.ones(3), NEUTRAL))
    assert list(load(data)) == ["payload"]
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    assert (metadata["format"], metadata["version"]) == ("autocomp", "2")


# ---- length


@pytest.fixture(scope="module")
def digits_stores(digits_model: nn.Module, digits_data: DataSplits) -> list[CompressionStore]:
    """The digits network: all layers, some kept, and with another quantizer."""
    images = digits_data.calibration.images
    stores = []
    for keep, quantizer in [
        ((), UniformQuantizer()),
        (("conv1", "linear"), UniformQuantizer()),
        ((), UniformQuantizer(symmetric=False, per_channel=False)),
    ]:
        network = analyse(digits_model, images[:1], keep)
        stats = calibrate(digits_model, network, [images])
        stores.append(CompressionStore(digits_model, network, stats, Pipeline(quantizer=quantizer)))
    return stores


def plans_of(store: CompressionStore) -> Iterator[Plan]:
    rng = random.Random(0)
    names = store.network.names
    yield store.network.neutral_plan()
    for choice in (
        Choice.of(sparsity=0.6, weight_bits=3),
        Choice.of(pattern="2:4", weight_bits=4),
        Choice.of(weight_bits=16),
        Choice.of(weight_bits=2),
        Choice.of(sparsity=0.95),
        Choice.of(sparsity=0.9, weight_bits=2),
        Choice.of(sparsity=0.9999, weight_bits=2),
        Choice.of(weight_bits=4, activation_bits=4),
        Choice.of(activation_bits=8),
    ):
        yield Plan(dict.fromkeys(names, choice))
    for _ in range(4):
        yield Plan(
            {
                name: Choice.of(
                    sparsity=rng.choice([0, 0, 0.3, 0.6, 0.9]),
                    weight_bits=rng.choice(BITS),
                    activation_bits=rng.choice(BITS),
                )
                for name in names
            }
        )
    yield Plan({name: Choice.of(pattern=rng.choice(["1:4", "2:4"])) for name in names})


def test_length_is_what_the_size_cost_says(digits_stores: list[CompressionStore]) -> None:
    """Never longer, at most 64 bytes shorter; and every file holds its network bit for bit."""
    for store in digits_stores:
        cost = make_cost("size", store)
        state = store.model.state_dict()
        for plan in plans_of(store):
            model = packed(store, plan, state)
            data = pack(model)
            estimate = total(cost, store.network, plan)
            assert len(data) <= estimate <= len(data) + 64, plan
            found, expected = unpack(data).state_dict(), model.state_dict()
            assert set(found) == set(expected) == set(state)
            for name in found:
                assert torch.equal(found[name], expected[name]), name
                if plan.side_bits == 32 and name in store.network.side:
                    assert torch.equal(found[name], state[name]), name
            for layer in store.network.layers:
                if plan[layer.name].activations.bits < 32:
                    assert unpack(data).activations[layer.name] == store.activation(
                        layer, plan[layer.name].activations.bits
                    )


def test_length_is_near_the_entropy(shared: Path) -> None:
    """2 % above order-0 entropy and scales, headers and all; the layers' own shares 1 %."""
    model = build_model("resnet20", shared / "models" / "resnet20.safetensors")
    store = CompressionStore(model, analyse(model, torch.rand(1, 3, 32, 32)))
    network = store.network
    plan = Plan(dict.fromkeys(network.names, Choice.of(sparsity=0.6, weight_bits=3)))
    entropy = 0.0
    for layer in network.layers:
        weight = store.weight(layer, plan[layer.name])
        assert isinstance(weight, Quantized)
        counts = np.unique(weight.codes.numpy(), return_counts=True)[1]
        entropy -= float((counts * np.log2(counts / counts.sum())).sum()) / 8
        entropy += weight.scale.numel() * 5 / 8
    state = model.state_dict()
    model_of = packed(store, plan, state)
    side, length = side_bytes(model_of, 16), len(pack(model_of))
    assert entropy < length - side <= 1.02 * entropy
    cost = make_cost("size", store)
    shares = sum(cost.of_layer(layer, plan[layer.name]) for layer in network.layers)
    assert entropy < shares <= 1.01 * entropy


# ---- damage


@pytest.fixture(scope="module")
def whole() -> bytes:
    """A file with every kind of record."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 4, 1),
    )  # fmt: skip
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator)
    images = torch.rand(4, 3, 8, 8, generator=generator)
    network = analyse(model.eval(), images)
    store = CompressionStore(model, network, calibrate(model, network, [images]))
    choices = [
        Choice.of(sparsity=0.5, weight_bits=3, activation_bits=8),
        NEUTRAL,
        Choice.of(sparsity=0.5),
        Choice.of(weight_bits=16),
    ]
    plan = Plan(dict(zip(network.names, choices, strict=True)))
    return pack(packed(store, plan, model.state_dict()))


def refused(data: bytes, match: str = "must") -> None:
    with pytest.raises(ArtifactError, match=match) as caught:
        unpack(data)
    assert "\n" not in str(caught.value) and str(caught.value)


def repacked(data: bytes, payload: bytes | None = None, **changes: str) -> bytes:
    """Another payload or other metadata, in a container that is sound."""
    import hashlib

    payload = load(data)["payload"].numpy().tobytes() if payload is None else payload
    digest = hashlib.sha256(payload).hexdigest()[:32]
    metadata = {"format": "autocomp", "version": "2", "sha256": digest, **changes}
    return save({"payload": torch.frombuffer(bytearray(payload), dtype=torch.uint8)}, metadata)


def test_truncated(whole: bytes) -> None:
    for length in {*range(0, 16), *np.linspace(16, len(whole) - 1, 40).astype(int).tolist()}:
        refused(whole[:length])


def test_longer(whole: bytes) -> None:
    refused(whole + b"\0")
    refused(whole + whole)


def test_every_bit_of_the_head_and_many_of_the_payload(whole: bytes) -> None:
    head = 8 + int.from_bytes(whole[:8], "little")
    bits = [*range(8 * head), *random.Random(0).sample(range(8 * head, 8 * len(whole)), 200)]
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        refused(bytes(damaged))


def test_a_payload_that_is_damaged_under_a_right_checksum(whole: bytes) -> None:
    """Whatever the bytes hold, a network or one error comes out; never another exception."""
    payload = load(whole)["payload"].numpy().tobytes()
    rng = random.Random(0)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(payload)
        for _ in range(rng.choice([1, 1, 4])):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        try:
            unpack(repacked(whole, bytes(damaged)))
            outcomes.add("read")
        except ArtifactError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
    for length in np.linspace(1, len(payload) - 1, 40).astype(int).tolist():
        refused(repacked(whole, payload[:length]))


@pytest.mark.parametrize(
    ("metadata", "match"),
    [
        ({"version": "1"}, r"must have version 2, but has '1'; read it with the autocomp that"),
        ({"version": ""}, r"must have version 2"),
        ({"format": "pt"}, r"must say format=autocomp"),
        ({"sha256": "0" * 32}, r"checksum must fit its payload"),
    ],
)
def test_other_metadata(whole: bytes, metadata: dict[str, str], match: str) -> None:
    assert unpack(repacked(whole)).plan == unpack(whole).plan
    refused(repacked(whole, **metadata), match)


def test_plain_weights() -> None:
    refused(save({"a": torch.ones(3)}), r"must say format=autocomp.*plain weights belong")
    refused(save({"payload": torch.ones(3)}, {"format": "pt"}), r"must say format=autocomp")


def test_without_its_payload() -> None:
    metadata = {"format": "autocomp", "version": "2", "sha256": "0"}
    refused(save({"other": torch.ones(3)}, metadata), "damaged or truncated")


def framed(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


JUNK = [
    b"", b"\0", b"\0" * 8, b"\0" * 100, b"\xff" * 100, b"not a file at all", b"PK\x03\x04" * 9,
    framed(b"[]"), framed(b"3"), framed(b"null"), framed(b'"text"'), framed(b"{"),
    framed(b'{"__metadata__": 5}'), framed(b'{"__metadata__": null}'), framed(b"[" * 100_000),
    framed(b'{"__metadata__": [1]}'), framed(b'{"__metadata__": "format"}'), framed(b"\xff\xfe"),
    framed(b'{"__metadata__": {"format": "autocomp", "version": "2"}}'),
    *(random.Random(i).randbytes(200) for i in range(20)),
]  # fmt: skip


@pytest.mark.parametrize("which", range(len(JUNK)))
def test_what_is_no_file(which: int) -> None:
    refused(JUNK[which])
