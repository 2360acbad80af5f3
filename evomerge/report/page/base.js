// What every page needs: elements made from plain values, copying, formats of numbers, and a word when drawing fails.
const $ = (id) => document.getElementById(id);

function problem(text) {
  const root = document.documentElement;
  root.dataset.errors = (root.dataset.errors ? root.dataset.errors + "; " : "") + text;
  $("problem").textContent = "A part of this page could not be drawn: " + root.dataset.errors;
  $("problem").hidden = false;
}
window.addEventListener("error", (event) => problem(event.message || "a resource failed to load"));

const data = JSON.parse($("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

// --- elements ----------------------------------------------------------------------------------------------------
// Text goes in by textContent only: answers of models are not to be trusted.
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    // The page's policy refuses style attributes; properties set one by one are fine.
    if (name === "style") for (const [key, entry] of Object.entries(value)) element.style.setProperty(key, entry);
    else element.setAttribute(name, value);
  }
  for (const child of children)
    if (child !== null) element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  return element;
}
const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

function choice(label, entries, chosen, change) {
  const select = make("select", {}, ...entries.map((entry, place) => make("option", { value: place }, entry)));
  select.value = chosen;
  select.addEventListener("change", () => change(Number(select.value)));
  return make("label", {}, label + " ", select);
}

// --- numbers -----------------------------------------------------------------------------------------------------
// Halves go to the even digit, as in the tables that Python writes: 56.25 is 56.2 there and here.
function percent(value, digits = 1) {
  const scaled = 100 * value * 10 ** digits,
    below = Math.floor(scaled);
  const rounded = scaled - below === 0.5 ? below + (below % 2) : Math.round(scaled);
  return (rounded / 10 ** digits).toFixed(digits);
}
// Four digits: hypervolumes of many objectives are small.
const brief = (v) => {
  const short = Number(v.toPrecision(4));
  return short && Math.abs(short) < 0.001 ? short.toExponential() : String(short);
};
const range = (v) => "(" + percent(v.low, 0) + "–" + percent(v.high, 0) + ")";
const clock = (s) =>
  s < 90 ? s.toFixed(0) + " s" : s < 5400 ? (s / 60).toFixed(1) + " min" : (s / 3600).toFixed(1) + " h";
const cell = (value) =>
  value ? make("td", {}, percent(value.mean), make("small", {}, range(value))) : make("td", { class: "none" }, "–");
const rowOf = (tag, values, attributes = {}) =>
  make("tr", attributes, ...values.map((v) => (v instanceof Node ? v : make(tag, {}, v))));

function whisker(value, top) {
  const x = (v) => 2 + (166 * Math.max(0, v)) / top;
  return draw(
    "svg",
    { class: "whisker", viewBox: "-4 0 178 18", "aria-hidden": "true" },
    draw("line", { class: "axis", x1: 2, x2: 168, y1: 9, y2: 9 }),
    draw("line", { class: "spread", x1: x(value.low), x2: x(value.high), y1: 9, y2: 9 }),
    draw("circle", { class: "middle", cx: x(value.mean), cy: 9, r: 4.5 }),
  );
}

// --- copying -----------------------------------------------------------------------------------------------------
function toast(text) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => {
    $("toast").hidden = true;
  }, 4000);
}

// Copies and says so; `done` is called when the text is on the clipboard.
function copy(text, done = () => {}) {
  const succeeded = () => {
    toast("Copied: " + text);
    done();
  };
  const old = () => {
    // where the browser keeps its clipboard from pages opened as files
    const area = make("textarea", { class: "aside" });
    const focused = document.activeElement;
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    if (focused) focused.focus();
    if (copied) succeeded();
    else toast("Could not copy, please select it: " + text);
  };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(succeeded, old);
  else old();
}

function copyButton(text, label = "Copy") {
  const button = make("button", { type: "button" }, label);
  button.addEventListener("click", () =>
    copy(typeof text === "function" ? text() : text, () => {
      button.textContent = "✓ Copied";
      setTimeout(() => {
        button.textContent = label;
      }, 2000);
    }),
  );
  return button;
}

// --- the page ----------------------------------------------------------------------------------------------------
// Draws the parts, each on its own so that one bad part does not take the rest along; `sized` ones again when the
// width changes, because plots are drawn at the width of their place: so their text keeps its size on a phone.
function show(parts, sized) {
  const attempt = (part) => {
    try {
      part();
    } catch (error) {
      problem(part.name + ": " + error.message);
    }
  };
  parts.forEach(attempt);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    sized.forEach(attempt);
  });
  window.addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true;
  });
  document.documentElement.dataset.drawn = "yes";
}
