"""Running exported files: checks, probes, and the whole way from a run's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.data.splits import DataSplits
from autocomp.errors import ArtifactError, DataError
from autocomp.exporters.onnx_file import export_float, export_onnx
from autocomp.exporters.onnx_run import export_run
from autocomp.exporters.probes import multiplies_bits, runs_integers
from autocomp.exporters.verify import verify
from autocomp.problem.problem import CompressionProblem
from autocomp.runtime import open_session, run
from autocomp.tasks import Classification


@pytest.fixture(scope="module")
def plain(small_net: nn.Module, images: Tensor) -> bytes:
    return export_float(small_net, images[:2])


def test_a_float_file_gives_the_networks_logits(
    plain: bytes, small_net: nn.Module, images: Tensor
) -> None:
    with torch.inference_mode():
        expected = small_net(images)
    assert torch.allclose(run(open_session(plain), images), expected, atol=1e-5)


def test_a_check_counts(plain: bytes, small_net: nn.Module, images: Tensor, tmp_path: Path) -> None:
    """Against another network, on labels that the file gets right by construction."""
    (tmp_path / "m").write_bytes(plain)
    with torch.inference_mode():
        logits = small_net(images)

    class Opposite(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = small_net(x)
            return torch.cat([-y[:4], y[4:]])

    labels = logits.argmax(1)
    check = verify(tmp_path / "m", Opposite(), [(images, labels)], Classification())
    assert (check.n, check.accuracy, check.bytes) == (16, 1.0, len(plain))
    assert check.network_accuracy == check.agreement == 12 / 16
    assert check.largest_difference == pytest.approx(2 * float(logits[:4].abs().max()), rel=1e-4)


def test_a_check_needs_labels_that_fit(
    plain: bytes, small_net: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    (tmp_path / "m").write_bytes(plain)
    with pytest.raises(ArtifactError, match="at least one labelled image"):
        verify(tmp_path / "m", small_net, [], Classification())
    with pytest.raises(DataError, match="below the network's 5 outputs, but got 7"):
        verify(tmp_path / "m", small_net, [(images, torch.full((16,), 7))], Classification())


def test_probes_find_out() -> None:
    assert runs_integers(4, 21) and runs_integers(8, 21)
    assert not runs_integers(4, 19) and not runs_integers(2, 21)  # those opsets lack the type
    assert multiplies_bits(4, 21)


def test_from_a_runs_file(
    tiny_problem: CompressionProblem, tiny_net: nn.Module, tiny_data: DataSplits, tmp_path: Path
) -> None:
    names = tiny_problem.network.names
    choices = [
        Choice.of(weight_bits=8, activation_bits=8),
        Choice.of(weight_bits=4, activation_bits=8),
        Choice.of(sparsity=0.5, weight_bits=3, activation_bits=8),
        Choice.of(weight_bits=4),
    ]
    file, out = tmp_path / "model.safetensors", tmp_path / "model.onnx"
    network, data = tiny_problem.compressed(Plan(dict(zip(names, choices, strict=True))))
    file.write_bytes(data)
    done = export_run(file, out, tiny_data, tiny_net, repeats=2)
    assert [x.stored for x in done.report.layers] == [
        "int8 QDQ",
        "int4 QDQ",
        "int4",
        "int4",
    ]
    assert set(done.report.size_only) == {names[2], names[3]}
    assert done.check.n == len(tiny_data.test) and done.check.agreement > 0.95
    assert abs(done.check.accuracy - done.check.network_accuracy) <= 0.05
    assert done.check.bytes == out.stat().st_size < done.float_bytes
    assert done.speedup == done.float_seconds / done.seconds > 0
    assert done.threads == 1
    assert export_run(file, out, tiny_data, tiny_net, split="search", repeats=1).check.n == 120


def test_a_runs_file_needs_a_known_split(tiny_data: DataSplits, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="calibration, search or test, but got 'train'"):
        export_run(tmp_path / "f", tmp_path / "m", tiny_data, split="train")
    with pytest.raises(ArtifactError, match="must be readable"):
        export_run(tmp_path / "f", tmp_path / "m", tiny_data)
    assert not list(tmp_path.iterdir())


def test_half_precision_networks_are_exported_in_single(
    quantize: Any, small_net: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    net, packed = quantize(small_net, images, 4)
    export_onnx(net.double(), packed, images[:2], tmp_path / "m")
    check = verify(
        tmp_path / "m", net, [(images, torch.zeros(16, dtype=torch.long))], Classification()
    )
    assert check.largest_difference < 1e-5
