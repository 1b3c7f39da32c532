"""The narrow waist: a network, data and budgets; `evaluate(plan) -> Outcome`, cached."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from autocomp.analysis import analyse
from autocomp.apply import PlanWriter, working_copy
from autocomp.artifacts.container import pack
from autocomp.artifacts.packing import packed
from autocomp.budget import Budget, parse_budgets
from autocomp.calibration import calibrate
from autocomp.compressors.pipeline import Pipeline
from autocomp.costs import COSTS, Cost, make_cost, total
from autocomp.data.split import Split
from autocomp.data.splits import DataSplits
from autocomp.errors import AutocompError, BudgetError
from autocomp.evaluate import Batches, Score, dtype_of, score, usable_device
from autocomp.feasibility import Feasibility
from autocomp.norms import NormCorrection
from autocomp.options import OptionStore
from autocomp.outcome import FIDELITIES, Outcome
from autocomp.plan import Choice, Plan


@dataclass(frozen=True)
class ProblemSettings:
    """How plans are judged.

    Attributes:
        keep: names of layers to leave alone.
        search_images: size of the fixed subset of the search split that F1 scores on.
        batch_size: images per forward pass.
        device: where the network runs ("cpu", "cuda").
        correction_images: size of the fixed subset of the calibration images on which F1 corrects
            batch-norm statistics; F2 takes all of them.
        floor: lower wall of the search as a share of the budget, see `Feasibility`.
        pipeline: what compresses a weight.
    """

    keep: tuple[str, ...] = ()
    search_images: int = 1000
    correction_images: int = 256
    batch_size: int = 500
    device: str = "cpu"
    floor: float = 0.95
    pipeline: Pipeline = Pipeline()


class CompressionProblem:
    """A trained network, data and budgets.

    Everything that searches goes through `evaluate`. The network that is given is never modified.
    Evaluating writes the plan into a copy, corrects its batch-norm statistics on the calibration
    images (kept only if the divergence from the dense network's outputs drops), rounds what the
    file rounds, and scores the result; equal plans are scored once.

    Attributes:
        network: the network's layers.
        data: its data.
        budgets: what every plan must meet.
        costs: cost name -> cost, the budgets' and all built-in ones.
        store: each layer's compressed weights.
    """

    def __init__(
        self,
        model: nn.Module,
        data: DataSplits,
        budgets: str | Budget | Iterable[str | Budget],
        settings: ProblemSettings | None = None,
    ) -> None:
        self.settings = settings or ProblemSettings()
        self.data = data
        self.budgets = parse_budgets(budgets)
        device = usable_device(self.settings.device)
        self._model = working_copy(model, device)
        self._calibration = [images for images, _ in self._batches(data.calibration)]
        self.network = analyse(self._model, self._calibration[0], self.settings.keep)
        stats = calibrate(self._model, self.network, self._calibration)
        dense = copy.deepcopy(self._model)
        self.store = OptionStore(dense, self.network, stats, self.settings.pipeline)
        names = [*COSTS, *(b.cost for b in self.budgets if b.cost not in COSTS)]
        self.costs: dict[str, Cost] = {name: make_cost(name, self.store) for name in names}
        self.limits = {b.cost: b.absolute(self.costs[b.cost].reference) for b in self.budgets}
        data.check_labels(data.search)
        self._splits = {
            "F1": self._batches(data.search.subset(self.settings.search_images, seed=0)),
            "F2": self._batches(data.search),
        }
        self._writer = PlanWriter(self._model, self.store)
        some = data.calibration.subset(self.settings.correction_images, seed=0)
        few = [images for images, _ in self._batches(some)]
        self._corrections = {
            "F1": NormCorrection(self._model, few),
            "F2": NormCorrection(self._model, self._calibration),
        }
        self._scores: dict[str, Score] = {}
        self._memo: dict[tuple[str, str], Outcome] = {}

    def dense_score(self, fidelity: str = "F1") -> Score:
        """Returns the dense network's score on the search images of `fidelity`."""
        if fidelity not in self._scores:
            self._writer.write(self.network.neutral_plan())
            self._scores[fidelity] = score(self._model, self._splits[fidelity])
        return self._scores[fidelity]

    def costs_of(self, plan: Plan) -> dict[str, int]:
        """Returns every cost of the network under `plan`."""
        return {name: total(cost, self.network, plan) for name, cost in self.costs.items()}

    def is_within(self, plan: Plan) -> bool:
        """Whether `plan` meets every budget."""
        return all(
            total(self.costs[name], self.network, plan) <= limit
            for name, limit in self.limits.items()
        )

    def evaluate(self, plan: Plan, fidelity: str = "F1") -> Outcome:
        """Scores a plan on the search split; a plan that was scored before costs nothing.

        Args:
            plan: one choice per layer.
            fidelity: "F1" (a fixed subset) or "F2" (the whole search split).

        Raises:
            PlanError, ChoiceError: if the plan does not fit the network.
        """
        self.network.check(plan)
        if fidelity not in self._splits:
            raise AutocompError(f"`fidelity` must be one of {FIDELITIES}, but got {fidelity!r}.")
        key = (plan.key, fidelity)
        if key not in self._memo:
            start = time.perf_counter()
            self._realise(plan, fidelity)
            result = score(self._model, self._splits[fidelity])
            costs = self.costs_of(plan)
            within = all(costs[name] <= limit for name, limit in self.limits.items())
            self._memo[key] = Outcome(
                plan, result.accuracy, result.loss, result.n, costs, within, fidelity,
                round(time.perf_counter() - start, 4),
            )  # fmt: skip
        return self._memo[key]

    def known(self, plan: Plan, fidelity: str = "F1") -> bool:
        """Whether `evaluate` would answer from memory."""
        return (plan.key, fidelity) in self._memo

    def remember(self, outcomes: Iterable[Outcome]) -> None:
        """Takes outcomes of an earlier session, so that resuming evaluates nothing twice."""
        for outcome in outcomes:
            self._memo[outcome.plan.key, outcome.fidelity] = outcome

    def compressed(self, plan: Plan) -> tuple[nn.Module, bytes]:
        """Returns the network under `plan`, as F2 evaluates it, and the bytes of its file.

        Raises:
            BudgetError: if the file is longer than a size budget allows; a defect, never rounding.
        """
        self._realise(plan)
        data = pack(packed(self.store, plan, self._model.state_dict()))
        limit = self.limits.get("size")
        if limit is not None and self.is_within(plan) and len(data) > limit:
            raise BudgetError(f"The file must have at most {limit} bytes, but has {len(data)}.")
        return copy.deepcopy(self._model).cpu(), data

    def test(self, plan: Plan) -> tuple[Score, Score]:
        """Reads the test split and returns (dense, compressed) scores: call once, at the end."""
        batches = self._batches(self.data.test)
        self._writer.write(self.network.neutral_plan())
        dense = score(self._model, batches)
        self._realise(plan)
        return dense, score(self._model, batches)

    def feasibility(self, menus: Sequence[Sequence[Choice]]) -> Feasibility:
        """Returns what can meet the budgets when layer t takes one of `menus[t]`.

        Raises:
            BudgetError: if nothing can; it names the smallest value that these menus reach.
        """
        names = [budget.cost for budget in self.budgets]
        costs = [
            np.array([[self.costs[n].of_layer(layer, c) for n in names] for c in menu], np.int64)
            for layer, menu in zip(self.network.layers, menus, strict=True)
        ]
        # biases and statistics take 16 bits once a layer is quantized; when a plan may quantize
        # none, the dearer of the two is charged
        quantized = any(all(c.weight_bits < 32 for c in menu) for menu in menus)
        sides = [16] if quantized else [16, 32]
        fixed = np.array([max(self.costs[n].fixed(bits) for bits in sides) for n in names])
        limits = np.array([self.limits[n] for n in names], np.int64) - fixed
        result = Feasibility(costs, limits, self.settings.floor)
        if not result.possible:
            raise BudgetError(self._impossible(names, result.cheapest + fixed))
        return result

    def _impossible(self, names: Sequence[str], least: np.typing.NDArray[np.int64]) -> str:
        for name, value in zip(names, least.tolist(), strict=True):
            if value > self.limits[name]:
                cost = self.costs[name]
                share = math.ceil(value / cost.reference * 10_000) / 10_000  # within reach, too
                return (
                    f"The budget must be within reach, but {name} <= {self.limits[name]:,} "
                    f"{cost.unit} is not: this search space reaches {value:,} {cost.unit} at least "
                    f"({name}={share:.2%}); raise the budget or widen the space."
                )
        return (
            f"The budgets {', '.join(map(str, self.budgets))} must hold together, but no plan of "
            "this search space was found to meet all of them; raise one."
        )

    def _batches(self, split: Split) -> Batches:
        device = torch.device(self.settings.device)
        return Batches(split, self.settings.batch_size, device, dtype_of(self._model))

    def _realise(self, plan: Plan, fidelity: str = "F2") -> None:
        """Writes the plan into the working copy and corrects its batch norms if that helps."""
        self._writer.write(plan)
        if not all(choice.is_neutral for choice in plan.values()):
            self._corrections[fidelity].apply(lambda: self._writer.round_side(plan))
