"""Each layer's options: compressed weight, output error and shift of every choice, made once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.artifacts.packed import PackedModel
from autocomp.artifacts.records import weight_bits
from autocomp.artifacts.side_form import SideForm, eps_of
from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.compressed_layer import CompressedLayer
from autocomp.compression.estimates import (
    ANCHORS,
    Corrections,
    Estimate,
    estimated,
    is_costly,
    work_of,
)
from autocomp.compression.noted_file import noted_file
from autocomp.compression.output_error import OutputError
from autocomp.compression.parallel import in_parallel
from autocomp.compression.recovery.gram import Gram
from autocomp.compression.recovery.layout import Layout
from autocomp.compression.tables import TableFolder
from autocomp.compression.weights.activation_range import activation_range, value_range
from autocomp.compression.weights.pipeline import Pipeline
from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.core.output_quantizer import OutputQuantizer
from autocomp.core.quantized import Quantized
from autocomp.core.stage import OnStage, StageCount, untold
from autocomp.core.structured import Inputs


def _gains(model: nn.Module, network: Network) -> dict[str, float]:
    """Returns, per bias, the size of the weights beside it; see `SideForm.of`."""
    found = {}
    for layer in (*network.layers, *network.frozen):
        if layer.bias_name is not None:
            weight = model.get_parameter(layer.parameter).detach().float()
            rows = weight.movedim(layer.out_axis, 0).flatten(1).square().sum(1)
            found[layer.bias_name] = float(rows.mean().sqrt())
    return found


CACHE_BYTES = 2 << 30
"""Memory for compressed weights; the least recently used go first, and are made again."""

_WIDE = 3000
"""Inputs an output from which a layer's matrices take a hundred megabytes each."""
_ESTIMATES = "estimates 2"
"""The fact under which estimates are kept."""
_LOCK = Lock()
"""Guards every store's tables; no attribute, because stores are copied."""

Moments = Callable[[], Mapping[str, Gram]]


class CompressionStore:
    """What every (layer, choice) becomes; computed when first asked for, kept on disk by menu.

    Of a layer whose whole menu would take long (`is_costly`), a menu's errors and bits are
    estimates until `trust` makes a choice's option, and what that turns out to be corrects the
    others'; so what they are does not depend on what an earlier search has left on the disk.

    Attributes:
        model: the dense network; not modified.
        network: its layers.
        pipeline: what compresses a weight.
        stats: layer name -> calibration statistics.
        example: a batch of the network's inputs, for costs that run it; None if there is none.
        side_form: which side tensors a file holds fused, and which in full.
        record: how the network was sliced and taken apart, see `structure/record.py`, or None.
        earlier: the compressed file that the network came from, or None.
    """

    def __init__(
        self,
        model: nn.Module,
        network: Network,
        stats: Mapping[str, LayerStatistics] | None = None,
        pipeline: Pipeline | None = None,
        moments: Moments | None = None,
        tables: TableFolder | None = None,
        *,
        example: Inputs | None = None,
        record: Mapping[str, Any] | None = None,
        earlier: PackedModel | None = None,
        on_stage: OnStage = untold,
    ) -> None:
        self.model = model
        self.network = network
        self.example, self.record = example, record
        self.earlier = noted_file(model) if earlier is None else earlier
        self.pipeline = pipeline or Pipeline()
        self.stats = dict(stats or {layer.name: LayerStatistics(layer) for layer in network.layers})
        # compressed on the processor: codes are small, and a file needs them there
        self._dense = {
            layer.name: model.get_parameter(layer.parameter).detach().cpu()
            for layer in network.layers
        }
        tensors: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
        tensors.update(model.named_buffers(remove_duplicate=False))
        side = {name: tensors[name] for name in network.side}
        self.side_form = SideForm.of(side, network.norms, eps_of(model), _gains(model, network))
        self._moments, self._on_stage = moments, on_stage
        self._tables = tables or TableFolder(None)
        self._options: OrderedDict[tuple[str, Choice], CompressedLayer] = OrderedDict()
        self._errors: dict[tuple[str, Choice], float] = {}
        self._held = 0
        self._activations: dict[tuple[str, int], ActivationQuantizer] = {}
        self._outputs: dict[tuple[str, int], tuple[OutputQuantizer, ...]] = {}
        self._menus: dict[str, dict[Choice, int]] = {}
        self._facts: dict[tuple[str, tuple[Choice, ...]], dict[str, Any]] = {}
        self._estimates: dict[str, dict[Choice, Estimate]] = {}
        self._trusted: set[tuple[str, Choice]] = set()
        self._corrections: dict[str, Corrections] = {}

    def dense(self, layer: LayerSpec) -> Tensor:
        """Returns the layer's original weight, on the processor."""
        return self._dense[layer.name]

    def prepare(self, menus: Sequence[Sequence[Choice]]) -> None:
        """Makes the tables of these menus, or reads them from disk.

        Args:
            menus: the choices of each layer.
        """
        missing: list[tuple[LayerSpec, list[Choice]]] = []
        unknown: list[tuple[LayerSpec, list[Choice]]] = []
        for layer, menu in zip(self.network.layers, menus, strict=True):
            choices = list(dict.fromkeys(choice.of_weights for choice in menu))
            if list(self._menus.get(layer.name, ())) == choices:
                continue
            self._menus[layer.name] = {choice: i for i, choice in enumerate(choices)}
            facts = self._facts.setdefault((layer.name, tuple(choices)), {})
            if not facts:
                facts.update(self._tables.load_facts(layer, choices))
            self._estimates.pop(layer.name, None)
            self._corrections.pop(layer.name, None)
            self._trusted = {key for key in self._trusted if key[0] != layer.name}
            if is_costly(layer, len(choices)):
                if not self._recall_estimates(layer, choices, facts.get(_ESTIMATES)):
                    unknown.append((layer, choices))
                continue
            if all((layer.name, choice) in self._options for choice in choices):
                continue
            table = self._tables.load(layer, choices)
            if table is None:
                missing.append((layer, choices))
            else:
                self._keep_all(layer, table)
        if missing:
            self._observe()
            missing.sort(key=lambda job: -job[0].n_weights)
            self._all("tables", self._build, missing)
        if unknown:
            self._observe()
            self._all("estimates", self._estimate, unknown)

    @property
    def estimated_layers(self) -> tuple[str, ...]:
        """Names of the layers whose menus are estimated."""
        return tuple(self._estimates)

    @property
    def trusted(self) -> frozenset[tuple[str, Choice]]:
        """The options of estimated layers, by the layer's name, that `trust` has made."""
        return frozenset(self._trusted)

    def start_over(self) -> None:
        """Goes by estimates alone again, so that nothing depends on what was asked for before."""
        self._trusted.clear()
        self._corrections.clear()

    def trust(self, wanted: Iterable[tuple[LayerSpec, Choice]]) -> bool:
        """Makes options of estimated layers, and goes by them from now on.

        Returns:
            Whether one of them was an estimate before.
        """
        new: dict[str, tuple[LayerSpec, list[Choice]]] = {}
        for layer, choice in wanted:
            known = new.setdefault(layer.name, (layer, []))[1]
            asked = choice.of_weights
            if asked not in known and self._estimate_of(layer, asked) is not None:
                known.append(asked)
        jobs = [job for job in new.values() if job[1]]
        if jobs:
            self._observe()
        self._all("options", self._make_together, jobs)
        for layer, choices in jobs:
            for choice in choices:
                option = self._option(layer, choice)
                exact = Estimate(option.error, weight_bits(option.weight, choice))
                self._trusted.add((layer.name, choice))
                self._corrections.setdefault(layer.name, Corrections()).add(
                    self._estimates[layer.name][choice], exact
                )
        return bool(jobs)

    def _all(
        self, stage: str, make: Callable[[LayerSpec, list[Choice]], None],
        jobs: Sequence[tuple[LayerSpec, list[Choice]]],
    ) -> None:  # fmt: skip
        """Makes something of every job, and tells how far that is."""
        if not jobs:
            return

        def work(job: tuple[LayerSpec, list[Choice]]) -> float:
            return work_of(job[0], ANCHORS if stage == "estimates" else len(job[1]))

        count = StageCount(stage, sum(map(work, jobs)), self._on_stage)
        # one after another, on all threads: two such would take twice the memory
        widest = [j for j in jobs if stage == "options" and Layout.of(j[0]).width > _WIDE]
        for job in widest:
            make(*job)
            count.add(work(job))
        in_parallel(
            lambda job: make(*job), [j for j in jobs if j not in widest],
            lambda job: count.add(work(job)),
        )  # fmt: skip

    def _make_together(self, layer: LayerSpec, choices: Sequence[Choice]) -> None:
        """Makes some options of an estimated layer that are neither in memory nor on disk."""
        missing = [
            c
            for c in choices
            if (layer.name, c) not in self._options and self._tables.load(layer, [c]) is None
        ]
        made = self._make(layer, missing) if missing else []
        for choice, option in zip(missing, made, strict=True):
            self._tables.save(layer, {choice: option})
            with _LOCK:
                self._keep((layer.name, choice), option)

    def estimated_bits(self, layer: LayerSpec, choice: Choice) -> float | None:
        """Returns the bits that an option is expected to add to a file; None where it is made."""
        found = self._estimate_of(layer, choice.of_weights)
        return None if found is None else found.bits

    def first_error(self, layer: LayerSpec, choice: Choice) -> float:
        """Returns `error` as it is before anything is trusted."""
        found = self._estimates.get(layer.name, {}).get(choice.of_weights)
        if found is None:
            return self.error(layer, choice)
        return found.error + self._input_error(layer, choice)

    def _estimate_of(self, layer: LayerSpec, choice: Choice) -> Estimate | None:
        if choice.is_neutral or (layer.name, choice) in self._trusted:
            return None
        found = self._estimates.get(layer.name, {}).get(choice)
        corrections = self._corrections.get(layer.name)
        return found if found is None or corrections is None else corrections.applied(found)

    def _recall_estimates(self, layer: LayerSpec, choices: Sequence[Choice], told: Any) -> bool:
        if not isinstance(told, list) or len(told) != len(choices):
            return False
        self._estimates[layer.name] = {
            c: Estimate(float(error), float(bits))
            for c, (error, bits) in zip(choices, told, strict=True)
        }
        return True

    def _estimate(self, layer: LayerSpec, choices: Sequence[Choice]) -> None:
        found = estimated(self._dense[layer.name], choices, self.stats[layer.name], self.pipeline)
        with _LOCK:
            self._estimates[layer.name] = found
        self.fact(layer, _ESTIMATES, lambda: [[e.error, e.bits] for e in found.values()])

    def _build(self, layer: LayerSpec, choices: Sequence[Choice]) -> None:
        table = dict(zip(choices, self._make(layer, choices), strict=True))
        self._tables.save(layer, table)
        self._keep_all(layer, table)

    def weight(self, layer: LayerSpec, choice: Choice) -> Quantized | Tensor:
        """Returns the compressed weight: codes and scales, or a tensor when it stays floating."""
        return self._option(layer, choice).weight

    def shift(self, layer: LayerSpec, choice: Choice) -> Tensor | None:
        """Returns `(outputs,)`: how far the mean of each output moves; None if unknown."""
        return self._option(layer, choice).shift

    def error(self, layer: LayerSpec, choice: Choice) -> float:
        """Returns the mean squared error of the layer's outputs, relative to their energy.

        From the calibration inputs' moments, tr(D M D^T) / tr(W M W^T), plus what rounding the
        inputs adds; where the moments are not known, the squared error of the weight, relative to
        its squared norm.
        """
        key = (layer.name, choice.of_weights)
        expected = self._estimate_of(layer, choice.of_weights)
        if expected is None and key not in self._errors:
            self._option(layer, choice)
        own = self._errors[key] if expected is None else expected.error
        return own + self._input_error(layer, choice)

    def _input_error(self, layer: LayerSpec, choice: Choice) -> float:
        """Returns what rounding the layer's inputs and outputs adds to its error."""
        if choice.activations.bits == 32 or not layer.quantizable_input:
            return 0.0
        quantizer = self.activation(layer, choice.activations.bits)
        stats = self.stats[layer.name]
        found = quantizer.error(stats.inputs)
        if choice.activations.output_bits < 32:
            for output in self.outputs(layer, choice.activations.output_bits):
                found += output.quantizer.error(stats.outputs[output.module].values)
        return found

    def activation(self, layer: LayerSpec, bits: int) -> ActivationQuantizer:
        """Returns the calibrated quantizer of the layer's inputs; ChoiceError if it has none."""
        key = (layer.name, bits)
        if key not in self._activations:
            self._activations[key] = activation_range(self.stats[layer.name], bits)
        return self._activations[key]

    def outputs(self, layer: LayerSpec, bits: int) -> tuple[OutputQuantizer, ...]:
        """Returns the calibrated quantizers of the layer's outputs, one a site that was seen."""
        key = (layer.name, bits)
        if key not in self._outputs:
            seen = self.stats[layer.name].outputs
            self._outputs[key] = tuple(
                OutputQuantizer(s.module, value_range(seen[s.module], bits))
                for s in layer.output_sites
                if s.module in seen
            )
        return self._outputs[key]

    def survivals(self, layer: LayerSpec) -> Tensor:
        """Returns in how many of nine sparsities, 0.1 to 0.9, each weight survives; kept on disk.

        It does not depend on any menu.
        """
        choices = [Choice.of(sparsity=s / 10, weight_bits=8) for s in range(1, 10)]
        table = self._tables.load(layer, choices)
        if table is None:
            table = dict(zip(choices, self._make(layer, choices), strict=True))
            self._tables.save(layer, table)
        total = torch.zeros(layer.shape)
        for option in table.values():
            weight = option.weight
            total += (weight if isinstance(weight, Tensor) else weight.codes) != 0
        return total

    def menu(self, layer: LayerSpec) -> Mapping[Choice, int]:
        """Returns the place of each choice in the layer's prepared menu; {} before `prepare`."""
        return self._menus.get(layer.name, {})

    def fact(self, layer: LayerSpec, name: str, compute: Callable[[], Any]) -> Any:
        """Returns a JSON value kept beside the layer's table; computes it the first time."""
        facts = self._facts.setdefault((layer.name, tuple(self.menu(layer))), {})
        if name not in facts:
            facts[name] = compute()
            if layer.name in self._menus:
                self._tables.save_facts(layer, list(self._menus[layer.name]), facts)
        return facts[name]

    def _option(self, layer: LayerSpec, choice: Choice) -> CompressedLayer:
        key = (layer.name, choice.of_weights)
        with _LOCK:
            if key in self._options:
                self._options.move_to_end(key)
                return self._options[key]
        menu = [key[1]] if layer.name in self._estimates else list(self.menu(layer))
        kept = self._tables.load(layer, menu, key[1]) if key[1] in menu else None
        if key[1].is_neutral:  # needs no calibration
            option = CompressedLayer(self._dense[layer.name], 0.0)
        elif kept is not None:  # it had gone from memory
            option = kept[key[1]]
        else:
            option = self._make(layer, [key[1]])[0]
            if layer.name in self._estimates:
                self._tables.save(layer, {key[1]: option})
        with _LOCK:
            self._keep(key, option)
        return option

    def _observe(self) -> None:
        """Runs the calibration pass for the moments, once."""
        if self._moments is not None:
            found = self._moments()
            self.stats = {
                name: replace(stats, gram=found.get(name)) for name, stats in self.stats.items()
            }
            self._moments = None

    def _make(self, layer: LayerSpec, choices: Sequence[Choice]) -> list[CompressedLayer]:
        self._observe()
        stats = self.stats[layer.name]
        dense = self._dense[layer.name]
        made = self.pipeline.run_all(dense, choices, stats)
        error, gram = OutputError(dense, stats.gram), stats.gram
        options = [
            CompressedLayer(
                c.quantized or c.weight, error.of(c.weight),
                None if gram is None else gram.shift(c.weight - dense).float(),
            )
            for c in made
        ]  # fmt: skip
        if gram is not None:
            gram.forget()
        return options

    def _keep_all(self, layer: LayerSpec, table: Mapping[Choice, CompressedLayer]) -> None:
        with _LOCK:
            for choice, option in table.items():
                self._keep((layer.name, choice), option)

    def _keep(self, key: tuple[str, Choice], option: CompressedLayer) -> None:
        self._errors[key] = option.error
        if key in self._options:
            self._held -= _bytes(self._options.pop(key).weight)
        self._options[key] = option
        self._held += _bytes(option.weight)
        while self._held > CACHE_BYTES and len(self._options) > 1:
            self._held -= _bytes(self._options.popitem(last=False)[1].weight)


def _bytes(weight: Quantized | Tensor) -> int:
    tensor = weight.codes if isinstance(weight, Quantized) else weight
    return tensor.numel() * tensor.element_size()
