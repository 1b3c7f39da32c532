"""Tables on disk: what comes back is what was kept, and damage is as good as absence."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.compressed_layer import CompressedLayer
from autocomp.compression.store import CompressionStore
from autocomp.compression.tables import TableFolder
from autocomp.compression.weights import GPTQQuantizer, Pipeline
from autocomp.compression.weights.base import Compressor
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.quantized import Quantized
from autocomp.data import DataSplits
from autocomp.network.analysis import analyse
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.storage.cache import default_root

MENU = [
    Choice.of(sparsity=0.5, weight_bits=2),
    Choice.of(sparsity=0.5, weight_bits=3),
    Choice.of(sparsity=0.5),
    NEUTRAL,
]


def problem(model: nn.Module, data: DataSplits, cache: Path | None) -> CompressionProblem:
    return CompressionProblem(model, data, "size=60%", ProblemSettings(cache=cache))


def same(a: Quantized | torch.Tensor, b: Quantized | torch.Tensor) -> bool:
    if isinstance(a, Quantized) and isinstance(b, Quantized):
        return torch.equal(a.codes, b.codes) and torch.equal(a.scale, b.scale)
    return isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and torch.equal(a, b)


def test_a_second_search_computes_nothing(
    tiny_net: nn.Module, tiny_data: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = problem(tiny_net, tiny_data, tmp_path)
    menus = [MENU for _ in first.network.layers]
    losses = first.losses(menus)
    assert list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob(".*"))

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(CompressionStore, "_make", forbidden)
    monkeypatch.setattr("autocomp.problem.loss_estimates.divergences", forbidden)
    monkeypatch.setattr("autocomp.problem.problem.input_moments", forbidden)
    second = problem(tiny_net, tiny_data, tmp_path)
    for a, b in zip(losses, second.losses(menus), strict=True):
        assert a.tolist() == b.tolist()
    for layer in first.network.layers:
        for choice in MENU:
            assert same(first.store.weight(layer, choice), second.store.weight(layer, choice))
            assert first.store.error(layer, choice) == second.store.error(layer, choice)
            assert torch.equal(first.store.shift(layer, choice), second.store.shift(layer, choice))
    plan = first.network.neutral_plan().replace(first.network.names[0], MENU[0])
    assert first.evaluate(plan).loss == second.evaluate(plan).loss


def test_other_weights_have_other_tables(
    tiny_net: nn.Module, tiny_data: DataSplits, tmp_path: Path
) -> None:
    one = problem(tiny_net, tiny_data, tmp_path)
    one.store.prepare([MENU for _ in one.network.layers])
    kept = set(tmp_path.rglob("*.safetensors"))
    with torch.no_grad():
        tiny_net[0].weight[0, 0, 0, 0] += 1e-3
    other = problem(tiny_net, tiny_data, tmp_path)
    other.store.prepare([MENU for _ in other.network.layers])
    assert len(set(tmp_path.rglob("*.safetensors"))) == 2 * len(kept)


HARM: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 2],
    "garbage": lambda data: b"x" * 99,
    "empty": lambda data: b"",
}


def damage_all(cache: Path, harm: Callable[[bytes], bytes]) -> None:
    """Changes every table and every file of numbers in a cache."""
    for file in [*cache.rglob("*.safetensors"), *cache.rglob("*.json")]:
        file.write_bytes(harm(file.read_bytes()))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


@pytest.mark.parametrize("damage", HARM)
def test_damage_is_as_good_as_absence(
    tiny_net: nn.Module, tiny_data: DataSplits, tmp_path: Path, damage: str
) -> None:
    first = problem(tiny_net, tiny_data, tmp_path)
    menus = [MENU for _ in first.network.layers]
    losses = first.losses(menus)
    damage_all(tmp_path, HARM[damage])
    with pytest.warns(RuntimeWarning, match="in the cache is damaged") as told:
        again = problem(tiny_net, tiny_data, tmp_path).losses(menus)
    assert len(told) == 1  # once, for all of them
    for a, b in zip(losses, again, strict=True):
        assert a.tolist() == pytest.approx(b.tolist())
    problem(tiny_net, tiny_data, tmp_path).losses(menus)  # they are whole again


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8, 0.97])
def test_one_bit_is_noticed(
    tiny_net: nn.Module, tiny_data: DataSplits, tmp_path: Path, share: float
) -> None:
    """In a header, among codes, scales, shifts or errors: the numbers are made anew."""
    first = problem(tiny_net, tiny_data, tmp_path)
    menus = [MENU for _ in first.network.layers]
    losses = first.losses(menus)
    layers = first.network.layers
    weights = [first.store.weight(layer, choice) for layer in layers for choice in MENU]
    damage_all(tmp_path, lambda data: flipped(data, int(share * len(data))))
    second = problem(tiny_net, tiny_data, tmp_path)
    with pytest.warns(RuntimeWarning, match="in the cache is damaged"):
        again = second.losses(menus)
    for a, b in zip(losses, again, strict=True):
        assert a.tolist() == b.tolist()
    found = [second.store.weight(layer, choice) for layer in layers for choice in MENU]
    assert all(same(a, b) for a, b in zip(weights, found, strict=True))


def test_numbers_that_are_none_are_not_believed(tmp_path: Path, tiny_net: nn.Module) -> None:
    """Even with a checksum that fits: a NaN, another shape, another type."""
    layer = analyse(tiny_net, torch.randn(2, 3, 8, 8)).layers[0]
    folder = TableFolder(tmp_path, "key")
    good = torch.ones(layer.shape)
    for weight, error in ((good, math.nan), (good * math.inf, 0.1), (torch.ones(3), 0.1)):
        folder.save(layer, {NEUTRAL: CompressedLayer(weight, error)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            assert folder.load(layer, [NEUTRAL]) is None
    folder.save(layer, {NEUTRAL: CompressedLayer(good, 0.5)})
    assert folder.load(layer, [NEUTRAL]) is not None


def test_no_folder_keeps_nothing(tiny_problem: CompressionProblem) -> None:
    layer = tiny_problem.network.layers[0]
    folder = TableFolder(None)
    folder.save(layer, {NEUTRAL: CompressedLayer(torch.ones(2), 0.0)})
    folder.save_facts(layer, [NEUTRAL], {"a": 1})
    assert folder.load(layer, [NEUTRAL]) is None and folder.load_facts(layer, [NEUTRAL]) == {}


def test_a_folder_that_cannot_be_written_is_no_error(
    tiny_problem: CompressionProblem, tmp_path: Path
) -> None:
    layer = tiny_problem.network.layers[0]
    (tmp_path / "file").write_text("in the way")
    folder = TableFolder(tmp_path / "file", "key")
    folder.save(layer, {NEUTRAL: CompressedLayer(torch.ones(2), 0.0)})
    assert folder.load(layer, [NEUTRAL]) is None


def test_the_user_s_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "autocomp"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_root() == Path.home() / ".cache" / "autocomp"


def test_the_same_weights_in_another_network_have_other_tables(
    tiny_net: nn.Module, tiny_data: DataSplits, tmp_path: Path
) -> None:
    one = problem(tiny_net, tiny_data, tmp_path)
    menus = [MENU for _ in one.network.layers]
    one.store.prepare(menus)
    kept = len(list(tmp_path.rglob("*.safetensors")))
    tiny_net[2] = nn.Sigmoid()  # the state dict is the same
    problem(tiny_net, tiny_data, tmp_path).store.prepare(menus)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2 * kept


def test_what_has_gone_from_memory_is_read_again(
    tiny_net: nn.Module, tiny_data: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = problem(tiny_net, tiny_data, tmp_path)
    menus = [MENU for _ in one.network.layers]
    one.store.prepare(menus)
    monkeypatch.setattr("autocomp.compression.store.CACHE_BYTES", 3000)
    other = problem(tiny_net, tiny_data, tmp_path)

    def forbidden(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(CompressionStore, "_make", forbidden)
    other.allocation(menus)
    for layer in one.network.layers:
        for choice in MENU:
            assert same(one.store.weight(layer, choice), other.store.weight(layer, choice))


def test_pipelines_with_other_settings_have_other_names() -> None:
    class Pruner(Compressor):
        __slots__ = ("_share",)

        def __init__(self, share: float) -> None:
            self._share = share

        def compress(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Tensor:
            return weight.clone()

    names = {Pipeline(Pruner(s), GPTQQuantizer(k)).name for s in (0.1, 0.9) for k in (0, 1)}  # type: ignore[arg-type]
    assert len(names) == 4
