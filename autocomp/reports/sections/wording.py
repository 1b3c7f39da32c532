"""How a report writes numbers and costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autocomp.core.metric import Metric
from autocomp.core.outcome import Outcome
from autocomp.inspection.record import RunRecord

_UNITS = {
    "size": "bytes", "params": "params", "macs": "MACs", "bitops": "BitOps", "latency": "ns",
}  # fmt: skip

_RAISED = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)


def percent(share: float, digits: int = 2) -> str:
    """Returns a share as "87.08%"."""
    return f"{share:.{digits}%}"


def quality_text(outcome: Outcome) -> str:
    """Returns an outcome's quality with its name: "accuracy 87.08%"."""
    return f"{outcome.metric.name} {outcome.metric.text(outcome.quality)}"


def divergence_text(outcome: Outcome) -> str:
    """Returns an outcome's divergence with its name and unit: "divergence 0.01 nats"."""
    return f"divergence {short(outcome.divergence)} {outcome.metric.divergence_unit}"


def capital(text: str) -> str:
    """Returns a text that begins with a capital; nothing else of it is changed."""
    return text[:1].upper() + text[1:]


def change(metric: Metric, difference: float) -> str:
    """Returns a difference of a metric's figures with a true minus sign."""
    return signed_points(difference) if metric.percent else signed(difference)


def signed_points(share: float) -> str:
    """Returns a difference of shares as "+1.88 points", with a true minus sign."""
    return signed(100 * share, ".2f") + " points"


def signed(value: float, form: str = ".3g") -> str:
    """Returns a number with its sign, a true minus sign, and none for what rounds to zero."""
    text = format(abs(value), form)
    if float(text.replace(",", "")) == 0:
        return text
    return _typeset(("-" if value < 0 else "+") + text)


def _typeset(text: str) -> str:
    """Returns a number's text with a true minus sign, and "e-06" as a power of ten."""
    mantissa, power, exponent = text.partition("e")
    if power:
        mantissa += f"\u00d710{str(int(exponent)).translate(_RAISED)}"
    return mantissa.replace("-", "\u2212")


def short(value: float) -> str:
    """Returns a number with three significant digits, grouped from thousands on."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) < 1e-12:
        return "0"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return _typeset(text)


def plural(count: int, noun: str) -> str:
    """Returns "1 plan" or "1,200 plans"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def sentence(reason: str) -> str:
    """Returns a reason with a capital and a full stop."""
    text = reason[:1].upper() + reason[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def shape_of(shape: Sequence[int]) -> str:
    """Returns a shape as "16x3x3x3"."""
    return "x".join(map(str, shape))


def unit_of(record: RunRecord, cost: str) -> str:
    """Returns a cost's unit, "" where the run does not know it."""
    found = record.findings
    if found is not None and found.cost == cost:
        return found.unit
    if record.summary is not None and cost in record.summary.units:
        return record.summary.units[cost]
    return _UNITS.get(cost, "")


def cost_label(record: RunRecord, cost: str) -> str:
    """Returns a cost with its unit: "size (bytes)", "MACs"."""
    unit = unit_of(record, cost)
    return f"{cost} ({unit})" if unit and unit.lower() != cost.lower() else unit or cost


def costs_of(record: RunRecord) -> tuple[str, ...]:
    """Returns the names of the outcomes' costs, those with a budget first."""
    known = dict.fromkeys(name for outcome in record.outcomes for name in outcome.costs)
    bound = [name for name in budgets_of(record) if name in known]
    return tuple(dict.fromkeys([*bound, *known]))


def budgets_of(record: RunRecord) -> dict[str, str]:
    """Returns cost -> the budget as it was asked for ("5%", "60,000")."""
    given = record.settings.get("budget", ())
    texts = given.split(",") if isinstance(given, str) else map(str, given)
    pairs = [text.partition("=") for text in texts]
    return {name.strip(): limit.strip() for name, _, limit in pairs}


def limits_of(record: RunRecord) -> dict[str, int]:
    """Returns cost -> limit, as far as the run knows it."""
    return dict(record.summary.limits) if record.summary is not None else {}
