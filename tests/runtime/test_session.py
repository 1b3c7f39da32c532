"""Sessions: what onnxruntime is told, and what is said of models that it cannot run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from autocomp.errors import ArtifactError, ModelError
from autocomp.runtime import Runner, is_available, library, open_session, probe_model, run
from autocomp.runtime import sums_overflow as probed
from autocomp.runtime.model_proto import serialized

if not is_available():
    pytest.skip("needs onnxruntime", allow_module_level=True)


def doubled(operator: str = "Mul") -> bytes:
    """A model that multiplies its two inputs by 2 and 3."""
    from onnx import helper, numpy_helper

    factors = numpy_helper.from_array(np.array([[2, 3]], np.float32), "factors")
    return probe_model([helper.make_node(operator, ["input", "factors"], ["logits"])], [factors])


def test_a_model_gives_its_numbers(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(doubled())
    for model in (doubled(), tmp_path / "m.onnx"):
        assert run(open_session(model), torch.tensor([[5.0, 7.0]])).tolist() == [[10, 21]]
        runner = Runner(model, 1, np.array([[5, 7]], np.float32))
        assert runner.outputs()[0].tolist() == [[10, 21]]


def test_doubles_are_given_in_single_precision() -> None:
    assert run(open_session(doubled()), torch.tensor([[5.0, 7.0]]).double()).dtype == torch.float32


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(doubled()[:-30])
    with pytest.raises(ArtifactError, match=r"must be readable, but '.*m' is not"):
        open_session(tmp_path / "m")
    with pytest.raises(ArtifactError, match="must be readable, but '.*none' is not"):
        open_session(tmp_path / "none")
    with pytest.raises(ArtifactError, match="must be readable, but it is not"):
        Runner(b"no model", 1, np.zeros((1, 2), np.float32))


def test_what_cannot_run_is_said_in_a_line(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "m").write_bytes(doubled("Nonsense"))
    for model, shown in ((doubled("Nonsense"), "it"), (tmp_path / "m", "'.*m'")):
        with pytest.raises(ModelError, match=rf"onnxruntime \S+ must run the network, but {shown}"):
            open_session(model)
    wide = np.zeros((1, 3), np.float32)
    with pytest.raises(ModelError, match=r"input of shape \(1, 3\), but raised") as bound:
        Runner(doubled(), 1, wide)
    with pytest.raises(ModelError, match=r"inputs of shape \(1, 3\), but raised") as given:
        run(open_session(doubled()), torch.tensor(wide))
    assert "\n" not in f"{bound.value}{given.value}"
    assert capfd.readouterr() == ("", "")


def test_threads_and_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="`threads` must be at least 1, but got 0"):
        open_session(doubled(), 0)
    data = doubled()
    for name in ("onnxruntime", "onnx"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
        with pytest.raises(ModelError, match=rf"^{name} is needed.*autocomp\[onnx\]"):
            open_session(data)


def test_the_optimised_graph_is_written(tmp_path: Path) -> None:
    open_session(doubled(), save=tmp_path / "optimised.onnx")
    graph = library("onnx").load(str(tmp_path / "optimised.onnx")).graph
    assert [node.op_type for node in graph.node] == ["Mul"]


def test_weights_beside_the_file_are_found(tmp_path: Path) -> None:
    onnx = library("onnx")
    model = onnx.load_model_from_string(doubled())
    onnx.save_model(
        model, str(tmp_path / "m.onnx"), save_as_external_data=True, location="weights",
        size_threshold=0,
    )  # fmt: skip
    assert (tmp_path / "weights").exists()
    assert run(open_session(tmp_path / "m.onnx"), torch.ones(1, 2)).tolist() == [[2, 3]]


def test_the_probe_of_sums_is_run_once() -> None:
    assert probed() in (True, False) and probed() == probed()


def test_models_that_no_file_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Large:
        def __init__(self, error: Exception | None = None) -> None:
            self._error = error

        def SerializeToString(self) -> bytes:
            if self._error is not None:
                raise self._error
            return bytes(1235)

    assert serialized(Large()) == bytes(1235)
    monkeypatch.setattr("autocomp.runtime.model_proto.LONGEST", 1234)
    with pytest.raises(ModelError, match=r"shorter than 2 GiB, but this one has 1,235 bytes"):
        serialized(Large())
    with pytest.raises(
        ModelError, match="2 GiB, but writing this one raised ValueError: too large"
    ):
        serialized(Large(ValueError("too large")))
