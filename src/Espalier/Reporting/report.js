/*<![CDATA[*/
"use strict";
(() => {
  const tip = document.body.appendChild(document.createElement("div"));
  tip.className = "tip";
  tip.hidden = true;

  const line = (text, series) => {
    const row = document.createElement("div");
    if (series) row.className = series;
    row.textContent = text;
    return row;
  };

  const show = (rows, event) => {
    tip.replaceChildren(...rows);
    tip.hidden = false;
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    const below = event.clientY < tip.offsetHeight + 24;
    tip.style.left = Math.max(8, Math.min(room, event.clientX + 14)) + "px";
    tip.style.top = (below ? event.clientY + 18 : event.clientY - tip.offsetHeight - 12) + "px";
  };

  const hide = () => { tip.hidden = true; };

  for (const mark of document.querySelectorAll("[data-tip]")) {
    mark.querySelector("title").remove();
    mark.addEventListener("pointermove", e => show(mark.dataset.tip.split("\n").map(t => line(t)), e));
    mark.addEventListener("pointerleave", hide);
  }

  const nearest = (points, x) => points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);

  for (const plot of document.querySelectorAll("[data-hover]")) {
    const curves = JSON.parse(plot.dataset.hover);
    const cross = document.createElementNS(plot.namespaceURI, "path");
    cross.setAttribute("class", "cross");
    plot.appendChild(cross);
    plot.addEventListener("pointermove", e => {
      const x = new DOMPoint(e.clientX, e.clientY).matrixTransform(plot.getScreenCTM().inverse()).x;
      const at = nearest(curves.map(c => nearest(c.points, x)), x);
      const rows = curves.map(c => ({ c, p: nearest(c.points, at[0]) })).filter(r => Math.abs(r.p[0] - at[0]) < 12);
      cross.setAttribute("d", "M" + at[0] + " " + plot.dataset.top + "V" + plot.dataset.bottom);
      show([line("step " + at[2]), ...rows.map(r => line(r.p[3] + "  " + r.c.name, r.c.series))], e);
    });
    plot.addEventListener("pointerleave", () => { cross.setAttribute("d", ""); hide(); });
  }
})();
/*]]>*/
