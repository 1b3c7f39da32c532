"""Dense against compressed at a glance."""

from __future__ import annotations

from autocomp.core.metric import ACCURACY, Metric
from autocomp.core.outcome import Outcome
from autocomp.inspection.record import RunRecord
from autocomp.reports.html.blocks import Card, Cards, Facts, Prose, Table
from autocomp.reports.html.page import Block, Section
from autocomp.reports.sections.wording import (
    budgets_of,
    capital,
    change,
    cost_label,
    costs_of,
    divergence_text,
    percent,
    plural,
)
from autocomp.runs.closing import HEAD, closing_rows, gain_sentence
from autocomp.runs.summary import Summary

_WORDS = (
    ("Choice", "What is done to one layer: sparsity, weight bits, activation bits, the share of "
     "channels and of rank that stay."),
    ("Plan", "One choice per layer."),
    ("Budget", "The limit of a cost, such as the bytes of the file. Every plan that was evaluated "
     "meets every budget, unless it is marked."),
    ("Outcome", "What evaluating a plan gave: {quality}, loss, costs, seconds."),
    ("F0", "Estimated: the summed losses of the layers, from tables made once; nothing is run."),
    ("F1", "Evaluated on a fixed subset of the search split; every plan of the search."),
    ("F2", "Evaluated on the whole search split; the finalists."),
    ("F2S", "As F2, after the layers were reconstructed one after the other, front to back."),
    ("F3", "As F2, after a short training within the plan."),
    ("Divergence", "How far the compressed outputs are from the dense ones, whatever the labels; "
     "for classes, pixels and tokens the mean Kullback-Leibler divergence in nats."),
    ("Gap", "The divergence of softened outputs; for classes and the like T^2 KL at temperature "
     "T = 4, elsewhere the divergence."),
    ("Merit", "Minus the gap: what agents maximise at F1, because the {quality} on few samples "
     "scatters more than good plans differ."),
    ("Solver", "The exact solver: the plan with the least estimated loss (F0) within the "
     "budget."),
)  # fmt: skip


def glance(record: RunRecord) -> Section:
    """Returns the closing figures, or those of the best plan so far."""
    words = Facts(_words(record), "Words used on this page", folded=True)
    if record.summary is not None:
        lead = (
            "What the compressed network costs and how good it is, beside the dense one. "
            "\u00b1 is one standard error; the test split was read once, at the end. "
            + gain_sentence(record.summary)
        ).strip()
        blocks: tuple[Block, ...] = (Cards(_cards(record.summary)), _table(record.summary), words)
    elif record.best is not None:
        lead = "The best plan so far; the closing figures are written when a search ends."
        blocks = (Cards(_early(record, record.best)), words)
    else:
        lead = "There is no plan to show."
        blocks = (Prose((_nothing(record),), warning=True), words)
    return Section("glance", "Dense against compressed", lead, blocks)


def _words(record: RunRecord) -> tuple[tuple[str, str], ...]:
    name = record.metric.name
    return tuple((word, text.format(quality=name)) for word, text in _WORDS)


def _unit(metric: Metric) -> str:
    return "image" if metric == ACCURACY else "sample"


def _cards(summary: Summary) -> tuple[Card, ...]:
    cards = []
    for name, limit in _first_size(summary.limits).items():
        before, after = summary.dense.get(name, 0), summary.compressed.get(name)
        if after is None or not before:
            continue
        unit = summary.units.get(name, "")
        detail = f"{after:,} of {before:,} {unit}, {before / max(1, after):.1f} times less"
        if limit:
            detail += f"; budget {limit:,}"
        label = f"{name.capitalize()} against dense"
        cards.append(Card(label, percent(after / before), detail, "compressed"))
    test, dense = summary.test, summary.test_dense
    metric = test.metric
    unit = _unit(metric)
    cards += [
        Card(
            f"Test {metric.name}, compressed",
            metric.text(test.quality),
            f"\u00b1 {test.error_text}; "
            f"{change(metric, test.quality - dense.quality)} against the dense one",
            "compressed",
        ),
        Card(
            f"Test {metric.name}, dense",
            metric.text(dense.quality),
            f"\u00b1 {dense.error_text}; {plural(dense.n, unit)}",
            "dense",
        ),
        Card("Search", plural(summary.evaluations, "plan"), f"in {summary.seconds:,.1f} s"),
    ]
    gain = summary.gain
    if gain is not None:
        spread = f"95 % interval {change(metric, gain.low)} to {change(metric, gain.high)}"
        detail = "the plan is the start's own" if gain.own else spread
        cards.append(
            Card("Gain of the search over its start", change(metric, gain.difference), detail)
        )
    return tuple(cards)


def _first_size(limits: dict[str, int]) -> dict[str, int]:
    """Returns the limits, the file's first, which is shown without one, too."""
    return {"size": limits.get("size", 0), **{k: v for k, v in limits.items() if k != "size"}}


def _table(summary: Summary) -> Table:
    images = (summary.search_dense.n, summary.test_dense.n)
    unit = _unit(summary.test.metric)
    rows = []
    for row, n in zip(closing_rows(summary), (*images, *[0] * 99), strict=False):
        label = f"{row[0]} ({plural(n, unit)})" if n else row[0]
        cells = (cell.replace("+-", "\u00b1").replace("<=", "\u2264") for cell in row[1:])
        rows.append((label, *cells))
    return Table(HEAD, rows)


def _early(record: RunRecord, best: Outcome) -> tuple[Card, ...]:
    asked = budgets_of(record)
    cards = [
        Card(
            f"{capital(best.metric.name)} ({best.fidelity}), compressed",
            best.metric.text(best.quality),
            f"on {plural(best.n, _unit(best.metric))} of the search split; {divergence_text(best)}",
            "compressed",
        )
    ]
    for name in costs_of(record):
        if name in best.costs:
            budget = f"budget {asked[name]}" if name in asked else ""
            cards.append(Card(cost_label(record, name), f"{best.costs[name]:,}", budget))
    cards.append(Card("Evaluated so far", plural(len(record.screened), "plan")))
    return tuple(cards)


def _nothing(record: RunRecord) -> str:
    if not record.outcomes:
        return "No plan was evaluated before the run was stopped."
    return (
        f"None of the {plural(len(record.outcomes), 'plan')} that were evaluated meets every "
        "budget; give a larger budget, or a space that reaches further."
    )
