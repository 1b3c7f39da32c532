"""What one would do instead: rounding to nearest, and dynamic int8 of torch and onnxruntime."""

from __future__ import annotations

import copy
import io
import tempfile
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Run = Callable[..., Any]


@dataclass(frozen=True)
class Alternative:
    """A network that was made smaller without AutoComp.

    Attributes:
        name: how.
        run: what is called with inputs, as the network is.
        bytes: length of its file.
    """

    name: str
    run: Run
    bytes: int


def rounded(model: nn.Module, bits: int) -> Alternative:
    """Returns a network whose weights are rounded to nearest, with a scale for each output channel.

    Its file: codes of that many bits, compressed by zlib where that helps, a float32 scale for
    each channel, and everything else in float32.

    Args:
        model: the network; not modified.
        bits: of the weights of at least two dimensions.
    """
    made = copy.deepcopy(model).eval()
    size, seen = 0, set()
    top = 2 ** (bits - 1) - 1
    for parameter in made.parameters():
        if id(parameter) in seen:
            continue
        seen.add(id(parameter))
        if parameter.dim() < 2:
            size += 4 * parameter.numel()
            continue
        with torch.no_grad():
            rows = parameter.flatten(1)
            scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-12) / top
            codes = (rows / scale).round().clamp(-top - 1, top)
            parameter.copy_((codes * scale).view_as(parameter))
        size += _packed(codes, bits) + 4 * len(rows)
    size += sum(4 * b.numel() for b in made.buffers() if b.is_floating_point())
    return Alternative(f"round to nearest, {bits} bits", made, size)


def _packed(codes: Tensor, bits: int) -> int:
    """Returns the bytes of codes in so many bits each, or of what zlib makes of them."""
    plain = -(-codes.numel() * bits // 8)
    squeezed = len(zlib.compress(codes.to(torch.int8).numpy().tobytes(), 9))
    return min(plain, squeezed)


def torch_dynamic(model: nn.Module) -> Alternative | None:
    """Returns the network with torch's dynamic int8 of linear and recurrent layers.

    None where this version of torch has none, or it does not run the network.
    """
    try:
        from torch.ao.quantization import quantize_dynamic
    except ImportError:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = quantize_dynamic(
            copy.deepcopy(model).eval(), {nn.Linear, nn.LSTM, nn.GRU}, dtype=torch.qint8
        )
    file = io.BytesIO()
    torch.save(made.state_dict(), file)
    return Alternative("torch dynamic int8", made, len(file.getvalue()))


def ort_dynamic(
    model: nn.Module, example: Sequence[Tensor], names: Sequence[str], output: str = "output"
) -> Alternative | None:
    """Returns the network with onnxruntime's dynamic int8; None where it cannot be made.

    Args:
        model: the network; it takes its inputs by position, and returns a tensor.
        example: inputs, a sample each along the first dimension.
        names: names of the inputs.
        output: name of the output.
    """
    try:
        import onnxruntime
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, small = Path(folder, "plain.onnx"), Path(folder, "small.onnx")
        batch = torch.export.Dim("batch")
        torch.onnx.export(
            model.eval(), tuple(example), str(plain), input_names=list(names),
            output_names=[output], dynamo=True, external_data=False, verbose=False,
            dynamic_shapes=tuple({0: batch} for _ in names),
        )  # fmt: skip
        quantize_dynamic(str(plain), str(small), weight_type=QuantType.QInt8)
        data = small.read_bytes()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def run(*inputs: Tensor) -> Tensor:
        given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run([output], given)[0])

    return Alternative("onnxruntime dynamic int8", run, len(data))


def bytes_of(share: str, dense: int) -> str:
    """Returns the budget of a share of a network's bytes: "12%" of 1000 is "size=120"."""
    return f"size={int(float(share.rstrip('%')) / 100 * dense)}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
