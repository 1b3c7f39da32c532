from __future__ import annotations

from pathlib import Path

import pytest
from autocomp.agents import SearchTask, make_agent
from autocomp.agents.learned_multipliers import LearnedMultipliers

from autocomp.inspection.layer_multiplier import layer_multipliers
from autocomp.testing.toy_problem import ToyProblem


def test_what_the_posterior_agent_has_left(tmp_path: Path) -> None:
    agent = make_agent("posterior")
    assert layer_multipliers(LearnedMultipliers.of_run(tmp_path)) == ()
    toy = ToyProblem("size=12%")
    found = agent.search(SearchTask.of(toy, "bits:weight_bits=2/3/4/6/8", 20, 0))
    assert found.save is not None
    found.save(tmp_path)
    learned = LearnedMultipliers.of_run(tmp_path)
    rows = layer_multipliers(learned)
    assert learned is not None and [row.layer for row in rows] == list(toy.network.names)
    assert rows[0].multiplier == pytest.approx(float(learned.mean.theta[0]))
    assert rows[1].bend == pytest.approx(float(learned.mean.kappa[1]))
    # what was seen is known better than before
    assert all(0 < row.deviation < 0.5 and 0 < row.bend_deviation <= 0.25 for row in rows)
