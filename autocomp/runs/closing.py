"""The closing figures, in words: rows and a sentence, for whoever shows them."""

from __future__ import annotations

from autocomp.runs.summary import Summary
from autocomp.tasks.classification import Score

HEAD = ("", "dense", "compressed", "change", "budget")


def closing_rows(summary: Summary) -> list[tuple[str, ...]]:
    """Returns accuracy and costs, dense and compressed, a row each under `HEAD`.

    Accuracies change by points, costs to a share of the dense network's.
    """
    rows: list[tuple[str, ...]] = [
        ("search accuracy", *_accuracies(summary.search_dense, summary.search)),
        ("test accuracy", *_accuracies(summary.test_dense, summary.test)),
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
    if gain.own:
        return "The plan is the one that the search started from: it found none better."
    if gain.low > 0:
        told = "The search improved on the plan it started from"
    elif gain.high < 0:
        told = "The search ended below the plan it started from"
    else:
        told = "The search did not measurably improve the accuracy of the plan it started from"
    return (
        f"{told}: {100 * gain.difference:+.2f} points (95 % interval {100 * gain.low:+.2f} to "
        f"{100 * gain.high:+.2f}, paired over the {gain.n:,} images that chose it)."
    )


def _accuracies(dense: Score, compressed: Score) -> tuple[str, str, str, str]:
    change = f"{100 * (compressed.accuracy - dense.accuracy):+.2f} points"
    return _percent(dense), _percent(compressed), change, ""


def _percent(score: Score) -> str:
    return f"{score.accuracy:.2%} +- {score.standard_error:.2%}"
