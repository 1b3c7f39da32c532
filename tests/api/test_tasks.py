"""Searches for every task, on networks and batches as people have them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import autocomp
from autocomp.errors import AutocompError, ChoiceError, DataError, RunError
from autocomp.inspection.record import RunRecord
from autocomp.tasks import Task

N = 96
TOKENS = torch.randint(11, (N, 6), generator=torch.Generator().manual_seed(1))
MASK = torch.ones(N, 6).long()
MASK[::3, 4:] = 0
IMAGES = torch.randn((N, 3, 8, 8), generator=torch.Generator().manual_seed(2))
ROWS = torch.randn((N, 10), generator=torch.Generator().manual_seed(3))


@dataclass
class Output:
    last_hidden_state: Tensor
    pooled: Tensor | None = None


class Encoder(nn.Module):
    """Tokens and a mask by name, a dataclass out, as the encoders of transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner = nn.Embedding(11, 16), nn.Linear(16, 32)
        self.outer, self.norm = nn.Linear(32, 16), nn.LayerNorm(16)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Output:
        x = self.table(input_ids)
        if attention_mask is not None:
            x = x * attention_mask.unsqueeze(2)
        mixed = x + x.cumsum(1) / 6
        return Output(self.norm(x + self.outer(F.gelu(self.inner(mixed)))))


class Reader(nn.Module):
    """A causal language model: its logits in a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = Encoder(), nn.Linear(16, 11)

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.body(input_ids).last_hidden_state)}


class Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 8, 3, 2, 1), nn.ConvTranspose2d(8, 8, 2, 2)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.head(F.relu(self.norm(self.up(F.relu(self.down(x)))))), "aux": x}


class Two(nn.Module):
    """Two inputs by position, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(10, 12), nn.Linear(10, 12), nn.Linear(12, 2)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.a(left) * torch.sigmoid(self.b(right)))
        return self.c(hidden), hidden


def thirds(inputs: Any, labels: Tensor | None = None) -> list[Any]:
    """Returns calibration, search and test of inputs and labels."""

    def cut(thing: Any, where: slice) -> Any:
        if isinstance(thing, Mapping):
            return {name: cut(part, where) for name, part in thing.items()}
        return tuple(cut(p, where) for p in thing) if isinstance(thing, tuple) else thing[where]

    parts = [slice(0, 40), slice(40, 70), slice(70, N)]
    if labels is None:
        return [cut(inputs, part) for part in parts]
    return [(cut(inputs, part), labels[part]) for part in parts]


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 4)
    )


def answers(net: nn.Module, *inputs: Tensor) -> Any:
    with torch.inference_mode():
        return net(*inputs)


def cases() -> dict[str, tuple[nn.Module, Any, str]]:
    net, two, pixels = mlp(), made(Two), made(Segmenter)
    pair = (ROWS, ROWS.flip(0))
    classes, areas = answers(two, *pair)[0].argmax(1), answers(pixels, IMAGES)["out"].argmax(1)
    texts = {"input_ids": TOKENS, "attention_mask": MASK}
    noise = torch.randn((N, 4), generator=torch.Generator().manual_seed(4))
    logits = answers(net, ROWS)
    return {
        "regression": (net, thirds(ROWS, logits + 0.1 * logits.std() * noise), "R2"),
        "regression:metric=rmse": (net, thirds(ROWS, logits + 0.1 * noise), "RMSE"),
        "multilabel": (net, thirds(ROWS, (logits + 0.01 * noise > 0).long()), "F1"),
        "classification": (two, thirds(pair, classes), "accuracy"),
        "segmentation": (pixels, thirds(IMAGES, areas), "mean IoU"),
        "embedding": (made(Encoder), thirds(texts), "cosine"),
        "language-model": (made(Reader), thirds({"input_ids": TOKENS}), "perplexity"),
    }  # fmt: skip


def search(model: nn.Module, data: Any, out: Path, task: Any, **settings: Any) -> autocomp.Result:
    given: dict[str, Any] = {
        "budget": "size=40%", "agent": "random", "evaluations": 3, "report": "none", **settings,
    }  # fmt: skip
    return autocomp.search(model, data, task=task, out=out, progress=False, **given)


@pytest.mark.parametrize("task", list(cases()))
def test_every_task(task: str, tmp_path: Path) -> None:
    net, data, metric = cases()[task]
    found = search(net, data, tmp_path / "r", task, report="full")
    summary = found.summary
    assert summary.test.metric.name == metric == summary.search_dense.metric.name
    assert summary.test.n == N - 70 and summary.test.standard_error >= 0
    assert found.file.stat().st_size <= 0.4 * summary.dense["size"] + 1
    small, inputs = found.model, data[2] if isinstance(data[2], Mapping) else data[2][0]
    with torch.inference_mode():
        outputs = (
            small(**inputs)
            if isinstance(inputs, Mapping)
            else (small(*inputs) if isinstance(inputs, tuple) else small(inputs))
        )
    assert type(outputs) is type(answers(net, inputs) if isinstance(inputs, Tensor) else outputs)
    record = RunRecord.read(found.run.path)
    assert metric in str(found) and record.summary == summary
    page = re.sub(r"(?s)<script.*?</script>", "", found.report().read_text(encoding="utf-8"))
    assert f"est {metric}" in page and "NaN" not in page
    assert ("ccuracy" in page) == (metric == "accuracy")
    assert not record.findings.left_out.keys() - {"policy", "study", "ablations"}


def test_a_run_is_resumed_with_its_task(tmp_path: Path) -> None:
    net, data, _ = cases()["regression:metric=rmse"]
    first = search(net, data, tmp_path / "r", "regression:metric=rmse")
    again = autocomp.resume(tmp_path / "r", model=net, data=data)
    assert again.best == first.best and again.summary.test == first.summary.test
    with pytest.raises(RunError, match="its own task"):
        autocomp.resume(tmp_path / "r", model=net, data=data, task="multilabel")


def test_criteria_of_classes_are_refused_elsewhere(tmp_path: Path) -> None:
    net, data, _ = cases()["regression"]
    settings = {"budget": "macs=60%", "agent": "dp", "evaluations": 1}
    with pytest.raises(ChoiceError, match="'taylor' looks at classes and this task has none"):
        search(
            net, data, tmp_path / "r", "regression", space="structured:criteria=taylor", **settings
        )
    found = search(
        net, data, tmp_path / "r", "regression", space="structured:criteria=l1", **settings
    )
    assert found.summary.compressed["macs"] <= 0.6 * found.summary.dense["macs"]


class Mine(Task):
    """A user's own: numbers that are to keep their sign, whose size does not matter."""

    name = "signs"
    needs_labels = False

    def measures(self) -> Any:
        from autocomp.tasks import Metric, SumMeasure

        def rows(outputs: Tensor, targets: Any, dense: Tensor) -> Tensor:
            same = (outputs > 0) == (dense > 0)
            return torch.stack([same.double().mean(1), torch.ones(len(same))], 1)

        return {"same": SumMeasure(Metric("same signs"), rows, lambda sums: sums[0] / sums[1])}

    def check(self, outputs: Tensor, targets: Any) -> None:
        if outputs.dim() != 2:
            raise DataError("Outputs must be (n, k).")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.square().mean(1)

    def divergence(self, outputs: Tensor, dense: Tensor) -> Tensor:
        return (outputs - dense).square().mean(1)

    def drawn_loss(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(outputs.shape, generator=generator)
        return (noise * outputs).sum() * (2 / outputs.shape[1]) ** 0.5


def test_a_task_of_ones_own(tmp_path: Path) -> None:
    net = mlp()
    found = search(net, thirds(ROWS), tmp_path / "r", Mine(), budget="size=70%")
    assert found.summary.test_dense.quality == 1 and 0.5 < found.summary.test.quality <= 1
    assert found.summary.test.metric.name == "same signs"
    with pytest.raises(RunError, match="its task given as a Python object"):
        autocomp.resume(tmp_path / "r", model=net, data=thirds(ROWS))
    page = autocomp.report(tmp_path / "r", model=net, data=thirds(ROWS), task=Mine())
    assert "est same signs" in page.read_text(encoding="utf-8")
    again = autocomp.resume(tmp_path / "r", model=net, data=thirds(ROWS), task=Mine())
    assert again.best == found.best


class Texts(Dataset[Any]):
    """Items as `transformers` collates them: a mapping with its labels inside."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "input_ids": TOKENS[index], "attention_mask": MASK[index].numpy(),
            "labels": int(TOKENS[index, 0]) % 2,
        }  # fmt: skip


class Judge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = Encoder(), nn.Linear(16, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        hidden = self.body(input_ids, attention_mask).last_hidden_state
        return {"logits": self.head(hidden[:, 0])}


def test_mappings_with_labels_from_a_loader(tmp_path: Path) -> None:
    loaders = [DataLoader(Texts(), batch_size=32) for _ in range(3)]
    found = search(made(Judge), loaders, tmp_path / "r", "classification")
    assert found.summary.test.n == N and found.best.metric.name == "accuracy"
    with torch.inference_mode():
        outputs = found.model(TOKENS[:2], attention_mask=MASK[:2])
    assert outputs["logits"].shape == (2, 2)


@pytest.mark.parametrize(
    ("task", "data", "message"),
    [
        ("classification", thirds(ROWS, ROWS[:, 0]), "integers.*name the task"),
        ("regression", thirds(ROWS, ROWS), r"targets of shape \(\d+, 10\).*\(\d+, 4\)"),
        ("regression", thirds(ROWS), "needs labels, but there are none"),
        ("segmentation", thirds(ROWS, ROWS[:, 0].long().abs()), "height, width"),
        ("language-model", thirds(ROWS), "must be .n, tokens, vocabulary."),
        ("embedding:pooling=max", thirds(ROWS), "mean, first, none"),
        (7, thirds(ROWS), "A task must be"),
    ],
)
def test_a_task_that_does_not_fit(task: Any, data: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(AutocompError, match=message) as caught:
        search(mlp(), data, tmp_path / "r", task)
    assert "\n" not in str(caught.value) and not (tmp_path / "r").exists()


def test_an_input_that_the_network_does_not_take(tmp_path: Path) -> None:
    data = thirds({"input_ids": TOKENS, "index": MASK})
    with pytest.raises(DataError, match="'index' is not among input_ids; leave it out"):
        search(made(Reader), data, tmp_path / "r", "language-model")


@pytest.mark.parametrize("task", ["embedding", "language-model", "segmentation", "classification"])
def test_exports_of_several_inputs_and_outputs(task: str, tmp_path: Path) -> None:
    net, data, metric = cases()[task]
    search(net, data, tmp_path / "r", task, budget="size=60%")
    done = autocomp.export(tmp_path / "r", data=data, model=net)
    told = f"{metric} to the network's own" if task == "embedding" else metric
    assert done.check.metric.name == told and done.check.n == N - 70
    assert done.check.largest_difference < 1e-3
    assert done.check.quality == pytest.approx(done.check.network_quality, abs=1e-3)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tmp_path / "r" / "model.onnx"))
    names = [given.name for given in session.get_inputs()]
    wanted = {
        "embedding": ["input_ids", "attention_mask"], "language-model": ["input_ids"],
        "segmentation": ["input"], "classification": ["input_0", "input_1"],
    }  # fmt: skip
    assert names == wanted[task]


def test_a_latency_budget_of_several_inputs(tmp_path: Path) -> None:
    net, data, _ = cases()["classification"]
    found = search(net, data, tmp_path / "r", "classification", budget="latency=100%")
    assert found.summary.measured["latency"].dense > 0


def test_evaluating_a_file(tmp_path: Path) -> None:
    net, data, _ = cases()["embedding"]
    found = search(net, data, tmp_path / "r", "embedding")
    score = autocomp.evaluate(found.file, data, model=net, task="embedding", dense=net)
    assert score.quality == pytest.approx(found.summary.test.quality)
    with pytest.raises(AutocompError, match="`dense` is missing"):
        autocomp.evaluate(found.file, data, model=net, task="embedding")
