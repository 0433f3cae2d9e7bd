# SPDX-License-Identifier: Apache-2.0
"""The page itself: one document without a font, an image or a script from elsewhere; light and dark, also on a phone.

Names from outside (classes, sources) become text nodes, never markup. The policy allows this one style sheet and this
one script, by their hashes, and requests to this server alone.
"""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fafbfb; --sheet: #ffffff; --ink: #14181b; --quiet: #59646c; --hair: #dde2e5;
  --accent: #0b6a72; --warn: #a8450c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #101416; --sheet: #161b1e; --ink: #e6eaec; --quiet: #9ba7ae; --hair: #2a3237;
    --accent: #5fc6cd; --warn: #f0a165;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 1320px; margin: 0 auto; padding: 24px 28px 40px; overflow-wrap: anywhere; }
header { display: flex; flex-wrap: wrap; gap: 2px 18px; align-items: baseline; margin: 0 0 16px; }
h1 { margin: 0; font-size: 20px; font-weight: 650; letter-spacing: -0.01em; }
header p { margin: 0; color: var(--quiet); font-size: 15px; }
#state { color: var(--accent); }
#state.wrong { color: var(--warn); }
.columns { display: grid; grid-template-columns: minmax(0, 1fr) 270px; gap: 28px; align-items: start; }
.picture { background: var(--sheet); border: 1px solid var(--hair); min-height: 200px; line-height: 0; }
.picture img { display: block; width: 100%; height: auto; max-height: calc(100vh - 120px); object-fit: contain; }
.cards { display: grid; grid-template-columns: repeat(3, auto); margin: 0 0 26px;
  border-bottom: 1px solid var(--hair); }
.cards div { border-top: 1px solid var(--hair); padding: 10px 10px 12px 0; }
.cards div:first-child { grid-column: 1 / -1; }
.cards dt { color: var(--quiet); font-size: 14px; }
.cards dd { margin: 0; font-size: 17px; font-weight: 600; letter-spacing: -0.01em; line-height: 1.4;
  white-space: nowrap; }
.cards div:first-child dd { color: var(--accent); font-size: 40px; letter-spacing: -0.02em; line-height: 1.15; }
h2 { margin: 0 0 4px; font-size: 16px; font-weight: 650; }
table { border-collapse: collapse; width: 100%; font-size: 15px; }
td { padding: 6px 0; border-bottom: 1px solid var(--hair); vertical-align: baseline; }
td:last-child { text-align: right; padding-left: 16px; font-weight: 600; white-space: nowrap; }
.none { color: var(--quiet); margin: 4px 0 0; font-size: 15px; }
@media (max-width: 760px) {
  main { padding: 14px 14px 28px; }
  .columns { grid-template-columns: minmax(0, 1fr); gap: 16px; }
  .picture { margin: 0 -14px; border-left: 0; border-right: 0; min-height: 120px; }
  .picture img { max-height: 70vh; }
  .cards { grid-template-columns: repeat(4, 1fr); margin-bottom: 16px; }
  .cards div:first-child { grid-column: auto; }
  .cards dt { font-size: 12.5px; }
  .cards dd, .cards div:first-child dd { font-size: 17px; letter-spacing: -0.01em; line-height: 1.4; }
}
"""

SCRIPT = """
"use strict";
const at = (id) => document.getElementById(id);
const image = at("image");
let lost = false;

function watch() { image.src = "/stream?" + Date.now(); }
image.addEventListener("error", () => { lost = true; });
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { image.src = "data:,"; lost = false; } else { watch(); }
});

function three(value) { return value >= 99.5 ? value.toFixed(0) : value.toPrecision(value < 0.995 ? 2 : 3); }

function state(text, wrong) {
  if (at("state").textContent !== text) { at("state").textContent = text; }
  at("state").classList.toggle("wrong", wrong);
}

function show(figures) {
  at("source").textContent = figures.source || "";
  at("network").textContent = figures.network || "";
  for (const name of ["per_second", "decode_ms", "network_ms", "boxes_ms"]) {
    at(name).textContent = figures.frames ? three(figures[name]) + (name === "per_second" ? "" : " ms") : "\\u2013";
  }
  const rows = (figures.counts || []).map(([name, count]) => {
    const row = document.createElement("tr");
    for (const text of [name, count]) { row.append(Object.assign(document.createElement("td"), {textContent: text})); }
    return row;
  });
  at("counts").replaceChildren(...rows);
  at("none").hidden = rows.length > 0;
  state(figures.trouble || (figures.frames ? "running" : "waiting for a frame"), Boolean(figures.trouble));
}

async function tick() {
  try {
    const answer = await fetch("/figures");
    if (!answer.ok) { throw new Error(); }
    show(await answer.json());
    if (lost && !document.hidden) { lost = false; watch(); }
  } catch (error) {
    lost = true;
    state("no answer: gossamer has ended, or cannot be reached", true);
  }
  setTimeout(tick, 1000);
}
watch();
tick();
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)}; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>gossamer detect</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header>
<h1>gossamer detect</h1>
<p id="source"></p><p id="network"></p><p id="state" role="status">waiting</p>
</header>
<div class="columns">
<div class="picture"><img id="image" alt="the newest frame, with a box around each object found"></div>
<div>
<dl class="cards">
<div><dt>frames a second</dt><dd id="per_second">–</dd></div>
<div><dt>decode</dt><dd id="decode_ms">–</dd></div>
<div><dt>network</dt><dd id="network_ms">–</dd></div>
<div><dt>boxes</dt><dd id="boxes_ms">–</dd></div>
</dl>
<h2>In this frame</h2>
<table><tbody id="counts"></tbody></table>
<p class="none" id="none">nothing found</p>
</div>
</div>
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""
