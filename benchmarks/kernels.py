"""Which kernel of onnxruntime multiplies a matrix of few bits fastest: prints a Markdown table.

    python benchmarks/kernels.py [--threads 1]

A linear layer with a bias, float inputs, weights of 2, 4 and 8 bits as MatMulNBits, and multiplied
out by Cast and Mul, which is done once, when the file is loaded: times as fast as float32 weights,
for some shapes and numbers of rows. All in turns in one process; medians.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from provenance import commit
from torch import nn

from autocomp.artifacts.packed import LayerEntry, PackedModel
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.core.quantized import Quantized
from autocomp.exporters import matrix
from autocomp.exporters.onnx_file import export_float, export_onnx
from autocomp.runtime import latencies, serialized

SHAPES = ((192, 192), (768, 192), (384, 1536), (1024, 1024), (2048, 2048), (4096, 4096))
ROWS = (1, 16, 64, 1024)
BITS = (2, 4, 8)


def main() -> None:
    """Prints a row per shape and number of rows."""
    parser = argparse.ArgumentParser(description="Compares kernels of matrices.")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    print(f"Commit {commit()}, onnxruntime, {given.threads} thread(s).\n")
    heads = [f"{bits} bits, {way}" for bits in BITS for way in ("MatMulNBits", "Cast and Mul")]
    print(f"| inputs x outputs | rows | float32, us | {' | '.join(heads)} |")
    print("|---" * (3 + len(heads)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for inputs, outputs in SHAPES:
            files = written(inputs, outputs, Path(folder))
            for rows in ROWS:
                work = inputs * outputs * rows
                if work > 4e9:
                    continue
                times = latencies(
                    files, torch.randn(rows, inputs), given.threads, 60 if work < 1e8 else 15
                )
                ratios = " | ".join(f"{times[0] / x:.2f}" for x in times[1:])
                print(f"| {inputs} x {outputs} | {rows} | {times[0] * 1e6:.0f} | {ratios} |")


def written(inputs: int, outputs: int, folder: Path) -> list[Path]:
    """Writes the layer in float32 and in every form."""
    net = nn.Sequential(nn.Linear(inputs, outputs)).eval()
    example = torch.randn(1, inputs)
    files = [folder / "float.onnx"]
    files[0].write_bytes(export_float(net, example))
    for bits in BITS:
        top = 2 ** (bits - 1) - 1
        codes = torch.randint(-top, top + 1, (outputs, inputs)).to(torch.int8)
        weight = Quantized(codes, torch.full((outputs, 1), 0.01))
        net[0].weight.data = weight.dequantize()
        packed = PackedModel(
            Plan({"0": Choice.of(weight_bits=bits)}), (LayerEntry("0", "0.weight", "0"),),
            {"0.weight": weight}, {}, {"0.bias": net[0].bias.detach()},
        )  # fmt: skip
        plain = folder / f"{bits}-cast.onnx"
        before, matrix._LARGE = matrix._LARGE, 1 << 62
        export_onnx(net, packed, example, plain)
        matrix._LARGE = before
        files += [as_blocks(weight, net[0].bias.detach(), folder / f"{bits}-blocks.onnx"), plain]
    return files


def as_blocks(weight: Quantized, bias: torch.Tensor, path: Path) -> Path:
    """Writes the layer as a MatMulNBits and an addition."""
    from onnx import TensorProto, helper, numpy_helper

    from autocomp.exporters.integers import Codes, blocks, store
    from autocomp.runtime import assembled

    codes = Codes.of(weight)
    stored = None if codes is None else store(codes)
    assert stored is not None
    size, values, scales, _ = blocks(stored)
    outputs, inputs = weight.codes.shape
    product = helper.make_node(
        "MatMulNBits", ["x", "codes", "scales"], ["y"], domain="com.microsoft", N=outputs,
        K=inputs, bits=stored.bits, block_size=size, accuracy_level=0,
    )  # fmt: skip
    graph = helper.make_graph(
        [product, helper.make_node("Add", ["y", "bias"], ["logits"])], "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", outputs])],
        [numpy_helper.from_array(values.copy(), "codes"),
         numpy_helper.from_array(scales, "scales"), numpy_helper.from_array(bias.numpy(), "bias")],
    )  # fmt: skip
    path.write_bytes(serialized(assembled(graph, 21)))
    return path


if __name__ == "__main__":
    main()
