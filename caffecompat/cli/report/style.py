"""How the page looks: light or dark as the reader's system is, light on paper."""

from __future__ import annotations

_LIGHT = """
  --page: #fff; --text: #1d2129; --soft: #5b6472; --line: #d9dee6; --panel: #f5f7fa; --truth: #12a150;
  --c0: #2364c4; --c1: #c8441b; --c2: #7a3fb5; --c3: #0f8a8a; --c4: #b07a00; --c5: #c02a6d; --c6: #5d6b7d;
  --right: 35, 100, 196; --wrong: 200, 68, 27;
"""
_DARK = """
  --page: #15181d; --text: #e6e9ee; --soft: #9aa5b4; --line: #343b46; --panel: #1e232b; --truth: #2fd07a;
  --c0: #6ea8ff; --c1: #ff8a5c; --c2: #c39bff; --c3: #4fd0d0; --c4: #f0c050; --c5: #ff7fb3; --c6: #a9b5c5;
  --right: 110, 168, 255; --wrong: 255, 138, 92;
"""
COLOURS = 7
_COLOURED = "\n".join(
    f".line{i} {{ stroke: var(--c{i}) }} .fill{i} {{ fill: var(--c{i}); background: var(--c{i}) }}"
    for i in range(COLOURS)
)
# Upon pictures colours are bright in any case, and none is like the green of the boxes to find.
_BRIGHT = ("#4aa8ff", "#ff6a3d", "#d08cff", "#ffd23d", "#ff5fc4", "#ffffff", "#c8c8c8")
_UPON = "\n".join(f".picture .line{i} {{ stroke: {colour} }}" for i, colour in enumerate(_BRIGHT))
STYLE = f"""
:root {{ color-scheme: light dark; {_LIGHT} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
* {{ box-sizing: border-box }}
body {{ font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; margin: 0 auto;
  max-width: 1080px; padding: 28px 24px 48px; color: var(--text); background: var(--page);
  font-variant-numeric: tabular-nums; print-color-adjust: exact; -webkit-print-color-adjust: exact }}
h1 {{ font-size: 26px; line-height: 1.25; margin: 0; overflow-wrap: anywhere }}
h2 {{ font-size: 20px; margin: 44px 0 12px; padding-top: 14px; border-top: 1px solid var(--line) }}
h3 {{ font-size: 16px; margin: 28px 0 8px }}
p {{ margin: 6px 0 12px; max-width: 46em }}
p.note, figcaption, footer, .legend, nav {{ color: var(--soft); font-size: 13px }}
nav a {{ color: var(--c0); margin-right: 16px; text-decoration: none }} nav {{ margin: 10px 0 }}
.tiles {{ display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0 }}
.tile {{ background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 10px 16px;
  min-width: 130px; max-width: 320px }}
.tile b {{ display: block; font-size: 24px; line-height: 1.3; font-weight: 600 }}
.tile span {{ color: var(--soft); font-size: 13px; overflow-wrap: anywhere; display: block }}
.wide {{ overflow-x: auto; margin: 8px 0 }}
table {{ border-collapse: collapse; font-size: 14px }}
th, td {{ padding: 4px 12px; text-align: left; border-bottom: 1px solid var(--line); vertical-align: middle }}
th {{ color: var(--soft); font-weight: 600; font-size: 13px; vertical-align: bottom }}
.number {{ text-align: right; white-space: nowrap }}
.facts td:first-child {{ color: var(--soft); white-space: nowrap }} .facts td {{ overflow-wrap: anywhere }}
td:has(> .bar) {{ white-space: nowrap }}
.bar {{ display: inline-block; width: min(180px, 24vw); height: 12px; background: var(--line); border-radius: 3px;
  vertical-align: middle; overflow: hidden; margin-right: 10px }}
.bar i {{ display: block; height: 100% }}
.matrix td, .matrix th {{ padding: 3px 7px; border: 1px solid var(--line); min-width: 34px }}
.matrix thead th {{ text-align: center }} .matrix tbody th {{ text-align: right; white-space: nowrap }}
.matrix .many th:not(.corner) {{ writing-mode: vertical-rl; text-align: left; padding: 7px 3px }}
.matrix td {{ text-align: right; font-size: 13px }} .matrix .corner {{ font-weight: 400; white-space: nowrap }}
svg {{ display: block; max-width: 100%; height: auto }}
svg text {{ fill: var(--soft); font-size: 12px }} svg .grid {{ stroke: var(--line); stroke-width: 1 }}
.chart .wide svg {{ min-width: 640px }}
svg .line {{ fill: none; stroke-width: 2; stroke-linejoin: round }} svg .faint {{ stroke-width: 1; opacity: .4 }}
svg .dashed {{ stroke-dasharray: 6 4 }} svg .small {{ font-size: 11px }} svg .title {{ fill: var(--text) }}
.legend {{ display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 4px 0 20px; overflow-wrap: anywhere }}
.legend svg {{ display: inline-block; vertical-align: middle; margin-right: 6px }}
.gallery {{ display: grid; grid-template-columns: repeat(auto-fill, 230px); gap: 18px 16px; margin: 12px 0 }}
figure {{ margin: 0; break-inside: avoid }} figcaption {{ overflow-wrap: anywhere; margin-top: 4px; line-height: 1.4 }}
figcaption b {{ color: var(--text); font-weight: 600; display: block }}
.picture {{ width: 230px }} .picture image {{ image-rendering: auto }} .picture .pixels {{ image-rendering: pixelated }}
.picture text {{ font-size: 12px; font-weight: 600; fill: #fff; stroke: #000; stroke-width: 3px; paint-order: stroke }}
.picture rect {{ fill: none; stroke-width: 2.5 }} .picture .under {{ stroke: #000; stroke-width: 4; opacity: .45 }}
.picture .thin {{ stroke-width: 1.2; stroke-dasharray: 4 3 }} .picture .truth {{ stroke: #2fd07a }}
.picture text.truth {{ fill: #7dffb4; stroke: #000 }} .pair svg + svg {{ margin-top: 6px }}
.swatch {{ display: inline-block; width: 12px; height: 12px; border-radius: 2px; vertical-align: -1px;
  margin-right: 6px; border: 1px solid var(--line) }}
footer {{ margin-top: 48px; border-top: 1px solid var(--line); padding-top: 10px }}
@media print {{ .chart .wide svg {{ min-width: 0 }} nav {{ display: none }}
  body {{ max-width: none; padding: 0; font-size: 12px }}
  h2, h3 {{ break-after: avoid }} .chart, tr, .tile {{ break-inside: avoid }} .wide {{ overflow: visible }} }}
{_COLOURED}
{_UPON}
"""
