// Parallel coordinates: an axis per objective, a strand per candidate. The grip at the foot of an axis is a lower bound:
// drag it, or move it with the arrow keys, and what does not reach it fades everywhere.
function strands(points, axes) {
  const host = $("strands");
  if (!points.length) {
    host.replaceChildren();
    return;
  }
  const w = Math.max(room(host, 1060), 76 * axes.length),
    box = { w, h: 300, l: 34, r: 40, t: 38, b: 26 };
  const numbers = draw("g");
  const svg = draw("svg", {
    viewBox: `0 0 ${w} ${box.h}`,
    role: "group",
    "aria-label": "Candidates in parallel coordinates",
  });
  svg.style.setProperty("min-width", 76 * axes.length + "px");
  const place = scale(0, axes.length - 1, box.l, w - box.r);
  const heights = axes.map((axis) => {
    const [low, high] = bounds(points.map(axis.of).filter((v) => v !== null));
    return { low, high, to: scale(low, high, box.h - box.b, box.t), from: scale(box.h - box.b, box.t, low, high) };
  });
  axes.forEach((axis, i) => {
    const anchor = i === 0 ? "start" : i === axes.length - 1 ? "end" : "middle";
    const x = place(i),
      at = i === 0 ? 2 : i === axes.length - 1 ? w - 2 : x;
    svg.append(
      draw("line", { class: "pole", x1: x, x2: x, y1: box.t, y2: box.h - box.b }),
      ...lines(axis.name, (w - 74) / (axes.length - 1)).map((line, n, all) =>
        draw("text", { x: at, y: 26 - 14 * (all.length - 1 - n), "text-anchor": anchor }, line),
      ),
    );
    for (const v of ticks(heights[i].low, heights[i].high, 4))
      numbers.append(
        draw("text", { class: "tick name", x: x + 5, y: heights[i].to(v) + 4 }, String(Number((100 * v).toFixed(1)))),
      );
  });
  const group = draw("g", {});
  for (const p of points) {
    const known = axes.map((axis, i) => [i, axis.of(p)]).filter(([, v]) => v !== null);
    const d = "M" + known.map(([i, v]) => place(i).toFixed(1) + " " + heights[i].to(v).toFixed(1)).join("L");
    group.append(
      draw(
        "g",
        { class: "strand " + classOf(p), "data-id": idOf(p) },
        draw("path", { class: "reach", d }),
        draw("path", { class: "line", d, style: paint(p, "stroke") }),
        ...(p.winner
          ? known.map(([i, v]) =>
              symbol(several ? look(p)[0] : "star", 5, {
                class: "dot " + classOf(p),
                style: paint(p, "fill"),
                transform: `translate(${place(i).toFixed(1)} ${heights[i].to(v).toFixed(1)})`,
              }),
            )
          : []),
      ),
    );
  }
  svg.append(group, numbers);
  axes.forEach((axis, i) => svg.append(grip(axis, place(i), heights[i], box)));
  host.replaceChildren(svg);
}

// A name in at most two lines of so many pixels.
function lines(name, width) {
  if (name.length * 7 < width) return [name];
  const most = Math.max(4, Math.floor(width / 7)),
    cut = (text) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
  const at = name.lastIndexOf(" ", most);
  return at > 0 ? [cut(name.slice(0, at)), cut(name.slice(at + 1))] : [cut(name)];
}

function grip(axis, x, height, box) {
  const now = () => (least.has(axis) ? Math.max(height.low, least.get(axis)) : height.low);
  const node = draw("path", {
    class: "grip",
    d: "M-9 9L0 -5L9 9Z",
    tabindex: 0,
    role: "slider",
    "aria-orientation": "vertical",
    "aria-label": "at least, " + axis.name,
    "aria-valuemin": Math.round(100 * height.low),
    "aria-valuemax": Math.round(100 * height.high),
  });
  const stand = () => {
    node.setAttribute("transform", `translate(${x} ${height.to(now())})`);
    node.setAttribute("aria-valuenow", percent(now()));
  };
  const move = (value) => {
    if (value <= height.low + 1e-9) least.delete(axis);
    else least.set(axis, Math.min(value, height.high));
    stand();
    sift();
  };
  node.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    node.setPointerCapture(event.pointerId);
    node.focus();
  });
  node.addEventListener("pointermove", (event) => {
    if (!node.hasPointerCapture(event.pointerId)) return;
    const svg = node.ownerSVGElement.getBoundingClientRect();
    move(height.from(((event.clientY - svg.top) * box.h) / svg.height));
  });
  node.addEventListener("keydown", (event) => {
    const step = (height.high - height.low) / 40;
    const to = {
      ArrowUp: now() + step,
      ArrowRight: now() + step,
      ArrowDown: now() - step,
      ArrowLeft: now() - step,
      Home: height.low,
      End: height.high,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    move(to);
  });
  stand();
  return node;
}
