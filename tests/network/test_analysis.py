from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.plan import Plan
from autocomp.errors import LayerError, PlanError
from autocomp.models import MODELS, ModelSource, build_architecture
from autocomp.network.analysis import analyse


class Calls(nn.Module):
    """Modules under names, and a forward pass written in the test."""

    def __init__(self, forward: Any, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self._forward = forward

    def forward(self, x: Tensor) -> Any:
        return self._forward(self, x)


@pytest.mark.parametrize(
    ("module", "inputs", "kind", "macs", "inputs_outputs", "axes"),
    [
        # output elements of one example * weights that each of them reads
        (nn.Conv1d(4, 6, 3, stride=2, padding=1), (4, 10), "conv", 6 * 5 * 12, (4, 6), (0, 1)),
        (nn.Conv1d(4, 6, 3, padding=1, groups=2), (4, 10), "conv", 6 * 10 * 6, (4, 6), (0, 1)),
        (nn.Conv2d(3, 8, 3, padding=1), (3, 8, 8), "conv", 8 * 64 * 27, (3, 8), (0, 1)),
        (nn.Conv2d(3, 8, (1, 3), stride=(2, 1)), (3, 8, 8), "conv", 8 * 24 * 9, (3, 8), (0, 1)),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), (8, 4, 4), "conv", 8 * 16 * 9, (8, 8), (0, 1)),
        (nn.Conv2d(8, 16, 3, groups=8), (8, 4, 4), "conv", 16 * 4 * 9, (8, 16), (0, 1)),
        (nn.Conv3d(2, 4, 2), (2, 4, 4, 4), "conv", 4 * 27 * 16, (2, 4), (0, 1)),
        # input elements of one example * weights that each of them meets
        (nn.ConvTranspose1d(4, 6, 3), (4, 5), "transposed", 20 * 18, (4, 6), (1, 0)),
        (
            nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2),
            (4, 5, 5), "transposed", 100 * 27, (4, 6), (1, 0),
        ),
        (nn.ConvTranspose3d(2, 3, 2), (2, 2, 2, 2), "transposed", 16 * 24, (2, 3), (1, 0)),
        (nn.Linear(5, 7), (5,), "linear", 35, (5, 7), (0, 1)),
        (nn.Linear(5, 7), (3, 5), "linear", 3 * 35, (5, 7), (0, 1)),
        (nn.Linear(5, 7), (2, 3, 5), "linear", 6 * 35, (5, 7), (0, 1)),
    ],
)  # fmt: skip
def test_one_module_by_hand(
    module: nn.Module, inputs: tuple[int, ...], kind: str, macs: int,
    inputs_outputs: tuple[int, int], axes: tuple[int, int],
) -> None:  # fmt: skip
    network = analyse(nn.Sequential(nn.ReLU(), module), torch.rand(4, *inputs))
    (layer,) = network.layers
    assert (layer.name, layer.parameter, layer.kind) == ("1", "1.weight", kind)
    assert layer.shape == tuple(module.weight.shape)
    assert layer.n_weights == module.weight.numel() == network.n_parameters - module.bias.numel()
    assert layer.macs == network.macs == macs
    assert (layer.inputs, layer.outputs) == inputs_outputs
    assert (layer.out_axis, layer.in_axis) == axes
    assert layer.groups == getattr(module, "groups", 1)
    assert layer.stride == getattr(module, "stride", (1,))[0]
    assert layer.kernel == layer.n_weights // (layer.shape[0] * layer.shape[1])
    assert layer.calls == 1 and layer.quantizable_input and layer.bias
    assert network.side == ("1.bias",) and network.exact == network.unsupported == ()


def test_transposed_macs_match_a_count() -> None:
    """Its MACs are the multiplications by ones that its output sums up."""
    module = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, bias=False)
    with torch.no_grad():
        module.weight.fill_(1)
        counted = int(module(torch.ones(1, 4, 5, 5)).sum())
    assert analyse(module, torch.ones(1, 4, 5, 5)).macs == counted


def test_a_call_by_keyword() -> None:
    model = Calls(lambda m, x: m.up(input=x), up=nn.ConvTranspose1d(4, 6, 3))
    assert analyse(model, torch.rand(2, 4, 5)).macs == 20 * 18


def test_a_single_layer_is_a_network() -> None:
    network = analyse(nn.Linear(4, 3, bias=False), torch.rand(2, 4))
    (layer,) = network.layers
    assert (layer.name, layer.parameter, layer.macs) == ("model", "weight", 12)
    assert not layer.bias and network.side == ()


def test_an_embedding_reads_and_multiplies_nothing() -> None:
    model = Calls(
        lambda m, x: m.head(m.embed((x * 9).long()).mean(1)),
        embed=nn.Embedding(10, 6), head=nn.Linear(6, 3),
    )  # fmt: skip
    embed, head = analyse(model, torch.rand(2, 5)).layers
    assert (embed.kind, embed.shape, embed.macs, embed.calls) == ("embedding", (10, 6), 0, 1)
    assert not embed.quantizable_input and not embed.bias
    assert (embed.outputs, embed.inputs) == (10, 6)
    assert head.macs == 18


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention(batch_first: bool) -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)

    def forward(model: Any, x: Tensor) -> Tensor:
        x = x if batch_first else x.transpose(0, 1)
        return model.attention(x, x, x, need_weights=False)[0]

    network = analyse(Calls(forward, attention=attention), torch.rand(3, 5, 8))
    packed, out = network.layers
    assert (packed.name, packed.parameter) == ("attention.in_proj", "attention.in_proj_weight")
    assert (out.name, out.parameter) == ("attention.out_proj", "attention.out_proj.weight")
    assert packed.kind == out.kind == "attention"
    assert (packed.shape, packed.macs) == ((24, 8), 5 * 24 * 8)
    assert (out.shape, out.macs) == ((8, 8), 5 * 8 * 8)
    assert packed.quantizable_input and not out.quantizable_input
    assert network.side == ("attention.in_proj_bias", "attention.out_proj.bias")
    assert network.unsupported == ()


def test_attention_over_another_width() -> None:
    """Queries 5 x 8, keys 3 x 6, values 3 x 4: each projection of its own, to width 8."""
    attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True, add_bias_kv=True)

    def forward(model: Any, x: Tensor) -> Tensor:
        return model.attention(x, key=x[:, :3, :6], value=x[:, :3, :4])[0]

    network = analyse(Calls(forward, attention=attention), torch.rand(2, 5, 8))
    macs = {layer.name.rpartition(".")[2]: layer.macs for layer in network.layers}
    assert macs == {"q_proj": 5 * 64, "k_proj": 3 * 48, "v_proj": 3 * 32, "out_proj": 5 * 64}
    assert not any(layer.quantizable_input for layer in network.layers)
    assert network.unsupported == ("attention.bias_k", "attention.bias_v")


def test_attention_in_an_encoder_layer() -> None:
    """Its fused evaluation path calls no submodule; the analysis sees every one all the same."""
    model = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    network = analyse(model.eval(), torch.rand(3, 5, 8))
    assert {layer.name: layer.macs for layer in network.layers} == {
        "self_attn.in_proj": 5 * 192,
        "self_attn.out_proj": 5 * 64,
        "linear1": 5 * 128,
        "linear2": 5 * 128,
    }
    assert {"norm1.weight", "norm2.bias", "linear1.bias"} <= set(network.side)


def products(model: nn.Module, inputs: Tensor) -> int:
    """The reference's count: half the operations of `torch.utils.flop_counter`, per example."""
    with (
        torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter,
    ):  # fmt: skip
        model(inputs)
    return int(counter.get_total_flops()) // 2 // len(inputs)


class Encoder(nn.Module):
    """A convolution into patches, two encoder layers, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.head = nn.Conv2d(3, 16, 2, 2), nn.Linear(16, 4)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Any:
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.encoder(x).mean(1))


@pytest.mark.parametrize("fast", [True, False])
def test_products_of_attention_count(fast: bool) -> None:
    before = torch.backends.mha.get_fastpath_enabled()
    model, inputs = Encoder().eval(), torch.rand(2, 3, 8, 8)
    torch.backends.mha.set_fastpath_enabled(False)
    expected = products(model, inputs)
    torch.backends.mha.set_fastpath_enabled(fast)
    try:
        network = analyse(model, inputs)
        assert torch.backends.mha.get_fastpath_enabled() is fast  # type: ignore[no-untyped-call]
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    # in each of two layers, 16 tokens x 16 tokens x 16 channels, twice
    assert network.other_macs == 2 * 2 * 16 * 16 * 16
    assert network.macs == expected and network.uncounted == ()


@pytest.mark.parametrize(
    ("module", "steps_macs"),
    [
        (nn.LSTM(6, 5, 2), 20 * (6 + 5) + 20 * (5 + 5)),
        (nn.LSTM(6, 5, bidirectional=True, bias=False), 2 * 20 * (6 + 5)),
        (nn.LSTM(6, 5, proj_size=3), 20 * (6 + 3) + 5 * 3),
        (nn.GRU(6, 5, 2), 15 * (6 + 5) + 15 * (5 + 5)),
        (nn.RNN(6, 5), 5 * (6 + 5)),
    ],
)
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_recurrent_layers_count(module: nn.Module, steps_macs: int, double: bool) -> None:
    """Two matrices a step, direction and layer, whichever kernel runs them."""
    model = Calls(lambda m, x: m.last(m.rest(x.transpose(0, 1))[0][..., :3]).mean(0),
                  rest=module, last=nn.Linear(3, 2))  # fmt: skip
    inputs = torch.rand(4, 7, 6)
    if double:
        model, inputs = model.double(), inputs.double()
    network = analyse(model, inputs)
    model.float()
    *recurrent, last = network.layers
    assert last.name == "last" and {layer.kind for layer in recurrent} == {"recurrent"}
    assert network.other_macs == 0 and not network.unsupported
    assert sum(layer.macs for layer in recurrent) == 7 * steps_macs
    assert network.macs == 7 * (steps_macs + 6)


def test_computed_weights_and_uncalled_layers_count() -> None:
    model = Calls(
        lambda m, x: m.last(F.linear(m.normed(x), m.read.weight)) @ x[0, :3],
        normed=parametrizations.weight_norm(nn.Linear(4, 4)),
        read=nn.Linear(4, 4), last=nn.Linear(4, 3),
    )  # fmt: skip
    network = analyse(model, torch.rand(2, 4))
    assert {x.name: x.macs for x in network.layers} == {"last": 12, "read": 0}
    assert network.other_macs == 16 + 16 + 3


def test_products_inside_inference_mode_count() -> None:
    """There, linear layers and products of matrices arrive as one operation each."""

    def forward(model: Any, x: Tensor) -> Tensor:
        with torch.inference_mode():
            return F.linear(model.last(x), model.read.weight) @ x[0, :4]  # type: ignore[no-any-return]

    model = Calls(forward, last=nn.Linear(5, 6), read=nn.Linear(6, 4))
    network = analyse(model, torch.rand(2, 5))
    assert {x.name: x.macs for x in network.layers} == {"last": 30, "read": 0}
    assert network.other_macs == 24 + 4 and network.uncounted == ()


def test_products_of_their_own_kind_are_named() -> None:
    model = Calls(lambda m, x: m.last(torch.fft.rfft(x).abs()), last=nn.Linear(3, 2))
    network = analyse(model, torch.rand(2, 4))
    assert network.uncounted == ("aten._fft_r2c",) and network.other_macs == 0


def test_tied_embedding_and_head() -> None:
    """One layer under the name of the first call; the MACs of both uses."""
    model = Calls(
        lambda m, x: m.head(m.embed((x * 9).long())).mean(1),
        head=nn.Linear(6, 10, bias=False), embed=nn.Embedding(10, 6),
    )  # fmt: skip
    model.head.weight = model.embed.weight
    network = analyse(model, torch.rand(2, 5))
    (layer,) = network.layers
    assert (layer.name, layer.parameter, layer.kind) == ("embed", "embed.weight", "embedding")
    assert layer.macs == 5 * 60 and layer.calls == 2 and not layer.quantizable_input
    assert network.aliases == (("head.weight", "embed.weight"),)
    assert network.n_parameters == 60


def test_two_modules_with_one_weight_have_no_single_input() -> None:
    model = Calls(lambda m, x: m.b(m.a(x)), a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    model.b.weight = model.a.weight
    (layer,) = analyse(model, torch.rand(2, 4)).layers
    assert (layer.name, layer.macs, layer.calls) == ("a", 32, 2)
    assert not layer.quantizable_input  # a quantizer stands before one module only


def test_a_module_under_two_names() -> None:
    inner = nn.Linear(4, 4)
    network = analyse(Calls(lambda m, x: m.b(m.a(x)), a=inner, b=inner), torch.rand(2, 4))
    (layer,) = network.layers
    assert (layer.name, layer.macs, layer.calls, layer.quantizable_input) == ("a", 32, 2, True)
    assert network.aliases == (("b.weight", "a.weight"), ("b.bias", "a.bias"))


def test_called_twice_and_never() -> None:
    model = Calls(
        lambda m, x: m.last(m.twice(m.twice(x))),
        unused=nn.Linear(4, 2), twice=nn.Linear(4, 4), last=nn.Linear(4, 3),
    )  # fmt: skip
    network = analyse(model, torch.rand(2, 4))
    layers = (*network.layers, *network.frozen)
    assert [(x.name, x.calls, x.macs) for x in layers] == [
        ("twice", 2, 32), ("last", 1, 12), ("unused", 0, 0),
    ]  # fmt: skip
    assert network.unread == ("unused",) and network.names == ("twice", "last")


def test_layers_come_in_forward_order() -> None:
    model = Calls(lambda m, x: m.a(m.b(x)), a=nn.Linear(4, 3), b=nn.Linear(4, 4))
    assert analyse(model, torch.rand(2, 4)).names == ("b", "a")


def test_what_is_not_supported_is_named() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.normed = parametrizations.weight_norm(nn.Linear(4, 4))
            self.linear = nn.Linear(4, 3)
            self.gain = nn.Parameter(torch.ones(4))
            self.register_buffer("table", torch.ones(4))
            self.register_buffer("count", torch.zeros((), dtype=torch.long))

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(self.normed(x) * self.gain * self.table)

    network = analyse(Scaled(), torch.rand(2, 4))
    assert network.names == ("linear",)
    assert set(network.unsupported) == {
        "gain",
        "normed.parametrizations.weight.original0",
        "normed.parametrizations.weight.original1",
    }
    assert set(network.exact) == {"table", "count"}
    assert set(network.side) == {"linear.bias", "normed.bias"}


def test_batch_norm_tensors() -> None:
    network = analyse(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), torch.rand(2, 3, 4, 4))
    assert network.side == (
        "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var",
    )  # fmt: skip
    assert network.exact == ("1.num_batches_tracked",)


def test_keep(tiny_net: nn.Module) -> None:
    images = torch.rand(2, 3, 8, 8)
    every = analyse(tiny_net, images)
    network = analyse(tiny_net, images, keep=["0", "10"])
    assert network.names == ("3", "6") and [x.name for x in network.frozen] == ["0", "10"]
    assert network.macs == every.macs == 64 * 16 * 27 + 64 * 16 * 9 + 16 * 32 * 144 + 512
    assert network.n_parameters == every.n_parameters == 5796
    assert network.layer("6").shape == (32, 16, 3, 3)
    with pytest.raises(LayerError, match="no layer named '0'"):
        network.layer("0")


def test_keep_a_name_that_does_not_exist() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).requires_grad_(False)
    named = Calls(lambda m, x: m.encoder(x), encoder=model)
    with pytest.raises(
        LayerError, match=r"no layer to keep named 'encodr\.1'. Did you mean 'encoder\.1'\?"
    ):
        analyse(named, torch.rand(2, 4), keep=["encodr.1"])
    with pytest.raises(LayerError, match="beside the frozen ones; keep fewer"):
        analyse(named, torch.rand(2, 4), keep=["encoder.0", "encoder.1"])


def test_nothing_to_compress() -> None:
    with pytest.raises(LayerError, match="must have a compressible layer.*no convolution") as error:
        analyse(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12)), torch.rand(2, 3, 4))
    assert "\n" not in str(error.value)


def test_a_forward_pass_that_fails() -> None:
    def forward(model: Any, x: Tensor) -> Tensor:
        raise ValueError("first line\nsecond line")

    model = Calls(forward, a=nn.Linear(4, 3))
    with pytest.raises(
        LayerError, match=r"batch of shape \(2, 4\) raised ValueError: first line second line;"
    ) as caught:
        analyse(model, torch.rand(2, 4))
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(LayerError, match=r"\(2, 5\) raised RuntimeError: mat1 and mat2"):
        analyse(nn.Linear(4, 3), torch.rand(2, 5))


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(tiny_net: nn.Module, fails: bool) -> None:
    tiny_net.train()
    tiny_net[1].eval()
    tiny_net[6].eval()
    modes = [module.training for module in tiny_net.modules()]
    before = {name: tensor.clone() for name, tensor in tiny_net.state_dict().items()}
    if fails:
        with pytest.raises(LayerError):
            analyse(tiny_net, torch.rand(2, 5, 8, 8))
    else:
        analyse(tiny_net, torch.rand(2, 3, 8, 8))
    assert [module.training for module in tiny_net.modules()] == modes
    assert all(torch.equal(before[name], t) for name, t in tiny_net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny_net.modules())
    assert all(p.grad is None for p in tiny_net.parameters())


# layers and, for those small enough to do it by hand, MACs
LAYERS = {
    "resnet20": (20, 1024 * (432 + 6 * 2304) + 256 * (4608 + 5 * 9216) * 2 + 640),
    "vgg11": (9, 1024 * 1728 + 256 * 73_728 * 4 + 64 * 589_824 * 2 + 5120),
    "vit": (26, 64 * 192 * 48 + 6 * 65 * 12 * 192**2 + 1920),
    "mlp": (3, 64 * 300 + 300 * 100 + 100 * 10),
    "digits": (9, 64 * 144 + 2 * 64 * 2304 + 16 * (4608 + 9216 + 512) + 2 * 16 * 9216 + 320),
    "mobilenetv2": (53, None),
}


@pytest.mark.parametrize("name", [n for n in MODELS if n not in ("resnet110", "vgg13", "vgg16")])
def test_every_built_in_network(name: str) -> None:
    shape = (1, 8, 8) if name in ("digits", "mlp") else (3, 32, 32)
    model = build_architecture(ModelSource(name))
    network = analyse(model, torch.rand(1, *shape))
    raw = {"class_token", "position"} if name == "vit" else set()
    assert set(network.unsupported) == raw and network.aliases == ()
    assert all(layer.calls == 1 and layer.macs > 0 for layer in network.layers)
    named = {x.parameter for x in network.layers} | {*network.side, *network.exact} | raw
    assert named == set(model.state_dict())
    if name in LAYERS:
        n_layers, macs = LAYERS[name]
        assert len(network.layers) == n_layers
        assert macs is None or sum(layer.macs for layer in network.layers) == macs
    assert network.macs == products(model, torch.rand(1, *shape))
    assert network.other_macs == (6 * 2 * 65 * 65 * 192 if name == "vit" else 0)


def spec(kind: str = "linear", shape: tuple[int, ...] = (4, 10), **changes: Any) -> LayerSpec:
    values = {
        "name": "a", "parameter": "a.weight", "out_axis": 0, "in_axis": 1, "groups": 1, "stride": 1,
        "macs": 40, "calls": 1, "quantizable_input": True, "bias": True, **changes,
    }  # fmt: skip
    return LayerSpec(kind=kind, shape=shape, **values)


@pytest.mark.parametrize(
    ("choice", "zeros"),
    [
        (NEUTRAL, 0),
        (Choice.of(sparsity=0.5), 20),
        (Choice.of(sparsity=0.51), 20),
        (Choice.of(sparsity=0.52), 21),
        (Choice.of(sparsity=0.01), 0),
        (Choice.of(sparsity=0.9999), 39),  # one weight stays
        (Choice.of(pattern="2:4"), 4 * 2 * 2),  # two whole groups in ten columns
        (Choice.of(pattern="1:10"), 4 * 9),
        (Choice.of(pattern="1:11"), 0),
    ],
)
def test_zeros_by_hand(choice: Choice, zeros: int) -> None:
    assert spec().zeros(choice) == zeros
    assert spec().nonzeros(choice) == 40 - zeros


def test_check_a_plan(tiny_net: nn.Module) -> None:
    network = analyse(tiny_net, torch.rand(2, 3, 8, 8))
    network.check(network.neutral_plan())
    assert all(choice.is_neutral for choice in network.neutral_plan().values())
    for names, message in [
        (["0", "3", "6", "10", "11"], "no layer named '11'. Did you mean '10'"),
        (["0", "3", "6"], "misses layer '10'"),
        (["3", "0", "6", "10"], r"forward order: \['0', '3', '6', '10'\]"),
    ]:
        with pytest.raises(PlanError, match=message):
            network.check(Plan(dict.fromkeys(names, NEUTRAL)))
