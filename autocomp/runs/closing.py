"""The closing figures, in words: rows and a sentence, for whoever shows them."""

from __future__ import annotations

from autocomp.core.score import Score
from autocomp.runs.summary import Summary

HEAD = ("", "dense", "compressed", "change", "budget")


def closing_rows(summary: Summary) -> list[tuple[str, ...]]:
    """Returns quality and costs, dense and compressed, a row each under `HEAD`.

    Accuracies and other shares change by points, costs to a share of the dense network's.
    """
    name = summary.test.metric.name
    rows: list[tuple[str, ...]] = [
        (f"search {name}", *_qualities(summary.search_dense, summary.search)),
        (f"test {name}", *_qualities(summary.test_dense, summary.test)),
    ]
    for cost, after in summary.compressed.items():
        before, unit = summary.dense[cost], summary.units[cost]
        limit = summary.limits.get(cost)
        label = "file" if cost == "size" else cost
        rows.append(
            (
                f"{label} ({unit})" if unit.lower() != label.lower() else unit,
                f"{before:,}",
                f"{after:,}",
                f"to {after / before:.2%}" if before else "",
                "" if limit is None else f"<= {limit:,}",
            )
        )
    for cost, found in summary.measured.items():
        label = f"{cost}, measured ({summary.units[cost]})"
        share = f"to {found.compressed / max(1, found.dense):.2%}"
        rows.append((label, f"{found.dense:,}", f"{found.compressed:,}", share, ""))
    return rows


def training_sentence(summary: Summary) -> str:
    """Returns what a training at the end has changed; "" without one."""
    told = summary.training
    if told is None:
        return ""
    text = told.search.metric.text
    kept = "" if told.kept else "; the network before was no worse, and is kept"
    return (
        f"Trained for {told.steps:,} steps in {told.seconds:,.0f} s: search "
        f"{told.search.metric.name} {text(told.search.quality)} before, "
        f"{text(told.search_trained.quality)} after{kept}."
    )


def miss_sentences(summary: Summary) -> list[str]:
    """Returns, per cost that was measured at the end, by how much that misses its budget.

    The measured share of the dense network is compared with the budget's: the machine may be
    slower, or faster, than when the tables were made.
    """
    told = []
    for cost, found in summary.measured.items():
        if cost not in summary.limits or not summary.dense.get(cost):
            continue
        wanted = summary.limits[cost] / summary.dense[cost]
        got = found.compressed / max(1, found.dense)
        words = "above" if got > wanted else "below"
        told.append(
            f"{cost.capitalize()}: measured, the network takes {got:.1%} of the dense one's, "
            f"{abs(got / wanted - 1):.1%} {words} the budget of {wanted:.1%}."
        )
    return told


def gain_sentence(summary: Summary) -> str:
    """Returns whether the search improved on the plan it started from; "" where it had none."""
    gain = summary.gain
    if gain is None:
        return ""
    if gain.own and summary.evaluations == 1:
        return ""  # nothing was searched
    if gain.own:
        return "The plan is the one that the search started from: it found none better."
    metric = summary.search.metric
    better, worse = gain.low > 0, gain.high < 0
    if not metric.larger_is_better:
        better, worse = worse, better
    if better:
        told = "The search improved on the plan it started from"
    elif worse:
        told = "The search ended below the plan it started from"
    else:
        told = (
            f"The search did not measurably improve the {metric.name} of the plan it started from"
        )
    low, high = (metric.change(x).removesuffix(" points") for x in (gain.low, gain.high))
    samples = "images" if metric.name == "accuracy" else "samples"
    over = "test {} that no search used" if gain.split == "test" else "{} that chose it"
    return (
        f"{told}: {metric.change(gain.difference)} (95 % interval {low} to {high}, paired over the "
        f"{gain.n:,} {over.format(samples)})."
    )


def _qualities(dense: Score, compressed: Score) -> tuple[str, str, str, str]:
    change = dense.metric.change(compressed.quality - dense.quality)
    return str(dense), str(compressed), change, ""
