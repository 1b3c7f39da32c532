"""Recurrent layers and matrix products in disguise: found, counted, observed and compressed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import autocomp
from autocomp.compression.calibration.moments import input_moments
from autocomp.compression.recovery.layout import Layout
from autocomp.compression.recovery.recurrent import recurrent_inputs
from autocomp.errors import BudgetError, LayerError
from autocomp.network import layers
from autocomp.network.analysis import analyse
from autocomp.network.layers import MatrixUse
from autocomp.testing import LayerContract

STEPS, BATCH, WIDTH, HIDDEN = 5, 4, 6, 3
KINDS: dict[str, type[nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
X = torch.randn((STEPS, BATCH, WIDTH), generator=torch.Generator().manual_seed(0))


def seen(module: nn.Module, part: str, *inputs: Any) -> Tensor:
    with torch.no_grad():
        return torch.cat(list(recurrent_inputs(part, module, inputs, {})), 1)[0]


def stepwise(module: nn.RNNBase, x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the states before each step of a plain layer, by its cell, and the outputs."""
    cell_of = {nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell, nn.RNN: nn.RNNCell}[type(module)]
    cell = cell_of(WIDTH, HIDDEN)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(cell, name, getattr(module, f"{name}_l0"))
    state: Any = torch.zeros(BATCH, HIDDEN)
    state = (state, state) if isinstance(module, nn.LSTM) else state
    before, after = [], []
    for step in x:
        before.append(state[0] if isinstance(state, tuple) else state)
        state = cell(step, state)
        after.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(before), torch.stack(after)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("batch_first", [False, True])
def test_states_are_those_of_the_cell(kind: str, batch_first: bool) -> None:
    torch.manual_seed(0)
    module = KINDS[kind](WIDTH, HIDDEN, batch_first=batch_first)
    given = X.transpose(0, 1) if batch_first else X
    before, after = stepwise(module, X)
    assert torch.allclose(module(given)[0].transpose(0, 1) if batch_first else module(X)[0], after)
    assert torch.equal(seen(module, "weight_ih_l0", given), X.reshape(-1, WIDTH))
    found = seen(module, "weight_hh_l0", given)
    assert torch.allclose(found, before.reshape(-1, HIDDEN), atol=1e-6)


def test_stacks_both_ways_with_states_given() -> None:
    torch.manual_seed(0)
    module = nn.LSTM(WIDTH, HIDDEN, 2, bidirectional=True)
    start = tuple(torch.randn(4, BATCH, HIDDEN) for _ in range(2))
    lower = nn.LSTM(WIDTH, HIDDEN, 1, bidirectional=True)
    lower.load_state_dict({k: v for k, v in module.state_dict().items() if "_l0" in k})
    with torch.no_grad():
        middle = lower(X, tuple(s[:2].contiguous() for s in start))[0]
        out = module(X, start)[0]
    assert torch.allclose(seen(module, "weight_ih_l1", X, start), middle.reshape(-1, 2 * HIDDEN))
    back = torch.cat([out[1:, :, HIDDEN:], start[0][3][None]]).reshape(-1, HIDDEN)
    assert torch.allclose(seen(module, "weight_hh_l1_reverse", X, start), back, atol=1e-6)
    forth = torch.cat([start[0][2][None], out[:-1, :, :HIDDEN]]).reshape(-1, HIDDEN)
    assert torch.allclose(seen(module, "weight_hh_l1", X, start), forth, atol=1e-6)


def test_packed_sequences_count_the_steps_that_there_are() -> None:
    torch.manual_seed(0)
    module = nn.GRU(WIDTH, HIDDEN)
    packed = pack_padded_sequence(X, [5, 4, 2, 1])
    assert seen(module, "weight_ih_l0", packed).shape == (12, WIDTH)
    first = seen(module, "weight_hh_l0", packed)
    whole, _ = stepwise(module, X)
    there = torch.arange(STEPS)[:, None] < torch.tensor([5, 4, 2, 1])[None]
    assert torch.allclose(first, whole[there], atol=1e-6)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_cells_and_projections() -> None:
    cell, h = nn.LSTMCell(WIDTH, HIDDEN), torch.randn(BATCH, HIDDEN)
    assert torch.equal(seen(cell, "weight_hh", X[0], (h, h)), h)
    assert torch.equal(seen(cell, "weight_ih", X[0]), X[0])
    projected = nn.LSTM(WIDTH, HIDDEN, proj_size=2)
    assert not list(recurrent_inputs("weight_hr_l0", projected, (X,), {}))
    assert seen(projected, "weight_hh_l0", X).shape == (STEPS * BATCH, 2)


class Tagger(nn.Module):
    """A classifier over a sequence."""

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(20, 12), nn.Linear(32, 4)
        self.body = kind(12, 16, 2, batch_first=True, bidirectional=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.body(self.table(tokens))[0].mean(1))


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_recurrent_network_is_compressible_and_counted(kind: str) -> None:
    torch.manual_seed(0)
    model = Tagger(KINDS[kind]).eval()
    tokens = torch.randint(20, (6, 7))
    network = analyse(model, tokens)
    recurrent = [x for x in network.layers if x.kind == "recurrent"]
    assert len(recurrent) == 8 and network.other_macs == 0 and not network.unsupported
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[kind]
    by_name = {x.name: x for x in network.layers}
    assert by_name["body.weight_ih_l0"].shape == (16 * gates, 12)
    assert by_name["body.weight_hh_l1_reverse"].macs == 7 * 16 * gates * 16
    assert by_name["body.weight_ih_l1"].bias_name == "body.bias_ih_l1"
    moments = input_moments(model, network, [tokens])
    assert moments.keys() == {x.name for x in network.layers if x.kind != "embedding"}
    layer = by_name["body.weight_ih_l0"]
    with torch.no_grad():
        given = model.table(tokens).reshape(-1, 12).double()
    expected = given.T @ given / len(given)
    assert torch.allclose(moments[layer.name].second[0], expected, atol=1e-6)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_recurrent_network_is_searched(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Tagger(KINDS[kind]).eval()
    tokens = torch.randint(20, (120, 7), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        labels = model(tokens).argmax(1)
    data = [(tokens[a:b], labels[a:b]) for a, b in ((0, 50), (50, 90), (90, 120))]
    found = autocomp.search(
        model,
        data,
        "size=16%",
        agent="random",
        evaluations=3,
        out=tmp_path / "r",
        report="none",
        progress=False,
    )
    assert found.file.stat().st_size <= 0.16 * found.summary.dense["size"]
    assert found.summary.test.quality > 0.7
    again = autocomp.load(found.file, model=model)
    with torch.no_grad():
        assert torch.allclose(again(tokens), found.model(tokens), atol=1e-5)


def test_a_budget_that_needs_hidden_units_says_why(tmp_path: Path) -> None:
    tokens, labels = torch.randint(20, (30, 7)), torch.zeros(30).long()
    data = [(tokens[a:b], labels[a:b]) for a, b in ((0, 10), (10, 20), (20, 30))]
    with pytest.raises(BudgetError, match="'body.weight_ih_l0' .recurrent layers lose no hidden"):
        autocomp.search(
            Tagger().eval(), data, "macs=60%", space="structured", agent="dp", evaluations=1,
            out=tmp_path / "r", progress=False,
        )  # fmt: skip


class Conv1D(nn.Module):
    """As transformers writes it."""

    __module__ = "transformers.pytorch_utils"

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x: Tensor) -> Tensor:
        size = (*x.size()[:-1], self.nf)
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(size)


class Mine(nn.Module):
    """A user's own linear layer: no bias, outputs first, another name."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(5, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.kernel.T


def test_matrix_products_in_disguise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def mine(module: nn.Module) -> MatrixUse | None:
        return MatrixUse("kernel", bias="") if isinstance(module, Mine) else None

    monkeypatch.setitem(layers.LAYERS, "mine", mine)
    torch.manual_seed(0)
    model = nn.Sequential(Conv1D(8, 6), nn.ReLU(), Mine())
    x = torch.randn(90, 6)
    network = analyse(model, x[:4])
    conv, own = network.layers
    assert (conv.kind, conv.out_axis, conv.in_axis, conv.outputs, conv.inputs) == (
        "matrix", 1, 0, 8, 6,
    )  # fmt: skip
    assert (own.parameter, own.outputs, own.bias_name) == ("2.kernel", 5, None)
    assert (conv.macs, own.macs, network.other_macs) == (48, 40, 0)
    assert conv.bias_name == "0.bias" and not network.unsupported
    rows = Layout.of(conv).split(model[0].weight.detach())
    assert torch.equal(rows[0].float(), model[0].weight.detach().T)
    assert torch.equal(Layout.of(conv).join(rows).float(), model[0].weight.detach())
    with torch.no_grad():
        labels = model(x).argmax(1)
    data = [(x[a:b], labels[a:b]) for a, b in ((0, 40), (40, 60), (60, 90))]
    found = autocomp.search(
        model,
        data,
        "size=60%",
        agent="random",
        evaluations=3,
        out=tmp_path / "r",
        report="none",
        progress=False,
    )
    bits = {name: choice.weights.bits for name, choice in found.plan.items()}
    assert set(bits) == {"0", "2"} and max(bits.values()) < 32
    assert found.summary.test.quality > 0.5


class TestTransformersConv1D(LayerContract):
    def make(self) -> layers.LayerFinder:
        return layers.LAYERS["transformers-conv1d"]

    def module(self) -> nn.Module:
        return Conv1D(5, 8)

    def inputs(self, n: int) -> Tensor:
        return torch.randn(n, 3, 8)


def test_a_layer_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(layers.LAYERS, "odd", lambda module: "weight")
    with pytest.raises(LayerError, match="'odd' returned 'weight'; return one of these"):
        analyse(nn.Sequential(nn.ReLU(), nn.Linear(3, 2)), torch.zeros(2, 3))
