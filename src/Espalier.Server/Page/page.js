/*<![CDATA[*/
"use strict";
(() => {
  const $ = id => document.getElementById(id);
  const pictures = [];
  let models = [], agents = null, round = new AbortController(), later = 0;

  const make = (name, className, text) => {
    const node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };

  const draw = (name, attributes, ...inside) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...inside);
    return node;
  };

  const large = n => n >= 1e9 ? (n / 1e9).toPrecision(3) + " G" : n >= 1e6 ? (n / 1e6).toPrecision(3) + " M" : (n / 1e3).toPrecision(3) + " k";
  const percent = (x, digits) => (100 * x).toFixed(digits) + "\u202f%";
  const milliseconds = t => (t < 10 ? t.toFixed(2) : t.toFixed(0)) + "\u202fms";

  // What the controls say to a model; one without agents is asked for nothing.
  const rule = model => {
    if (model.agentLayers.length === 0) return "";
    if (!$("prune").checked) return "&prune=false";
    const kind = $("rule").value;
    return kind === "own" ? "" : "&" + kind + "=" + $("amount").value;
  };

  const bars = classes => {
    const list = make("ol", "classes");
    for (const c of classes) {
      const row = list.appendChild(make("li"));
      row.append(make("span", "name", c.name),
        draw("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" },
          draw("rect", { class: "all", width: 100, height: 4 }),
          draw("rect", { class: "part", width: 100 * c.probability, height: 4 })),
        make("span", "", percent(c.probability, 1)));
    }
    return list;
  };

  // A veil over the runs of dropped patches, and the patches' edges inside them.
  const veil = (model, kept) => {
    const grid = model.tokenGrid, left = new Set(kept);
    let cover = "", lines = "";
    for (let row = 0; row < grid; row++)
      for (let column = 0; column < grid; column++) {
        if (left.has(model.prefixTokens + row * grid + column)) continue;
        cover += "M" + column + " " + row + "h1v1h-1z";
        lines += "M" + column + " " + (row + 1) + "v-1h1";
      }
    return [draw("path", { class: "veil", d: cover }), draw("path", { class: "cut", d: lines })];
  };

  const panel = (model, seen, name, tokens, over) => {
    const box = make("div", "panel"), grid = Math.max(1, model.tokenGrid);
    const view = draw("svg", { viewBox: "0 0 " + grid + " " + grid, preserveAspectRatio: "none", role: "img", "aria-label": name + (tokens ? ", " + tokens + " tokens" : "") },
      draw("image", { href: seen.src, width: grid, height: grid, preserveAspectRatio: "none", class: seen.naturalWidth < 128 ? "pixelated" : "smooth" }),
      ...over);
    view.style.aspectRatio = seen.naturalWidth + " / " + seen.naturalHeight;
    box.append(view);
    const under = make("p", "", name + " ");
    if (tokens) under.append(make("b", "", tokens));
    box.append(under);
    return box;
  };

  const show = (side, model, answer, pruning) => {
    const share = model.multiplyAdds > 0 ? answer.multiplyAdds / model.multiplyAdds : 1;
    let facts = milliseconds(answer.milliseconds) + ", " + large(answer.multiplyAdds) + " multiply-adds";
    if (answer.kept.length > 0) facts += " (" + percent(share, 0) + "), " + answer.tokens.at(-1) + " of " + answer.tokens[0] + " tokens left, " + pruning;
    const panels = make("div", "panels");
    panels.append(panel(model, side.seen, "seen", answer.tokens[0] || "", []),
      ...answer.kept.map((kept, i) => panel(model, side.seen, "after layer " + model.agentLayers[i], kept.length, veil(model, kept))));
    side.node.replaceChildren(make("h3", "name", model.name), bars(answer.classes), make("p", "facts", facts), panels);
  };

  const fail = (side, model, line) => {
    const fault = make("p", "fault", line);
    fault.setAttribute("role", "alert");
    side.node.replaceChildren(make("h3", "name", model.name), fault);
  };

  const ask = async (picture, model, side, signal) => {
    const address = "v1/predict?model=" + encodeURIComponent(model.name) + "&top=5" + (side.seen ? "" : "&picture=true") + rule(model);
    try {
      const response = await fetch(address, { method: "POST", body: picture.file, headers: { "Content-Type": "application/octet-stream" }, signal });
      const answer = await response.json();
      if (signal.aborted) return;
      if (!response.ok) return fail(side, model, answer.detail);
      const result = answer.results[0];
      if (!side.seen) {
        const seen = new Image();
        seen.src = result.picture;
        await seen.decode();
        if (signal.aborted) return;
        side.seen = seen;
      }
      show(side, model, result, answer.pruning);
    } catch {
      if (!signal.aborted) fail(side, model, "The service does not answer.");
    }
  };

  const count = () => {
    const n = pictures.length;
    $("state").textContent = n === 0 ? "No picture yet" : n === 1 ? "1 picture" : n + " pictures";
  };

  // One after another, so that times are not each other's; a newer round ends an older one, whose answers are not shown any more.
  const refresh = async some => {
    round.abort();
    round = new AbortController();
    const signal = round.signal;
    const wanted = some ? pictures.filter(p => some.includes(p) || p.stale) : [...pictures];
    for (const p of wanted) { p.stale = true; for (const side of p.sides.values()) side.node.classList.add("waiting"); }
    for (const p of wanted) {
      for (const [model, side] of p.sides) {
        // It may have been removed meanwhile.
        if (!pictures.includes(p)) break;
        $("state").textContent = "Asking " + model.name + " about " + p.file.name;
        await ask(p, model, side, signal);
        if (signal.aborted) return;
        side.node.classList.remove("waiting");
      }
      p.stale = false;
    }
    count();
  };

  const add = files => {
    const added = [...files].map(file => {
      const figure = make("figure"), caption = make("figcaption"), sides = make("div", models.length > 1 ? "sides two" : "sides");
      const picture = { file, sides: new Map() }, remove = make("button", "", "Remove");
      caption.append(make("span", "name", file.name), remove);
      for (const model of models) picture.sides.set(model, { node: sides.appendChild(make("div", "side")), seen: null });
      figure.append(caption, sides);
      remove.type = "button";
      remove.setAttribute("aria-label", "Remove " + file.name);
      remove.addEventListener("click", () => {
        pictures.splice(pictures.indexOf(picture), 1);
        figure.remove();
        // A round that is not over says at its end how many are left.
        if (!document.querySelector(".waiting")) count();
        $("files").focus();
      });
      $("answers").append(figure);
      pictures.push(picture);
      return picture;
    });
    if (added.length > 0) refresh(added);
  };

  const controls = () => {
    const kind = $("rule").value, on = $("prune").checked;
    const share = kind === "keep" || (kind === "own" && agents?.keepShare !== undefined);
    $("rule").disabled = !on;
    $("amount").disabled = !on;
    $("amount").min = share ? 0.01 : 0;
    $("what").textContent = share ? "Share" : "Threshold";
    const own = agents?.threshold ?? agents?.keepShare;
    $("shown").textContent = kind !== "own" ? Number($("amount").value).toFixed(2) : own === undefined ? "" : String(+own.toFixed(3));
  };

  const start = async () => {
    const all = await (await fetch("v1/models")).json();
    models = all.filter(m => m.classes > 0).slice(0, 2);
    $("models").textContent = all.map(m => m.name + ": " + m.description + ", " + m.imageSize + " pixels, "
      + (m.classes > 0 ? large(m.multiplyAdds) + " multiply-adds" : "features only")).join("; ");
    agents = models.find(m => m.agentLayers.length > 0);
    $("agents").hidden = !agents;
    if (agents) $("amount").value = agents.threshold ?? agents.keepShare ?? 0.5;
    controls();
    $("files").disabled = models.length === 0;
    if (models.length > 0) count();
    else $("state").textContent = "No model here gives classes.";
  };

  $("files").addEventListener("change", e => { add(e.target.files); e.target.value = ""; });
  for (const id of ["prune", "rule"]) $(id).addEventListener("change", () => { controls(); refresh(); });
  // Who moves the slider wants another rule than the model's own.
  $("amount").addEventListener("input", () => {
    if ($("rule").value === "own") $("rule").value = agents.keepShare !== undefined ? "keep" : "threshold";
    controls();
    clearTimeout(later);
    later = setTimeout(refresh, 120);
  });
  const root = document.documentElement;
  // A file that nobody takes must not replace the page either.
  root.addEventListener("dragover", e => { e.preventDefault(); root.classList.toggle("dragged", !$("files").disabled); });
  root.addEventListener("dragleave", e => { if (!e.relatedTarget) root.classList.remove("dragged"); });
  root.addEventListener("drop", e => {
    e.preventDefault();
    root.classList.remove("dragged");
    if (!$("files").disabled) add(e.dataTransfer.files);
  });
  start().catch(() => { $("state").textContent = "The service does not answer."; });
})();
/*]]>*/
