"""The one export: what it makes of a network, and that nobody hears it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.core.structured import Structured
from autocomp.errors import ModelError
from autocomp.runtime import bare, is_available, open_session, run, serialized, trace

if not is_available():
    pytest.skip("needs onnxruntime", allow_module_level=True)


def runs(network: nn.Module, example: Tensor, images: Tensor, **options: Any) -> Tensor:
    return run(open_session(serialized(trace(network, example, **options))), images)


def test_a_graph_takes_any_number_of_images() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2))
    example = torch.rand(1, 3)
    for n in (1, 2, 7):
        images = torch.rand(n, 3)
        with torch.no_grad():
            expected = model.eval()(images)
        torch.testing.assert_close(runs(model.train(), example, images), expected)
    assert model.training and model[2].training


def test_arguments_of_every_form() -> None:
    class Loose(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(3, 2)

        def forward(self, *inputs: Tensor) -> Tensor:
            return self.last(inputs[0])

    class Mapped(Loose):
        def forward(self, batch: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
            return self.last(batch["a"] - 2 * batch["b"])

    a, b = torch.rand(5, 3), torch.rand(5, 3)
    loose, mapped = Loose().eval(), Mapped().eval()
    with torch.no_grad():
        torch.testing.assert_close(runs(loose, a[:1], a), loose(a))
        example = Structured(a=a[:1], b=b[:1])
        found = run(open_session(serialized(trace(mapped, example))), Structured(a=a, b=b))
        torch.testing.assert_close(found, mapped({"a": a, "b": b}))


def test_tokens_and_several_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(5, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y: Tensor = self.embedding(x)
            return y, y.sum(1)

    model, tokens = Two(), torch.tensor([[0, 4], [1, 2], [3, 3]])
    expected = model.embedding.weight.detach()[tokens]
    torch.testing.assert_close(runs(model, tokens[:1], tokens), expected)


def test_quantizers_of_the_networks_own_do_not_count() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    coarse = model[0].register_forward_pre_hook(ActivationQuantizer(2, 10.0, -1))
    kept = model[1].register_forward_pre_hook(lambda _, inputs: (inputs[0] + 1,))
    assert [len(m._forward_pre_hooks) for m in bare(model)] == [0, 1]  # type: ignore[arg-type]
    assert [len(m._forward_pre_hooks) for m in model] == [1, 1]
    coarse.remove()
    x = torch.rand(2, 2)
    torch.testing.assert_close(runs(model, x, x), model(x).detach())
    kept.remove()


def test_hooks_become_part_of_the_graph() -> None:
    model, x = nn.Sequential(nn.Linear(2, 2), nn.Identity()), torch.rand(2, 2)
    found = runs(model, x, x, hooks={"0": lambda module, inputs: (10 * inputs[0],)})
    torch.testing.assert_close(found, model(10 * x).detach())
    assert not model[0]._forward_pre_hooks


def test_weights_can_stay_inputs_of_the_graph() -> None:
    graph = trace(nn.Linear(2, 3), torch.rand(1, 2), weights=["weight", "none"]).graph
    assert [x.name for x in graph.input] == ["input", "weight"]
    assert "weight" not in {x.name for x in graph.initializer}


def test_fused_attention_is_written_out_and_on_again() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x, fused = torch.rand(2, 3, 8), torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        torch.testing.assert_close(runs(layer, x, x), layer(x), rtol=1e-4, atol=1e-4)
    assert torch.backends.mha.get_fastpath_enabled() == fused


class Branches(nn.Module):
    """Depends on its values, which no export can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


class OneByOne(nn.Module):
    """Depends on the number of images."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([row * 2 for row in x])


@pytest.mark.parametrize("model", [Branches(), OneByOne()])
def test_what_cannot_be_traced_is_said_in_a_line(
    model: nn.Module, capfd: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogger("torch.onnx").level
    with pytest.raises(ModelError, match="torch.export can trace for any number.*raised") as caught:
        trace(model, torch.rand(1, 2))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("torch.onnx").level == before


def test_the_exporter_is_not_heard(capfd: pytest.CaptureFixture[str]) -> None:
    trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), torch.rand(1, 1, 4, 4))
    assert capfd.readouterr() == ("", "")
