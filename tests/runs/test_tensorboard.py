"""TensorBoard records, read back: they are the outcomes', once each."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import autocomp
from autocomp.core.choice import Choice
from autocomp.core.outcome import Outcome, best_of
from autocomp.core.plan import Plan
from autocomp.errors import AutocompError
from autocomp.runs.tensorboard import BOARD, TensorBoardWriter

pytest.importorskip("tensorboard")
PLAN = ("plan/sparsity", "plan/weight_bits", "plan/channels", "plan/rank")


class Reference:
    """A cost of which only the reference is asked."""

    def __init__(self, reference: int) -> None:
        self.reference = reference


def read(folder: Path) -> Any:
    """Returns all records of a folder, none thinned out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(folder), {"scalars": 0, "histograms": 0})
    events.Reload()
    return events


def values(events: Any, tag: str) -> list[float]:
    scalars = events.Scalars(tag)
    assert [s.step for s in scalars] == list(range(1, len(scalars) + 1))
    return [float(s.value) for s in scalars]


def outcome(bits: int, accuracy: float, size: int, fidelity: str = "F1") -> Outcome:
    plan = Plan({"a": Choice.of(weight_bits=bits), "b": Choice.of(weight_bits=8, sparsity=0.5)})
    return Outcome(plan, accuracy, 0.4, 3000, {"size": size, "macs": 50}, size <= 100, fidelity,
                   0.1, 0.01, gap=1 - accuracy)  # fmt: skip


def test_scalars_are_the_outcomes(tmp_path: Path) -> None:
    costs: Any = {"size": Reference(1000), "macs": Reference(0)}
    board = TensorBoardWriter(tmp_path, costs, {"size": 100})
    outcomes = [outcome(4, 0.5, 90), outcome(3, 0.9, 120), outcome(5, 0.7, 95), outcome(6, 0.6, 80)]
    finalists = [outcome(5, 0.71, 95, "F2"), outcome(5, 0.72, 96, "F2S")]
    for one in [*outcomes, *finalists]:
        board.record(one)
    board.close()
    events = read(tmp_path)
    assert values(events, "F1/accuracy") == pytest.approx([0.5, 0.9, 0.7, 0.6])
    assert values(events, "F1/merit") == pytest.approx([-0.5, -0.1, -0.3, -0.4])
    assert values(events, "F1/loss") == pytest.approx([0.4] * 4)
    assert values(events, "F1/divergence") == pytest.approx([0.01] * 4)
    assert values(events, "F1/size of budget") == pytest.approx([0.9, 1.2, 0.95, 0.8])
    assert values(events, "F1/size of dense") == pytest.approx([0.09, 0.12, 0.095, 0.08])
    assert values(events, "F1/macs of dense") == [50.0] * 4  # of nothing: no division by zero
    # the second one is beyond the budget, so it is never the best
    assert values(events, "F1/best merit") == pytest.approx([-0.5, -0.5, -0.3, -0.3])
    assert values(events, "F1/best accuracy") == pytest.approx([0.5, 0.5, 0.7, 0.7])
    assert values(events, "F2/accuracy") == pytest.approx([0.71])
    assert values(events, "F2S/accuracy") == pytest.approx([0.72])
    assert "F2/best merit" not in events.Tags()["scalars"]


def test_a_record_is_there_before_the_end(tmp_path: Path) -> None:
    costs: Any = {"size": Reference(1000), "macs": Reference(100)}
    board = TensorBoardWriter(tmp_path, costs, {"size": 100})
    for n in (1, 2):
        board.record(outcome(3, 0.5, 90))
        assert len(values(read(tmp_path), "F1/accuracy")) == n
    board.close()


def test_histograms_are_the_plans(tmp_path: Path) -> None:
    board = TensorBoardWriter(tmp_path, {}, {})
    one = Outcome(outcome(3, 0.5, 90).plan, 0.5, 0.4, 3000, {}, True, "F1", 0.1)
    board.record(one)
    board.record(one)
    board.close()
    events = read(tmp_path)
    assert set(events.Tags()["histograms"]) == set(PLAN)
    for tag, low, high in ((PLAN[0], 0.0, 0.5), (PLAN[1], 3.0, 8.0), (PLAN[2], 1.0, 1.0)):
        first, second = events.Histograms(tag)
        assert (first.step, second.step) == (1, 2)
        assert (first.histogram_value.min, first.histogram_value.max) == (low, high)
        assert first.histogram_value.num == 2


def test_nothing_feasible_has_no_best(tmp_path: Path) -> None:
    costs: Any = {"size": Reference(1000), "macs": Reference(100)}
    board = TensorBoardWriter(tmp_path, costs, {"size": 100})
    board.record(outcome(3, 0.5, 300))
    board.close()
    assert "F1/best merit" not in read(tmp_path).Tags()["scalars"]


def test_without_tensorboard_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(AutocompError, match=r"pip install 'autocomp\[dashboards\]'") as caught:
        TensorBoardWriter(tmp_path / "t", {}, {})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "t").exists()


# ---- searches


DDPG = "ddpg:width=16,clone_steps=20,pretrain_steps=20,updates=2"


def search(folder: Path, net: Any, data: Any, agent: str, **more: Any) -> Any:
    return autocomp.search(
        net, data, "size=12%", agent=agent, space="joint:levels=5,weight_bits=2/4/8",
        evaluations=6, out=folder, tensorboard=True, report="none", **more,
    )  # fmt: skip


def check(folder: Path, outcomes: Sequence[Outcome]) -> None:
    events = read(folder / BOARD / "search")
    assert set(events.Tags()["histograms"]) == set(PLAN)
    for level in {o.fidelity for o in outcomes}:
        of_level = [o for o in outcomes if o.fidelity == level]
        assert values(events, f"{level}/accuracy") == pytest.approx([o.accuracy for o in of_level])
        assert values(events, f"{level}/merit") == pytest.approx([o.merit for o in of_level])
    screened = [o for o in outcomes if o.fidelity == "F1"]
    best = [best_of(screened[: n + 1]) for n in range(len(screened))]
    merits = [o.merit for o in best if o is not None]
    assert values(events, "F1/best merit") == pytest.approx(merits)


@pytest.mark.parametrize("agent", ["tpe", "ppo:episodes=1,width=16,clone_steps=20", DDPG])
def test_a_search_writes_them_and_a_resumed_one_writes_them_once(
    agent: str, tiny_net: Any, tiny_data: Any, tmp_path: Path
) -> None:
    count = 0

    def stop(_: Outcome) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "r", tiny_net, tiny_data, agent, on_outcome=stop)
    assert not (tmp_path / "r" / "summary.json").exists()
    written = values(read(tmp_path / "r" / BOARD / "search"), "F1/accuracy")
    assert len(written) == 4  # flushed as it happens
    found = autocomp.resume(tmp_path / "r", model=tiny_net, data=tiny_data)
    assert len(found.outcomes) > 6
    check(found.run.path, found.outcomes)
    files = list((found.run.path / BOARD / "search").iterdir())
    assert len(files) == 1
    learned = found.run.path / BOARD / "agent"
    assert learned.exists() == (agent != "tpe")
    if agent != "tpe":
        assert any(tag.startswith("train/") for tag in read(learned).Tags()["scalars"])


def test_nothing_is_written_unasked(tiny_net: Any, tiny_data: Any, tmp_path: Path) -> None:
    autocomp.search(
        tiny_net, tiny_data, "size=60%", agent="ppo", space="bits", evaluations=2,
        out=tmp_path / "r", report="none",
    )  # fmt: skip
    assert not (tmp_path / "r" / BOARD).exists()
