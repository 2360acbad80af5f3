// The front: planes of two objectives each, parallel coordinates for three and more, and the card of the candidate
// that is pointed at. All are linked: every drawing of a candidate carries its id as data-id.
// The report draws all candidates of one run, the comparison the fronts of several: there data.runs names them, and
// shape and colour tell the run instead of the kind.
const RETENTION = { name: "smallest retention", of: (p) => p.min_retention, percent: true };
const OBJECTIVES = data.tasks.map((task) => ({ name: task, task, of: (p) => p.scores[task].mean, percent: true }));
const several = data.runs !== undefined;
const idOf = (p) => (several ? p.run + "-" + p.number : String(p.number));
const pointOf = new Map(data.points.map((p) => [idOf(p), p]));
const least = new Map(); // axis -> lower bound that a candidate has to reach
const view = { near: false, hidden: new Set(), across: 0, up: 1 };
const MOST = 4; // objectives whose pairs are all drawn; of more, the pair that is chosen
let hot = null;

const rank = (p) => (p.winner ? 3 : p.on_front ? 2 : p.name ? 1 : 0);
const kind = (p) => (p.winner ? "winner" : p.on_front ? "front" : p.name ? "anchor" : "dominated");
const LOOK = { winner: ["star", 7.5], front: ["circle", 6], anchor: ["square", 5.5], dominated: ["circle", 4] };
const RUNS = ["circle", "diamond", "square", "triangle", "down", "plus", "hexagon", "wedge"];
function look(p) {
  if (several) return [RUNS[p.run], p.winner ? 9 : 5.5];
  return p.name && p.on_front && !p.winner ? ["square", 6] : LOOK[kind(p)];
}
const colour = (run) => `var(--run-${run})`;
const paint = (p, property) => (several ? { [property]: colour(p.run) } : {});
const classOf = (p) => (several ? (p.winner ? "of-run best" : "of-run") : kind(p));
const nameOf = (p) =>
  several ? (p.winner ? "★ " + data.runs[p.run].name : null) : p.winner ? p.name || "winner" : p.name;
const TITLES = {
  winner: "winner",
  front: "on the front",
  anchor: "starting point, off the front",
  dominated: "off the front",
};

function card(p) {
  const scores = OBJECTIVES.map((o) => rowOf("td", [o.name, cell(p.scores[o.task])]));
  scores.push(rowOf("td", [RETENTION.name, p.min_retention === null ? "–" : percent(p.min_retention) + " "]));
  const own = several ? data.runs[p.run] : data;
  // A row per expert: names are long, layer groups few.
  const weights = own.experts.map((name, t) => rowOf("td", [name, ...p.weights.map((group) => group[t].toFixed(2))]));
  const shown = (value) =>
    typeof value === "number"
      ? String(Number(value.toFixed(3)))
      : Array.isArray(value)
        ? value.map(shown).join(", ")
        : String(value);
  const settings = Object.entries(p.settings)
    .map(([name, value]) => name + " " + shown(value))
    .join(" · ");
  $("candidate").replaceChildren(
    make("h3", {}, (p.winner ? "★ " : "") + (several ? own.name + ", candidate " : "Candidate ") + p.number),
    make("p", {}, [p.name, p.method, TITLES[kind(p)]].filter(Boolean).join(" · ")),
    make("table", {}, ...scores),
    make(
      "table",
      {},
      rowOf("th", p.weights.length > 1 ? ["weights by group", ...p.weights.map((_, g) => g + 1)] : ["weights", ""]),
      ...weights,
    ),
    make("p", {}, settings),
    copyButton(p.command, p.recipe ? "Copy merge command" : "Copy Python line"),
  );
}

function point(id, force) {
  if (id === hot && !force) return;
  hot = id;
  for (const old of document.querySelectorAll("#front .hot")) old.classList.remove("hot");
  for (const own of document.querySelectorAll(`#front [data-id="${id}"]`)) {
    own.classList.add("hot");
    if (own.classList.contains("strand")) own.parentNode.append(own); // above the others
  }
  card(pointOf.get(id));
}

const visible = () =>
  data.points.filter((p) => (!view.near || near(p)) && !view.hidden.has(p.run)).sort((a, b) => rank(a) - rank(b));
const near = (p) =>
  p.winner ||
  (p.on_front && !p.name) ||
  p.min_retention >= 0.7 * Math.max(...data.points.map((q) => q.min_retention || 0));
// Base and single experts lie far away: with them the front is a corner of the plot.
function crowded() {
  const span = (points, o) => Math.max(...points.map(o.of)) - Math.min(...points.map(o.of));
  const close = data.points.filter(near);
  return close.length > 2 && OBJECTIVES.some((o) => span(close, o) < 0.4 * span(data.points, o));
}

function planes() {
  const host = $("planes"),
    points = visible();
  if (!points.length) {
    host.replaceChildren();
    return;
  }
  const axisOf = (o) => {
    const [low, high] = bounds(points.map(o.of));
    return {
      name: o.name + (o.percent ? " (%) →" : ""),
      low,
      high: o.percent ? Math.min(high, 1.02) : high,
      percent: o.percent,
    };
  };
  const order = { name: "candidate", of: (p) => p.number, percent: false };
  const pairs =
    OBJECTIVES.length === 1
      ? [[order, OBJECTIVES[0]]]
      : OBJECTIVES.length > MOST
        ? [[OBJECTIVES[view.across], OBJECTIVES[view.up]]]
        : OBJECTIVES.flatMap((a, i) => OBJECTIVES.slice(i + 1).map((b) => [a, b]));
  host.className = pairs.length > 1 ? "many" : "";
  $("front").classList.toggle("row", pairs.length === 3); // one row of three, the card beside the strands
  const places = pairs.map(() => make("div", { class: "plot" }));
  host.replaceChildren(...places); // first, so that each place has its width
  pairs.forEach(([a, b], place) => {
    const marks = points.map((p) => {
      const [shape, radius] = look(p),
        o = a === order ? null : p.scores[a.task],
        u = p.scores[b.task];
      return {
        id: idOf(p),
        x: a.of(p),
        y: b.of(p),
        shape,
        radius,
        class: classOf(p),
        style: paint(p, "fill"),
        strong: p.winner,
        name: nameOf(p),
        low: o ? [o.low, u.low] : [p.number, u.low],
        high: o ? [o.high, u.high] : [p.number, u.high],
        label: `${several ? data.runs[p.run].name + ", " : ""}candidate ${p.number}${p.name ? ", " + p.name : ""}, ${TITLES[kind(p)]}: ${a.name} ${a.percent ? percent(a.of(p)) : a.of(p)}, ${b.name} ${percent(b.of(p))}`,
      };
    });
    const steps = (run) =>
      points
        .filter((p) => p.on_front && p.run === run)
        .map((p) => [a.of(p), b.of(p)])
        .sort((p, q) => p[0] - q[0] || q[1] - p[1]);
    const stairs =
      OBJECTIVES.length !== 2
        ? []
        : several
          ? data.runs.map((_, run) => ({ points: steps(run), colour: colour(run) }))
          : [{ points: steps(undefined), colour: "var(--front)" }];
    plane(places[place], {
      marks,
      across: axisOf(a),
      up: axisOf(b),
      most: 760,
      ratio: pairs.length > 1 ? 0.72 : 0.6,
      stairs,
      label: `Candidates by ${a.name} and ${b.name}`,
    });
  });
}

// Draws planes and strands, then puts back what was pointed at and asked for.
function redraw() {
  planes();
  $("strands").hidden = OBJECTIVES.length < 3;
  if (OBJECTIVES.length > 2) strands(visible(), [...OBJECTIVES, RETENTION]);
  point(hot || idOf(data.points.find((p) => p.winner) || data.points.find((p) => p.on_front) || data.points[0]), true);
  sift();
}

// Fades whatever misses a bound.
function sift() {
  const missing = new Set(
    data.points.filter((p) => [...least].some(([axis, bound]) => (axis.of(p) ?? -1) < bound)).map(idOf),
  );
  for (const own of document.querySelectorAll("#front [data-id]"))
    own.classList.toggle("faded", missing.has(own.dataset.id));
  const asked = [...least].map(([axis, bound]) => `${axis.name} at least ${percent(bound)} %`).join(", ");
  $("sifted").textContent = asked
    ? `${asked}: ${data.points.length - missing.size} of ${data.points.length} candidates.`
    : "";
  $("clear").hidden = !asked;
}

function front() {
  if (!data.points.length || !OBJECTIVES.length) {
    $("front-section").hidden = true;
    return;
  }
  view.near = crowded();
  $("axes").append(
    choice("Show", ["all candidates", "those near the front"], view.near ? 1 : 0, (value) => {
      view.near = value === 1;
      redraw();
    }),
  );
  if (OBJECTIVES.length > MOST)
    for (const axis of ["across", "up"])
      $("axes").append(
        choice(
          axis,
          OBJECTIVES.map((o) => o.name),
          view[axis],
          (value) => {
            view[axis] = value;
            redraw();
          },
        ),
      );
  if (data.points.some((p) => p.winner) && !several)
    $("axes").append(key("star", 6.5, { class: "dot winner" }, "winner"));
  if (!several)
    $("axes").append(
      key("circle", 6, { class: "dot front" }, "front"),
      key("square", 5.5, { class: "dot anchor" }, "starting point"),
      key("circle", 4, { class: "dot dominated" }, "dominated"),
    );
  const own = (event) => {
    const at = event.target.closest("[data-id]");
    return at && at.dataset.id;
  };
  for (const name of ["mouseover", "focusin"])
    $("front").addEventListener(name, (event) => {
      const id = own(event);
      if (id) point(id);
    });
  const act = (event) => {
    const id = own(event);
    if (id) {
      point(id);
      copy(pointOf.get(id).command);
    }
  };
  $("front").addEventListener("click", act);
  $("front").addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === " ") && own(event)) {
      event.preventDefault();
      act(event);
    }
  });
  $("clear").addEventListener("click", () => {
    least.clear();
    redraw();
  });
  redraw();
}
