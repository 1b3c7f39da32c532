"""The page's style: light and dark colours, type, and a layout from 400 pixels up.

The colours of data are blue, orange, green and their neighbours of Okabe and Ito's set, which
readers who confuse red and green tell apart; lines differ in their dashes, too.
"""

from __future__ import annotations

_LIGHT = """
--page: #fafaf8; --raised: #ffffff; --ink: #1c2127; --soft: #57606b; --line: #d3d8dd;
--grid: #e7eaed; --track: #dfe4e9; --warn: #fff3da; --warn-edge: #c98a00;
--compressed: #0969b5; --dense: #bf5405; --solver: #007a5a;
--other-1: #a3437f; --other-2: #5b5fb8; --other-3: #7a6a00; --other-4: #00798c; --other-5: #6f4a2f;
--sequential-0: #f0f4f8; --sequential-1: #bcd6ea; --sequential-2: #7fb2da; --sequential-3: #3a85c0;
--sequential-4: #08467f;
--diverging-0: #0b4f8a; --diverging-1: #74add8; --diverging-2: #f1f1ee; --diverging-3: #f0a862;
--diverging-4: #a94603;
"""
_DARK = """
--page: #14171a; --raised: #1d2125; --ink: #e8ebee; --soft: #a7b0ba; --line: #3a4149;
--grid: #2b3137; --track: #363d45; --warn: #352a12; --warn-edge: #d9a33c;
--compressed: #5cb0f2; --dense: #f39c4a; --solver: #3cc79b;
--other-1: #e08fc0; --other-2: #a5a9f5; --other-3: #d3c04e; --other-4: #4fc6d8; --other-5: #cfa27f;
--sequential-0: #1f2a35; --sequential-1: #1f4d76; --sequential-2: #2f7ab5; --sequential-3: #6bb1e6;
--sequential-4: #d5ecff;
--diverging-0: #7cc2fa; --diverging-1: #2c6ea3; --diverging-2: #2a2f34; --diverging-3: #a35c1b;
--diverging-4: #ffb26b;
"""
STYLE = (
    f":root {{ color-scheme: light;{_LIGHT}}}\n"
    "@media (prefers-color-scheme: dark) { :root:not([data-print]) "
    f"{{ color-scheme: dark;{_DARK}}} }}\n"
    """\
*, *::before, *::after { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans",
  "Liberation Sans", sans-serif;
  overflow-wrap: anywhere; }
.page { max-width: 1480px; margin: 0 auto; padding: 0 clamp(16px, 3vw, 40px); }
main { min-width: 0; }
header { padding: 40px 0 4px; }
h1 { font-size: clamp(1.5rem, 1.1rem + 1.8vw, 2.2rem); line-height: 1.2; margin: 0 0 10px;
  font-weight: 650; letter-spacing: -0.015em; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 6px; font-weight: 650;
  letter-spacing: -0.01em; }
h3 { font-size: 0.95rem; margin: 0 0 8px; font-weight: 600; }
p { margin: 0 0 10px; max-width: 46rem; }
.lead { color: var(--soft); }
a { color: var(--compressed); }
section { padding: 30px 0 6px; margin-top: 26px; border-top: 1px solid var(--line);
  scroll-margin-top: 8px; }
.warning { background: var(--warn); border-left: 4px solid var(--warn-edge); padding: 9px 14px;
  border-radius: 4px; }
footer { color: var(--soft); font-size: 0.875rem; border-top: 1px solid var(--line);
  margin-top: 40px; padding: 18px 0 32px; }
nav { padding-top: 20px; font-size: 0.875rem; }
nav ul { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: 4px 18px; }
nav a { color: var(--soft); text-decoration: none; }
nav a:hover, nav a:focus-visible { color: var(--ink); text-decoration: underline; }
.blocks { display: grid; grid-template-columns: minmax(0, 1fr); gap: 26px 40px; margin-top: 18px; }
.block { min-width: 0; }
.cards ul { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 165px), 1fr));
  gap: 14px; list-style: none; margin: 0; padding: 0; }
.cards li { background: var(--raised); border: 1px solid var(--line); border-top-width: 4px;
  border-radius: 8px; padding: 14px 16px 13px; }
.cards li:not([style$="(--line)"]) { border-right-color: var(--line) !important;
  border-bottom-color: var(--line) !important; border-left-color: var(--line) !important; }
.cards .label, .cards .detail { display: block; color: var(--soft); font-size: 0.85rem;
  line-height: 1.4; }
.cards strong { display: block; font-size: 1.75rem; line-height: 1.25; font-weight: 650;
  letter-spacing: -0.02em; font-subnet-numeric: tabular-nums; margin: 2px 0 4px; }
.scroll { overflow-x: auto; background:
  linear-gradient(90deg, var(--page) 40%, transparent) 0 0 / 40px 100% no-repeat local,
  linear-gradient(-90deg, var(--page) 40%, transparent) 100% 0 / 40px 100% no-repeat local,
  linear-gradient(90deg, var(--line), transparent) 0 0 / 12px 100% no-repeat scroll,
  linear-gradient(-90deg, var(--line), transparent) 100% 0 / 12px 100% no-repeat scroll; }
.scroll:focus-visible, select:focus-visible, summary:focus-visible, a:focus-visible {
  outline: 2px solid var(--compressed); outline-offset: 2px; }
table { border-collapse: collapse; font-size: 0.875rem; line-height: 1.45; min-width: 100%;
  font-subnet-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 18px 6px 0; border-bottom: 1px solid var(--grid);
  vertical-align: baseline; overflow-wrap: normal; }
td:first-child, th:first-child { min-width: 7.5rem; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 500; border-bottom-color: var(--line);
  vertical-align: bottom; }
.number { text-align: right; white-space: nowrap; }
th.number { white-space: normal; }
th:last-child, td:last-child { padding-right: 2px; }
details > summary { cursor: pointer; font-size: 0.95rem; font-weight: 600; margin-bottom: 10px; }
dl { margin: 0; font-size: 0.9rem; }
dl > div { display: grid; grid-template-columns: minmax(7rem, 11rem) minmax(0, 1fr); gap: 0 18px;
  padding: 5px 0; border-bottom: 1px solid var(--grid); }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; white-space: pre-wrap; }
pre { background: var(--raised); border: 1px solid var(--line); border-radius: 6px; margin: 0;
  padding: 12px 14px; white-space: pre-wrap; font-size: 0.85rem; line-height: 1.5; }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
figure { margin: 0; }
figcaption { font-size: 0.95rem; margin-bottom: 6px; max-width: 52rem; }
figcaption strong { font-weight: 600; }
.note { color: var(--soft); font-size: 0.875rem; }
.keys { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 0 0 4px;
  padding: 0; font-size: 0.85rem; }
.keys li { display: flex; align-items: center; gap: 7px; }
.mark { flex: none; }
.scale { display: flex; align-items: center; gap: 10px; font-size: 0.85rem; margin: 0 0 4px; }
.scale i { flex: 0 1 170px; min-width: 70px; height: 10px; border-radius: 3px; }
.sequential { background: linear-gradient(90deg, var(--sequential-0), var(--sequential-1),
  var(--sequential-2), var(--sequential-3), var(--sequential-4)); }
.diverging { background: linear-gradient(90deg, var(--diverging-0), var(--diverging-1),
  var(--diverging-2), var(--diverging-3), var(--diverging-4)); }
select { font: inherit; font-size: 0.9rem; color: var(--ink); background: var(--raised);
  border: 1px solid var(--line); border-radius: 6px; padding: 4px 8px; max-width: 100%; }
.chooser, .panels:not([hidden]) { display: flex; flex-wrap: wrap; align-items: center;
  gap: 4px 10px; font-size: 0.9rem; color: var(--soft); margin-bottom: 8px; }
.chosen { font-weight: 600; margin-bottom: 4px; max-width: none; }
.plot { width: 100%; }
.plot .main-svg { overflow: visible !important; }
.pictures ul { list-style: none; margin: 0; padding: 0; display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 250px), 1fr)); }
.pictures li { background: var(--raised); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px; display: flex; gap: 14px; font-size: 0.875rem; line-height: 1.4; }
.pictures li > div { min-width: 0; flex: 1; }
.pictures img { width: 84px; height: 84px; object-fit: contain; image-rendering: pixelated;
  flex: none; border-radius: 4px; background: var(--track); }
.pictures dl > div { display: block; border: 0; padding: 2px 0; }
.pictures dt { font-size: 0.8rem; font-weight: 600; }
@media (min-width: 1000px) {
  .blocks { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .block { grid-column: 1 / -1; }
  .block.half { grid-column: auto; }
}
@media (min-width: 1240px) {
  .page { display: grid; grid-template-columns: 190px minmax(0, 1fr); gap: 0 48px; }
  nav { position: sticky; top: 0; align-self: start; padding-top: 46px; max-height: 100vh;
    overflow-y: auto; }
  nav ul { flex-direction: column; gap: 9px; }
}
@media (max-width: 560px) {
  dl > div { grid-template-columns: minmax(0, 1fr); }
  th, td { padding-right: 12px; }
  table { font-size: 0.8125rem; }
  td:first-child, th:first-child { min-width: 6rem; }
  .cards strong { font-size: 1.4rem; }
  .cards li { padding: 10px 12px; }
}
@media print {
  nav, .chooser, .panels { display: none !important; }
  .page { display: block; max-width: none; }
  section, figure, .cards li, .pictures li { break-inside: avoid; }
  section { break-inside: auto; }
}
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
"""
)
