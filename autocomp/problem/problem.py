"""The narrow waist: a network, data and budgets; `evaluate(plan) -> Outcome`, cached."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.allocation.allocation import Allocation
from autocomp.compression.calibration.moments import input_moments
from autocomp.compression.calibration.norms import NormCorrection
from autocomp.compression.calibration.statistics import calibrate
from autocomp.compression.store import CompressionStore
from autocomp.core.budget import Budgets, parse_budgets
from autocomp.core.fidelity import Fidelity
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.core.score import WORST, Score
from autocomp.core.structured import Inputs, joined
from autocomp.costs import ALWAYS, Cost, reference_cost, total
from autocomp.data import DataSplits, Split, load_data
from autocomp.errors import AutocompError, BudgetError, ModelError
from autocomp.network.analysis import analyse
from autocomp.network.as_one import as_one, plain
from autocomp.network.batches import QUICK, Batches, InputsOf
from autocomp.network.device import dtype_of, usable_device
from autocomp.network.faithful import (
    check_copy,
    in_plain_order,
    try_channels_last,
)
from autocomp.network.rebinding import copy_network
from autocomp.network.scoring import Reference, outputs_on, score, tallied
from autocomp.network.working_copy import working_copy
from autocomp.problem.allocate import allocate
from autocomp.problem.loss_estimates import LossEstimates
from autocomp.problem.pairs import OutputPair, ScorePair, Tested
from autocomp.problem.scorer import ComparedScore, Scorer
from autocomp.problem.searched_layers import FEW, searched_layers
from autocomp.problem.settings import ProblemSettings
from autocomp.problem.stated import Losses, Menus
from autocomp.problem.subnet import Subnet
from autocomp.problem.subnets import Subnets
from autocomp.problem.table_folder import table_folder
from autocomp.problem.tuning import TrainingRequest, Tuning
from autocomp.tasks import Paired, check_task
from autocomp.tasks.measure import standard_error
from autocomp.training import Trained

__all__ = ["CompressionProblem", "ProblemSettings"]

_OF_ZEROS = {"params", "macs", "bitops"}
"""Costs that count the weights that are not zero."""


class CompressionProblem:
    """A trained network, data and budgets.

    Everything that searches goes through `evaluate`. The network that is given is never modified.
    Evaluating writes the plan's recovered weights into a copy, corrects biases and batch-norm
    statistics by what compression did to them on calibration images, rounds what the file rounds,
    and scores the result; equal plans are scored once. `losses` is the level below (F0): what each
    choice alone would cost, from tables that are built once and kept on disk.

    Args:
        model: the network.
        data: whatever `autocomp.search` takes: a name, a `DataSplits`, or (calibration, search,
            test) pairs of inputs and labels.
        budgets: "size=8%", {"size": 0.08, "macs": "50%"}, Budgets, or several.
        settings: how plans are judged.

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
        data: Any,
        budgets: Budgets,
        settings: ProblemSettings | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ModelError(
                f"A problem is about a network, but got {model!r:.60}; build it first, as "
                "autocomp.models.build_model does."
            )
        self.settings = ProblemSettings() if settings is None else settings
        if not isinstance(self.settings, ProblemSettings):
            raise AutocompError(
                f"`settings` must be ProblemSettings, but got {settings!r:.60}; write "
                "ProblemSettings(...)."
            )
        data = load_data(data)
        self.data: DataSplits = data
        task = self.settings.task
        task.check_labels(data.search.labels, data.search.name)
        if task.name == "classification" and data.calibration.labels is not None:
            task.check_labels(data.calibration.labels, data.calibration.name)  # criteria use them
        self._channels_last = False
        self.budgets = parse_budgets(budgets)
        device = usable_device(self.settings.device)
        self._model = working_copy(model, device)
        first = next(iter(self._batches(data.calibration.subset(FEW, seed=0))))[0]
        check_copy(model, self._model, first)
        as_one(self._model, task, first)
        # what it returns is said before anything is made of it
        check_task(task, outputs_on(self._model, [first], task))
        self._channels_last = try_channels_last(self._model, first)
        pairs = list(self._batches(data.calibration))
        self._calibration = [images for images, _ in pairs]
        keep, sample = self.settings.keep, self._calibration[0]
        self.network = searched_layers(
            self._model, analyse(self._model, sample, keep), sample, keep,
            [b.cost for b in self.budgets],
        )  # fmt: skip
        stats = calibrate(self._model, self.network, self._calibration)
        dense = copy_network(self._model)
        task = task.fitted(
            outputs_on(dense, self._some_calibration(self.settings.slope_images), task)
        )
        self.settings = replace(self.settings, task=task)
        reference = Reference(dense, self._calibration, task)
        self.store = CompressionStore(
            dense, self.network, stats, self.settings.pipeline,
            lambda: input_moments(
                dense, self.network, self._calibration, on_stage=self.settings.on_stage
            ),
            table_folder(
                self.settings.cache, self._model, self.data.calibration, self._calibration[0],
                self.settings.pipeline, task,
            ),
            example=self._calibration[0][:1], on_stage=self.settings.on_stage,
        )  # fmt: skip
        data.check_labels(data.search)
        few_searched = data.search.subset(self.settings.search_images, seed=0)
        held_out = torch.ones(len(data.search), dtype=torch.bool)
        held_out[data.search.drawn(self.settings.search_images, seed=0)] = False
        self._scorer = Scorer(
            dense,
            {
                Fidelity.SCREEN: self._scored(few_searched),
                Fidelity.FULL: self._scored(data.search),
            },
            task,
            held_out,
        )
        few = self._some_calibration(self.settings.correction_images)
        corrections = {
            Fidelity.SCREEN: NormCorrection(self._model, few),
            Fidelity.FULL: NormCorrection(self._model, self._calibration),
        }
        factories = dict.fromkeys(ALWAYS) | {b.cost: b.factory for b in self.budgets}
        dense_subnet = Subnet(
            self._model, self.store, corrections, factories, self._calibration, reference
        )
        self.costs: dict[str, Cost] = dense_subnet.costs
        self.limits = {b.cost: b.absolute(reference_cost(self.costs[b.cost])) for b in self.budgets}
        self.subnets = Subnets(
            dense_subnet, self._calibration, corrections, reference,
            (*keep, *self.network.unread), self.settings.unit_step,
            [x for _, x in pairs if x is not None] if task.name == "classification" else None,
            self.settings.decomposition,
        )  # fmt: skip
        self._estimates = LossEstimates(
            dense_subnet, task, self.slope_inputs, self.settings.on_stage
        )
        self._memo: dict[tuple[str, Fidelity], Outcome] = {}
        self._gaps = True
        self._tuning = Tuning(
            self.subnets, data, self.settings, self._batches(few_searched), self._channels_last
        )

    def dense_score(self, fidelity: Fidelity | str = Fidelity.SCREEN) -> Score:
        """Returns the dense network's score on the search images of `fidelity`."""
        return self._scorer.dense_score(_evaluated(fidelity).images)

    def outputs(self, plan: Plan, fidelity: Fidelity | str = Fidelity.FULL) -> OutputPair:
        """Returns the outputs `(n, ...)` of the dense and of the compressed network.

        On the search images of `fidelity`, in their order. Nothing is counted or remembered.
        """
        fidelity = _evaluated(fidelity)
        dense = self._scorer.dense_outputs(fidelity.images)
        return OutputPair(
            dense, self._scorer.outputs(self._network(plan, fidelity), fidelity.images)
        )

    def paired(self, first: Outcome, second: Outcome) -> Paired:
        """Returns how much one evaluated plan's figure is above another's, sample by sample.

        Each as its outcome's level makes it, on the whole search split; nothing is counted.
        """
        return Paired.of(
            *(self._shares(o.plan, max(o.fidelity, Fidelity.FULL)) for o in (first, second))
        )

    def error_of(self, outcome: Outcome) -> float | None:
        """Returns the standard error of an outcome's quality; None for that of a share.

        On the whole search split, where the plan's network is run again if it has to be.
        """
        if outcome.metric.name == "accuracy":
            return None
        error = standard_error(self._shares(outcome.plan, max(outcome.fidelity, Fidelity.FULL)))
        return error if math.isfinite(error) else WORST

    def under(self, budgets: Budgets) -> CompressionProblem:
        """Returns this problem under other budgets, of costs that it knows; for F0 to F2.

        Network, data, tables and dense scores are shared; outcomes are not.

        Raises:
            BudgetError: if a budget's cost was not measured for this problem.
        """
        other = copy.copy(self)
        other.budgets = parse_budgets(budgets)
        for budget in other.budgets:
            if budget.cost not in self.costs:
                raise BudgetError(
                    f"Other budgets must be of {', '.join(self.costs)}, but got {budget.cost!r}; "
                    "state the problem with a budget of that cost."
                )
        other.limits = {
            b.cost: b.absolute(reference_cost(self.costs[b.cost])) for b in other.budgets
        }
        other._memo, other._tuning = {}, self._tuning.anew()
        return other

    def costs_of(self, plan: Plan) -> dict[str, int]:
        """Returns every cost of the network under `plan`."""
        return self.subnets.of(plan).costs_of(plan)

    def size_of(self, plan: Plan) -> int:
        """Returns the real bytes of the plan's file, from memory where it was evaluated."""
        known = self._memo.get((plan.key, Fidelity.SCREEN))
        if known is not None:
            return known.costs["size"]
        return self.subnets.of(plan).costs_of(plan, names=("size",))["size"]

    def is_within(self, plan: Plan) -> bool:
        """Whether `plan` meets every budget."""
        costs = self.subnets.of(plan).costs_of(plan, names=tuple(self.limits))
        return all(costs[name] <= limit for name, limit in self.limits.items())

    def evaluate(self, plan: Plan, fidelity: Fidelity | str = Fidelity.SCREEN) -> Outcome:
        """Scores a plan on the search split; a plan that was scored before costs nothing.

        Args:
            plan: one choice per layer.
            fidelity: "F1" (a fixed subset), "F2" (the whole search split), "F2S" (that, after
                sequential reconstruction) or "F3" (that, after the short training of
                `settings.tuning`).

        Raises:
            PlanError, ChoiceError: if the plan does not fit the network.
        """
        self.network.check(plan)
        fidelity = _evaluated(fidelity)
        key = (plan.key, fidelity)
        if key not in self._memo:
            start = time.perf_counter()
            judged = self._scorer.judge(self._network(plan, fidelity), fidelity, plan.key)
            assert judged is not None  # only a challenger is given up
            self._memo[key] = self._outcome(plan, fidelity, start, judged)
        return self._memo[key]

    def challenge(
        self, plan: Plan, best: Plan, fidelity: Fidelity | str = Fidelity.FULL
    ) -> Outcome | None:
        """Scores a plan on the whole split, unless it falls significantly behind on the way.

        Args:
            plan: the challenger.
            best: the plan to compare it with, image by image.
            fidelity: "F2", "F2S" or "F3", for both.

        Returns:
            The outcome, or None if the plan was given up.
        """
        level = _evaluated(fidelity)
        if self.known(plan, level):
            return self.evaluate(plan, level)
        self._shares(best, level)  # the scorer compares with what it remembers
        start = time.perf_counter()
        judged = self._scorer.judge(self._network(plan, level), level, plan.key, best.key)
        if judged is None:
            return None
        outcome = self._outcome(plan, level, start, judged)
        self._memo[plan.key, level] = outcome
        return outcome

    def known(self, plan: Plan, fidelity: Fidelity | str = Fidelity.SCREEN) -> bool:
        """Whether `evaluate` would answer from memory."""
        return (plan.key, Fidelity.of(fidelity)) in self._memo

    def without_gaps(self) -> None:
        """Lets outcomes be ranked as those of version 0.4, by the divergence and all samples."""
        self._gaps = False

    def remember(self, outcomes: Iterable[Outcome]) -> None:
        """Takes outcomes of an earlier session, so that resuming evaluates nothing twice."""
        for outcome in outcomes:
            self._memo[outcome.plan.key, outcome.fidelity] = outcome

    def compressed(
        self, plan: Plan, fidelity: Fidelity | str = Fidelity.FULL
    ) -> tuple[nn.Module, bytes]:
        """Returns the network under `plan`, as it is evaluated, and the bytes of its file.

        Args:
            plan: one choice per layer.
            fidelity: "F2", "F2S" for the reconstructed network, or "F3" for the trained one.

        Raises:
            BudgetError: if the file is longer than a size budget allows; a defect, never rounding.
        """
        level = _evaluated(fidelity)
        if level.trains:
            trained = self._tuned(plan)
            return in_plain_order(copy_network(trained.network).cpu()), trained.data
        subnet = self._realise(plan, level)
        data = subnet.pack(plan, level)
        limit = self.limits.get("size")
        if limit is not None and self.is_within(plan) and len(data) > limit:
            raise BudgetError(f"The file must have at most {limit} bytes, but has {len(data)}.")
        return in_plain_order(plain(copy_network(subnet.model)).cpu()), data

    def test(self, plan: Plan, fidelity: Fidelity | str = Fidelity.FULL) -> ScorePair:
        """Reads the test split and returns (dense, compressed) scores: call once, at the end."""
        dense, compressed, _ = self._tested(self._network(plan, _evaluated(fidelity)))
        return ScorePair(dense, compressed)

    def test_of(
        self, network: nn.Module, compared: tuple[nn.Module, nn.Module] | None = None
    ) -> Tested:
        """Reads the test split: once, at the end.

        Args:
            network: whose score is wanted beside the dense network's.
            compared: two networks; by how much the first one's figure is above the second's.
        """
        return self._tested(self._ready(network), network, compared)

    def _tested(
        self, ready: nn.Module, network: nn.Module | None = None,
        compared: tuple[nn.Module, nn.Module] | None = None,
    ) -> Tested:  # fmt: skip
        """Returns the scores on the test split, of a network as this problem runs them."""
        batches = self._scored(self.data.test)
        task, original = self.settings.task, self.store.model
        task.check_labels(self.data.test.labels, self.data.test.name)
        dense = score(original, batches, task)
        reference = Reference(original, InputsOf(batches), task)
        tally = tallied(ready, batches, task, reference)
        gain = None
        if compared is not None:
            rows = [
                tally.rows()
                if one is network
                else tallied(self._ready(one), batches, task, reference).rows()
                for one in compared
            ]
            gain = Paired.of(*map(task.measure.shares, rows))
        return Tested(dense, tally.score(), gain)

    def score_of(self, network: nn.Module) -> Score:
        """Returns the score of a network of this problem on the whole search split."""
        judged = self._scorer.judge(self._ready(network), Fidelity.FULL, "")
        assert judged is not None  # nothing is compared
        return judged.score

    def train(
        self, network: nn.Module, plan: Plan, request: TrainingRequest | None = None
    ) -> Trained:
        """Trains a compressed network within its plan and the budget of bytes, if there is one.

        Args:
            network: what `compressed` gave for the plan, or the run's file; it is not changed.
            plan: the plan.
            request: how; an epoch of distillation by default.

        Raises:
            TrainingError: if it cannot begin, or meets numbers that are not finite.
        """
        request = request or TrainingRequest()
        if set(self.limits) & _OF_ZEROS:  # a zero that goes would cost what the budget forbids
            request = replace(request, config=replace(request.config, masks="fixed"))
        return self._tuning.train(network, plan, self.limits.get("size"), request)

    def costs_of_trained(self, plan: Plan, trained: Trained) -> dict[str, int]:
        """Returns the costs of a trained network: its file's bytes, and those of its zeros.

        Where a plan prunes a layer, the share of zeros that it has now counts, not the plan's.
        """
        subnet, names = self.subnets.of(plan), tuple(sorted(_OF_ZEROS & set(self.costs)))
        inside = subnet.inside(plan)
        shares = {
            name: choice.replace(sparsity=trained.sparsities[name])
            for name, choice in inside.items()
            if choice.weights.sparsity and name in trained.sparsities
        }
        now = Plan({**dict(inside.items()), **shares})
        found = {name: total(subnet.costs[name], subnet.network, now) for name in names}
        return {**found, "size": len(trained.data)}

    def losses(self, menus: Menus) -> Losses:
        """Returns F0: per layer, the divergence that each choice alone is expected to add.

        The divergence of the outputs from the dense network's, measured on calibration images at
        about five choices a layer and interpolated over the layers' output errors; for networks
        where that would take long, from one backward pass. Kept on disk with the tables.
        """
        return self._estimates.of(menus)

    @property
    def by_gradients(self) -> bool:
        """Whether `losses` come from one backward pass, because measuring would take long."""
        return self._estimates.by_gradients

    def layers(self, structural: bool = False) -> tuple[LayerSpec, ...]:
        """Returns the network's layers; if `structural`, they say how many units each leads."""
        return self.subnets.layers if structural else self.network.layers

    def allocation(
        self, menus: Menus, structural: bool = False, losses: Callable[[], Losses] | None = None
    ) -> Allocation:
        """Returns what meets the budgets, and what is best, when layer t takes one of `menus[t]`.

        Args:
            menus: the choices of each layer.
            structural: whether choices may take units or rank away.
            losses: gives the choices' losses where they are known; else `losses` measures them when
                they are first needed.

        Raises:
            BudgetError: if nothing meets the budgets; it names the least that is reached.
        """
        return allocate(self, menus, structural, losses)

    def slope_inputs(self) -> Inputs:
        """Returns the calibration inputs on which a layer's effect on the outputs is measured."""
        return joined(self._some_calibration(self.settings.slope_images))

    def _batches(self, split: Split, largest: int | None = None) -> Batches:
        return Batches(
            split, self.settings.batch_size, torch.device(self.settings.device),
            dtype_of(self._model), self._channels_last, largest,
        )  # fmt: skip

    def _scored(self, split: Split) -> Batches:
        """Returns a split in batches for scoring, which on a processor are small ones."""
        on_processor = torch.device(self.settings.device).type == "cpu"
        return self._batches(split, QUICK if on_processor else None)

    def _outcome(
        self, plan: Plan, fidelity: Fidelity, start: float, judged: ComparedScore
    ) -> Outcome:
        level = self._made(fidelity)
        costs = self.subnets.of(plan, level).costs_of(plan, level)
        if level.trains:
            costs |= self.costs_of_trained(plan, self._tuned(plan))
        within = all(costs[name] <= limit for name, limit in self.limits.items())
        found = judged.score
        return Outcome(
            plan, found.quality, found.loss, found.n, costs, within, fidelity,
            round(time.perf_counter() - start, 4), judged.divergence, found.metric,
            judged.gap if self._gaps else None, judged.held_out if self._gaps else None,
        )  # fmt: skip

    def _shares(self, plan: Plan, level: Fidelity) -> Tensor:
        """Returns each sample's share in the figure of a plan's network, on the whole split."""
        found = self._scorer.shares(plan.key, level)
        if found is None:  # judged before the run was resumed
            self._scorer.judge(self._network(plan, level), level, plan.key)
            found = self._scorer.shares(plan.key, level)
        assert found is not None  # every judgement on the whole split is remembered
        return found

    def _some_calibration(self, n: int) -> list[Inputs]:
        return [images for images, _ in self._batches(self.data.calibration.subset(n, seed=0))]

    def _made(self, fidelity: Fidelity) -> Fidelity:
        """Returns as what a plan's network is made for a level; see `ProblemSettings.screening`."""
        return self.settings.screening if fidelity is Fidelity.SCREEN else fidelity

    def _network(self, plan: Plan, fidelity: Fidelity) -> nn.Module:
        """Returns the network of a plan as a level has it, returning the tensor that counts."""
        level = self._made(fidelity)
        if level.trains:
            return self._ready(self._tuned(plan).network)
        return self._realise(plan, level).model

    def _ready(self, network: nn.Module) -> nn.Module:
        """Returns a network as this problem runs them, on its device."""
        device = torch.device(self.settings.device)
        copied = working_copy(network, device)
        return as_one(copied, self.settings.task, self._calibration[0][:2])

    def _tuned(self, plan: Plan) -> Trained:
        """Returns a plan's network after the short training; the latest ones are kept."""
        return self._tuning.tuned(plan, self.train, lambda: self.compressed(plan, Fidelity.FULL))

    def _realise(self, plan: Plan, fidelity: Fidelity = Fidelity.FULL) -> Subnet:
        """Returns the network of the plan's shapes, with the plan written into it."""
        subnet = self.subnets.of(plan, fidelity)
        subnet.realise(plan, fidelity, self.limits.get("size"))
        return subnet


def _evaluated(fidelity: Fidelity | str) -> Fidelity:
    """Returns the level; AutocompError for an unknown one, or one that runs no network."""
    level = Fidelity.of(fidelity)
    if not level.evaluates:
        raise AutocompError(
            f"`fidelity` must be a level that runs the network, but got {level.value}; take F1, "
            "F2, F2S or F3, or `losses` for estimates."
        )
    return level
