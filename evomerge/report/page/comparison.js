// Several runs side by side: their winners, their fronts over one another, and what each paid for its hypervolume.
const swatch = (run, radius = 6) => symbol(RUNS[run], radius, { class: "dot", style: { fill: colour(run) } });
const sign = draw("svg", { viewBox: "-9 -9 18 18", "aria-hidden": "true" });
function emblem(run) {
  const svg = sign.cloneNode();
  svg.append(swatch(run));
  return svg;
}

function first() {
  $("name").textContent = "evomerge · " + data.name;
  $("headline").textContent = data.headline.replaceAll("-", "\u2011");
  $("detail").textContent = data.detail;
  $("rebuild").textContent = data.rebuild;
}

function table() {
  const head = rowOf("th", [
    "run",
    ...data.tasks,
    "smallest retention",
    "against the best",
    "hypervolume",
    "candidates",
    "time",
  ]);
  const signed = (v, digits) => (v < 0 ? "−" : "+") + percent(Math.abs(v), digits);
  const gap = (run) => {
    if (run.best) return make("td", {}, "best");
    if (!run.behind) return make("td", { class: "none" }, "–");
    return make(
      "td",
      {},
      signed(run.behind.mean, 1),
      make("small", {}, "(" + signed(run.behind.low, 0) + " to " + signed(run.behind.high, 0) + ")"),
    );
  };
  const body = data.runs.map((run, n) => {
    const w = run.winner;
    return rowOf(
      "td",
      [
        make(
          "td",
          {},
          make("span", { class: "key" }, emblem(n), run.name),
          make("small", { class: "differs" }, data.differs.map((name, i) => name + " " + run.settings[i]).join(" · ")),
        ),
        ...data.tasks.map((task) => cell(w && w.scores[task])),
        cell(w && w.retention),
        gap(run),
        run.history.length ? brief(run.history[run.history.length - 1].hypervolume) : "–",
        make("td", {}, run.candidates, run.failed ? make("small", {}, run.failed + " failed") : ""),
        run.seconds ? clock(run.seconds) : "–",
      ],
      { class: run.best ? "winner" : null },
    );
  });
  $("table").append(make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

// One set of buttons for both plots: a run that is put out is missing in both.
function legend() {
  data.runs.forEach((run, n) => {
    const button = make(
      "button",
      { type: "button", class: "key key-button", "aria-pressed": "true" },
      emblem(n),
      run.name,
    );
    button.addEventListener("click", () => {
      const out = button.getAttribute("aria-pressed") === "true";
      button.setAttribute("aria-pressed", !out);
      if (out) view.hidden.add(n);
      else view.hidden.delete(n);
      redraw();
      gain();
    });
    $("legend").append(button);
  });
}

function gain() {
  const [name, field] = EFFORT[effort.chosen],
    runs = data.runs.map((run, n) => ({ run, n })).filter(({ run, n }) => run.history.length && !view.hidden.has(n));
  if (!runs.length) {
    $("gain").replaceChildren();
    return;
  }
  curves($("gain"), {
    across: { name },
    up: { name: "hypervolume" },
    label: "Hypervolume over " + name,
    series: runs.map(({ run, n }) => ({
      points: run.history.map((h) => [h[field], h.hypervolume]),
      colour: colour(n),
      shape: RUNS[n],
      run: n,
      dash: n % 2 ? "7 4" : null,
    })),
  });
}

const sized = [gain, ...(data.points.length ? [redraw] : [])];
show([first, table, legend, front, gainChoice, gain], sized);
