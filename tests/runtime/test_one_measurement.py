"""A latency budget and an exported file are timed alike: same options, same binding, same turns."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from autocomp.artifacts.container import unpack
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.costs.latency import FLOAT32, INT8, Geometry, LatencyTable, Precision
from autocomp.costs.latency import measure as layer_measure
from autocomp.costs.latency.cost import Latency
from autocomp.costs.latency.layer_model import layer_model
from autocomp.costs.latency.precision import INT4_WEIGHTS, INT8_WEIGHTS
from autocomp.data.splits import DataSplits
from autocomp.exporters.kernels import kernels
from autocomp.exporters.onnx_file import export_float, export_onnx
from autocomp.exporters.onnx_run import export_run
from autocomp.exporters.timing import measured_latency
from autocomp.problem.problem import CompressionProblem
from autocomp.runtime import REPEATS, is_available, latencies, overhead
from autocomp.runtime.clock import WARM_UP

if not is_available():
    pytest.skip("needs onnxruntime", allow_module_level=True)

CONV = Geometry("conv", 4, 4, (5, 5), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
ENTRIES = ("session.x64quantprecision", "session.disable_quant_qdq")
Options = dict[str, Any]


def described(options: Any, providers: list[str]) -> Options:
    """Returns everything that this package sets, and what it leaves at its default."""
    found: Options = {"providers": providers}
    for name in (
        "intra_op_num_threads", "inter_op_num_threads", "execution_mode", "log_severity_level",
        "graph_optimization_level", "enable_mem_pattern", "enable_cpu_mem_arena",
    ):  # fmt: skip
        found[name] = getattr(options, name)
    for entry in ENTRIES:
        try:
            found[entry] = options.get_session_config_entry(entry)
        except RuntimeError:  # it is not set
            found[entry] = None
    return found


class Notes:
    """The sessions that were timed, that is, called more than once with a bound input."""

    def __init__(self) -> None:
        self._options: dict[int, Options] = {}
        self._calls: Counter[int] = Counter()
        self._kept: list[Any] = []  # so that no two sessions have one id

    def opened(self, session: Any, options: Options) -> None:
        self._kept.append(session)
        self._options[id(session)] = options

    def called(self, session: Any) -> None:
        self._calls[id(session)] += 1

    def take(self) -> list[tuple[Options, int]]:
        """Returns options and calls of each timed session, and forgets them."""
        found = [(self._options[x], calls) for x, calls in self._calls.items()]
        self.__init__()  # type: ignore[misc]
        return found


@pytest.fixture(params=[False, True])
def overflow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Runs a test as on a processor with VNNI, and as on one without."""
    monkeypatch.setattr("autocomp.runtime.session.sums_overflow", lambda: request.param)
    overhead._measured.cache_clear()
    return bool(request.param)


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    import onnxruntime

    kept = Notes()

    class Noted(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, model: Any, options: Any, providers: list[str]) -> None:
            kept.opened(self, described(options, providers))
            super().__init__(model, options, providers=providers)

        def run_with_iobinding(self, *given: Any) -> None:
            kept.called(self)
            super().run_with_iobinding(*given)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Noted)
    return kept


def expected(overflow: bool, quantizes: bool, threads: int = 1) -> Options:
    import onnxruntime

    default = onnxruntime.SessionOptions()
    return {
        "providers": ["CPUExecutionProvider"],
        "intra_op_num_threads": threads,
        "inter_op_num_threads": 1,
        "execution_mode": onnxruntime.ExecutionMode.ORT_SEQUENTIAL,
        "log_severity_level": 4,
        "graph_optimization_level": default.graph_optimization_level,
        "enable_mem_pattern": default.enable_mem_pattern,
        "enable_cpu_mem_arena": default.enable_cpu_mem_arena,
        "session.x64quantprecision": "1" if overflow else None,
        "session.disable_quant_qdq": None if quantizes else "1",
    }


CALLS = 1 + WARM_UP + REPEATS
"""A first call that lays out the memory, then the clock's."""


@pytest.mark.parametrize("threads", [1, 2])
def test_float_graphs(
    notes: Notes, overflow: bool, threads: int, tiny_net: nn.Module, tiny_data: DataSplits
) -> None:
    example = tiny_data.example_inputs(1)
    one = expected(overflow, quantizes=False, threads=threads), CALLS
    latencies([export_float(tiny_net, example)], example, threads)
    assert notes.take() == [one]
    problem = CompressionProblem(tiny_net, tiny_data, "size=100%")
    store, table = problem.store, LatencyTable(threads=threads)
    notes.take()
    assert Latency(store, example, table).reference > 0
    network, nothing = notes.take()
    assert network == one and nothing[0] == one[0]
    layer_measure.measure_geometry(CONV, FLOAT32, threads)
    assert notes.take() == [one]


@pytest.mark.parametrize(
    ("overflow", "precision", "choice"),
    [
        (False, INT8, Choice.of(weight_bits=8, activation_bits=8)),
        (True, INT8, Choice.of(weight_bits=8, activation_bits=8)),
        (False, INT8_WEIGHTS, Choice.of(weight_bits=8)),
        (True, INT4_WEIGHTS, Choice.of(weight_bits=4)),
    ],
    indirect=["overflow"],
)
def test_quantized_graphs(
    notes: Notes, overflow: bool, precision: Precision, choice: Choice,
    tiny_problem: CompressionProblem, tiny_net: nn.Module, tiny_data: DataSplits, tmp_path: Path,
) -> None:  # fmt: skip
    quantized = expected(overflow, quantizes=precision == INT8), CALLS
    dense = expected(overflow, quantizes=False), CALLS
    layer_measure.measure_geometry(CONV, precision)
    assert notes.take()[0] == quantized
    plan = Plan({name: choice for name in tiny_problem.network.names})
    network, data = tiny_problem.compressed(plan)
    measured_latency(tiny_net, network, data, tiny_data.example_inputs(1))
    assert notes.take() == [dense, quantized]
    file = tmp_path / "model.safetensors"
    file.write_bytes(data)
    export_run(file, tmp_path / "model.onnx", tiny_data, tiny_net)
    assert notes.take() == [dense, quantized]


def test_weights_alone_are_multiplied_out_once(
    tiny_problem: CompressionProblem, tiny_data: DataSplits, tmp_path: Path
) -> None:
    """A layer's codes with floating inputs become what the file's become: float32."""
    choice = Choice.of(weight_bits=8)
    plan = Plan({name: choice for name in tiny_problem.network.names})
    network, data = tiny_problem.compressed(plan)
    path = tmp_path / "m.onnx"
    export_onnx(network, unpack(data), tiny_data.example_inputs(1), path)
    convolution = kernels(path.read_bytes())
    assert "DequantizeLinear" not in " ".join(convolution.values())
    layer = kernels(layer_model(CONV, INT8_WEIGHTS))
    assert layer and "DequantizeLinear" not in " ".join(layer.values())


def test_there_is_one_of_each() -> None:
    """One place makes sessions, one traces networks; nothing else could time in another way."""
    root = Path(__file__).parents[2]
    places: dict[str, set[str]] = {}
    for folder in ("autocomp", "agents", "envs", "search_spaces", "benchmarks"):
        for file in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
                for wanted in ("SessionOptions", "InferenceSession", "io_binding", "onnx.export"):
                    if f".{name}".endswith(f".{wanted}"):
                        places.setdefault(wanted, set()).add(file.relative_to(root).as_posix())
    assert places == {
        "SessionOptions": {"autocomp/runtime/session.py"},
        "InferenceSession": {"autocomp/runtime/session.py"},
        "io_binding": {"autocomp/runtime/runner.py"},
        "onnx.export": {"autocomp/runtime/trace.py"},
    }
