"""Reports in a real browser without a network: drawn, whole, readable, hovered, fast."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import autocomp
from autocomp.data.splits import DataSplits
from autocomp.inspection.layer_multiplier import LayerMultiplier
from autocomp.inspection.record import RunRecord
from autocomp.reports.run_page import render_run

Sample = Callable[..., RunRecord]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = (400, 1600)
HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken=2'>&amp;"
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1600,1000",
)  # fmt: skip


@dataclass
class Page:
    """A report, opened from its file."""

    driver: Any
    record: RunRecord
    file: Path

    def open(self, width: int = 1600, scheme: str = "light") -> None:
        self.scheme(scheme)
        self.width(width)
        self.driver.get_log("browser")
        self.driver.get(self.file.as_uri())
        assert self.run("return document.title") == self.record.name

    def run(self, script: str, *values: Any) -> Any:
        return self.driver.execute_script(script, *values)

    def draw(self) -> None:
        self.driver.execute_async_script("window.__drawAll().then(arguments[0])")

    def width(self, width: int) -> None:
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def scheme(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def wait(self, script: str) -> Any:
        """Returns what a script gives once that is true, or after ten seconds."""
        end = time.monotonic() + 10
        while not (found := self.run(script)) and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    service = shutil.which("chromedriver")
    if browser is None or service is None:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = browser
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(service))
    started.set_script_timeout(60)
    yield started
    started.quit()


@pytest.fixture(scope="session")
def small_run(
    _trained_tiny: nn.Module, tiny_data: DataSplits, tmp_path_factory: pytest.TempPathFactory,
    sample: Sample, table_folder: Path,
) -> RunRecord:  # fmt: skip
    """A real run, with synthetic findings about its own layers."""
    folder = tmp_path_factory.mktemp("small") / "run"
    autocomp.search(
        _trained_tiny, tiny_data, "size=40%", agent="tpe", evaluations=6, finalists=2, out=folder
    )
    record = RunRecord.read(folder)
    assert record.best is not None and record.summary is not None
    findings = sample(names=list(record.best.plan)).findings
    assert findings is not None
    return replace(record, findings=replace(findings, plan=record.best.plan.key))


@pytest.fixture(scope="session")
def pages(driver: Any, small_run: RunRecord, sample: Sample,
          tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:  # fmt: skip
    names = [HOSTILE, "a.<b>bold</b>.%{y}", "encoder." + "very_long_" * 12 + "name", "x" * 120]
    records = {
        "small": small_run,
        "deep": sample(depth=100),
        "hostile": replace(sample(names=names, labels=[HOSTILE, "b" * 90]), name=HOSTILE),
        "learned": _with_multipliers(sample()),
    }
    found = {}
    for name, record in records.items():
        file = tmp_path_factory.mktemp("page") / f"{name}.html"
        file.write_text(render_run(record), encoding="utf-8")
        found[name] = Page(driver, record, file)
    return found


def _with_multipliers(record: RunRecord) -> RunRecord:
    """Returns a record whose agent has learned multipliers in place of a policy."""
    assert record.findings is not None
    learned = tuple(
        LayerMultiplier(row.name, 0.5 + 0.2 * i, 0.3, 0.1 - 0.1 * i, 0.2)
        for i, row in enumerate(record.findings.layers)
    )
    return replace(record, findings=replace(record.findings, policy=None, multipliers=learned))


@pytest.fixture(params=["small", "deep", "hostile", "learned"])
def page(request: pytest.FixtureRequest, pages: dict[str, Page]) -> Page:
    return pages[request.param]


DRAWN = """
return [...document.querySelectorAll(".plot")].map(plot => [
  plot.getAttribute("aria-label"), plot.dataset.drawn || "",
  plot.querySelectorAll(".point path, .point, .lines path.js-line, .hm image").length]);
"""
CUT = """
const cut = [];
for (const plot of document.querySelectorAll(".plot")) {
  const frame = plot.querySelector("svg.main-svg").getBoundingClientRect();
  const texts = ".xtick text, .ytick text, .annotation-text, .bartext, .xtitle, .ytitle";
  for (const text of plot.querySelectorAll(texts)) {
    const box = text.getBoundingClientRect();
    if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1
        || box.bottom > frame.bottom + 1) {
      cut.push([plot.getAttribute("aria-label"), text.textContent]);
    }
  }
}
return cut;
"""
OVERLAPS = """
const close = [];
for (const layer of document.querySelectorAll(".plot .xaxislayer-above, .plot .yaxislayer-above")) {
  const boxes = [...layer.querySelectorAll(".xtick text, .ytick text")]
    .filter(text => text.textContent).map(text => [text, text.getBoundingClientRect()]);
  for (const [i, [text, a]] of boxes.entries()) {
    for (const [other, b] of boxes.slice(i + 1)) {
      const apart = a.right <= b.left + 1 || b.right <= a.left + 1 || a.bottom <= b.top + 2
        || b.bottom <= a.top + 2;
      if (!apart) close.push([text.closest(".plot").getAttribute("aria-label"),
        text.textContent, other.textContent]);
    }
  }
}
return close;
"""
LABELS = """
return [...document.querySelectorAll('.plot[aria-label^="' + arguments[0] + '"] .ytick text')]
  .map(text => text.textContent);
"""


@pytest.mark.parametrize("width", WIDTHS)
def test_every_plot_is_drawn_whole(page: Page, width: int) -> None:
    page.open(width)
    page.draw()
    drawn = page.run(DRAWN)
    assert len(drawn) > 12
    assert [entry for entry in drawn if entry[1] != "true" or not entry[2]] == []
    assert page.run(CUT) == []
    assert page.run(OVERLAPS) == []
    best = page.record.best
    assert best is not None
    names = list(best.plan)
    policy = page.record.findings is not None and page.record.findings.policy is not None
    of_agent = "Action by layer" if policy else "What was learned of the layers"
    for title in ("Choices and costs", of_agent, "Marginal price"):
        assert page.run(LABELS, title) == names
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.run("return performance.getEntriesByType('resource').map(r => r.name)") == []
    assert page.errors() == []


def test_plots_are_drawn_as_they_are_scrolled_to(pages: dict[str, Page]) -> None:
    page = pages["deep"]
    page.open()
    script = "return [...document.querySelectorAll('.plot')].map(p => p.dataset.drawn === 'true')"
    assert page.wait(script + "[0]") is True
    assert page.run(script)[-1] is False
    page.run("document.getElementById('predictions').scrollIntoView({behavior: 'instant'})")
    assert page.wait(script + ".at(-1)") is True
    assert page.errors() == []


@pytest.mark.parametrize("name", ["small", "hostile"])
def test_hovering_shows_the_layers_numbers(pages: dict[str, Page], name: str) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    page = pages[name]
    page.open()
    page.draw()
    plot = '.plot[aria-label^="Choices"]'
    page.run(f"document.querySelector('{plot}').scrollIntoView({{behavior: 'instant'}})")
    labels = page.driver.find_elements(By.CSS_SELECTOR, f"{plot} .bars .point path")
    findings = page.record.findings
    assert findings is not None
    layer = findings.layers[1]
    ActionChains(page.driver).move_to_element(labels[1]).perform()
    text = page.wait(
        f"return [...document.querySelectorAll('{plot} .hoverlayer .hovertext')]"
        ".map(t => t.textContent).join('|')"
    )
    joined = re.sub(r"\s", "", layer.name)
    assert joined in re.sub(r"\s", "", text)
    for number in (layer.choice, f"{layer.bytes:,} of {layer.dense_bytes:,} bytes",
                   f"{layer.macs:,} of {layer.dense_macs:,} MACs"):  # fmt: skip
        assert number in text


HOVERED = """
const done = arguments[0], cut = [];
let seen = 0;
(async () => {
  for (const plot of document.querySelectorAll(".plot")) {
    const at = plot.data.findIndex(trace => trace.hoverinfo !== "skip" && trace.type !== "heatmap");
    if (at < 0) continue;
    const last = plot.data[at].x.length - 1;
    for (const point of [0, last]) {
      plot.scrollIntoView({behavior: "instant"});
      Plotly.Fx.hover(plot, [{curveNumber: at, pointNumber: point}]);
      await new Promise(resolve => setTimeout(resolve, 80));
      for (const label of plot.querySelectorAll(".hoverlayer .hovertext")) {
        const box = label.getBoundingClientRect();
        seen += 1;
        const clipped = getComputedStyle(label.closest("svg")).overflow !== "visible";
        if (box.left < -1 || box.right > innerWidth + 1 || clipped) {
          cut.push([plot.getAttribute("aria-label"), label.textContent, box.left, box.right]);
        }
      }
      Plotly.Fx.unhover(plot);
    }
  }
  done([seen, cut]);
})();
"""


@pytest.mark.parametrize("name", ["small", "hostile"])
def test_what_hovering_shows_is_whole(pages: dict[str, Page], name: str) -> None:
    page = pages[name]
    page.open(400)
    page.draw()
    seen, cut = page.driver.execute_async_script(HOVERED)
    assert seen > 15 and cut == []
    assert page.errors() == []


def test_a_selected_layer_is_shown(pages: dict[str, Page]) -> None:
    page = pages["small"]
    page.open()
    page.draw()
    layers = [layer.name for layer in page.record.findings.layers]  # type: ignore[union-attr]
    shown = page.driver.execute_async_script(
        """
        const done = arguments[0], block = document.querySelector("#curves .gallery.block");
        const select = block.querySelector("select"), plot = block.querySelector(".plot");
        const before = JSON.stringify(plot.data[0].x);
        select.value = "1";
        select.dispatchEvent(new Event("change"));
        setTimeout(() => done([plot.getAttribute("aria-label"),
          before !== JSON.stringify(plot.data[0].x), plot.dataset.drawn]), 500);
        """
    )
    assert shown == [f"Error curve: {layers[1]}", True, "true"]


def test_panels_are_selected_where_they_do_not_fit(pages: dict[str, Page]) -> None:
    page = pages["small"]
    page.open(400)
    page.draw()
    found = page.driver.execute_async_script(
        """
        const done = arguments[0], figure = document.querySelector("#plan figure");
        const label = figure.querySelector(".panels"), select = label.querySelector("select");
        select.value = select.options.length - 1;
        select.dispatchEvent(new Event("change"));
        setTimeout(() => done([!label.hidden, select.selectedOptions[0].textContent,
          figure.querySelector(".annotation-text").textContent]), 500);
        """
    )
    assert found == [True, "MACs", "MACs"]
    page.width(1600)
    assert page.wait("return document.querySelector('#plan .panels').hidden") is True


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


TEXTS = {
    "body": "body", ".lead": "body", "nav a": "body", ".note": "body", "th": "body", "td": "body",
    ".cards strong": ".cards li", ".cards .label": ".cards li", ".pictures dt": ".pictures li",
    "pre": "pre", "select": "select", ".warning": ".warning", ".ytick text": "body",
    ".annotation-text": "body",
}  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out(pages: dict[str, Page], scheme: str) -> None:
    page = replace(pages["small"], file=pages["small"].file.with_name(f"{scheme}.html"))
    record = replace(page.record, notes=("Mind this.",))
    page.file.write_text(render_run(record), encoding="utf-8")
    page.open(scheme="dark" if scheme == "light" else "light")  # then it changes under way
    page.draw()
    page.scheme(scheme)
    script = """
      const style = getComputedStyle(document.querySelector(arguments[0]));
      const behind = getComputedStyle(document.querySelector(arguments[1])).backgroundColor;
      return [arguments[0].match(/text$|tick/) ? style.fill : style.color, behind];
    """
    page.wait(
        "return getComputedStyle(document.querySelector('.ytick text')).fill === "
        "getComputedStyle(document.body).color"
    )
    assert (luminance(page.run(script, "body", "body")[1]) > 0.5) is (scheme == "light")
    weak = {
        text: round(contrast(*colours), 2)
        for text, background in TEXTS.items()
        if contrast(*(colours := page.run(script, text, background))) < 4.5
    }
    assert weak == {}
    page.scheme("light")


def test_names_are_texts(pages: dict[str, Page]) -> None:
    page = pages["hostile"]
    page.open()
    page.draw()
    assert page.run("return window.broken === undefined") is True
    assert page.run("return document.querySelectorAll('img[src=x], main b').length") == 0
    assert page.run("return document.querySelector('h1').textContent") == HOSTILE
    assert page.errors() == []


def test_a_deep_network_opens_soon(pages: dict[str, Page]) -> None:
    page = pages["deep"]
    assert page.file.stat().st_size < 8 * 10**6
    page.open()
    timing = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
    assert 0 < page.wait(timing) < 15_000  # 1 to 2 seconds on two cores that are not busy
