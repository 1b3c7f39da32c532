"""A refusal names the reason that is the case, and the remedy that helps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import autocomp
from autocomp.core.budget import Budget
from autocomp.costs.latency.cost import Latency
from autocomp.data.splits import DataSplits
from autocomp.errors import AutocompError, BudgetError, DataError, LayerError, ModelError, RunError
from autocomp.problem.limits import check_noise
from autocomp.reports.terminal.tables import notes
from autocomp.runs.closing import miss_sentences
from autocomp.runs.summary import Measured
from autocomp.runtime import is_available, noise


@dataclass
class Output:
    logits: Tensor


class Net(nn.Module):
    def __init__(self, output: Callable[[Tensor], Any] = lambda y: y) -> None:
        super().__init__()
        self.a, self.f, self.output = nn.Conv2d(3, 10, 3), nn.Linear(10, 4), output

    def forward(self, x: Tensor) -> Any:
        return self.output(self.f(torch.relu(self.a(x)).mean((2, 3))))


def search(model: nn.Module, data: Any, out: Path, **settings: Any) -> autocomp.Result:
    given: dict[str, Any] = {
        "budget": "size=40%", "space": "bits", "agent": "dp", "evaluations": 1, "report": "none",
        **settings,
    }  # fmt: skip
    return autocomp.search(model, data, out=out, **given)


def one_line(error: BaseException) -> None:
    assert "\n" not in str(error) and len(str(error)) <= 1000


@pytest.mark.parametrize(
    "output", [lambda y: (y, y), lambda y: {"logits": y}, Output, lambda y: [y], lambda y: {"z": y}]
)
@pytest.mark.parametrize("settings", [{}, {"space": "structured", "budget": "macs=60%"}])
def test_outputs_of_several_parts(
    output: Any, settings: dict[str, Any], tiny_data: DataSplits, tmp_path: Path
) -> None:
    """They are searched as one tensor would be, and handed back in the network's own form."""
    net, plain = Net(output), Net()
    plain.load_state_dict(net.state_dict())
    found = search(net, tiny_data, tmp_path / "r", **settings)
    same = search(plain, tiny_data, tmp_path / "p", **settings)
    assert found.best.plan == same.best.plan and found.best.quality == same.best.quality
    images = tiny_data.example_inputs(2)
    assert type(found.model(images)) is type(output(torch.ones(1)))


@pytest.mark.parametrize("output", [lambda y: None, lambda y: {"a": y, "b": y}])
def test_outputs_in_which_nothing_counts(
    output: Any, tiny_data: DataSplits, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="must return a tensor, or a structure .*; name") as caught:
        search(Net(output), tiny_data, tmp_path / "r")
    one_line(caught.value)


def replaced(net: Net, name: str, tensor: Tensor) -> None:
    net.register_buffer("odd", tensor) if not name else setattr(
        net.f, name, nn.Parameter(tensor, requires_grad=False)
    )


def made_in_inference() -> Tensor:
    with torch.inference_mode():
        return torch.zeros(3)


ODD: dict[str, Callable[[Net], Any]] = {
    "float8": lambda n: replaced(n, "weight", n.f.weight.data.to(torch.float8_e4m3fn)),
    "float8 buffer": lambda n: replaced(n, "", torch.zeros(3).to(torch.float8_e5m2)),
    "sparse": lambda n: replaced(n, "weight", n.f.weight.data.to_sparse()),
    "csr buffer": lambda n: replaced(n, "", torch.eye(3).to_sparse_coo()),
    "meta": lambda n: n.to("meta"),
    "nested": lambda n: replaced(
        n, "", torch.nested.as_nested_tensor([torch.ones(2), torch.ones(3)])
    ),
    "quantized": lambda n: replaced(
        n, "", torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    ),
    "complex128": lambda n: replaced(n, "", torch.zeros(3, dtype=torch.complex128)),
    "inference": lambda n: replaced(n, "", made_in_inference()),
    "uint16": lambda n: replaced(n, "", torch.zeros(3, dtype=torch.uint16)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ODD)
def test_odd_tensors_are_named(name: str, tiny_data: DataSplits, tmp_path: Path) -> None:
    net = Net()
    ODD[name](net)
    with pytest.raises(ModelError, match=r"must hold plain tensors, but '\S+' is") as caught:
        search(net, tiny_data, tmp_path / "r")
    one_line(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_networks_that_cannot_be_written_to(tiny_data: DataSplits, tmp_path: Path) -> None:
    scripted, tied, named = Net(), nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), Net()
    scripted.f = torch.jit.script(nn.Linear(10, 4))  # type: ignore[no-untyped-call]
    tied.append(nn.Linear(4, 4))
    tied.append(nn.Linear(4, 4))
    tied[3].weight.data = tied[2].weight.data
    named.state_dict = lambda *a, **k: {}  # type: ignore[method-assign]
    for net, told in ((scripted, "scripted"), (tied, "share memory only"), (named, "misses")):
        with pytest.raises(ModelError, match=told) as caught:
            search(net, tiny_data, tmp_path / "r")
        one_line(caught.value)


@pytest.mark.parametrize("device", ["meta", "hpu", "nosuch", "cuda:99"])
def test_devices_that_there_are_not(device: str, tiny_data: DataSplits, tmp_path: Path) -> None:
    with pytest.raises(AutocompError, match="`device` must be one that torch can use"):
        search(Net(), tiny_data, tmp_path / "r", device=device)


def test_what_is_no_path_or_limit(tiny_data: DataSplits, tmp_path: Path) -> None:
    with pytest.raises(AutocompError, match="`out` must name a path"):
        autocomp.search(Net(), tiny_data, out=123)  # type: ignore[arg-type]
    with pytest.raises(BudgetError, match="above 0 and finite"):
        search(Net(), tiny_data, tmp_path / "r", budget={"size": 10**400})


def test_arrays_of_another_byte_order(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(40, 3, 8, 8)).astype(">f4")
    pair = images, (np.arange(40) % 4).astype(">i8")
    assert search(Net(), (pair, pair, pair), tmp_path / "r").best.n == 40


@pytest.mark.parametrize(
    "array",
    [np.array([object()] * 9), np.array(["2020-01-01"] * 9, "datetime64[D]"), np.array(["a"] * 9),
     np.zeros(9, [("a", "i4")]), np.zeros(9, np.longdouble)],
    ids=lambda a: str(a.dtype),
)  # fmt: skip
def test_arrays_that_torch_does_not_have(array: Any, tmp_path: Path) -> None:
    pair = torch.randn(9, 3, 8, 8), torch.arange(9) % 4
    for odd in ((array, pair[1]), (pair[0], array)):
        with pytest.raises(DataError, match="must hold numbers that torch has") as caught:
            search(Net(), (odd, pair, pair), tmp_path / "r")
        one_line(caught.value)


def test_a_network_whose_module_is_gone(tiny_data: DataSplits, tmp_path: Path) -> None:
    """The object is there: nothing has to import it."""
    module = ModuleType("gone")
    exec(
        "from torch import nn\nclass Gone(nn.Sequential):\n    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(192, 4))\n",
        module.__dict__,
    )
    kind = module.__dict__["Gone"]
    kind.__module__ = "gone"
    assert "gone" not in sys.modules
    found = search(kind(), tiny_data, tmp_path / "r")
    assert autocomp.load(found.run.path, model=kind()) is not None


def test_what_stays_dense_is_named(tiny_data: DataSplits, tmp_path: Path) -> None:
    net = Net()
    net.table = nn.Parameter(torch.randn(100, 50))
    net.output = lambda y: y + net.table.sum()
    with pytest.raises(BudgetError, match=r"stay dense.*'table' with 5,000 is the largest"):
        search(net, tiny_data, tmp_path / "r", budget="size=5%")


@pytest.mark.skipif(not is_available(), reason="needs onnxruntime")
def test_a_space_that_changes_no_time(tiny_data: DataSplits, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="change no time; `structured`, `full` and `rank` do"):
        search(Net(), tiny_data, tmp_path / "r", budget="latency=50%")


@pytest.mark.parametrize(
    "text", ["size=1e3000000", "size=1e-3000000", "size=" + "9" * 5000, "size=1e400%", "macs=inf"]
)
def test_limits_beyond_numbers(text: str) -> None:
    with pytest.raises(BudgetError) as caught:
        Budget.parse(text)
    one_line(caught.value)


def test_runs_that_do_not_compare_say_what_differs(tiny_data: DataSplits, tmp_path: Path) -> None:
    for name in ("1", "2"):
        search(Net(), tiny_data, tmp_path / name)
    with pytest.raises(RunError, match="'<object>' and '1' of '<object>', with other weights"):
        autocomp.compare([tmp_path / "1", tmp_path / "2"])


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e, self.f = nn.Embedding(50, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.f(self.e(x).mean(1))  # type: ignore[no-any-return]


def test_measuring_a_network_of_tokens_takes_indices() -> None:
    assert autocomp.measure(Tokens(), input="12", latency=False).macs == 32
    assert autocomp.measure(Tokens(), latency=False).macs == 32


def test_memory_that_there_is_not() -> None:
    with pytest.raises(AutocompError, match="must fit into memory") as caught:
        autocomp.measure(Net(), input="3x9000000x9000000", latency=False)
    one_line(caught.value)
    with pytest.raises(LayerError, match="must run on its example inputs"):
        autocomp.measure(Net(), input="4x8x8", latency=False)


class Timed(Latency):
    """A network of 1,000 ns on a machine whose measurements differ by 200."""

    reference = 1000

    def __init__(self) -> None:
        pass

    def noise(self) -> int:
        return 200


@pytest.mark.parametrize(("limit", "refused"), [(801, True), (999, True), (800, False),
                                                (500, False), (1000, False)])  # fmt: skip
def test_a_budget_within_the_noise_is_refused(limit: int, refused: bool) -> None:
    problem: Any = SimpleNamespace(limits={"latency": limit}, costs={"latency": Timed()})
    if not refused:
        check_noise(problem)
        return
    with pytest.raises(BudgetError, match=r"more than this machine's noise.* by 200 ns") as caught:
        check_noise(problem)
    one_line(caught.value)


def test_a_search_asks_for_the_noise(
    tiny_data: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noisy(problem: Any) -> None:
        assert set(problem.limits) == {"size"}
        raise BudgetError("noise")

    monkeypatch.setattr("autocomp.api.search.check_noise", noisy)
    with pytest.raises(BudgetError, match="^noise$"):
        search(Net(), tiny_data, tmp_path / "r", budget="size=90%")
    assert not (tmp_path / "r").exists()


@pytest.mark.skipif(not is_available(), reason="needs onnxruntime")
def test_noise_is_what_rounds_differ_by() -> None:
    ticks = iter(range(0, 10**9, 7))
    steady = noise(nn.Linear(4, 2), torch.randn(1, 4), clock=lambda: next(ticks))
    assert steady == 0.0
    state = {"now": 0, "calls": 0}

    def slowing() -> int:
        state["calls"] += 1
        state["now"] += 1000 * state["calls"]
        return state["now"]

    assert noise(nn.Linear(4, 2), torch.randn(1, 4), clock=slowing) > 0


def test_the_closing_notes_say_by_how_much_time_misses(
    tiny_data: DataSplits, tmp_path: Path
) -> None:
    summary = search(Net(), tiny_data, tmp_path / "r").summary
    timed = replace(
        summary, dense={**summary.dense, "latency": 1000}, limits={"latency": 700},
        measured={"latency": Measured(2000, 1540)}, units={**summary.units, "latency": "ns"},
    )  # fmt: skip
    assert miss_sentences(summary) == []
    assert miss_sentences(timed) == [
        "Latency: measured, the network takes 77.0% of the dense one's, 10.0% above the budget of "
        "70.0%."
    ]
    assert miss_sentences(timed)[0] in notes(timed)
