"""A small GPT-2, trained on the spot on the documentation that Python carries, made smaller.

Judged by its perplexity, a letter at a time, on topics that neither training nor search has seen;
beside rounding to nearest at the same bytes.

    pip install autocomp transformers
    python examples/text_model.py --budgets 25% 12% 8%
"""

from __future__ import annotations

import argparse
import pydoc_data.topics
import sys
from collections.abc import Sequence

import torch
from alternatives import bytes_of, rounded, table
from torch import Tensor, nn

import autocomp
from autocomp.tasks import LanguageModel

LENGTH = 64
"""Letters of a sample."""


def texts() -> list[Tensor]:
    """Returns training, calibration, search and test samples `(n, LENGTH)` of their own topics."""
    topics = sorted(pydoc_data.topics.topics.items())
    found = []
    for shares in ((0, 1, 2, 3, 4, 5, 6), (7,), (8,), (9,)):
        text = "".join(body for place, (_, body) in enumerate(topics) if place % 10 in shares)
        letters = torch.tensor([min(ord(letter), 127) for letter in text])
        found.append(letters[: len(letters) // LENGTH * LENGTH].reshape(-1, LENGTH))
    return found


def network(width: int = 128, layers: int = 3) -> nn.Module:
    """Returns an untrained GPT-2."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=128, n_positions=LENGTH, n_embd=width, n_layer=layers, n_head=4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="eager",
        use_cache=False,
    )  # fmt: skip
    model: nn.Module = GPT2LMHeadModel(config)
    return model


def train(model: nn.Module, samples: Tensor, steps: int, batch: int = 32) -> None:
    """Trains a language model with AdamW and one cycle."""
    task, generator = LanguageModel(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    model.train()
    for _ in range(steps):
        some = samples[torch.randint(len(samples), (batch,), generator=generator)]
        loss = task.loss(model(some).logits, some).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


def perplexity(model: nn.Module, samples: Tensor) -> float:
    """Returns exp of the mean loss of a token."""
    task, rows = LanguageModel(), []
    with torch.inference_mode():
        for some in samples.split(64):
            logits = model(some).logits
            rows.append(task.measure.rows(logits, some, logits))
    return task.measure.value(torch.cat(rows))


def main(given: Sequence[str] | None = None) -> list[tuple[str, float, float]]:
    """Prints the table and returns its rows: name, share of bytes, perplexity."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--budgets", nargs="+", default=["25%", "12%", "8%"])
    parser.add_argument("--bits", nargs="+", type=int, default=[8, 4, 3])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--samples", type=int, default=400, help="of calibration, search and test")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    training, *data = texts()
    data = [part[: options.samples] for part in data]
    model = network(options.width)
    train(model, training, options.steps)
    dense = 4 * sum(p.numel() for p in model.parameters())
    rows = [("dense", 1.0, perplexity(model, data[2]))]
    for bits in options.bits:
        made = rounded(model, bits)
        rows.append((made.name, made.bytes / dense, perplexity(made.run, data[2])))  # type: ignore[arg-type]
    for budget in options.budgets:
        found = autocomp.search(
            model, data, bytes_of(budget, dense), task="language-model", agent="dp", evaluations=1,
            report="none", progress=False, threads=options.threads,
        )  # fmt: skip
        share = found.file.stat().st_size / dense
        rows.append(("AutoComp", share, perplexity(found.model, data[2])))
    rows.sort(key=lambda row: -row[1])
    print(
        table(("network", "bytes", "perplexity"), [(n, f"{b:.2%}", f"{p:.3f}") for n, b, p in rows])
    )
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
