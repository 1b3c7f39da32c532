"""The page's script: draws each plot once it comes near the view, in the page's colours and width.

A `Rows` plot is laid out here, because its labels are broken to the width that the page has.
"""

from __future__ import annotations

SCRIPT = r"""
(() => {
"use strict";
const { pool, value: plots } = JSON.parse(document.getElementById("plots").textContent);
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", ' +
  '"Liberation Sans", sans-serif';
const SIZE = 12, LINE = 15;
const CONFIG = { displaylogo: false, responsive: false, displayModeBar: "hover",
  modeBarButtonsToRemove: ["select2d", "lasso2d", "sendChartToCloud"] };
const pen = document.createElement("canvas").getContext("2d");
const wide = (text) => { pen.font = `${SIZE}px ${FONT}`; return pen.measureText(text).width; };
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

// Breaks a name after its dots and dashes, or anywhere, into lines of at most `room` pixels.
function broken(name, room) {
  const lines = [];
  let line = "";
  for (const piece of name.match(/[^./_\s-]+[./_\s-]*|[./_\s-]+/g) || [""]) {
    if (line && wide(line + piece) > room) { lines.push(line); line = ""; }
    if (wide(piece) <= room) { line += piece; continue; }
    for (const letter of piece) {
      if (line && wide(line + letter) > room) { lines.push(line); line = ""; }
      line += letter;
    }
  }
  return [...lines, line];
}

// Breaks a title, which is escaped already, at its spaces.
function spaced(text, room) {
  const lines = [];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`;
    if (lines.length && wide(longer) <= room) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines.join("<br>");
}

// Puts the pool's lists back where they are meant.
function whole(value) {
  if (Array.isArray(value)) return value.map(whole);
  if (!value || typeof value !== "object") return value;
  if ("$" in value) return pool[value.$];
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, whole(item)]));
}

// Replaces var(--name) by the page's present colour, wherever a key speaks of colours.
function coloured(value, key, look) {
  if (Array.isArray(value)) {
    return /color(scale)?$/i.test(key) || typeof value[0] === "object"
      ? value.map((item) => coloured(item, key, look)) : value;
  }
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, k, look)]));
  }
  const found = typeof value === "string" && /color(scale)?$/i.test(key) && /^var\((--[\w-]+)\)$/
    .exec(value);
  return found ? look.getPropertyValue(found[1]).trim() : value;
}

const AXIS = { gridcolor: "var(--grid)", zerolinecolor: "var(--line)", linecolor: "var(--line)",
  tickcolor: "var(--line)", automargin: true, title: { standoff: 8 } };
const merged = (base, own) => {
  const all = { ...base };
  for (const [key, value] of Object.entries(own || {})) {
    const both = value && all[key] && typeof value === "object" && !Array.isArray(value);
    all[key] = both ? merged(all[key], value) : value;
  }
  return all;
};
const layoutOf = (width, height) => ({
  width, height, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
  font: { family: FONT, size: SIZE, color: "var(--ink)" }, hovermode: "closest", barmode: "overlay",
  dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
  hoverlabel: { bgcolor: "var(--raised)", bordercolor: "var(--soft)", align: "left",
    font: { family: FONT, size: SIZE, color: "var(--ink)" } },
  modebar: { bgcolor: "rgba(0,0,0,0)", color: "var(--soft)", activecolor: "var(--ink)" },
});

function figure(spec, width) {
  const layout = merged(
    { ...layoutOf(width, spec.height), margin: { l: 8, r: 28, t: 26, b: 8 } }, spec.layout);
  for (const axis of ["xaxis", "yaxis"]) {
    layout[axis] = merged(AXIS, layout[axis]);
    const room = 0.75 * (axis === "xaxis" ? width : spec.height);
    layout[axis].title.text = spaced(layout[axis].title.text || "", room);
  }
  return { traces: spec.traces, layout };
}

// Lays the panels out: side by side where each gets what it needs, else the selected one alone.
function rows(spec, width, chosen) {
  const n = spec.labels.length, panels = spec.panels.length;
  const room = Math.min(0.4 * width, 250);
  const labels = spec.labels.map((name) => broken(name, room));
  const left = Math.ceil(Math.max(...labels.flat().map(wide))) + 16;
  const right = 22, gap = panels > 4 ? 18 : 34;
  const all = (width - left - right - gap * (panels - 1)) / panels
    >= Math.max(...spec.panels.map((panel) => panel.least));
  const shown = all ? spec.panels : [spec.panels[chosen]];
  const column = (width - left - right - gap * (shown.length - 1)) / shown.length;
  const tall = Math.max(20, Math.max(...labels.map((lines) => lines.length)) * LINE + 6);
  const titles = shown.map((panel) => broken(panel.title, column));
  let head = 0;
  const turned = shown.map((panel) => {
    const texts = (panel.axis.ticktext || []).map(wide), most = Math.max(0, ...texts);
    const turn = texts.length > 0 && most + 8 > column / texts.length;
    head = Math.max(head, turn ? most + 12 : 22);
    return turn;
  });
  const top = Math.ceil(head + Math.max(...titles.map((lines) => lines.length)) * LINE + 32);
  const layout = { ...layoutOf(width, top + n * tall + 10), bargap: 0.3, hovermode: "y",
    margin: { l: left, r: right, t: top, b: 10 }, annotations: [] };
  const traces = [], total = width - left - right;
  shown.forEach((panel, place) => {
    const name = place ? String(place + 1) : "";
    const start = place * (column + gap) / total;
    const end = Math.min(1, start + column / total);
    const axis = merged(AXIS, { domain: [start, end], anchor: "y" + name, side: "top",
      automargin: false, fixedrange: false, nticks: Math.max(3, Math.floor(column / 64)) });
    const own = { ...panel.axis };
    if (own.ticktext) {  // turned labels need a line each: else every second or third stands
      const step = turned[place] ? Math.ceil(LINE * own.ticktext.length / column) : 1;
      own.ticktext = own.ticktext.map((text, i) => i % step ? "" : escaped(text));
    }
    layout["xaxis" + name] = merged(axis, { ...own, tickangle: turned[place] ? -90 : 0 });
    layout["yaxis" + name] = merged(AXIS, { anchor: "x" + name, range: [n - 0.5, -0.5],
      automargin: false, tickmode: "array", tickvals: labels.map((_, i) => i),
      ticks: place ? "" : "outside", ticklen: 5, tickcolor: "rgba(0,0,0,0)",
      ticktext: labels.map((lines) => lines.map(escaped).join("<br>")), showgrid: false,
      zeroline: false, showticklabels: place === 0, ...(place ? { matches: "y" } : {}) });
    layout.annotations.push({ text: titles[place].map(escaped).join("<br>"), showarrow: false,
      xref: "paper", yref: "paper", x: start, y: 1, xanchor: "left", yanchor: "bottom",
      yshift: head, align: "left", font: { color: "var(--soft)" } });
    for (const trace of panel.traces) {
      const bars = trace.type === "bar" ? { orientation: "h" } : {};
      traces.push({ ...bars, ...trace, xaxis: "x" + name, yaxis: "y" + name });
    }
  });
  return { traces, layout, all };
}

const nodes = [...document.querySelectorAll(".plot")];
const chosen = (node) => {
  const select = node.closest(".block").querySelector("select.gallery");
  return plots[node.dataset.place][select ? Number(select.value) : 0];
};
function built(node) {
  const spec = whole(chosen(node)), width = Math.floor(node.getBoundingClientRect().width);
  if (spec.kind === "figure") return figure(spec, width);
  const label = node.closest("figure").querySelector(".panels");
  const select = label.querySelector("select");
  if (select.options.length !== spec.panels.length) {
    select.replaceChildren(...spec.panels.map((panel, i) => new Option(panel.title, i)));
  }
  const found = rows(spec, width, Number(select.value));
  label.hidden = found.all;
  return found;
}
function reserve(node) {
  node.style.minHeight = `${built(node).layout.height}px`;
}
async function draw(node) {
  const { traces, layout } = built(node);
  const look = getComputedStyle(document.documentElement);
  node.style.minHeight = `${layout.height}px`;
  node.dataset.drawn = "started";
  await Plotly.react(node, coloured(traces, "", look), coloured(layout, "", look), CONFIG);
  node.dataset.drawn = "true";
}
const again = () => Promise.all(nodes.map((node) => node.dataset.drawn ? draw(node)
  : reserve(node)));

for (const select of document.querySelectorAll("select.gallery")) {
  const block = select.closest(".block"), node = block.querySelector(".plot");
  const tell = () => {
    const spec = chosen(node);
    const name = select.selectedOptions[0].textContent, told = block.querySelector(".chosen");
    told.textContent = name;
    told.hidden = 1.4 * wide(name) + 40 < Math.max(select.clientWidth, 240);
    block.querySelector("figcaption strong").textContent = spec.title;
    block.querySelector(".note").textContent = spec.note;
    node.setAttribute("aria-label", `${spec.title}: ${name}`);
  };
  select.addEventListener("change", () => { tell(); draw(node); });
  tell();
}
for (const node of nodes) {
  const select = node.closest("figure").querySelector(".panels select");
  select.addEventListener("change", () => draw(node));
  reserve(node);
}
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    if (!entry.target.dataset.drawn) draw(entry.target);
  }
}, { rootMargin: "400px 0px" });
nodes.forEach((node) => seen.observe(node));

let width = innerWidth, waiting = 0;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(again);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
window.__drawAll = () => Promise.all(nodes.map(draw));
addEventListener("beforeprint", () => {
  document.documentElement.dataset.print = "";
  window.__drawAll();
});
addEventListener("afterprint", () => {
  delete document.documentElement.dataset.print;
  again();
});
})();
"""
