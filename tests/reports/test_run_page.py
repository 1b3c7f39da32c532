from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from autocomp.inspection.layer_multiplier import LayerMultiplier
from autocomp.inspection.record import RunRecord
from autocomp.reports.html.blocks import Card, Cards, Picture, Pictures, Table
from autocomp.reports.html.embedded import embedded_json
from autocomp.reports.html.figures import Figure, Gallery, Panel, Rows, colour, plain, wrapped
from autocomp.reports.html.page import Section, render_page
from autocomp.reports.run_page import render_run
from autocomp.reports.sections.view import close_span, span
from autocomp.reports.sections.wording import percent, short, signed, signed_points

Sample = Callable[..., RunRecord]
ALL = ["glance", "plan", "search", "front", "curves", "policy", "study", "ablations", "measured",
       "predictions", "making"]  # fmt: skip
HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken=2'>&amp;"
MIB = 1 << 20


class Reader(HTMLParser):
    """Collects a page's sections, scripts, tags and texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self._script = self._raw = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._script, self._raw = tag == "script", tag in ("script", "style")
        if tag == "section":
            self.sections.append(dict(attrs)["id"] or "")
        if self._script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._script = self._raw = False

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[-1] += data
        elif not self._raw:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def plots(self) -> Any:
        found = json.loads(self.scripts[0])

        def whole(value: Any) -> Any:
            if isinstance(value, dict):
                if "$" in value:
                    return found["pool"][value["$"]]
                return {key: whole(item) for key, item in value.items()}
            return [whole(item) for item in value] if isinstance(value, list) else value

        return whole(found["value"])


def test_a_full_run_has_every_section_in_order(sample: Sample) -> None:
    page = Reader(render_run(sample(depth=6)))
    assert page.sections == ALL
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links == [f"#{key}" for key in ALL]
    for text in ("85.20%", "\u22121.88 points", "times less", "\u2264 54,714", "F2S", "python"):
        assert text in page.text
    assert len(page.plots()) == sum(attrs.get("class") == "plot" for _, attrs in page.tags)


def test_sections_without_data_are_left_out(sample: Sample) -> None:
    record = sample(depth=4)
    findings = replace(record.findings, curves=(), prices=(), ablations=(), predictions=None,
                       policy=None, study=None)  # fmt: skip
    assert Reader(render_run(replace(record, findings=findings))).sections == [
        "glance", "plan", "search", "front", "measured", "making",
    ]  # fmt: skip
    page = Reader(render_run(replace(record, findings=None)))
    assert page.sections == ["glance", "plan", "search", "front", "measured", "making"]
    assert "was not inspected" in page.text


def test_learned_multipliers_take_the_policy_s_place(sample: Sample) -> None:
    record = sample()
    assert record.findings is not None
    learned = tuple(
        LayerMultiplier(row.name, 1 + 0.1 * i, 0.2, -0.3, 0.1)
        for i, row in enumerate(record.findings.layers)
    )
    findings = replace(record.findings, policy=None, multipliers=learned)
    page = render_run(replace(record, findings=findings))
    assert "policy" in Reader(page).sections
    assert "Posterior means and standard deviations" in page
    plain_page = render_run(replace(record, findings=replace(findings, multipliers=())))
    assert "policy" not in Reader(plain_page).sections


def test_what_is_left_out_says_why(sample: Sample) -> None:
    record = sample(depth=4)
    reasons = {
        name: f"because of {name}"
        for name in ("curves", "prices", "ablations", "predictions", "policy", "study")
    }
    findings = replace(record.findings, curves=(), prices=(), ablations=(), predictions=None,
                       policy=None, study=None, left_out=reasons)  # fmt: skip
    page = Reader(render_run(replace(record, findings=findings)))
    assert page.sections == ALL
    for reason in reasons.values():
        assert reason in page.text


def test_a_run_that_was_stopped_early(sample: Sample) -> None:
    record = replace(sample(depth=4), summary=None, findings=None, notes=("Stopped early.",))
    page = Reader(render_run(record))
    assert page.sections == ["glance", "plan", "search", "front", "making"]
    assert "Stopped early." in page.text and "The best plan so far" in page.text


def test_a_run_without_any_feasible_plan(sample: Sample) -> None:
    record = sample(depth=4)
    outcomes = tuple(replace(o, within_budget=False) for o in record.screened)
    record = replace(record, outcomes=outcomes, summary=None, findings=None, baselines={})
    assert record.best is None
    page = Reader(render_run(record))
    assert page.sections == ["glance", "search", "front", "making"]
    assert "None of the 60 plans" in page.text and "No plan has met every budget" in page.text


def test_a_run_without_any_outcome(sample: Sample) -> None:
    record = replace(sample(depth=4), outcomes=(), summary=None, findings=None, baselines={})
    page = Reader(render_run(record))
    assert page.sections == ["glance", "making"] and "No plan was evaluated" in page.text


def test_findings_about_another_plan_are_not_shown_as_the_plan(sample: Sample) -> None:
    record = sample(depth=4)
    page = Reader(render_run(replace(record, findings=replace(record.findings, plan="{}"))))
    assert "about an earlier best plan" in page.text


def test_the_plan_alone_gives_bars(sample: Sample) -> None:
    record = replace(sample(depth=4), summary=None, findings=None)
    bars = Reader(render_run(record)).plots()[0][0]
    assert bars["labels"] == list(record.best.plan)
    titles = [panel["title"] for panel in bars["panels"]]
    assert "Zero weights (%)" in titles and "Bytes" not in titles
    zeros = bars["panels"][titles.index("Zero weights (%)")]["traces"][0]["x"]
    assert zeros == [round(100 * c.weights.sparsity, 2) for c in record.best.plan.values()]


def test_hostile_names_are_escaped_everywhere(sample: Sample) -> None:
    record = sample(names=[HOSTILE, "a.<b>bold</b>", "%{y}", "var(--ink)"], labels=[HOSTILE, "b"])
    config = {
        **record.config, "command": ["autocomp", HOSTILE], "versions": {HOSTILE: HOSTILE},
        "settings": {**record.settings, "agent": HOSTILE, "model": HOSTILE, "data": HOSTILE},
    }  # fmt: skip
    record = replace(record, name=HOSTILE, config=config, notes=(HOSTILE,),
                     baselines={HOSTILE: record.screened})  # fmt: skip
    page = Reader(render_run(record))
    names = [tag for tag, _ in page.tags]
    assert names.count("script") == 3 and "b" not in names
    assert all(attrs["src"].startswith("data:image/png") for t, attrs in page.tags if t == "img")
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    assert page.text.count(HOSTILE) > 10
    assert page.plots()[0][0]["labels"][0] == HOSTILE


def test_only_the_pages_own_scripts_may_run(sample: Sample) -> None:
    page = render_run(sample(depth=3))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:")
    assert policy.count("sha256-") == 2
    assert not re.search(r'(src|href)="(?!data:|#)', page.replace(Reader(page).scripts[1], ""))


def test_a_hundred_layers_stay_small(sample: Sample) -> None:
    page = render_run(sample(depth=100, evaluations=500))
    assert len(page.encode()) < 8 * MIB


def test_page_without_plots_has_no_library() -> None:
    page = render_page("A", "", [Section("a", "A", "b", (Table(("x",), [("1",)]),))], ["mind"])
    assert len(page) < 40_000 and "mind" in Reader(page).text


def test_blocks_are_shown() -> None:
    cards = Cards((Card("size", "4.99%", "of dense", "compressed"),))
    pictures = Pictures([Picture("", "Image 3", (("dense", "cat", "dense"),))], "Changed")
    table = Table(("layer", "bytes"), [("conv", "7")], "All", folded=True)
    page = Reader(render_page("A", "", [Section("a", "A", "", (cards, pictures, table))]))
    for text in ("4.99%", "of dense", "Image 3", "cat", "Changed", "conv", "7", "All"):
        assert text in page.texts
    assert "details" in [tag for tag, _ in page.tags]


def test_a_gallery_starts_where_it_is_told() -> None:
    figures = [(name, Figure(f"of {name}", [])) for name in ("a", "b")]
    gallery = Gallery("Layer", figures, first=1)
    page = Reader(render_page("A", "", [Section("a", "A", "", (gallery,))]))
    chosen = [attrs for tag, attrs in page.tags if tag == "option" and "selected" in attrs]
    assert [attrs["value"] for attrs in chosen] == ["1"] and "of b" in page.texts
    assert [plot["title"] for plot in page.plots()[0]] == ["of a", "of b"]


def test_embedded_values() -> None:
    long = [i / 3 for i in range(9)]
    rows = Rows("r", ["a"], [Panel("p", [{"x": long}, {"x": tuple(long), "y": [float("nan")]}])])
    text = embedded_json([rows, "</script>"])
    assert "<" not in text
    found = json.loads(text)
    assert found["pool"] == [[float(f"{i / 3:.5g}") for i in range(9)]]
    first = found["value"][0]
    assert first["kind"] == "rows" and found["value"][1] == "</script>"
    assert first["panels"][0]["traces"] == [{"x": {"$": 0}}, {"x": {"$": 0}, "y": [None]}]


def test_the_view_leaves_far_values_out() -> None:
    values = [0.9, 0.91, 0.92, 0.93, 0.94, -1.0]
    shown, hidden = close_span(values)
    assert hidden == 1 and 0.89 < shown[0] < 0.9 and 0.94 < shown[1] < 0.95
    assert close_span(values, kept=[-1.0])[1] == 0
    assert close_span([0.1, 5.0]) == (span([0.1, 5.0]), 0)
    assert span([2.0]) == [1.98, 2.02] and span([0.0]) == [-0.01, 0.01]
    assert span([0.0, 1.0], 0.1) == [-0.1, 1.1]


def test_texts_for_plots() -> None:
    assert plain("<b>&amp;") == "&lt;b&gt;&amp;amp;"
    assert wrapped("layer1.0.conv1", 8) == "layer1.<br>0.conv1"
    assert wrapped("x" * 10, 4) == "xxxx<br>xxxx<br>xx"
    assert wrapped("45% zero w5", 40) == "45% zero w5"
    assert wrapped("a < b", 3) == "a &lt;<br>b"
    with pytest.raises(ValueError, match="must be one of"):
        colour("red")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (percent(0.87081), "87.08%"),
        (signed_points(-0.0188), "\u22121.88 points"),
        (signed(0.00001, ".2f"), "0.00"),
        (signed(-1234, ",d"), "\u22121,234"),
        (signed(0, ",d"), "0"),
        (short(12345.6), "12,346"),
        (short(-0.00123), "\u22120.00123"),
        (short(-3e-33), "0"),
        (short(-2.64e-06), "\u22122.64\u00d710\u207b\u2076"),
        (signed(2.5e-05), "+2.5\u00d710\u207b\u2075"),
    ],
)
def test_numbers(text: str, expected: str) -> None:
    assert text == expected
