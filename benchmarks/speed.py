"""Seconds of dense and compressed networks in onnxruntime, side by side: prints a Markdown table.

    python benchmarks/speed.py RUN [RUN ...]     # finished runs, against their dense networks
    python benchmarks/speed.py --int8 vgg11      # 8 bits everywhere against float32

A run is compared as `autocomp export` writes it. Every pair runs in turns in one process; medians.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from provenance import commit

from autocomp.artifacts.container import unpack
from autocomp.compression.loading import load, read
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.data import load_data
from autocomp.exporters.onnx_file import export_float, export_onnx
from autocomp.models import build_model
from autocomp.problem.problem import CompressionProblem
from autocomp.runs.folder import Run
from autocomp.runtime import latencies


def main() -> None:
    """Prints a row per network and batch."""
    parser = argparse.ArgumentParser(description="Compares speeds in onnxruntime.")
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--int8", default="", help="names of networks, comma-separated")
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=200)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"Commit {commit()}, onnxruntime, {given.threads} thread(s), "
          f"medians of up to {given.repeats}.\n")  # fmt: skip
    print("| network | batch | dense, ms | compressed, ms | times as fast |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for run in given.runs:
            settings = Run.open(str(run)).config()["settings"]
            dense = build_model(settings["model"]).eval()
            example = load_data(settings["data"]).example_inputs(1)
            file = run / "model.safetensors"
            network, what = load(file, settings["model"]), read(file)
            compare(run.name, dense, network, what, example, Path(folder), given)
        for name in filter(None, given.int8.split(",")):
            dense, network, what, example = eight_bits(name)
            compare(f"{name}, 8 bits", dense, network, what, example, Path(folder), given)


def compare(name, dense, network, what, example, folder, given) -> None:  # type: ignore[no-untyped-def]
    """Prints one network's rows."""
    path = folder / "model.onnx"
    report = export_onnx(network, what, example, path)
    reference = export_float(dense, example, report.opset)
    for batch in map(int, given.batches.split(",")):
        inputs = example.repeat(batch, *[1] * (example.dim() - 1))
        repeats = max(20, given.repeats // batch)
        first, second = latencies([reference, path], inputs, given.threads, repeats)
        print(f"| {name} | {batch} | {first * 1e3:.3f} | {second * 1e3:.3f} | "
              f"{first / second:.2f} |", flush=True)  # fmt: skip


def eight_bits(name: str):  # type: ignore[no-untyped-def]
    """Returns (dense, compressed, its file, an input) with 8-bit weights and inputs everywhere."""
    torch.manual_seed(0)
    dense = build_model(name).eval()
    images, labels = torch.randn(96, 3, 32, 32), torch.arange(96) % 10
    data = load_data(tuple((images[i : i + 32], labels[i : i + 32]) for i in (0, 32, 64)))
    problem = CompressionProblem(dense, data, "size=100%")
    choice = Choice.of(weight_bits=8, activation_bits=8)
    plan = Plan({x.name: choice if x.quantizable_input else Choice.of(weight_bits=8)
                 for x in problem.network.layers})  # fmt: skip
    network, file = problem.compressed(plan)
    return dense, network, unpack(file), images[:1]


if __name__ == "__main__":
    main()
