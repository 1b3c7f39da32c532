"""`measure_network`: numbers by hand, odd networks, and its table."""

from __future__ import annotations

import json
import sys
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save
from torch import nn

from autocomp.costs.latency import LatencyTable
from autocomp.errors import LayerError
from autocomp.inspection.measurement import Measurement, measure_network
from autocomp.reports.terminal.measurement import measurement_notes, measurement_table
from autocomp.runtime import is_available


class Words(nn.Module):
    """Embedding, attention, a layer that is called twice, and one that never is."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.twice = nn.Linear(8, 8)
        self.dead = nn.Linear(2, 5, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embedding(x)
        x = self.attention(x, x, x, need_weights=False)[0]
        out: torch.Tensor = self.twice(self.twice(x))
        return out


def two() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, 4)
    )


def shown(measurement: Measurement) -> str:
    console = Console(file=StringIO(), width=200)
    console.print(measurement_table(measurement))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_by_hand() -> None:
    model = two()
    m = measure_network(model, torch.rand(5, 3, 8, 8), ("4",), latency=False)
    conv, linear = m.layers
    assert (conv.name, conv.kind, conv.frozen, conv.shape) == ("0", "conv", False, (2, 3, 3, 3))
    assert (conv.input_shape, conv.output_shape, conv.calls) == ((3, 8, 8), (2, 6, 6), 1)
    assert (conv.params, conv.bytes, conv.macs) == (54, 216, 36 * 54)
    assert conv.bitops == 1024 * conv.macs and conv.nanoseconds is None
    assert conv.activation_bytes == 4 * (192 + 72)
    assert linear.frozen and linear.macs == 32 and linear.activation_bytes == 4 * 12
    assert m.params == 54 + 2 + 32 + 4 and m.macs == 36 * 54 + 32 and m.bitops == 1024 * m.macs
    assert m.bytes == len(save(dict(model.state_dict())))
    assert m.peak_activation_bytes == 4 * (192 + 72)
    assert m.nanoseconds is None and not m.machine and not m.unmeasured
    assert measurement_notes(m)[1] == "No times: time was not asked for"
    assert json.loads(json.dumps(m.to_json()))["layers"][0]["shape"] == [2, 3, 3, 3]


def test_tokens_attention_and_dead_layers() -> None:
    m = measure_network(Words(), torch.zeros(2, 3, dtype=torch.long), latency=False)
    rows = {row.name: row for row in m.layers}
    assert rows["embedding"].macs == 0
    assert rows["embedding"].activation_bytes == 8 * 3 + 4 * 24
    assert rows["attention.in_proj"].activation_bytes == 4 * 48
    assert rows["attention.out_proj"].activation_bytes == 4 * 48
    assert (rows["twice"].calls, rows["twice"].macs) == (2, 2 * 3 * 64)
    dead = rows["dead"]
    assert (dead.calls, dead.macs, dead.activation_bytes, dead.output_shape) == (0, 0, 0, ())
    assert dead.params == 10 and "never called" in shown(m)
    products = 2 * 3 * 3 * 8  # three tokens by three tokens, over 8 channels, twice
    assert m.macs == sum(row.macs for row in m.layers) + products and m.bitops == 1024 * m.macs
    rest = next(line for line in shown(m).splitlines() if "all else" in line).split()
    assert str(products) in rest and f"{1024 * products:,}" in rest


def test_what_is_not_counted_is_named() -> None:
    class Spectrum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.fft.rfft(x).abs())  # type: ignore[no-any-return]

    m = measure_network(Spectrum(), torch.rand(2, 4), latency=False)
    assert m.uncounted == ("aten._fft_r2c",)
    assert "Not counted as MACs: aten._fft_r2c." in measurement_notes(m)


def test_nothing_is_changed(tiny_net: nn.Module) -> None:
    tiny_net.train()
    before = {k: v.clone() for k, v in tiny_net.state_dict().items()}
    first = measure_network(tiny_net, torch.rand(2, 3, 8, 8), latency=False)
    assert first == measure_network(tiny_net, torch.rand(4, 3, 8, 8), latency=False)
    assert all(module.training for module in tiny_net.modules())
    assert all(torch.equal(v, before[k]) for k, v in tiny_net.state_dict().items())
    assert not any(module._forward_hooks for module in tiny_net.modules())


def test_the_rows_add_up(tiny_net: nn.Module) -> None:
    m = measure_network(tiny_net, torch.rand(2, 3, 8, 8), latency=False)
    lines = [line.split() for line in shown(m).splitlines() if line.strip()]
    rest, network = lines[-2], lines[-1]
    assert rest[:3] == ["all", "else", f"{m.params - sum(x.params for x in m.layers):,}"]
    assert network == [
        "network", f"{m.params:,}", f"{m.bytes:,}", f"{m.macs:,}", f"{m.bitops:,}",
        f"{m.peak_activation_bytes:,}",
    ]  # fmt: skip


def test_a_missing_library_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    m = measure_network(two(), torch.rand(1, 3, 8, 8))
    assert m.nanoseconds is None and all(row.nanoseconds is None for row in m.layers)
    assert "pip install 'autocomp[onnx]'" in measurement_notes(m)[1]


def test_errors() -> None:
    with pytest.raises(LayerError, match="Did you mean '4'|no layer to keep"):
        measure_network(two(), torch.rand(1, 3, 8, 8), ("44",), latency=False)
    with pytest.raises(LayerError, match=r"a batch of shape \(1, 4, 8, 8\)"):
        measure_network(two(), torch.rand(1, 4, 8, 8), latency=False)


@pytest.mark.skipif(not is_available(), reason="needs onnxruntime")
def test_with_times(tmp_path: Path) -> None:
    tokens = torch.zeros(2, 3, dtype=torch.long)
    m = measure_network(Words(), tokens, ("twice",), table=LatencyTable(tmp_path, repeats=3))
    assert set(m.unmeasured) == {"embedding", "dead"}
    assert m.nanoseconds is not None and m.nanoseconds > 0
    times = [row.nanoseconds for row in m.layers if row.name not in m.unmeasured]
    assert sum(t for t in times if t is not None) <= m.nanoseconds and None not in times
    assert m.machine.endswith("1 thread") and f"{m.nanoseconds / 1000:,.1f}" in shown(m)
    assert "Timed with all else: embedding, dead." in measurement_notes(m)
