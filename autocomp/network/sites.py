"""Where a network uses weights that can be compressed, and how to count their MACs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence

from autocomp.core.layer_spec import LayerSpec
from autocomp.errors import LayerError
from autocomp.network.layers import matrix_use
from autocomp.network.quantizers import quantizer_of

_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_MACS = Callable[[Any, tuple[Any, ...], dict[str, Any], Any], int]


class Site:
    """A place where a weight is used: the module that is called, and how to count its MACs."""

    def __init__(
        self, name: str, parameter: str, module: nn.Module, weight: Tensor, kind: str,
        count: _MACS, hookable: bool, bias: bool, outputs_first: bool = True,
        bias_key: str = "bias",
    ) -> None:  # fmt: skip
        self.outputs_first, self.bias_key = outputs_first, bias_key
        self.name, self.parameter, self.module, self.weight = name, parameter, module, weight
        self.kind, self.count, self.hookable, self.bias = kind, count, hookable, bias

    def spec(
        self, macs: int, calls: int, hookable: bool,
        shapes: tuple[tuple[int, ...], tuple[int, ...]],
    ) -> LayerSpec:  # fmt: skip
        """Returns the layer that this site is, with what a forward pass counted."""
        first = self.kind != "transposed" and self.outputs_first
        conv = self.kind in ("conv", "transposed")
        groups = self.module.groups if conv else 1
        stride: Any = self.module.stride if conv else 1
        return LayerSpec(
            name=self.name,
            parameter=self.parameter,
            kind=self.kind,
            shape=tuple(self.weight.shape),
            out_axis=0 if first else 1,
            in_axis=1 if first else 0,
            groups=int(groups),  # type: ignore[arg-type]
            stride=int(stride[0] if isinstance(stride, tuple) else stride),
            macs=macs,
            calls=calls,
            quantizable_input=hookable,
            bias=self.bias,
            input_shape=shapes[0],
            output_shape=shapes[1],
            input_bits=self._input_bits() if hookable else 32,
            bias_key=self.bias_key,
        )

    def _input_bits(self) -> int:
        found = quantizer_of(self.module)
        return 32 if found is None else found.bits


def find_sites(model: nn.Module) -> dict[str, Site]:
    """Returns every place where a weight that can be compressed is used, by layer name."""
    sites: dict[str, Site] = {}
    attention = {id(m.out_proj) for m in model.modules() if isinstance(m, nn.MultiheadAttention)}

    def add(
        name: str, parameter: str, module: nn.Module, weight: Any, kind: str,
        count: _MACS, hookable: bool, bias: object, outputs_first: bool = True,
        bias_key: str = "bias",
    ) -> None:  # fmt: skip
        if not isinstance(weight, nn.Parameter):
            return  # computed weights (weight norm and other parametrizations) stay as they are
        if weight.dim() < 2 or not weight.is_floating_point() or weight.numel() == 0:
            return
        sites[name] = Site(
            name, parameter, module, weight, kind, count, hookable, isinstance(bias, Tensor),
            outputs_first, bias_key,
        )  # fmt: skip

    for name, module in model.named_modules():
        dot = f"{name}." if name else ""
        label = name or "model"  # the network may be a single layer
        if isinstance(module, nn.MultiheadAttention):
            bias: object
            for part in ("in_proj", "q_proj", "k_proj", "v_proj"):
                weight = getattr(module, f"{part}_weight")
                add(f"{dot}{part}", f"{dot}{part}_weight", module, weight, "attention",
                    _projection_macs(part), part == "in_proj", module.in_proj_bias)  # fmt: skip
            output = module.out_proj
            add(f"{dot}out_proj", f"{dot}out_proj.weight", module, output.weight, "attention",
                _projection_macs("out_proj"), False, output.bias)  # fmt: skip
            continue
        if id(module) in attention:
            continue
        for types, kind, count in _KINDS:
            if isinstance(module, types):
                weight, bias = module._parameters.get("weight"), getattr(module, "bias", None)
                _check_shaped(label, weight)
                add(label, f"{dot}weight", module, weight, kind, count, kind != "embedding", bias)
                break
        else:
            if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
                for part, weight in module._parameters.items():
                    if part.startswith("weight"):
                        key = part.replace("weight", "bias", 1)
                        add(f"{dot}{part}", f"{dot}{part}", module, weight, "recurrent",
                            _recurrent_macs(part), False, module._parameters.get(key),
                            bias_key=key)  # fmt: skip
                continue
            use = matrix_use(module)
            if use is not None:
                weight = module._parameters.get(use.parameter)
                _check_shaped(label, weight)
                bias = module._parameters.get(use.bias) if use.bias else None
                add(label, f"{dot}{use.parameter}", module, weight, "matrix", _matrix_macs, True,
                    bias, use.outputs_first, use.bias)  # fmt: skip
    return sites


def _check_shaped(label: str, weight: Tensor | None) -> None:
    if weight is not None and is_lazy(weight):
        raise LayerError(
            f"Every layer must know its shape, but {label!r} is lazy; run the network once on an "
            "input."
        )


def _conv_macs(module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> int:
    return int(output.numel()) * int(module.weight[0].numel())


def _transposed_macs(
    module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> int:
    given = inputs[0] if inputs else kwargs["input"]
    return int(given.numel()) * int(module.weight[0].numel())


def _linear_macs(module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> int:
    return int(output.numel()) * int(module.in_features)


def _matrix_macs(module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> int:
    given = next(iter((*inputs, *kwargs.values())))
    return int(given.numel()) * int(output.shape[-1])


def _recurrent_macs(part: str) -> _MACS:
    def count(module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> int:
        given = inputs[0] if inputs else kwargs["input"]
        data = given.data if isinstance(given, PackedSequence) else given
        steps = data.numel() // data.shape[-1]
        return int(steps) * int(module.get_parameter(part).numel())

    return count


def _no_macs(module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> int:
    return 0


def _projection_macs(part: str) -> _MACS:
    def count(module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> int:
        names = ("query", "key", "value")
        given = {**dict(zip(names, inputs, strict=False)), **kwargs}
        query, key, value = (given[name] for name in names)
        width = module.embed_dim
        costs = {
            "q_proj": query.numel() * width,
            "k_proj": key.numel() * width,
            "v_proj": value.numel() * width,
            "out_proj": query.numel() * width,
        }
        if part == "in_proj":
            return int(costs["q_proj"] + costs["k_proj"] + costs["v_proj"])
        return int(costs[part])

    return count


_KINDS: tuple[tuple[Any, str, _MACS], ...] = (
    (_CONV, "conv", _conv_macs),
    (_TRANSPOSED, "transposed", _transposed_macs),
    (nn.Linear, "linear", _linear_macs),
    (nn.Embedding, "embedding", _no_macs),
)
