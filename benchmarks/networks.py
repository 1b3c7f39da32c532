"""Networks of torchvision, timm, transformers and torch: what AutoComp makes of each.

For each network with random weights, on random inputs: the share of its weights that is
compressible, groups of channels found and skipped, MACs beside `torch.utils.flop_counter`, a search
for `size=10%`, one for `macs=60%` in the structured space, the file loaded back, and an export to
ONNX. Weights are random, so the figures say nothing of quality; what is looked for is a crash, or
silence. What cannot be done is told in AutoComp's own words.

    python benchmarks/networks.py [--only NAME ...] [--threads 2]
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import autocomp
from autocomp.compression.structure.find import find_groups
from autocomp.core.structured import Inputs, Structured
from autocomp.errors import AutocompError
from autocomp.network.analysis import analyse
from autocomp.network.as_one import as_one
from autocomp.network.forward import forward
from autocomp.network.rebinding import copy_network
from autocomp.tasks import make_task

SIDE, TOKENS, COUNT = 64, 16, 40
Made = tuple[nn.Module, Inputs, str]
"""A network, inputs, and its task."""


def images(model: nn.Module, task: str = "classification", side: int = SIDE) -> Made:
    """Returns a network that takes images."""
    return model, torch.randn(COUNT, 3, side, side), task


def texts(model: nn.Module, task: str, mask: bool = True) -> Made:
    """Returns a network that takes tokens."""
    tokens = torch.randint(1, 100, (COUNT, TOKENS))
    more = {"attention_mask": torch.ones_like(tokens)} if mask else {}
    return model, Structured(input_ids=tokens, **more), task


def torchvision_networks() -> dict[str, Callable[[], Made]]:
    """Returns networks of torchvision, by name."""
    from torchvision import models

    classifiers = (
        "mobilenet_v2",
        "mobilenet_v3_small",
        "squeezenet1_1",
        "shufflenet_v2_x0_5",
        "efficientnet_b0",
        "regnet_y_400mf",
        "mnasnet0_5",
    )

    def one(name: str) -> Callable[[], Made]:
        return lambda: images(models.get_model(name, weights=None, num_classes=10))

    found = {name: one(name) for name in classifiers}
    found["vit (torchvision)"] = lambda: images(
        models.VisionTransformer(SIDE, 16, 4, 4, 128, 256, num_classes=10)
    )
    found["ResNet of 10 layers"] = lambda: images(
        models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=10)
    )
    found["DenseNet, small"] = lambda: images(models.DenseNet(12, (4, 4, 4, 4), 24, num_classes=10))
    found["swin, small"] = lambda: images(
        models.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=10)
    )
    found["convnext, small"] = lambda: images(
        models.ConvNeXt(
            [models.convnext.CNBlockConfig(24, 48, 2), models.convnext.CNBlockConfig(48, None, 2)],
            num_classes=10,
        )
    )
    found["lraspp_mobilenet_v3"] = lambda: images(
        models.segmentation.lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=5
        ),
        "segmentation",
    )
    return found


def timm_networks() -> dict[str, Callable[[], Made]]:
    """Returns networks of timm, by name."""
    import timm

    def one(name: str, **more: Any) -> Callable[[], Made]:
        return lambda: images(timm.create_model(name, num_classes=10, **more))

    return {
        "vit_tiny (timm)": one("vit_tiny_patch16_224", img_size=SIDE, depth=4),
        "deit_tiny (timm)": one("deit_tiny_patch16_224", img_size=SIDE, depth=4),
        "MlpMixer, small (timm)": lambda: images(
            timm.models.mlp_mixer.MlpMixer(10, SIDE, patch_size=16, num_blocks=4, embed_dim=128)
        ),
        "ghostnet_050 (timm)": one("ghostnet_050"),
    }


def transformers_networks() -> dict[str, Callable[[], Made]]:
    """Returns networks of transformers, by name."""
    import transformers as t

    small = {"vocab_size": 100, "num_hidden_layers": 2, "num_attention_heads": 4}
    inner = {"hidden_size": 64, "intermediate_size": 128, "attn_implementation": "eager"}
    return {
        "BertModel": lambda: texts(t.BertModel(t.BertConfig(**small, **inner)), "embedding"),
        "BertForSequenceClassification": lambda: texts(
            t.BertForSequenceClassification(t.BertConfig(**small, **inner, num_labels=3)),
            "classification",
        ),
        "DistilBertModel": lambda: texts(
            t.DistilBertModel(
                t.DistilBertConfig(
                    vocab_size=100, n_layers=2, n_heads=4, dim=64, hidden_dim=128,
                    attn_implementation="eager",
                )
            ),
            "embedding",
        ),
        "GPT2LMHeadModel": lambda: texts(
            t.GPT2LMHeadModel(
                t.GPT2Config(
                    vocab_size=100, n_embd=64, n_layer=2, n_head=4, use_cache=False,
                    attn_implementation="eager", bos_token_id=0, eos_token_id=0,
                )
            ),
            "language-model", mask=False,
        ),
        "LlamaForCausalLM": lambda: texts(
            t.LlamaForCausalLM(t.LlamaConfig(**small, **inner, use_cache=False)),
            "language-model", mask=False,
        ),
        "T5EncoderModel": lambda: texts(
            t.T5EncoderModel(
                t.T5Config(vocab_size=100, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4)
            ),
            "embedding",
        ),
        "ViTModel": lambda: images(
            t.ViTModel(
                t.ViTConfig(
                    image_size=SIDE, num_hidden_layers=2, num_attention_heads=4, **inner,
                )
            ),
            "embedding",
        ),
    }  # fmt: skip


class Recurrent(nn.Module):
    """A recurrent classifier of tokens."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.table, self.body = nn.Embedding(100, 32), kind(32, 48, 2, batch_first=True)
        self.head = nn.Linear(48, 5)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Returns logits."""
        return self.head(self.body(self.table(input_ids))[0][:, -1])  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """torch's own encoder."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, batch_first=True)
        self.table = nn.Embedding(100, 64)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 5)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Returns logits."""
        return self.head(self.body(self.table(input_ids)).mean(1))  # type: ignore[no-any-return]


def torch_networks() -> dict[str, Callable[[], Made]]:
    """Returns networks of torch's own layers, by name."""
    numbers = torch.randn(COUNT, 20)
    return {
        "LSTM classifier": lambda: texts(Recurrent(nn.LSTM), "classification", mask=False),
        "GRU classifier": lambda: texts(Recurrent(nn.GRU), "classification", mask=False),
        "nn.TransformerEncoder": lambda: texts(Encoder(), "classification", mask=False),
        "MLP regression": lambda: (
            nn.Sequential(nn.Linear(20, 64), nn.PReLU(64), nn.Linear(64, 64), nn.ReLU(),
                          nn.Linear(64, 2)),
            numbers, "regression",
        ),
    }  # fmt: skip


def settle(model: nn.Module, inputs: Inputs) -> None:
    """Gives batch norms the statistics of these inputs, and heads that begin with zeros weights.

    Random weights let signals die out; a network that gives zeros is refused, and rightly.
    """
    for parameter in model.parameters():
        if parameter.dim() > 1 and not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.1)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    model.train()
    if norms:
        with torch.no_grad():
            for _ in range(10):
                for norm in norms:
                    norm.momentum = 0.5
                forward(model, inputs)
    for norm in norms:
        norm.momentum = 0.1
    model.eval()


def row(name: str, make: Callable[[], Made], threads: int) -> list[str]:
    """Returns a network's row; what cannot be done is told in it."""
    torch.manual_seed(0)
    model, inputs, kind = make()
    settle(model, inputs)
    task = make_task(kind)
    parts = [inputs[0:20], inputs[20:32], inputs[32:COUNT]]
    with torch.inference_mode():
        outputs = task.outputs(forward(model, inputs), inputs)
        targets = None if kind in ("embedding", "language-model") else outputs
        if kind in ("classification", "segmentation"):
            targets = outputs.argmax(1)
    data = list(parts)
    if targets is not None:
        data = list(zip(parts, (targets[0:20], targets[20:32], targets[32:COUNT]), strict=True))
    network = analyse(model, parts[0])
    weights = sum(layer.n_weights for layer in network.layers)
    flat = as_one(copy_network(model), task, parts[0])
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), plain_operators():
        flat(inputs[0:1])
    counted = counter.get_total_flops() / 2
    groups = find_groups(flat, network, parts[0])
    ratio = f"{network.macs / counted:.3f}" if counted else "-"
    found = [name, f"{weights / network.n_parameters:.1%}", ratio]
    found.append(f"{len(groups.groups)} / {len(groups.skipped)}")
    with tempfile.TemporaryDirectory() as folder:
        for space, budget in (("joint", "size=10%"), ("structured", "macs=60%")):
            found.append(searched(model, data, kind, space, budget, Path(folder), threads))
        found.append(exported(model, data, kind, Path(folder) / "joint"))
    reasons = sorted(set(groups.skipped.values()))
    if reasons:
        print(f"  {name}: skipped: {'; '.join(reasons)[:400]}", file=sys.stderr)
    return found


@contextmanager
def plain_operators() -> Iterator[None]:
    """Keeps torch from fused operators, which its own counter does not know."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def told(error: BaseException) -> str:
    """Returns an error in a line, short: AutoComp's own, or a crash by its class."""
    text = re.sub(r"\s+", " ", str(error)).replace("|", "/")
    own = isinstance(error, AutocompError)
    return text[:140] if own else f"CRASH {type(error).__name__}: {text[:120]}"


def searched(
    model: nn.Module, data: Any, kind: str, space: str, budget: str, folder: Path, threads: int
) -> str:
    """Returns what a search reached, its file loaded back; or what it said."""
    start = time.perf_counter()
    try:
        result = autocomp.search(
            model, data, budget, task=kind, space=space, agent="dp", evaluations=1,
            finalists=1, reconstructions=0, report="none", out=folder / space,
            progress=False, cache="none",
            threads=threads,
        )  # fmt: skip
        autocomp.load(result.file, model=model)
    except Exception as error:  # whatever a network of the list meets is its row
        return told(error)
    name = budget.partition("=")[0]
    reached = result.summary.compressed[name] / result.summary.dense[name]
    return f"{reached:.1%} in {time.perf_counter() - start:.0f} s"


def exported(model: nn.Module, data: Any, kind: str, run: Path) -> str:
    """Returns whether the run's network was written to ONNX and gave the same outputs."""
    if not (run / "model.safetensors").exists():
        return "-"
    try:
        found = autocomp.export(run, data=data, model=model, task=kind)
    except Exception as error:  # as above
        return told(error)
    return f"within {found.check.largest_difference:.1e}"


def main(given: Sequence[str] | None = None) -> None:
    """Prints a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    makers: dict[str, Callable[[], Made]] = torch_networks()
    for library in (torchvision_networks, timm_networks, transformers_networks):
        try:
            makers |= library()
        except ImportError as missing:
            print(f"left out: {missing}", file=sys.stderr)
    print("| network | compressible | MACs / counted | groups / skipped | size=10% | "
          "macs=60% structured | ONNX |")  # fmt: skip
    print("|" + "---|" * 7, flush=True)
    for name, make in makers.items():
        if options.only and not any(part in name for part in options.only):
            continue
        try:
            with redirect_stderr(StringIO()) as noise:
                cells = row(name, make, options.threads)
            for line in noise.getvalue().splitlines():
                if line.startswith("  "):
                    print(line, file=sys.stderr)
        except Exception as error:  # as above
            cells = [name, told(error), *[""] * 5]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
