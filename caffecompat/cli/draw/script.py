"""The script of the page: it searches, and shows what belongs to the layer that is chosen.

All that it shows stands in the page already, as markup; it makes no markup of texts.
"""

from __future__ import annotations

SCRIPT = """
(() => {
  "use strict";
  const all = (selector) => [...document.querySelectorAll(selector)];
  const search = document.getElementById("search");
  const count = document.getElementById("count");
  const pane = document.getElementById("drawing");
  const drawing = pane.querySelector("svg");
  const rows = all("tr[data-layer]");
  const wires = all("g.wire");
  const byLayer = (items) => new Map(items.map((item) => [item.dataset.layer, item]));
  const boxes = byLayer(all("g.layer"));
  const articles = byLayer(all("article[data-layer]"));
  const width = Number(drawing.getAttribute("width"));
  const height = Number(drawing.getAttribute("height"));
  let chosen = null;
  let scale = 1;

  const find = () => {
    const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let found = 0;
    for (const row of rows) {
      const match = words.every((word) => row.dataset.search.includes(word));
      row.hidden = !match;
      boxes.get(row.dataset.layer).classList.toggle("faint", !match);
      found += match;
    }
    count.textContent = words.length ? `${found} of ${rows.length} layers` : `${rows.length} layers`;
    document.body.classList.toggle("searching", words.length > 0);
  };

  const show = (box) => {
    const inner = box.getBoundingClientRect();
    const outer = pane.getBoundingClientRect();
    pane.scrollLeft += inner.left - outer.left - (outer.width - inner.width) / 2;
    pane.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
    pane.scrollIntoView({ block: "nearest" });
  };

  const choose = (layer, move) => {
    if (!articles.has(layer)) return;
    if (chosen !== null) {
      articles.get(chosen).classList.remove("chosen");
      boxes.get(chosen).classList.remove("chosen");
    }
    chosen = layer;
    articles.get(layer).classList.add("chosen");
    boxes.get(layer).classList.add("chosen");
    document.body.classList.add("choosing");
    for (const wire of wires) wire.classList.toggle("chosen", wire.dataset.layers.split(" ").includes(layer));
    for (const row of rows) row.classList.toggle("chosen", row.dataset.layer === layer);
    if (move) show(boxes.get(layer));
    document.getElementById("details").scrollTop = 0;
    history.replaceState(null, "", `#layer-${layer}`);
  };

  const zoom = (factor) => {
    scale = Math.min(Math.max(factor, 0.05), 4);
    drawing.style.width = `${width * scale}px`;
    drawing.style.height = `${height * scale}px`;
  };
  const fit = () => zoom(Math.min(pane.clientWidth / width, 1));

  document.body.classList.add("js");
  search.addEventListener("input", find);
  search.addEventListener("keydown", (event) => {
    const shown = rows.filter((row) => !row.hidden);
    if (event.key === "Escape") {
      search.value = "";
      find();
    } else if (event.key === "Enter" && shown.length) {
      const next = shown.findIndex((row) => row.dataset.layer === chosen) + 1;
      choose(shown[next % shown.length].dataset.layer, true);
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== search) {
      event.preventDefault();
      search.focus();
    }
    const box = event.target.closest && event.target.closest("g.layer");
    if (box && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      choose(box.dataset.layer, false);
    }
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#layer-"]');
    const item = event.target.closest("g.layer, tr[data-layer]");
    if (link) {
      event.preventDefault();
      choose(link.getAttribute("href").slice(7), true);
    } else if (item) {
      choose(item.dataset.layer, item.tagName === "TR");
    }
  });
  document.getElementById("larger").addEventListener("click", () => zoom(scale * 1.25));
  document.getElementById("smaller").addEventListener("click", () => zoom(scale / 1.25));
  document.getElementById("fit").addEventListener("click", fit);
  const asked = () => choose(location.hash.slice(7), true);
  window.addEventListener("hashchange", asked);
  fit();
  find();
  if (location.hash.startsWith("#layer-")) asked();
})();
"""
