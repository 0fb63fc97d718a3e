// The map: products as dots on a canvas, a legend, and the same as a table for those who cannot use the canvas.
import { write, read, STEP } from "./address.js";
import { show } from "./api.js";
import { colourNamed, namesColours } from "./colours.js";
import { dotted, fixed, make, priced } from "./dom.js";

// Neighbouring colours also differ in shape, for people who cannot tell the colours apart.
const COLOURS = {
  light: ["#2f6f9f", "#c2571a", "#3f7f3f", "#9a3f8c", "#8a6d1d", "#5a57b8", "#b23a48", "#1f7f78", "#7a5a44", "#5f6b76"],
  dark: ["#7db8e6", "#f0a067", "#86c886", "#df93d2", "#dcc069", "#a9a6f5", "#f08a96", "#6fd0c8", "#cda98f", "#aab6c1"],
};
const NO_COLOUR = "#9aa3ad"; // of a value that is none, such as "multicolour", beside others that are
const SHAPES = ["circle", "square", "triangle", "diamond"];
const REACH = 18; // pixels around the pointer within which a dot is found

/** Draw the answer of /v1/collection/map into `place`. */
export function draw(place, plane, role) {
  const lists = role.lists.filter((name) => name in plane.fields);
  const state = { by: lists[0] ?? null, hidden: new Set(), at: null };
  const canvas = make("canvas", { tabIndex: 0, role: "img", "aria-describedby": "map-keys",
    "aria-label": `Map of ${plane.product_ids.length.toLocaleString()} products; the table below has the same` });
  const card = make("div", { class: "hover", hidden: true });
  const said = make("p", { class: "unseen", "aria-live": "polite" });
  const legend = make("ul", { class: "legend" });
  const choice = lists.length > 1 ? make("label", { class: "field" }, "Colour by",
    make("select", { onchange: (event) => { state.by = event.target.value; state.hidden.clear(); legendFor(); paint(); } },
      lists.map((name) => make("option", { value: name }, name)))) : null;
  place.append(make("div", { class: "side" }, choice, legend), make("div", { class: "sheet" }, canvas, card),
    make("p", { id: "map-keys", class: "note" }, "Point at a dot to see the product; click it to find similar ones. Keyboard: arrow keys move between dots, Enter opens."),
    said, alternative(plane, role));

  let values = [];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let isTrue = false; // whether the values are colours, and drawn as such
  const colour = (number) => isTrue ? (colourNamed(values[number]) ?? NO_COLOUR) : COLOURS[dark.matches ? "dark" : "light"][number % 10];
  const shape = (number) => SHAPES[Math.floor(number / 10 + number) % 4];
  const numberOf = (at) => (state.by ? values.indexOf(plane.fields[state.by][at]) : 0);
  const isHidden = (at) => state.by !== null && state.hidden.has(plane.fields[state.by][at]);

  function legendFor() {
    if (!state.by) return;
    const counts = new Map();
    for (const value of plane.fields[state.by]) counts.set(value, (counts.get(value) ?? 0) + 1);
    values = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one));
    isTrue = namesColours(values);
    legend.replaceChildren(...values.map((value, number) => make("li", {}, make("button", {
      type: "button", "aria-pressed": "true", onclick: (event) => {
        const isOn = state.hidden.delete(value) || !state.hidden.add(value);
        event.currentTarget.setAttribute("aria-pressed", String(isOn));
        paint();
      } }, sign(number), make("span", {}, value === "" || value === null ? "none" : String(value)), make("small", {}, String(counts.get(value)))))));
  }

  function sign(number) {
    const small = make("canvas", { "aria-hidden": "true" });
    small.width = small.height = 28;
    small.style.width = small.style.height = "14px";
    const pen = small.getContext("2d");
    pen.scale(2, 2);
    pen.fillStyle = colour(number);
    stamp(pen, shape(number), 7, 7, 5);
    outline(pen);
    return small;
  }

  /** Draw the edge of a sign in a true colour: white is seen on white by it, and black on black. */
  function outline(pen) {
    if (!isTrue) return;
    pen.strokeStyle = dark.matches ? "rgb(255 255 255 / .65)" : "rgb(0 0 0 / .5)";
    pen.lineWidth = 0.8;
    pen.stroke();
  }

  let width = 0, height = 0;
  const [across, upwards] = [scale(plane.x), scale(plane.y)];
  const x = (at) => (across(plane.x[at]) * 0.94 + 0.03) * width;
  const y = (at) => (0.97 - upwards(plane.y[at]) * 0.94) * height;

  function paint() {
    const ratio = devicePixelRatio || 1;
    width = canvas.clientWidth;
    height = canvas.clientHeight;
    if (!width) return;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const size = Math.max(2.2, Math.min(6, 90 / Math.sqrt(plane.x.length)));
    pen.globalAlpha = 0.85;
    for (let at = 0; at < plane.x.length; at++) {
      if (isHidden(at)) continue;
      const number = numberOf(at);
      pen.fillStyle = colour(number);
      stamp(pen, shape(number), x(at), y(at), size);
      outline(pen);
    }
    if (state.at !== null) {
      pen.globalAlpha = 1;
      pen.strokeStyle = getComputedStyle(canvas).color;
      pen.lineWidth = 2;
      pen.beginPath();
      pen.arc(x(state.at), y(state.at), size + 5, 0, 2 * Math.PI);
      pen.stroke();
    }
  }

  function nearest(px, py, reach) {
    let best = null, least = reach * reach;
    for (let at = 0; at < plane.x.length; at++) {
      if (isHidden(at)) continue;
      const far = (x(at) - px) ** 2 + (y(at) - py) ** 2;
      if (far < least) [best, least] = [at, far];
    }
    return best;
  }

  function point(at) {
    if (at === state.at) return;
    state.at = at;
    card.hidden = at === null;
    canvas.style.cursor = at === null ? "" : "pointer";
    if (at !== null) {
      card.replaceChildren(show(make("img", { alt: "" }), plane.product_ids[at], 256), ...words(plane, role, at));
      card.classList.toggle("left", x(at) > width / 2);
      card.classList.toggle("up", y(at) > height / 2);
      card.style.setProperty("--x", `${x(at)}px`);
      card.style.setProperty("--y", `${y(at)}px`);
      said.textContent = `${titleOf(plane, role, at)}, ${state.by ? plane.fields[state.by][at] : ""}`;
    }
    paint();
  }

  /** Return the nearest dot in a direction. */
  function neighbour(dx, dy) {
    if (state.at === null) return nearest(width / 2, height / 2, Infinity);
    let best = state.at, least = Infinity;
    for (let at = 0; at < plane.x.length; at++) {
      const [ahead, aside] = [(x(at) - x(state.at)) * dx + (y(at) - y(state.at)) * dy, Math.abs((x(at) - x(state.at)) * dy + (y(at) - y(state.at)) * dx)];
      if (at === state.at || isHidden(at) || ahead <= 0.5) continue;
      if (ahead + 2 * aside < least) [best, least] = [at, ahead + 2 * aside];
    }
    return best;
  }

  const open = () => {
    if (state.at === null) return;
    const link = make("a", { href: address(plane.product_ids[state.at]), hidden: true });
    place.append(link);
    link.click();
    link.remove();
  };
  canvas.addEventListener("pointermove", (event) => point(nearest(event.offsetX, event.offsetY, REACH)));
  canvas.addEventListener("pointerleave", () => point(null));
  canvas.addEventListener("blur", () => point(null));
  canvas.addEventListener("click", (event) => {
    const at = nearest(event.offsetX, event.offsetY, REACH);
    if (event.pointerType === "touch" && at !== state.at) point(at); // a finger cannot hover: the first touch shows the product
    else if (at !== null) { point(at); open(); }
  });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way) { event.preventDefault(); point(neighbour(...way)); }
    else if (event.key === "Enter") open();
    else if (event.key === "Escape") point(null);
  });
  dark.addEventListener("change", () => { legendFor(); paint(); });
  legendFor();
  new ResizeObserver(paint).observe(canvas);
}

/** Return a function that scales the range of the numbers to 0 … 1. */
function scale(numbers) {
  const low = numbers.reduce((one, other) => Math.min(one, other), Infinity);
  const width = numbers.reduce((one, other) => Math.max(one, other), -Infinity) - low;
  return (number) => (width > 0 ? (number - low) / width : 0.5);
}

const address = (id) => write({ ...read(""), like: id, count: STEP });
const titleOf = (plane, role, at) => plane.fields[role.title]?.[at] || plane.product_ids[at];

function words(plane, role, at) {
  const price = plane.fields[role.price]?.[at];
  const rest = role.lists.slice(0, 3).map((name) => plane.fields[name]?.[at]).filter((value) => value !== null && value !== "");
  return [make("strong", { dir: "auto" }, titleOf(plane, role, at)), make("span", {}, dotted(rest)), price === null || price === undefined ? "" : make("span", {}, priced(price))];
}

function stamp(pen, shape, x, y, size) {
  pen.beginPath();
  if (shape === "circle") pen.arc(x, y, size, 0, 2 * Math.PI);
  else if (shape === "square") pen.rect(x - size * 0.88, y - size * 0.88, size * 1.76, size * 1.76);
  else if (shape === "triangle") { pen.moveTo(x, y - size * 1.2); pen.lineTo(x + size * 1.1, y + size * 0.85); pen.lineTo(x - size * 1.1, y + size * 0.85); }
  else { pen.moveTo(x, y - size * 1.25); pen.lineTo(x + size * 1.25, y); pen.lineTo(x, y + size * 1.25); pen.lineTo(x - size * 1.25, y); }
  pen.closePath();
  pen.fill();
}

/** The map as a table, created when it is opened; products in the order of the first axis. */
function alternative(plane, role) {
  const details = make("details", {}, make("summary", {}, "The map as a table"));
  details.addEventListener("toggle", () => {
    if (!details.open || details.childElementCount > 1) return;
    const order = [...plane.x.keys()].sort((one, other) => plane.x[one] - plane.x[other]).slice(0, 1000);
    const columns = role.lists.filter((name) => name in plane.fields);
    const rows = order.map((at) => make("tr", {},
      make("th", { scope: "row" }, make("a", { href: address(plane.product_ids[at]) }, titleOf(plane, role, at))),
      columns.map((name) => make("td", {}, String(plane.fields[name][at] ?? ""))),
      make("td", {}, fixed(plane.x[at], 2)), make("td", {}, fixed(plane.y[at], 2))));
    details.append(make("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "The map as a table" },
      make("table", {}, make("thead", {}, make("tr", {}, ["product", ...columns, "x", "y"].map((head) => make("th", { scope: "col" }, head)))), make("tbody", {}, rows))));
  });
  return details;
}
