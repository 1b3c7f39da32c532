"""Seconds of dense and compressed networks in onnxruntime, side by side: prints Markdown tables.

    python benchmarks/speed.py RUN [RUN ...]     # finished runs, against their dense networks
    python benchmarks/speed.py --int8 resnet20,vgg11,mobilenetv2,vit

A run is compared as `autocomp export` writes it. `--int8` gives every layer 8 bits and compares
with float32, and with what onnxruntime's own `quantize_static` makes of that float32 file after
`quant_pre_process`, calibrated on the same images, one scale a channel. ResNet-20 has trained
weights and CIFAR-10 (AUTOCOMP_SHARED), and its accuracy on the search split stands beside; the
others have random weights, norms measured on random images, and no accuracy.

Every row runs in turns in one process, one session after another; the median of each round is one
ratio, and the table gives the median ratio of the rounds with the least and the largest.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from provenance import commit, resnet20_on_cifar10
from torch import Tensor, nn

from autocomp.artifacts.container import unpack
from autocomp.compression.loading import load, read
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.data import DataSplits, load_data
from autocomp.exporters.onnx_file import export_float, export_onnx
from autocomp.exporters.verify import verify
from autocomp.models import build_model
from autocomp.network.batches import Batches
from autocomp.problem.problem import CompressionProblem
from autocomp.runs.folder import Run
from autocomp.runtime import latencies
from autocomp.tasks import make_task

CALIBRATION = 512
CPU = torch.device("cpu")


def main() -> None:
    """Prints a row per network and batch."""
    parser = argparse.ArgumentParser(description="Compares speeds in onnxruntime.")
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--int8", default="", help="names of networks, comma-separated")
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(
        f"Commit {commit()}, onnxruntime, {given.threads} thread(s), {given.rounds} rounds of up "
        f"to {given.repeats} calls each.\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        if given.runs:
            print("| network | batch | dense, ms | compressed, times as fast |\n|---|---|---|---|")
        for run in given.runs:
            for row in of_run(run, Path(folder), given):
                print(row, flush=True)
        if given.int8:
            print(
                "| network, 8 bits | batch | dense, ms | AutoComp, times as fast "
                "| quantize_static, times as fast | bytes | accuracy |\n"
                "|---|---|---|---|---|---|---|"
            )
        for name in filter(None, given.int8.split(",")):
            for row in of_eight_bits(name, Path(folder), given):
                print(row, flush=True)


def of_run(run: Path, folder: Path, given: argparse.Namespace) -> Iterator[str]:
    """Yields a finished run's rows."""
    settings = Run.open(str(run)).config()["settings"]
    dense = build_model(settings["model"]).eval()
    example = load_data(settings["data"]).example_inputs(1)
    file, path, plain = run / "model.safetensors", folder / "run.onnx", folder / "dense.onnx"
    report = export_onnx(load(file, settings["model"]), read(file), example, path)
    plain.write_bytes(export_float(dense, example, report.opset))
    for batch, (first, ratios) in ratios_of([plain, path], example, given):
        yield f"| {run.name} | {batch} | {first * 1e3:.3f} | {shown(ratios[0])} |"


def of_eight_bits(name: str, folder: Path, given: argparse.Namespace) -> Iterator[str]:
    """Yields the rows of a network with 8-bit weights, inputs and outputs everywhere."""
    dense, data, trained = network_and_data(name)
    plain, ours, theirs = (folder / f"{name}-{x}.onnx" for x in ("dense", "ours", "theirs"))
    problem = CompressionProblem(dense, data, "size=100%")
    choice = Choice.of(weight_bits=8, activation_bits=8, output_bits=8)
    plan = Plan({x.name: choice if x.quantizable_input else Choice.of(weight_bits=8)
                 for x in problem.network.layers})  # fmt: skip
    network, file = problem.compressed(plan)
    example = data.example_inputs(1)
    report = export_onnx(network, unpack(file), example, ours)
    plain.write_bytes(export_float(dense, example, report.opset))
    images = next(iter(Batches(data.calibration.subset(CALIBRATION, seed=0), CALIBRATION, CPU)))[0]
    quantize_static(plain, theirs, images)
    files = [plain, ours, theirs]
    accuracy = ""
    if trained:
        task, batches = make_task("classification"), Batches(data.search, 100, CPU)
        found = [verify(path, network, batches, task, given.threads).accuracy for path in files]
        of_dense, mine, other = (f"{100 * x:.2f}" for x in found)
        accuracy = f"{of_dense} dense, {mine} AutoComp, {other} quantize_static"
    sizes = " / ".join(f"{path.stat().st_size:,}" for path in files)
    for place, (batch, (first, ratios)) in enumerate(ratios_of(files, example, given)):
        told = (sizes, accuracy) if not place else ("", "")
        yield (
            f"| {name} | {batch} | {first * 1e3:.3f} | {shown(ratios[0])} | {shown(ratios[1])} "
            f"| {told[0]} | {told[1]} |"
        )


def network_and_data(name: str) -> tuple[nn.Module, DataSplits, bool]:
    """Returns a dense network, its data, and whether its weights are trained."""
    if name == "resnet20":
        weights, images = resnet20_on_cifar10()
        return build_model(name, weights).eval(), load_data(f"cifar10:{images}"), True
    torch.manual_seed(0)
    dense = build_model(name).train()
    inputs, labels = torch.randn(96, 3, 32, 32), torch.arange(96) % 10
    for module in dense.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():  # of norms that have seen nothing a deep network's outputs die out
        dense(inputs)
    parts = tuple((inputs[i : i + 32], labels[i : i + 32]) for i in (0, 32, 64))
    return dense.eval(), load_data(parts), False


def quantize_static(plain: Path, path: Path, images: Tensor) -> None:
    """Writes what onnxruntime's own tool makes of a float32 file."""
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands one image out at a time."""

        def __init__(self, name: str) -> None:
            self._rest = iter([{name: image[None].numpy()} for image in images])

        def get_next(self) -> Any:
            return next(self._rest, None)

    prepared = path.with_suffix(".prepared.onnx")
    quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
    name = onnx.load(str(prepared)).graph.input[0].name
    quantize_static(
        str(prepared), str(path), Reader(name), quant_format=QuantFormat.QDQ, per_channel=True,
        weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
    )  # fmt: skip


def ratios_of(
    files: list[Path], example: Tensor, given: argparse.Namespace
) -> Iterator[tuple[int, tuple[float, list[list[float]]]]]:
    """Yields each batch with the first file's seconds, and the others' ratios round by round."""
    for batch in map(int, given.batches.split(",")):
        inputs = example.repeat(batch, *[1] * (example.dim() - 1))
        repeats = max(20, given.repeats // batch)
        rounds = [latencies(files, inputs, given.threads, repeats) for _ in range(given.rounds)]
        ratios = [[x[0] / x[i] for x in rounds] for i in range(1, len(files))]
        yield batch, (statistics.median(x[0] for x in rounds), ratios)


def shown(ratios: list[float]) -> str:
    """Returns the median, and the least and the largest."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
