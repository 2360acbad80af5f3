// The report of one run, section by section.
function first() {
  $("name").textContent = "evomerge · " + data.name;
  $("rebuild").textContent = data.rebuild;
  $("headline").textContent = data.verdict.headline.replaceAll("-", "\u2011"); // no line ends within TSV-M
  $("detail").textContent = data.verdict.detail;
  for (const fact of data.facts)
    $("facts").append(
      make("div", { class: "fact " + (fact.better || "") }, make("b", {}, fact.value), make("span", {}, fact.words)),
    );
}

// Tabs, so that what to run stays on the first screen.
function commands() {
  if (!data.commands.length) {
    $("run-section").hidden = true;
    return;
  }
  const tabs = [],
    panels = [];
  const choose = (place) => {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", i === place);
      tab.setAttribute("tabindex", i === place ? 0 : -1);
    });
    panels.forEach((panel, i) => panel.classList.toggle("closed", i !== place));
  };
  data.commands.forEach((entry, place) => {
    const tab = make(
      "button",
      { type: "button", role: "tab", id: "tab-" + place, "aria-controls": "panel-" + place },
      entry.tab,
    );
    tab.addEventListener("click", () => choose(place));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (place + step + tabs.length) % tabs.length;
      choose(next);
      tabs[next].focus();
    });
    tabs.push(tab);
    panels.push(
      make(
        "div",
        { class: "command", role: "tabpanel", id: "panel-" + place, "aria-labelledby": "tab-" + place },
        make("span", {}, entry.title),
        make("pre", { tabindex: 0 }, entry.text),
        copyButton(entry.text),
      ),
    );
  });
  $("commands").append(
    make("div", { class: "tabs", role: "tablist", "aria-label": "Ways to run the winner" }, ...tabs),
    ...panels,
  );
  choose(0);
}

function table() {
  if (!data.rows.length) {
    $("table-section").hidden = true;
    return;
  }
  const top = Math.max(1, ...data.rows.map((row) => (row.retention ? row.retention.high : 0)));
  const head = rowOf("th", [
    "",
    ...data.tasks,
    "smallest retention",
    make("th", { class: "wide" }, ""),
    ...data.side_tasks,
  ]);
  const body = data.rows.map((row) =>
    rowOf(
      "td",
      [
        row.name,
        ...data.tasks.map((task) => cell(row.scores[task])),
        cell(row.retention),
        make("td", { class: "wide" }, row.retention ? whisker(row.retention, top) : ""),
        ...data.side_tasks.map((task) => cell(row.scores[task])),
      ],
      { class: row.winner ? "winner" : null },
    ),
  );
  $("table").append(make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
  const items = [...data.tasks, ...data.side_tasks]
    .map((task) => [task, data.rows.find((row) => row.scores[task])])
    .filter(([, row]) => row);
  $("delivered").textContent =
    "Items: " + items.map(([task, row]) => task + " " + row.scores[task].items).join(", ") + ". " + data.delivered;
}

function gain() {
  if (data.history.length < 2) {
    $("gain-section").hidden = true;
    return;
  }
  const [name, field] = EFFORT[effort.chosen];
  const started = data.history.filter((h) => h.trials <= data.anchors);
  const searched = started.length && started.length < data.history.length;
  curves($("gain"), {
    across: { name },
    up: { name: "hypervolume" },
    label: "Hypervolume over " + name,
    marks: searched ? [{ at: started[started.length - 1][field], name: "search starts" }] : [],
    series: [{ points: data.history.map((h) => [h[field], h.hypervolume]), colour: "var(--front)" }],
  });
}
function heat() {
  const w = data.weights;
  if (!w) {
    $("weights-section").hidden = true;
    return;
  }
  $("weights-lead").textContent =
    `Candidate ${w.number}, method ${w.method}. A row per layer group, a column per expert; 1 takes the expert's change as it is, 0 leaves it out.`;
  const top = Math.max(1, ...w.values.flat().map(Math.abs));
  const shade = (v) =>
    `rgba(var(${v < 0 ? "--heat-low" : "--heat"}), ${(0.06 + (0.54 * Math.abs(v)) / top).toFixed(3)})`;
  const rows = w.values.map((row, g) =>
    rowOf("td", [w.groups[g], ...row.map((v) => make("td", { style: { background: shade(v) } }, v.toFixed(2)))]),
  );
  for (const [name, values] of w.settings)
    rows.push(
      rowOf(
        "td",
        [
          name,
          ...(Array.isArray(values)
            ? values.map((v) => v.toFixed(2))
            : [make("td", { colspan: w.experts.length }, String(values))]),
        ],
        { class: "setting" },
      ),
    );
  $("weights").append(make("table", { class: "heat" }, rowOf("th", ["", ...w.experts]), ...rows));
}

function importances() {
  const found = data.importances;
  if (!found) {
    $("importance-section").hidden = true;
    return;
  }
  $("importance-lead").textContent =
    `How much of the differences in smallest retention goes along with each setting, over ${found.candidates} searched candidates. ` +
    `The line marks what chance alone exceeds once in twenty: a shorter bar says nothing, and of ${found.entries.length} settings one may well pass it by luck. Rough: few candidates, chosen by a sampler and not at random, and each setting is looked at alone.`;
  const top = Math.max(0.05, ...found.entries.map((e) => Math.max(e.share, e.chance)));
  $("importances").append(
    make(
      "table",
      {},
      rowOf("th", ["", "share", "", make("th", { class: "words" }, "best where it is")]),
      ...found.entries.map((e) =>
        rowOf(
          "td",
          [
            e.name,
            percent(e.share, 0) + " %",
            make(
              "td",
              { class: "bar" },
              draw(
                "svg",
                { viewBox: "0 0 200 16", preserveAspectRatio: "none", "aria-hidden": "true" },
                draw("rect", {
                  class: e.share > e.chance ? "sure" : "unsure",
                  x: 0,
                  y: 3,
                  width: ((196 * e.share) / top).toFixed(1),
                  height: 10,
                }),
                draw("line", {
                  class: "chance",
                  x1: (196 * e.chance) / top,
                  x2: (196 * e.chance) / top,
                  y1: 0,
                  y2: 16,
                }),
              ),
            ),
            make("td", { class: "words" }, e.best),
          ],
          { class: e.share > e.chance ? null : "unsure" },
        ),
      ),
    ),
  );
}

function samples() {
  if (!data.samples.length) {
    $("samples-section").hidden = true;
    return;
  }
  let task = null;
  for (const sample of data.samples) {
    const first = sample.task !== task;
    if (first) $("samples").append(make("h3", {}, (task = sample.task)));
    const right = sample.answers.filter((a) => a[2] >= 0.5).map((a) => a[0]);
    const box = make(
      "details",
      { class: "sample" },
      make(
        "summary",
        {},
        make("b", {}, sample.item),
        " " + sample.kind,
        make("span", { class: "right" }, right.length ? "right: " + right.join(", ") : ""),
      ),
    );
    box.open = first;
    if (sample.question) box.append(make("pre", { tabindex: 0 }, sample.question));
    box.append(
      make(
        "div",
        { class: "answers" },
        ...sample.answers.map(([model, answer, outcome]) =>
          make(
            "div",
            { class: "answer" + (model === "winner" ? " winner" : "") },
            make("b", {}, model),
            make("i", { class: outcome >= 0.5 ? "right" : null }, outcome >= 0.5 ? "✓ right" : "✗ wrong"),
            make("pre", { tabindex: 0 }, answer.trim() === "" ? "(empty)" : answer),
          ),
        ),
      ),
    );
    $("samples").append(box);
  }
}

function failures() {
  if (!data.failures.length) {
    $("failures-section").hidden = true;
    return;
  }
  const words = (tag, text) => make(tag, { class: "words" }, text);
  $("failures").append(
    make(
      "table",
      {},
      rowOf("th", ["candidate", words("th", "method"), words("th", "reason")]),
      ...data.failures.map((f) => rowOf("td", [f.number, words("td", f.method), words("td", f.error)])),
    ),
  );
}

function cost() {
  const phases = Object.entries(data.seconds),
    whole = phases.reduce((sum, [, s]) => sum + s, 0);
  const rows = phases.map(([phase, s]) => rowOf("td", [phase, clock(s)]));
  if (phases.length > 1) rows.push(rowOf("td", ["all", clock(whole)], { class: "sum" }));
  for (const entries of [
    rows,
    data.work.map((entry) => rowOf("td", entry)),
    data.environment.map((entry) => rowOf("td", entry)),
  ])
    if (entries.length) $("cost").append(make("table", {}, ...entries));
}

const sized = [gain, ...(data.points.length ? [redraw] : [])];
show([first, commands, table, front, gainChoice, gain, heat, importances, samples, failures, cost], sized);
