# SPDX-License-Identifier: Apache-2.0
"""The page's style sheet: system fonts, one accent colour, light and dark, narrow and wide, and on paper."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fafbfb; --sheet: #ffffff; --ink: #14181b; --quiet: #59646c; --hair: #dde2e5;
  --accent: #0b6a72; --soft: #c9e2e3; --warn: #a8450c; --edge: #14181b55;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #101416; --sheet: #161b1e; --ink: #e6eaec; --quiet: #9ba7ae; --hair: #2a3237;
    --accent: #5fc6cd; --soft: #2c6a70; --warn: #f0a165; --edge: #e6eaec66;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums;
}
main { overflow-wrap: break-word; max-width: 1200px; margin: 0 auto; padding: 56px 28px 72px; }
p { margin: 0 0 12px; max-width: 68ch; }
.eyebrow { color: var(--quiet); font-size: 15px; margin: 0 0 14px; }
h1 { margin: 0; font-weight: 400; font-size: 22px; line-height: 1.4; max-width: 36em; text-wrap: balance; }
h1 .gain {
  display: block; font-weight: 650; font-size: clamp(34px, 6.4vw, 64px); line-height: 1.06;
  letter-spacing: -0.028em; margin: 0 0 14px; color: var(--accent);
}
h1 .long { font-size: clamp(30px, 4.6vw, 46px); }
.open h1 .verdict { color: var(--warn); }
.cards { display: grid; grid-template-columns: repeat(4, 1fr); margin: 44px 0 0; padding: 0;
  list-style: none;
  border-top: 1px solid var(--hair); border-bottom: 1px solid var(--hair); }
.cards li { padding: 18px 20px 20px; border-left: 1px solid var(--hair); }
.cards li:first-child { border-left: 0; padding-left: 0; }
.cards li:last-child { padding-right: 0; }
.cards .what { color: var(--quiet); font-size: 14px; }
.cards .value { display: block; font-size: 30px; font-weight: 600; letter-spacing: -0.015em;
  line-height: 1.3; }
.cards .from { font-size: 14px; color: var(--quiet); }
.cards .ratio { float: right; font-weight: 600; color: var(--ink); }
.cards .key .value, .cards .key .ratio { color: var(--accent); }
.bar { display: block; height: 6px; background: var(--soft); margin: 8px 0 9px; }
.bar i { display: block; height: 100%; min-width: 2px; background: var(--accent); }
section { display: grid; grid-template-columns: 140px minmax(0, 1fr); gap: 0 28px; margin-top: 56px; }
h2 { font-size: 16px; font-weight: 650; line-height: 1.4; margin: 0; }
section > div { min-width: 0; }
.scroll { overflow-x: auto; margin: 0 0 16px; /* a shadow at an edge that hides something */
  background:
    linear-gradient(90deg, var(--ground) 40%, transparent) 0 0 / 28px 100% local,
    linear-gradient(270deg, var(--ground) 40%, transparent) 100% 0 / 28px 100% local,
    radial-gradient(farthest-side at 0 50%, var(--edge), transparent) 0 0 / 12px 100% scroll,
    radial-gradient(farthest-side at 100% 50%, var(--edge), transparent) 100% 0 / 12px 100% scroll;
  background-repeat: no-repeat; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
.narrow { max-width: 720px; }
.tall { max-height: 460px; overflow-y: auto; border-bottom: 1px solid var(--hair); }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; }
th, td { padding: 7px 20px 7px 0; text-align: left; vertical-align: baseline;
  border-bottom: 1px solid var(--hair); }
thead th { color: var(--quiet); font-weight: 500; font-size: 13.5px; white-space: nowrap; }
.tall thead th { position: sticky; top: 0; background: var(--ground); }
tbody th { font-weight: 400; }
td.n, th.n { text-align: right; white-space: nowrap; }
tr > :last-child { padding-right: 0; }
tr.key > * { font-weight: 650; }
tr.key > td:nth-child(4) { color: var(--accent); }
tr.chosen > * { font-weight: 650; }
.name, code, .hash { font-family: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, monospace;
  font-size: .9em; }
.name span { display: block; width: max-content; max-width: 38ch; overflow-wrap: anywhere; }
.hash { overflow-wrap: anywhere; color: var(--quiet); min-width: 30ch; }
.value { overflow-wrap: anywhere; }
.test { min-width: 12ch; }
.note { min-width: 22ch; }
td .bar { width: 96px; margin: 0 0 0 auto; height: 5px; }
td.wide { width: 45%; }
td.wide .bar { width: 100%; min-width: 90px; margin: 0; height: 8px; background: none; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 286px), 1fr));
  gap: 12px 28px; margin: 0 0 14px; }
figure { margin: 0; }
figcaption { color: var(--quiet); font-size: 13px; }
.shown { margin: 0 0 22px; } .shown > figcaption { color: var(--ink); font-size: 14.5px; margin: 0 0 8px; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 150px), 1fr)); gap: 10px 14px; }
.panels img { display: block; width: 100%; height: auto; border: 1px solid var(--hair); }
.panels figcaption { margin: 4px 0 0; }
.proof figure { max-width: 430px; margin: 6px 0 22px; }
svg { display: block; width: 100%; height: auto; max-width: 440px; overflow: visible; }
svg text { font-size: 13.5px; fill: var(--quiet); }
svg text.strong { fill: var(--ink); paint-order: stroke; stroke: var(--ground); stroke-width: 4px; }
svg .grid { stroke: var(--hair); }
svg .axis { stroke: var(--quiet); }
svg .frontier { fill: none; stroke: var(--accent); stroke-width: 1.5; opacity: .55; }
svg .line { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; }
svg .dot { fill: var(--accent); }
svg .accepted { fill: var(--ground); stroke: var(--accent); stroke-width: 2; }
svg .rejected { fill: none; stroke: var(--quiet); stroke-width: 1.6; }
svg .original { fill: var(--ground); stroke: var(--ink); stroke-width: 1.8; }
svg .chosen { fill: var(--accent); stroke: var(--ground); stroke-width: 2; }
svg .before { fill: var(--soft); }
svg .after { fill: var(--accent); }
svg .reference { stroke: var(--ink); stroke-dasharray: 1 4; stroke-linecap: round; stroke-width: 1.4; }
svg .tolerance { stroke: var(--warn); stroke-dasharray: 5 4; stroke-width: 1.4; }
svg .excluded { fill: var(--soft); opacity: .5; }
svg .reach { stroke: var(--accent); stroke-width: 2.5; }
svg .reach.short { stroke: var(--warn); }
.open svg .excluded { display: none; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 0 0 14px; padding: 0; list-style: none;
  font-size: 14px; color: var(--quiet); }
.legend svg { display: inline-block; width: 22px; height: 14px; vertical-align: -2px; margin-right: 7px; }
.swatch { display: inline-block; width: 12px; height: 12px; border: 1px solid var(--hair);
  margin-right: 7px; vertical-align: -1px; }
.swatch.before { background: var(--soft); } .swatch.after { background: var(--accent); }
.verdict { font-weight: 650; }
.proof .verdict { color: var(--accent); font-size: 19px; }
.open .proof .verdict { color: var(--warn); }
.aside { color: var(--quiet); font-size: 14.5px; }
pre { margin: 0 0 18px; padding: 14px 16px; background: var(--sheet); border: 1px solid var(--hair);
  white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: 14.5px; }
ul.notes { margin: 0; padding: 0 0 0 18px; max-width: 68ch; } ul.notes li { margin: 0 0 8px; }
details { margin: 0 0 14px; } summary { cursor: pointer; color: var(--accent); font-size: 14.5px;
  padding: 4px 0 8px; }
footer { margin-top: 64px; padding-top: 16px; border-top: 1px solid var(--hair); color: var(--quiet);
  font-size: 14px; }
@media (max-width: 860px) {
  main { padding: 36px 18px 56px; }
  section { display: block; margin-top: 44px; }
  h2 { margin: 0 0 12px; font-size: 18px; }
  .cards { grid-template-columns: 1fr 1fr; }
  .cards li { padding: 16px 14px; }
  .cards li:nth-child(odd) { border-left: 0; padding-left: 0; }
  .cards li:nth-child(n+3) { border-top: 1px solid var(--hair); }
  .cards li:nth-child(even) { padding-right: 0; }
  .cards .value { font-size: 25px; }
  .cards .ratio { float: none; display: block; }
  h1 { font-size: 19px; }
  table { font-size: 14px; }
  th, td { padding-right: 14px; }
  tbody th { min-width: 17ch; }
}
@media (max-width: 560px) {
  .stacked tr { display: flex; border-bottom: 1px solid var(--hair); flex-wrap: wrap; }
  .stacked tr > * { border: 0; padding-right: 8px; }
  .stacked tbody th { flex: 0 0 100%; padding-bottom: 0; color: var(--quiet); }
  .stacked td, .stacked thead th { flex: 1 0 0; min-width: 0; }
  .stacked thead th { white-space: normal; align-self: end; font-size: 13px; }
  .stacked thead th:first-child { display: none; }
  td.wide { width: 25%; }
  td.wide .bar { min-width: 36px; }
}
@media print {
  :root { --ground: #fff; --sheet: #fff; }
  main { padding: 0; } section, tr, figure { break-inside: avoid; }
  .tall { max-height: none; }
}
"""
