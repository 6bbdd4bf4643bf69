"""How the page of a net looks, after the style that all pages have."""

from __future__ import annotations

from caffecompat.cli.draw import svg
from caffecompat.cli.draw.families import FAMILIES

_DARK = "\n".join(f"  #drawing .{key} {{ fill: {family.dark} }}" for key, family in FAMILIES.items())
STYLE = f"""
{svg.style("#drawing ")}
body {{ max-width: none }}
.passed {{ display: flex; flex-wrap: wrap; gap: 8px 24px; align-items: flex-start }} .passed svg {{ flex: none }}
#tools {{ display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin: 16px 0 8px; position: sticky; top: 0;
  background: var(--page); padding: 8px 0; z-index: 1 }}
body:not(.js) #tools {{ display: none }}
#tools input, #tools button {{ font: inherit; color: var(--text); background: var(--panel); padding: 6px 12px;
  border: 1px solid var(--line); border-radius: 6px }}
#tools input {{ width: min(420px, 60vw) }} #count {{ color: var(--soft); margin-right: auto }}
main {{ display: grid; grid-template-columns: minmax(0, 1fr) 460px; gap: 16px; align-items: start }}
#drawing {{ overflow: auto; border: 1px solid var(--line); border-radius: 8px; max-height: 84vh; background: #fff }}
#drawing svg {{ max-width: none; margin: 0 auto }}
#details {{ overflow: auto; max-height: 84vh; border: 1px solid var(--line); border-radius: 8px; padding: 0 16px 16px;
  background: var(--panel) }}
.js article {{ display: none }} .js article.chosen {{ display: block }} .choosing #hint {{ display: none }}
article h2, #hint h2 {{ margin: 14px 0 4px; border: 0; padding: 0; overflow-wrap: anywhere }}
article h3 {{ margin: 16px 0 4px; font-size: 14px }}
article table {{ font-size: 13px }} article th, article td {{ padding: 2px 8px 2px 0; overflow-wrap: anywhere }}
article td:nth-child(2) {{ overflow-wrap: normal }}
article a {{ color: var(--c0) }} article .note {{ margin: 0 0 4px }}
pre {{ font-size: 12px; overflow-x: auto; background: var(--page); border: 1px solid var(--line); padding: 8px }}
figure.blob img {{ max-width: 100%; height: auto; image-rendering: pixelated; background: #fff }}
.layer {{ cursor: pointer }} .layer:focus {{ outline: none }}
#drawing .layer:hover rect, #drawing .layer:focus rect {{ stroke-width: 2.5 }}
#drawing .layer.chosen rect {{ stroke: #d00078; stroke-width: 3 }}
#drawing .wire.chosen path {{ stroke: #d00078; stroke-width: 2 }} #drawing .wire.chosen .arrow {{ fill: #d00078 }}
.layer.faint {{ opacity: .18 }} .searching .wire {{ opacity: .4 }}
tr[data-layer] {{ cursor: pointer }} tr.chosen td {{ background: var(--panel) }}
tr[data-layer]:hover td {{ background: var(--panel) }}
@media (max-width: 900px) {{ main {{ grid-template-columns: minmax(0, 1fr) }} }}
@media screen and (prefers-color-scheme: dark) {{ #drawing {{ background: var(--page) }}
{_DARK}
  #drawing .name, #drawing .title {{ fill: var(--text) }} #drawing .note, #drawing .label, #drawing .fact {{
    fill: var(--soft) }} #drawing .wire, #drawing .arrow {{ opacity: .9 }} }}
@media print {{ #tools {{ display: none }}
  main {{ display: block }} #drawing, #details {{ max-height: none; border: 0 }} }}
"""
