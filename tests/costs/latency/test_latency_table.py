"""The table: interpolation, order, and what it keeps, with made-up measurements."""

from __future__ import annotations

import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocomp.costs.latency import FLOAT32, INT8, Geometry, LatencyTable, Machine, Precision
from autocomp.errors import LayerError
from autocomp.storage.sealed import read_sealed, write_sealed

MACHINE = Machine("made-up", "none 0", 1)
FULL = Geometry("linear", 64, 32, (3,))
CONV = {"spatial": (4, 4), "kernel": (3, 3), "stride": (1, 1), "dilation": (1, 1)}


class Measurer:
    """Answers by a formula, and notes what it was asked."""

    def __init__(self, noise: int = 0, seed: int = 0) -> None:
        self.asked: list[tuple[Geometry, Precision]] = []
        self._noise, self._seed = noise, seed

    def __call__(self, geometry: Geometry, precision: Precision) -> int:
        self.asked.append((geometry, precision))
        rng = random.Random(f"{self._seed} {geometry.key} {precision}")
        noise = rng.randint(0, self._noise)
        return 100 + 3 * geometry.inputs * geometry.outputs * precision.weight_bits // 32 + noise


def table_of(
    measure: Measurer, root: Path | None = None, machine: Machine = MACHINE
) -> LatencyTable:
    return LatencyTable(root, machine=machine, measure=measure)


def test_the_whole_layer_is_its_measurement() -> None:
    measure = Measurer()
    table = table_of(measure)
    assert table.estimate(FULL) == table.measured(FULL) == 100 + 3 * 64 * 32
    assert table.estimate(FULL, INT8, 64, 32) == 100 + 3 * 64 * 32 // 4
    assert measure.asked == [(FULL, FLOAT32), (FULL, INT8)]


@given(st.integers(1, 64), st.integers(1, 32))
def test_bilinear_times_are_met_exactly(inputs: int, outputs: int) -> None:
    """a + b * inputs * outputs is bilinear, so interpolation finds it between the points."""
    table = table_of(Measurer())
    assert table.estimate(FULL, FLOAT32, inputs, outputs) == 100 + 3 * inputs * outputs


def test_between_two_points_by_hand() -> None:
    times = {1: 10, 2: 20, 4: 60, 6: 65, 8: 100, 10: 100, 12: 100, 14: 100, 16: 131}
    table = LatencyTable(machine=MACHINE, measure=lambda g, _: times[g.outputs])
    line = Geometry("linear", 1, 16, (1,))
    found = [table.estimate(line, outputs=n) for n in range(1, 17)]
    assert found == [10, 20, 40, 60, 62, 65, 82, 100, 100, 100, 100, 100, 100, 100, 115, 131]


def test_a_slow_point_counts_as_the_layer_with_zeros_added() -> None:
    times = {1: 50, 2: 900, 3: 70, 4: 80}
    table = LatencyTable(machine=MACHINE, measure=lambda g, _: times[g.inputs])
    layer = Geometry("linear", 4, 1, (1,))
    assert [table.estimate(layer, inputs=n) for n in (1, 2, 3, 4)] == [50, 70, 70, 80]


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_fewer_channels_never_take_longer(seed: int) -> None:
    table = table_of(Measurer(noise=5000, seed=seed))
    layer = Geometry("linear", 11, 19, (1,))
    grid = [[table.estimate(layer, FLOAT32, i, j) for j in range(1, 20)] for i in range(1, 12)]
    for row in grid:
        assert row == sorted(row)
    for column in zip(*grid, strict=True):
        assert list(column) == sorted(column)
    assert grid[-1][-1] == table.measured(layer)


def test_only_what_is_needed_is_measured() -> None:
    measure = Measurer()
    table = table_of(measure)
    table.estimate(FULL, FLOAT32, 64, 20)
    assert [g.outputs for g, _ in measure.asked] == [20, 24, 28, 32]
    table.estimate(FULL, FLOAT32, 64, 22)
    assert len(measure.asked) == 4
    table.estimate(FULL, FLOAT32, 1, 1)
    assert len(measure.asked) == 9 * 9  # eight steps and a single channel, on both axes


def test_depthwise_and_grouped_layers_keep_whole_groups() -> None:
    measure = Measurer()
    table = table_of(measure)
    depthwise = Geometry("conv", 40, 80, padding=(1,) * 4, groups=40, **CONV)  # type: ignore[arg-type]
    assert table.estimate(depthwise, FLOAT32, 40, 80) == 100 + 3 * 40 * 80
    half = table.estimate(depthwise, FLOAT32, 18, 1)
    assert table.measured(depthwise.with_channels(15, 1)) < half
    assert half < table.measured(depthwise.with_channels(20, 1))
    assert {g.inputs for g, _ in measure.asked} == {15, 20, 25, 30, 35, 40}
    assert all(g.groups == g.inputs and g.outputs == 2 * g.inputs for g, _ in measure.asked)
    measure.asked.clear()
    grouped = Geometry("conv", 12, 8, padding=(1,) * 4, groups=4, **CONV)  # type: ignore[arg-type]
    assert table.estimate(grouped, FLOAT32, 1, 1) == 100 + 3 * 4 * 4
    assert {(g.inputs, g.outputs) for g, _ in measure.asked} == {
        (i, o) for i in (4, 8, 12) for o in (4, 8)
    }


def test_more_channels_than_there_are() -> None:
    with pytest.raises(LayerError, match="65 -> 32"):
        table_of(Measurer()).estimate(FULL, inputs=65)


def test_a_second_table_reads_the_first_ones_file(tmp_path: Path) -> None:
    first = table_of(Measurer(), tmp_path)
    found = first.estimate(FULL, FLOAT32, 40, 20)
    assert first.number("network", lambda: 77) == 77
    second = Measurer()
    again = table_of(second, tmp_path)
    assert again.estimate(FULL, FLOAT32, 40, 20) == found and not second.asked
    assert again.number("network", lambda: 78) == 77
    assert first.path == again.path and first.path is not None
    values = read_sealed(first.path)
    assert values["machine"] == {"processor": "made-up", "runtime": "none 0", "threads": 1}


@pytest.mark.parametrize(
    "other",
    [Machine("x", "none 0", 1), Machine("made-up", "1", 1), Machine("made-up", "none 0", 2)],
)
def test_another_machine_has_other_times(tmp_path: Path, other: Machine) -> None:
    table_of(Measurer(), tmp_path).measured(FULL)
    measure = Measurer()
    table_of(measure, tmp_path, other).measured(FULL)
    assert measure.asked


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"nanoseconds": []}', '{"nanoseconds": {"KEY": "9"}}',
             '{"nanoseconds": {"KEY": true}}', '{"nanoseconds": {"KEY": -4}}']
)  # fmt: skip
def test_a_damaged_file_is_measured_again(tmp_path: Path, text: str) -> None:
    table = table_of(Measurer(), tmp_path)
    right = table.measured(FULL)
    assert table.path is not None
    table.path.write_text(text.replace("KEY", "w32a32 " + FULL.key.replace('"', '\\"')))
    measure = Measurer()
    with pytest.warns(RuntimeWarning, match="in the cache is damaged") as told:
        assert table_of(measure, tmp_path).measured(FULL) == right
    assert len(measure.asked) == len(told) == 1
    assert list(read_sealed(table.path)["nanoseconds"].values()) == [right]


@pytest.mark.parametrize("values", [[], {}, {"nanoseconds": 3}, {"nanoseconds": {"KEY": -4}}])
def test_a_whole_file_of_other_values_is_measured_again(tmp_path: Path, values: Any) -> None:
    table = table_of(Measurer(), tmp_path)
    assert table.path is not None
    write_sealed(table.path, values)
    measure = Measurer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        table_of(measure, tmp_path).measured(FULL)
    assert len(measure.asked) == 1


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    table = table_of(Measurer(), tmp_path / "file")  # no folder can stand there
    assert table.measured(FULL) == 100 + 3 * 64 * 32
    assert table_of(Measurer()).path is None


def test_what_was_measured_stays_when_a_measurement_fails(tmp_path: Path) -> None:
    def measure(geometry: Geometry, precision: Precision) -> int:
        if geometry.outputs > 24:
            raise KeyboardInterrupt
        return 5

    table = LatencyTable(tmp_path, machine=MACHINE, measure=measure)
    with pytest.raises(KeyboardInterrupt):
        table.estimate(FULL, FLOAT32, 64, 20)
    assert table.path is not None
    assert len(read_sealed(table.path)["nanoseconds"]) == 2


def test_tables_of_several_threads_agree(tmp_path: Path) -> None:
    """Each measures by its own noise; the first number stands."""
    tables = [table_of(Measurer(noise=9999, seed=i), tmp_path) for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda t: t.estimate(FULL, FLOAT32, 50, 25), tables))
    assert len(set(found)) == 1
