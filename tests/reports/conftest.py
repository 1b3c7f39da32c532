"""Synthetic runs of any depth, with everything that can be found out about them."""

from __future__ import annotations

import math
import random
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import pytest

from autocomp.core.choice import Choice
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.core.score import Score
from autocomp.inspection.ablation import LayerAblation
from autocomp.inspection.curve import CurvePoint, ErrorCurve
from autocomp.inspection.findings import Findings
from autocomp.inspection.policy import Influence, Movement, PolicyPicture, Surface, Sweep
from autocomp.inspection.predictions import (
    Calibration,
    ChangedSample,
    ClassAccuracy,
    ConfidenceBin,
    Predictions,
)
from autocomp.inspection.price import Price
from autocomp.inspection.record import RunRecord
from autocomp.inspection.study import Parameter, StudyPicture
from autocomp.runs.layer_result import LayerResult
from autocomp.runs.summary import Measured, Summary

HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken=2'>&amp;"
"""A name that breaks any page that does not escape it."""
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
Sample = Callable[..., RunRecord]


def png(seed: int) -> str:
    """Returns a small image as base64-encoded PNG."""
    from PIL import Image

    image = Image.new("RGB", (32, 32))
    for x in range(32):
        for y in range(32):
            image.putpixel((x, y), ((8 * x) % 256, (8 * y) % 256, (40 * seed) % 256))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return b64encode(buffer.getvalue()).decode()


def layer_names(depth: int) -> list[str]:
    """Returns names as deep networks have them, one of them rather long."""
    names = [f"backbone.stages.{i // 6}.blocks.{i % 6}.conv{i % 3 + 1}" for i in range(depth - 2)]
    return ["stem.conv", *names, "head.classifier.final_projection_to_the_logits.linear"]


def sample_plan(names: list[str], rng: random.Random) -> Plan:
    return Plan(
        {
            name: Choice.of(
                sparsity=rng.choice([0.0, 0.3, 0.45, 0.6, 0.75, 0.9]),
                weight_bits=rng.choice([2, 3, 4, 5, 8]),
                activation_bits=rng.choice([8, 32]),
                channels=rng.choice([1.0, 0.75, 0.5]),
                rank=rng.choice([1.0, 1.0, 0.5]),
            )
            for name in names
        }
    )


def sample_outcomes(
    names: list[str], n: int, rng: random.Random, start: float
) -> tuple[Outcome, ...]:
    found = []
    for number in range(n):
        accuracy = start + 0.05 * (1 - math.exp(-number / 15)) + rng.gauss(0, 0.012)
        size = rng.randrange(46_000, 54_000)
        costs = {"size": size, "params": 130_000, "macs": rng.randrange(15, 22) * 10**6}
        found.append(
            Outcome(
                plan=sample_plan(names, rng), quality=min(0.99, accuracy + size / 2e6), loss=0.5,
                n=1000, costs=costs, within_budget=number % 17 != 3, fidelity="F1",
                seconds=rng.uniform(0.3, 0.9), divergence=0.1 * math.exp(-number / 30) + 0.05,
            )
        )  # fmt: skip
    return tuple(found)


def sample_curve(layer: str, weights: int, rng: random.Random) -> ErrorCurve:
    points = []
    for bits in (2, 3, 4, 5, 8, 32):
        for zero in range(0, 100, 5):
            cost = int(weights * bits / 8 * (1 - zero / 100) + weights / 50) + 10
            loss = 0.0 if bits == 32 and not zero else 0.3 * (zero / 100) ** 3 + 4.0 ** (1 - bits)
            points.append(CurvePoint(f"{zero}% zero w{bits}", cost, loss))
    points.sort(key=lambda point: (point.cost, point.loss))
    front: list[int] = []
    for place, point in enumerate(points):
        if not front or point.loss < points[front[-1]].loss:
            front.append(place)
    return ErrorCurve(layer, tuple(points), tuple(front), rng.choice(front), rng.choice(front))


def sample_layers(plan: Plan, rng: random.Random) -> tuple[LayerResult, ...]:
    layers = []
    for name, choice in plan.items():
        weights = rng.choice([432, 2304, 9216, 36864, 147456])
        kept = choice.structure.units * choice.structure.rank
        size = (
            int(weights * kept * (1 - 0.9 * choice.weights.sparsity) * choice.weights.bits / 8) + 20
        )
        layers.append(
            LayerResult(
                name=name, kind="conv", shape=(64, weights // 576 or 1, 3, 3), choice=str(choice),
                sparsity=choice.weights.sparsity,
                channels=choice.structure.units, rank=choice.structure.rank,
                weight_bits=choice.weights.bits, activation_bits=choice.activations.bits,
                dense_bytes=4 * weights, bytes=size, dense_macs=weights * 64,
                macs=int(weights * 64 * kept * (1 - choice.weights.sparsity)),
            )
        )  # fmt: skip
    return tuple(layers)


def sample_policy(names: list[str], rng: random.Random) -> PolicyPicture:
    budgets = tuple(f"size={limit:.2f}%" for limit in (2, 2.5, 3, 4, 5, 6.5, 8, 10, 13))

    def actions(step: float) -> tuple[tuple[float, ...], ...]:
        return tuple(
            (math.sin(t / 7 + step), math.cos(t / 5 - step) * rng.random())
            for t in range(len(names))
        )

    grid = tuple(-1 + i / 10 for i in range(21))
    surfaces = tuple(
        Surface(
            name, grid, grid,
            tuple(tuple(-((x - 0.2) ** 2) - (y - math.sin(t)) ** 2 for x in grid) for y in grid),
            (0.25, 0.8 * math.sin(t)),
        )
        for t, name in enumerate(names)
    )  # fmt: skip
    return PolicyPicture(
        algorithm="DDPG",
        entries=("sparsity", "weight bits"),
        layers=tuple(names),
        unit="merit",
        sweep=Sweep(
            budgets, 4, tuple(actions(b / 3) for b in range(9)),
            tuple(tuple(f"{10 * b}% zero w{b % 4 + 2}" for _ in names) for b in range(9)),
            tuple(0.6 * 0.6**b for b in range(9)), tuple(0.5 * 0.58**b for b in range(9)),
        ),
        surfaces=surfaces,
        influences=tuple(
            Influence(feature, 0.4 / (place + 1))
            for place, feature in enumerate(
                ("budget left", "depth", "weights of the layer", "share of the MACs left", "stride")
            )
        ),
        movement=Movement(tuple(range(0, 60, 5)), tuple(actions(1 / (k + 1)) for k in range(12))),
    )  # fmt: skip


def sample_predictions(labels: list[str]) -> Predictions:
    bins = tuple(
        ConfidenceBin(0 if b < 2 else 20 * b * b, b / 10 + 0.05 if b > 1 else 0, b / 11)
        for b in range(10)
    )
    return Predictions(
        split="search split", n=5000, agreement=0.93,
        classes=tuple(
            ClassAccuracy(label, 500, 0.95 - 0.03 * (k % 7), 0.93 - 0.045 * (k % 6))
            for k, label in enumerate(labels)
        ),
        dense=Calibration(0.021, bins),
        compressed=Calibration(
            0.047, tuple(ConfidenceBin(b.n, b.confidence, 0.9 * b.accuracy) for b in bins)
        ),
        changed=tuple(
            ChangedSample(k, labels[k % len(labels)], labels[k % len(labels)],
                          labels[(k + 3) % len(labels)], 0.97 - 0.05 * k, 0.55 + 0.03 * k,
                          4 / (k + 1), "" if k == 5 else png(k))
            for k in range(8)
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def sample() -> Sample:
    """Builds a run of `depth` layers that lacks nothing; names and labels may be given."""

    def build(depth: int = 20, evaluations: int = 60, names: list[str] | None = None,
              labels: list[str] | None = None, seed: int = 0) -> RunRecord:  # fmt: skip
        rng = random.Random(seed)
        names = names or layer_names(depth)
        labels = labels or [*LABELS]
        screened = sample_outcomes(names, evaluations, rng, 0.80)
        finalists = tuple(
            Outcome(o.plan, o.accuracy - 0.004, 0.5, 5000, o.costs, True, level, 3.0, 0.08)
            for o, level in zip(screened[-5:], ["F2", "F2", "F2", "F2", "F2S"], strict=True)
        )
        best = max(finalists, key=lambda o: o.rank)
        layers = sample_layers(best.plan, rng)
        curves = tuple(sample_curve(layer.name, layer.dense_bytes // 4, rng) for layer in layers)
        dense_costs = {"size": 1_094_288, "params": 269_722, "macs": 40_551_040, "latency": 830_000}
        costs = {**best.costs, "latency": 410_000}
        best = Outcome(best.plan, best.accuracy, 0.5, 5000, costs, True, best.fidelity, 3.0, 0.08)
        finalists = tuple(best if o.plan == best.plan else o for o in finalists)
        summary = Summary(
            dense=dense_costs, compressed={**costs, "size": best.costs["size"] - 41},
            search_dense=Score(0.885, 0.42, 5000), search=Score(best.accuracy, 0.5, 5000),
            test_dense=Score(0.8708, 0.5, 2500), test=Score(0.852, 0.58, 2500),
            limits={"size": 54_714, "latency": 450_000},
            units={"size": "bytes", "params": "params", "macs": "MACs", "latency": "ns"},
            layers=tuple(
                replace(
                    layer, weights=layer.dense_bytes // 4, nonzeros=layer.dense_bytes // 8
                )
                for layer in layers
            ),
            left_dense=("norm",), in_blocks=(), evaluations=evaluations, seconds=106.8,
            measured={"latency": Measured(845_000, 433_000)},
        )  # fmt: skip
        findings = Findings(
            plan=best.plan.key, fidelity=best.fidelity, cost="size", unit="bytes", layers=layers,
            curves=curves,
            prices=tuple(
                Price(layer.name, None if k == 0 else 1e-6 * (k % 5 + 1), "40% zero w4", 120 + k,
                      1e-4 / (k % 7 + 1))
                for k, layer in enumerate(layers)
            ),
            ablations=tuple(
                LayerAblation(layer.name, layer.choice, "55% zero w3", 300 - 90 * k, 1e-3 * (k - 1),
                          2e-3 * (1 - k), 0.002 * (k - 1), k % 3 != 1)
                for k, layer in enumerate(layers[: max(3, depth // 4)])
            ),
            predictions=sample_predictions(labels),
            policy=sample_policy(names, rng),
            study=StudyPicture(
                "TPESampler", evaluations,
                tuple(
                    Parameter(f"{name}[{e}]", 0.5 / (k + 2) / (e + 1),
                              tuple(rng.uniform(-1, 1) for _ in range(evaluations)),
                              tuple(o.merit for o in screened))
                    for k, name in enumerate(names) for e in (0, 1)
                ),
            ),
        )  # fmt: skip
        return RunRecord(
            name="20261125-ddpg-5%",
            config={
                "settings": {
                    "model": "resnet20", "data": "cifar10", "space": "joint", "agent": "ddpg",
                    "budget": ["size=5%", "latency=450us"], "seed": 0, "keep": [],
                },
                "fingerprints": {"network": "95f4", "data": "1507"},
                "splits": {"calibration": 1000, "search": 5000, "test": 2500},
                "command": ["autocomp", "search", "--model", "resnet20", "--data", "my data"],
                "versions": {"python": "3.11.7", "torch": "2.13.0+cpu"},
            },
            outcomes=(*screened, *finalists),
            baselines={"random": sample_outcomes(names, evaluations, rng, 0.76),
                       "tpe": sample_outcomes(names, evaluations, rng, 0.78)},
            summary=summary,
            findings=findings,
        )  # fmt: skip

    return build
