"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const problem = (text) => {
    const root = document.documentElement;
    root.dataset.errors = (root.dataset.errors ? root.dataset.errors + "; " : "") + text;
    $("problem").textContent = "A part of this report could not be drawn: " + root.dataset.errors;
    $("problem").hidden = false;
  };
  window.addEventListener("error", (event) => problem(event.message || "a resource failed to load"));

  const data = JSON.parse($("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const CIVIDIS = [[0, 32, 81], [60, 77, 110], [127, 124, 117], [187, 175, 113], [253, 234, 69]];
  const number = (value, digits = 1) => (100 * value).toFixed(digits);
  const range = (v) => "(" + number(v.low, 0) + "–" + number(v.high, 0) + ")";

  // Text goes in by textContent only: answers of models are not to be trusted.
  function make(tag, attributes = {}, ...children) {
    const svg = attributes.svg === true;
    const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "svg" || value === null || value === undefined) continue;
      if (name === "style") for (const [key, entry] of Object.entries(value)) element.style.setProperty(key, entry);
      else element.setAttribute(name, value);
    }
    for (const child of children) element.append(child instanceof Node ? child : document.createTextNode(String(child)));
    return element;
  }
  const draw = (tag, attributes = {}, ...children) => make(tag, { svg: true, ...attributes }, ...children);

  function toast(text) {
    $("toast").textContent = text;
    $("toast").hidden = false;
    clearTimeout(toast.timer);
    toast.timer = setTimeout(() => { $("toast").hidden = true; }, 3500);
  }
  function copy(text) {
    document.documentElement.dataset.copied = text;
    const old = () => {  // where the browser has no clipboard for files
      const area = make("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      toast(done ? "Copied: " + text : text);
    };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => toast("Copied: " + text), old);
    else old();
  }
  function command(title, text) {
    const button = make("button", { type: "button" }, "Copy");
    button.addEventListener("click", () => copy(text));
    return make("div", { class: "command" }, make("span", {}, title), make("pre", {}, text), button);
  }

  function first() {
    $("name").textContent = "evomerge · " + data.name;
    $("folder").textContent = data.folder;
    $("headline").textContent = data.verdict.headline;
    $("detail").textContent = data.verdict.detail;
    for (const fact of data.facts)
      $("facts").append(make("div", { class: "fact " + (fact.better || "") }, make("b", {}, fact.value), make("span", {}, fact.words)));
    for (const entry of data.commands) $("commands").append(command(entry.title, entry.text));
    if (!data.commands.length) $("run-section").hidden = true;
  }

  function whisker(value, top) {
    const x = (v) => 2 + 166 * Math.max(0, v) / top;
    return draw("svg", { class: "whisker", viewBox: "0 0 170 18", "aria-hidden": "true" },
      draw("line", { class: "axis", x1: 2, x2: 168, y1: 9, y2: 9 }),
      draw("line", { x1: x(value.low), x2: x(value.high), y1: 9, y2: 9, style: { stroke: "currentColor" }, "stroke-width": 2, "stroke-opacity": 0.5 }),
      draw("circle", { cx: x(value.mean), cy: 9, r: 4.5, style: { fill: "currentColor" } }));
  }
  function table() {
    if (!data.rows.length) { $("table-section").hidden = true; return; }
    const cell = (v) => v ? make("td", {}, number(v.mean), make("small", {}, range(v))) : make("td");
    const top = Math.max(1, ...data.rows.map((row) => row.retention ? row.retention.high : 0));
    const head = ["", ...data.tasks, "smallest retention", "", ...data.side_tasks].map((name) => make("th", { scope: "col" }, name));
    const body = data.rows.map((row) => make("tr", { class: row.winner ? "winner" : null },
      make("td", {}, row.name), ...data.tasks.map((task) => cell(row.scores[task])), cell(row.retention),
      make("td", {}, row.retention ? whisker(row.retention, top) : ""), ...data.side_tasks.map((task) => cell(row.scores[task]))));
    $("table").append(make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body)));
    const items = data.tasks.map((task) => task + " " + (data.rows[0].scores[task] ? data.rows[0].scores[task].items : 0));
    $("delivered").textContent = "Items: " + items.join(", ") + ". " + data.delivered;
  }

  // --- plots ---------------------------------------------------------------------------------------------------
  function ticks(low, high, count = 5) {
    const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
    const found = [];
    for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-6; v += step) found.push(+v.toFixed(10));
    return found;
  }
  // A plot as wide as its place, so that its text keeps its size on a phone.
  const room = (id, most) => Math.max(300, Math.min(most, $(id).clientWidth - 20 || most));
  function bounds(values, whole) {
    let low = Math.min(...values), high = Math.max(...values);
    const pad = (high - low) * 0.07 || 0.05;
    low -= pad; high += pad;
    return whole ? [Math.max(0, low), high] : [low, high];
  }
  function frame(box, x, y, xs, ys, xName, yName, format) {
    const svg = draw("svg", { viewBox: "0 0 " + box.w + " " + box.h, role: "img" });
    for (const v of ticks(...xs)) svg.append(
      draw("line", { class: "grid", x1: x(v), x2: x(v), y1: box.t, y2: box.h - box.b }),
      draw("text", { class: "tick", x: x(v), y: box.h - box.b + 18, "text-anchor": "middle" }, format.x(v)));
    for (const v of ticks(...ys)) svg.append(
      draw("line", { class: "grid", x1: box.l, x2: box.w - box.r, y1: y(v), y2: y(v) }),
      draw("text", { class: "tick", x: box.l - 8, y: y(v) + 4, "text-anchor": "end" }, format.y(v)));
    svg.append(draw("text", { x: (box.l + box.w - box.r) / 2, y: box.h - 6, "text-anchor": "middle" }, xName),
      draw("text", { x: 0, y: 0, transform: "translate(14 " + (box.t + box.h - box.b) / 2 + ") rotate(-90)", "text-anchor": "middle" }, yName));
    return svg;
  }
  const scale = (low, high, from, to) => (v) => from + (to - from) * (v - low) / (high - low || 1);
  function colour(share) {
    const at = Math.max(0, Math.min(1, share)) * (CIVIDIS.length - 1), i = Math.min(CIVIDIS.length - 2, Math.floor(at));
    return "rgb(" + CIVIDIS[i].map((c, k) => Math.round(c + (CIVIDIS[i + 1][k] - c) * (at - i))).join(",") + ")";
  }

  const AXES = [
    ...data.tasks.map((task) => ({ name: task, of: (p) => p.scores[task].mean, percent: true })),
    { name: "smallest retention", of: (p) => p.min_retention, percent: true },
    { name: "candidate number", of: (p) => p.number, percent: false },
  ];
  const near = (p) => p.winner || p.min_retention >= 0.7 * Math.max(...data.points.map((q) => q.min_retention || 0));
  const chosen = { near: 0, x: data.tasks.length > 1 ? 0 : AXES.length - 1, y: data.tasks.length > 1 ? 1 : 0, colour: 2 };

  function card(point) {
    const box = $("candidate");
    box.replaceChildren(make("h3", {}, (point.winner ? "★ " : "") + "Candidate " + point.number),
      make("p", {}, [point.winner ? "winner" : null, point.name, point.method, point.on_front ? "on the front" : "off the front"].filter(Boolean).join(" · ")));
    const scores = data.tasks.map((task) => make("tr", {}, make("td", {}, task),
      make("td", {}, number(point.scores[task].mean) + " %", make("small", {}, range(point.scores[task])))));
    scores.push(make("tr", {}, make("td", {}, "smallest retention"), make("td", {}, point.min_retention === null ? "" : number(point.min_retention) + " %")));
    box.append(make("table", {}, ...scores));
    const rows = point.weights.map((row, g) => make("tr", {}, make("td", {}, point.weights.length > 1 ? "group " + (g + 1) : "weight"), ...row.map((w) => make("td", {}, w.toFixed(2)))));
    box.append(make("table", {}, make("tr", {}, make("th", {}, "weights"), ...data.experts.map((e) => make("th", {}, e))), ...rows));
    const settings = Object.entries(point.settings).map(([name, value]) => name + " " + (Array.isArray(value) ? value.map((v) => v.toFixed(2)).join(", ") : value));
    if (settings.length) box.append(make("p", {}, settings.join(" · ")));
    if (point.recipe) {
      const button = make("button", { type: "button" }, "Copy merge command");
      button.addEventListener("click", () => copy(merge(point)));
      box.append(button);
    }
  }
  const merge = (point) => "python -m evomerge job=merge recipe=" + data.folder + "/" + point.recipe + " out=merged";

  function front() {
    if (!data.points.length) { $("front-section").hidden = true; return; }
    const choice = (key, label, allowed) => {
      const select = make("select", {}, ...allowed.map((i) => make("option", { value: i }, AXES[i].name)));
      select.value = chosen[key];
      select.addEventListener("change", () => { chosen[key] = +select.value; plot(); });
      return make("label", {}, label + " ", select);
    };
    const all = AXES.map((_, i) => i);
    chosen.colour = Math.min(chosen.colour, AXES.length - 2);
    $("axes").append(choice("x", "Across", all), choice("y", "Up", all), choice("colour", "Colour of the front", all));
    const which = make("select", {}, make("option", { value: 0 }, "all candidates"), make("option", { value: 1 }, "the best by smallest retention"));
    which.addEventListener("change", () => { chosen.near = +which.value; plot(); });
    $("axes").append(make("label", {}, "Show ", which));
    plot();
    card(data.points.find((p) => p.winner) || data.points.find((p) => p.on_front) || data.points[0]);
  }
  function plot() {
    const [ax, ay, ac] = [AXES[chosen.x], AXES[chosen.y], AXES[chosen.colour]];
    const points = data.points.filter((p) => ax.of(p) !== null && ay.of(p) !== null && (!chosen.near || near(p)));
    const width = room("front", 700), box = { w: width, h: Math.round(width * 0.5 + 170), l: 58, r: 20, t: 34, b: 46 };
    const xs = bounds(points.map(ax.of), true), ys = bounds(points.map(ay.of), true), cs = bounds((points.some((p) => p.on_front) ? points.filter((p) => p.on_front) : points).map(ac.of), false);
    const x = scale(...xs, box.l, box.w - box.r), y = scale(...ys, box.h - box.b, box.t);
    const format = (axis) => (v) => axis.percent ? +(100 * v).toFixed(1) : v;
    const title = (axis) => axis.percent ? axis.name + " (%), better →" : axis.name;
    const svg = frame(box, x, y, xs, ys, title(ax), title(ay), { x: format(ax), y: format(ay) });
    svg.setAttribute("aria-label", "Candidates by " + ax.name + " and " + ay.name);
    if (data.tasks.length === 2 && ax.percent && ay.percent && chosen.x < 2 && chosen.y < 2) {
      const steps = points.filter((p) => p.on_front).sort((a, b) => ax.of(a) - ax.of(b));
      svg.append(draw("path", { d: steps.map((p, i) => (i ? "V" + y(ay.of(p)) + "H" + x(ax.of(p)) : "M" + x(ax.of(p)) + " " + y(ay.of(p)))).join(""), fill: "none", style: { stroke: "var(--front)" }, "stroke-opacity": 0.45 }));
    }
    const rank = (p) => (p.winner ? 3 : p.on_front ? 2 : p.name ? 1 : 0);
    const taken = [], names = [];
    for (const p of [...points].sort((a, b) => rank(a) - rank(b))) {
      const cx = x(ax.of(p)), cy = y(ay.of(p));
      const fill = p.winner ? "var(--winner)" : p.on_front ? colour((ac.of(p) - cs[0]) / (cs[1] - cs[0] || 1)) : "var(--dominated)";
      const attributes = { class: "dot", tabindex: 0, role: "button", "data-number": p.number, "aria-label": "candidate " + p.number + (p.name ? ", " + p.name : ""), style: { fill, stroke: p.on_front || p.name ? "var(--ink)" : "none" }, "stroke-width": p.name ? 1.4 : 0.8 };
      const star = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((i) => { const r = i % 2 ? 5 : 12, a = Math.PI * (i / 5 - 0.5); return (cx + r * Math.cos(a)).toFixed(1) + "," + (cy + r * Math.sin(a)).toFixed(1); }).join(" ");
      const dot = p.winner ? draw("polygon", { ...attributes, points: star }) : draw("circle", { ...attributes, cx, cy, r: p.on_front ? 7 : 5 });
      const show = () => {
        for (const other of svg.querySelectorAll(".chosen")) other.classList.remove("chosen");
        dot.classList.add("chosen");
        card(p);
      };
      const act = () => { show(); if (p.recipe) copy(merge(p)); };
      dot.addEventListener("mouseenter", show);
      dot.addEventListener("focus", show);
      dot.addEventListener("click", act);
      dot.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); } });
      svg.append(dot);
      if (p.name || p.winner) names.push(() => label(svg, p.winner && !p.name ? "winner" : p.name, cx, cy, p.winner, box, taken));
    }
    for (const name of names) name();  // over all dots
    if (ac !== ax && ac !== ay) legend(svg, ac, cs, box, format(ac));
    $("front").replaceChildren(svg);
  }
  function label(svg, text, cx, cy, strong, box, taken) {
    const width = text.length * 6.6, left = cx + 12 + width > box.w;
    const at = { x: left ? cx - 12 - width : cx + 12, y: cy + 4 };
    while (taken.some((t) => Math.abs(t.y - at.y) < 13 && at.x < t.x + t.w && t.x < at.x + width)) at.y -= 13;
    taken.push({ ...at, w: width });
    svg.append(draw("text", { class: "name", x: at.x, y: at.y, "font-weight": strong ? 650 : 400, "pointer-events": "none", style: strong ? { fill: "var(--winner)" } : {} }, text));
  }
  function legend(svg, axis, cs, box, format) {
    const left = box.w - box.r - 150;
    for (let i = 0; i < 60; i++) svg.append(draw("rect", { x: left + i * 1.5, y: 12, width: 1.8, height: 8, fill: colour(i / 59) }));
    svg.append(draw("text", { class: "tick", x: left - 8, y: 20, "text-anchor": "end" }, axis.name + "  " + format(+cs[0].toFixed(3))),
      draw("text", { class: "tick", x: left + 98, y: 20 }, format(+cs[1].toFixed(3)) + (axis.percent ? " %" : "")));
  }

  function gain() {
    if (data.hypervolume.length < 2) { $("gain-section").hidden = true; return; }
    const box = { w: room("gain", 1000), h: 270, l: 58, r: 20, t: 16, b: 44 };
    const xs = [1, data.hypervolume[data.hypervolume.length - 1][0]], ys = [0, 1.08 * Math.max(1e-6, ...data.hypervolume.map((h) => h[1]))];
    const x = scale(...xs, box.l, box.w - box.r), y = scale(...ys, box.h - box.b, box.t);
    const svg = frame(box, x, y, xs, ys, "finished candidates", "hypervolume", { x: (v) => v, y: (v) => +v.toFixed(4) });
    svg.setAttribute("aria-label", "Hypervolume over finished candidates");
    if (data.anchors > 1 && data.anchors < xs[1]) svg.append(
      draw("line", { x1: x(data.anchors), x2: x(data.anchors), y1: box.t, y2: box.h - box.b, style: { stroke: "var(--muted)" }, "stroke-dasharray": "3 4" }),
      draw("text", { class: "tick", x: x(data.anchors) + 6, y: box.h - box.b - 8 }, "search starts"));
    svg.append(draw("path", { d: data.hypervolume.map(([n, v], i) => (i ? "H" + x(n) + "V" + y(v) : "M" + x(n) + " " + y(v))).join(""), fill: "none", style: { stroke: "var(--front)" }, "stroke-width": 2.2 }));
    $("gain").replaceChildren(svg);
  }

  function heat() {
    const w = data.weights;
    if (!w) { $("weights-section").hidden = true; return; }
    $("weights-lead").textContent = "Candidate " + w.number + ", method " + w.method + ". A row per layer group, a column per expert; 1 takes the expert's change as it is, 0 leaves it out.";
    const top = Math.max(1, ...w.values.flat().map(Math.abs));
    const rows = w.values.map((row, g) => make("tr", {}, make("td", {}, w.groups[g]), ...row.map((v) =>
      make("td", { style: { background: "rgba(var(" + (v < 0 ? "--heat-low" : "--heat") + "), " + (0.06 + 0.54 * Math.abs(v) / top).toFixed(3) + ")" } }, v.toFixed(2)))));
    $("weights").append(make("table", { class: "heat" }, make("tr", {}, make("th"), ...w.experts.map((e) => make("th", {}, e))), ...rows));
  }

  function samples() {
    if (!data.samples.length) { $("samples-section").hidden = true; return; }
    let task = null;
    for (const sample of data.samples) {
      if (sample.task !== task) $("samples").append(make("h3", {}, (task = sample.task)));
      const box = make("div", { class: "sample" }, make("p", {}, sample.item + ": " + sample.kind));
      if (sample.question) box.append(make("pre", {}, sample.question));
      box.append(make("div", { class: "answers" }, ...sample.answers.map(([model, answer, outcome]) => make("div", { class: "answer" }, make("b", {}, model),
        make("i", { class: outcome >= 0.5 ? "right" : null }, outcome >= 0.5 ? "✓ right" : "✗ wrong"), make("pre", {}, answer.trim() === "" ? "(empty)" : answer)))));
      $("samples").append(box);
    }
  }

  function rest() {
    if (!data.failures.length) $("failures-section").hidden = true;
    else $("failures").append(make("table", {}, make("tr", {}, make("th", {}, "candidate"), make("th", { class: "words" }, "method"), make("th", { class: "words" }, "reason")),
      ...data.failures.map((f) => make("tr", {}, make("td", {}, f.number), make("td", { class: "words" }, f.method), make("td", { class: "words" }, f.error)))));
    const clock = (s) => s < 90 ? s.toFixed(0) + " s" : (s / 60).toFixed(1) + " min";
    const phases = Object.entries(data.seconds).map(([phase, s]) => make("tr", {}, make("td", {}, phase), make("td", {}, clock(s))));
    if (phases.length) $("cost").append(make("table", {}, ...phases));
    const half = Math.ceil(data.environment.length / 2);
    for (const part of [data.environment.slice(0, half), data.environment.slice(half)])
      if (part.length) $("cost").append(make("table", {}, ...part.map(([name, value]) => make("tr", {}, make("td", {}, name), make("td", {}, value)))));
    if (!phases.length && !data.environment.length) $("cost-section").hidden = true;
  }

  for (const part of [first, table, front, gain, heat, samples, rest]) {
    try { part(); } catch (error) { problem(part.name + ": " + error.message); }
  }
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    if (data.points.length) plot();
    gain();
  });
  document.documentElement.dataset.drawn = "yes";
})();
