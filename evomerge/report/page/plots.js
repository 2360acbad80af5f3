// Plots in SVG: a plane of marks, and curves. They know nothing of searches; what a mark means is its caller's matter.
const scale = (low, high, from, to) => (v) => from + ((to - from) * (v - low)) / (high - low || 1);
const room = (host, most) => Math.max(230, Math.min(most, (host.clientWidth || most) - 16)); // less the padding

function ticks(low, high, count) {
  const raw = (high - low) / count,
    power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-6; v += step)
    found.push(Number(v.toFixed(10)));
  return found;
}
function bounds(values) {
  const low = Math.min(...values),
    high = Math.max(...values),
    pad = (high - low) * 0.08 || Math.abs(high) * 0.08 || 0.05;
  return [low >= 0 ? Math.max(0, low - pad) : low - pad, high + pad];
}

// Shapes beside colours, for readers who do not tell the colours apart and for paper. Paths of radius r around 0, 0.
const corners = (points) => (r) =>
  "M" + points.map(([x, y]) => (r * x).toFixed(2) + " " + (r * y).toFixed(2)).join("L") + "Z";
const SHAPES = {
  circle: (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  square: corners([
    [-0.86, -0.86],
    [0.86, -0.86],
    [0.86, 0.86],
    [-0.86, 0.86],
  ]),
  diamond: corners([
    [0, -1.25],
    [1.25, 0],
    [0, 1.25],
    [-1.25, 0],
  ]),
  triangle: corners([
    [0, -1.2],
    [1.15, 0.85],
    [-1.15, 0.85],
  ]),
  down: corners([
    [0, 1.2],
    [1.15, -0.85],
    [-1.15, -0.85],
  ]),
  plus: corners([
    [-0.4, -1.2],
    [0.4, -1.2],
    [0.4, -0.4],
    [1.2, -0.4],
    [1.2, 0.4],
    [0.4, 0.4],
    [0.4, 1.2],
    [-0.4, 1.2],
    [-0.4, 0.4],
    [-1.2, 0.4],
    [-1.2, -0.4],
    [-0.4, -0.4],
  ]),
  hexagon: corners(
    [0, 1, 2, 3, 4, 5].map((i) => [1.1 * Math.cos((i * Math.PI) / 3), 1.1 * Math.sin((i * Math.PI) / 3)]),
  ),
  wedge: corners([
    [-1.2, -1],
    [1.3, 0],
    [-1.2, 1],
    [-0.5, 0],
  ]),
  star: corners(
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((i) => [
      (i % 2 ? 0.72 : 1.7) * Math.cos(Math.PI * (i / 5 - 0.5)),
      (i % 2 ? 0.72 : 1.7) * Math.sin(Math.PI * (i / 5 - 0.5)),
    ]),
  ),
};
const symbol = (shape, radius, attributes) => draw("path", { ...attributes, d: SHAPES[shape](radius) });
function key(shape, radius, attributes, words) {
  return make(
    "span",
    { class: "key" },
    draw("svg", { viewBox: "-9 -9 18 18", "aria-hidden": "true" }, symbol(shape, radius, attributes)),
    words,
  );
}

// Grid, ticks and names of two axes: {name, low, high, percent}.
function frame(box, across, up, label) {
  const x = scale(across.low, across.high, box.l, box.w - box.r),
    y = scale(up.low, up.high, box.h - box.b, box.t);
  const format = (axis) => (v) =>
    axis.format ? axis.format(v) : axis.percent ? String(Number((100 * v).toFixed(1))) : brief(v);
  const svg = draw("svg", { viewBox: `0 0 ${box.w} ${box.h}`, role: "group", "aria-label": label });
  for (const v of ticks(across.low, across.high, Math.max(2, Math.round(box.w / 90))))
    svg.append(
      draw("line", { class: "grid", x1: x(v), x2: x(v), y1: box.t, y2: box.h - box.b }),
      draw("text", { class: "tick", x: x(v), y: box.h - box.b + 17, "text-anchor": "middle" }, format(across)(v)),
    );
  for (const v of ticks(up.low, up.high, Math.max(2, Math.round(box.h / 55))))
    svg.append(
      draw("line", { class: "grid", x1: box.l, x2: box.w - box.r, y1: y(v), y2: y(v) }),
      draw("text", { class: "tick", x: box.l - 7, y: y(v) + 4, "text-anchor": "end" }, format(up)(v)),
    );
  const middle = (box.t + box.h - box.b) / 2;
  svg.append(
    draw("text", { x: (box.l + box.w - box.r) / 2, y: box.h - 5, "text-anchor": "middle" }, across.name),
    draw("text", { transform: `translate(13 ${middle}) rotate(-90)`, "text-anchor": "middle" }, up.name),
  );
  return { svg, x, y };
}

// A plane of marks {id, x, y, shape, radius, class, style, label, name, strong, low: [x, y], high: [x, y]}; later ones
// lie above earlier ones. `stairs`: {points, colour} of the lines that fronts make with two objectives.
function plane(host, { marks, across, up, most, ratio, label, stairs }) {
  const w = room(host, most),
    box = { w, h: Math.round(w * ratio + 60), l: 50, r: 14, t: 12, b: 42 };
  const { svg, x, y } = frame(box, across, up, label);
  for (const line of stairs)
    if (line.points.length > 1)
      svg.append(
        draw("path", {
          class: "stairs",
          style: { stroke: line.colour },
          d: line.points.map(([a, b], i) => (i ? "V" + y(b) + "H" + x(a) : "M" + x(a) + " " + y(b))).join(""),
        }),
      );
  const spans = draw("g"),
    dots = draw("g"),
    names = draw("g", { class: "names" });
  const taken = marks.filter((m) => m.strong).map((m) => ({ x: x(m.x) - 10, y: y(m.y) + 4, w: 20 }));
  for (const m of marks) {
    const cx = x(m.x),
      cy = y(m.y);
    if (m.low)
      spans.append(
        draw("path", {
          class: "span",
          "data-id": m.id,
          d: `M${x(Math.max(across.low, m.low[0]))} ${cy}H${x(Math.min(across.high, m.high[0]))}M${cx} ${y(Math.max(up.low, m.low[1]))}V${y(Math.min(up.high, m.high[1]))}`,
        }),
      );
    dots.append(
      symbol(m.shape, m.radius, {
        class: "dot " + m.class,
        "data-id": m.id,
        style: m.style,
        tabindex: -1,
        role: "button",
        "aria-label": m.label,
        transform: `translate(${cx.toFixed(1)} ${cy.toFixed(1)})`,
      }),
    );
    if (m.name) names.append(named(m, cx, cy, box, taken));
  }
  svg.append(spans, dots, names);
  roving(dots, marks);
  host.replaceChildren(svg);
}

// One stop for the tabulator; the arrows walk from mark to mark, left to right.
function roving(group, marks) {
  const order = marks.map((m, i) => i).sort((a, b) => marks[a].x - marks[b].x || marks[a].y - marks[b].y);
  const nodes = order.map((i) => group.children[i]);
  if (!nodes.length) return;
  (group.lastElementChild || nodes[0]).setAttribute("tabindex", 0);
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    const at = nodes.indexOf(event.target);
    if (!step || at < 0) return;
    event.preventDefault();
    const next = nodes[(at + step + nodes.length) % nodes.length];
    event.target.setAttribute("tabindex", -1);
    next.setAttribute("tabindex", 0);
    next.focus();
  });
}

// A name beside its mark, stepping aside where it would cover another.
function named({ name: text, strong, style }, cx, cy, box, taken) {
  const width = text.length * (strong ? 8.2 : 7.4),
    aside = strong ? 15 : 11,
    flips = cx + aside + width > box.w; // of a wide font
  const left = flips ? Math.max(2, cx - aside - width) : cx + aside;
  const covered = (at) => taken.some((t) => Math.abs(t.y - at) < 12 && left < t.x + t.w && t.x < left + width);
  const at =
    [4, -9, 17, -22, 30, -35, 43].map((d) => cy + d).find((v) => !covered(v) && v > 10 && v < box.h - box.b) || cy + 4;
  taken.push({ x: left, y: at, w: width });
  return draw("text", { class: strong ? "name strong" : "name", style, x: left, y: at }, text);
}

// Curves that hold their value until the next point: {name, points: [[x, y]], colour, dash, shape}.
function curves(host, { series, across, up, label, marks = [] }) {
  const w = room(host, 1060),
    box = { w, h: w < 500 ? 240 : 290, l: 58, r: 16, t: 16, b: 42 };
  const xs = series.flatMap((s) => s.points.map((p) => p[0])),
    ys = series.flatMap((s) => s.points.map((p) => p[1]));
  const { svg, x, y } = frame(
    box,
    { ...across, low: 0, high: Math.max(...xs, 1e-9) },
    { ...up, low: 0, high: 1.08 * Math.max(1e-6, ...ys) },
    label,
  );
  for (const m of marks)
    svg.append(
      draw("line", { class: "event", x1: x(m.at), x2: x(m.at), y1: box.t, y2: box.h - box.b }),
      draw("text", { class: "tick", x: x(m.at) + 6, y: box.h - box.b - 8 }, m.name),
    );
  for (const s of series) {
    svg.append(
      draw("path", {
        class: "curve",
        "data-run": s.run,
        d: s.points.map(([a, b], i) => (i ? "H" + x(a) + "V" + y(b) : "M" + x(a) + " " + y(b))).join(""),
        style: { stroke: s.colour },
        "stroke-dasharray": s.dash,
      }),
    );
    const last = s.points[s.points.length - 1];
    if (s.shape && last)
      svg.append(
        symbol(s.shape, 5, {
          class: "end",
          "data-run": s.run,
          style: { fill: s.colour },
          transform: `translate(${x(last[0])} ${y(last[1])})`,
        }),
      );
  }
  host.replaceChildren(svg);
}

// What a hypervolume may be drawn over; pages draw it in gain().
const EFFORT = [
  ["finished candidates", "trials"],
  ["answered items", "items"],
  ["generated tokens", "tokens"],
  ["seconds of evaluation, of all workers", "seconds"],
];
const effort = { chosen: 0 };
function gainChoice() {
  const histories = data.history ? [data.history] : data.runs.map((run) => run.history);
  if (histories.flat().some((step) => step.tokens === null))
    EFFORT.splice(
      EFFORT.findIndex(([, field]) => field === "tokens"),
      1,
    );
  $("effort").append(
    choice(
      "Over",
      EFFORT.map(([name]) => name),
      0,
      (value) => {
        effort.chosen = value;
        gain();
      },
    ),
  );
}
