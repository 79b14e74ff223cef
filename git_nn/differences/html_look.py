"""html_look: the style and the script of a page, and the policy that allows nothing else.

The page is whole without its script, which only sorts tables. A Content-Security-Policy
names both by their hashes, so nothing that a file might smuggle in could run, or load.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

STYLE = (
    """
:root { color-scheme: light dark;
  --page: #f6f8fa; --card: #fff; --text: #1f2328; --soft: #59636e; --line: #d8dee4; --band: #f6f8fa;
  --accent: #0969da; --added: #1a7f37; --removed: #cf222e; --changed: #9a6700; --moved: #0e7490;
  --same: #afb8c1; --before: #8c959f; --alert: #ffebe9; --alert-line: #ff8182;
  --s0: #0072b2; --s1: #d55e00; --s2: #009e73; --s3: #b0568f; --s4: #b07d00; --s5: #2f9ed8;
  --s6: #7a5cc0; --s7: #6b7280; }
@media (prefers-color-scheme: dark) { :root {
  --page: #0d1117; --card: #151b23; --text: #e6edf3; --soft: #9198a1; --line: #30363d;
  --band: #1b222c; --accent: #4493f8; --added: #3fb950; --removed: #f85149; --changed: #d29922;
  --moved: #39c5cf; --same: #484f58; --before: #6e7681; --alert: #2d1517; --alert-line: #8e3a38;
  --s0: #58a6ff; --s1: #ff8c42; --s2: #3ddc97; --s3: #e28fc0; --s4: #e3b341; --s5: #7cc7f2;
  --s6: #b39df3; --s7: #9198a1; } }
.nn, .nn * { box-sizing: border-box; }
body { margin: 0; background: var(--page); }
.nn { color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif;
  max-width: 1360px; margin: 0 auto; padding: 24px 20px 48px; }
.nn h1 { font-size: 22px; margin: 0 0 4px; font-weight: 650; overflow-wrap: anywhere; }
.nn h2 { font-size: 18px; margin: 0 0 12px; font-weight: 650; overflow-wrap: anywhere; }
.nn h3 { font-size: 14px; margin: 28px 0 8px; font-weight: 650; }
.nn p { margin: 0 0 8px; } .nn a { color: var(--accent); } .nn .soft { color: var(--soft); }
.nn code, .nn .mono, .nn td, .nn th[scope=row] {
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.nn nav ul { list-style: none; margin: 12px 0 0; padding: 0; }
.nn nav li { display: flex; gap: 12px; align-items: baseline; flex-wrap: wrap; }
.nn .card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 20px; margin-top: 20px; }
.nn .counts { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 8px 0 0; padding: 0;
  list-style: none; font-size: 14px; }
.nn .counts b { font-variant-numeric: tabular-nums; }
.nn .swatch { width: 10px; height: 10px; margin-right: 6px; }
.nn .stack { display: block; width: 100%; height: 10px; border-radius: 5px; }
.nn .said { margin: 16px 0 0; padding-left: 20px; } .nn .said li { overflow-wrap: anywhere; }
.nn .alert { background: var(--alert); border: 1px solid var(--alert-line); border-radius: 6px;
  padding: 10px 14px; margin: 16px 0 0; }
.nn .alert ul { margin: 4px 0 0; padding-left: 20px; font-size: 13px; }
.nn .alert li { overflow-wrap: anywhere; }
.nn figure { margin: 0; } .nn figcaption { color: var(--soft); font-size: 13px; }
.nn .scroll { overflow-x: auto; } .nn .scroll:focus-visible { outline: 2px solid var(--accent); }
.nn svg { display: block; } .nn svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.nn .drift { width: 100%; min-width: 620px; height: auto; }
.nn .grid { stroke: var(--line); } .nn .axis { stroke: var(--soft); }
.nn .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.nn .dot { stroke: var(--card); stroke-width: 1; }
.nn .legend { display: flex; flex-wrap: wrap; gap: 2px 18px; list-style: none; margin: 8px 0 0;
  padding: 0; font-size: 13px; }
.nn .legend li { display: flex; align-items: center; overflow-wrap: anywhere; }
.nn .legend svg { margin-right: 6px; flex: none; }
.nn table { border-collapse: collapse; width: 100%; font-size: 13px; }
.nn th, .nn td { padding: 5px 8px; text-align: left; border-bottom: 1px solid var(--line);
  white-space: nowrap; font-variant-numeric: tabular-nums; }
.nn thead th { color: var(--soft); font-weight: 600; font-family: inherit; background: var(--band);
  vertical-align: bottom; }
.nn thead th[title] { text-decoration: underline dotted; text-underline-offset: 3px; }
.nn thead th.sorts { cursor: pointer; } .nn thead th.sorts:hover { color: var(--text); }
.nn thead th[aria-sort=ascending]::after { content: " ▲"; }
.nn thead th[aria-sort=descending]::after { content: " ▼"; }
.nn th[scope=row] { font-weight: 400; }
.nn th.long { white-space: normal; overflow-wrap: anywhere; min-width: 40ch; }
.nn td.r, .nn th.r { text-align: right; } .nn td.words { white-space: normal; min-width: 14ch; }
.nn tbody tr:hover { background: var(--band); } .nn .sign { font-weight: 700; width: 1em; }
.nn .bar { display: inline-block; vertical-align: middle; margin-right: 8px; }
.nn .cells { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr));
  gap: 14px; }
.nn .cell { border: 1px solid var(--line); border-radius: 6px; padding: 10px 12px; }
.nn .cell .name { font-size: 12px; overflow-wrap: anywhere; color: var(--text); margin: 0 0 6px; }
.nn .pair { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; }
.nn .pair svg { width: 100%; height: auto; }
.nn summary { cursor: pointer; font-weight: 650; font-size: 14px; margin: 28px 0 8px; }
.nn dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; font-size: 13px;
  margin: 8px 0 0; }
.nn dt { font-weight: 600; } .nn dd { margin: 0; color: var(--soft); overflow-wrap: anywhere; }
.nn .k-added { color: var(--added); fill: var(--added); }
.nn .k-removed { color: var(--removed); fill: var(--removed); }
.nn .k-changed { color: var(--changed); fill: var(--changed); }
.nn .k-moved { color: var(--moved); fill: var(--moved); }
.nn .k-same { color: var(--soft); fill: var(--same); }
.nn .f-before { fill: var(--before); fill-opacity: .45; }
.nn .f-accent { fill: var(--accent); } .nn .l-accent { stroke: var(--accent); }
"""
    + "".join(
        f".nn .s{i} {{ stroke: var(--s{i}); }} .nn .d{i} {{ fill: var(--s{i}); }}\n"
        for i in range(8)
    )
    + """
@media (max-width: 640px) { .nn { padding: 16px 10px 32px; } .nn .card { padding: 14px 12px; }
  .nn dl { grid-template-columns: 1fr; } .nn dd { margin-bottom: 6px; } }
@media print { body { background: #fff; } .nn { max-width: none; padding: 0; font-size: 11px; }
  .nn .card { border: 0; padding: 0; } .nn .scroll { overflow: visible; }
  .nn th, .nn td { white-space: normal; padding: 3px 5px; font-size: 9px; }
  .nn tr, .nn .cell, .nn figure { break-inside: avoid; }
  .nn thead { display: table-header-group; } }
"""
)

SCRIPT = """
for (const table of document.querySelectorAll("table.nn-sorts")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const value = (row, i) => {
    const cell = row.cells[i], key = cell.dataset.v;
    return key === undefined ? cell.textContent : key === "" ? -Infinity : Number(key);
  };
  heads.forEach((head, i) => {
    if (!head.textContent.trim()) return;
    head.classList.add("sorts");
    head.tabIndex = 0;
    const sort = () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const order = (a, b) => {
        const x = value(a, i), y = value(b, i);
        return typeof x === "string" ? -x.localeCompare(y, "en", { numeric: true }) : y - x || 0;
      };
      body.append(...[...body.rows].sort((a, b) => (down ? 1 : -1) * order(a, b)));
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
    });
  });
}
"""


def policy() -> str:
    """What the page may do: this style and this script; no request, frame, form or base."""
    return (
        f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
