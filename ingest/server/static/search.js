// The search view: the search box, an image dropped, pasted or chosen, filters from the collection, and the grid.
import { STEP, expression, read, unknown, write } from "./address.js";
import { ask, product, search, show, similar } from "./api.js";
import { byId, counted, dotted, fixed, isolated, make, priced, roles } from "./dom.js";

const images = new Map(); // image files by the number in a history entry: a File has no URL
let go = null;
let facets = null;
let running = null;
let typing = 0;
let shownFor = "";

const current = () => images.get(history.state?.image);

/** Listen to the form; `goTo(href, state)` navigates. */
export function prepare(goTo) {
  go = goTo;
  const words = byId("words");
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    const asked = read();
    if (asked.words !== words.value.trim()) change({ words: words.value.trim(), count: STEP });
    else render(asked);
  });
  words.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => change({ words: words.value.trim(), count: STEP }), 350);
  });
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", (event) => {
    take(event.target.files[0]);
    event.target.value = "";
  });
  byId("more").addEventListener("click", () => {
    const asked = read();
    change({ count: Math.min(asked.count + STEP, 1000) });
  });
  addEventListener("paste", (event) => take([...(event.clipboardData?.files ?? [])].find(isImage)));
  const drop = byId("drop");
  addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.hidden = ![...(event.dataTransfer?.types ?? [])].includes("Files");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.hidden = true;
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.hidden = true;
    take([...(event.dataTransfer?.files ?? [])][0]);
  });
}

const isImage = (file) => file.type.startsWith("image/");

function take(file) {
  if (!file) return;
  const number = (history.state?.image ?? 0) + images.size + 1;
  images.set(number, file);
  byId("words").value = "";
  go(write({ ...read(), tab: "search", words: "", like: "", count: STEP }), { image: number });
}

/** Change part of the query and search; the image stays unless `state` says otherwise. */
function change(changes, state = history.state) {
  go(write({ ...read(), tab: "search", ...changes }), state);
}

/** Show the results of the query in the URL. */
export async function render(asked) {
  if (document.activeElement !== byId("words")) byId("words").value = asked.words;
  document.title = asked.words ? `${asked.words} · ingest` : "ingest";
  running?.abort();
  const abort = (running = new AbortController());
  const grid = byId("grid");
  grid.setAttribute("aria-busy", "true");
  try {
    facets ??= (await ask("v1/collection")).facets;
    showFilters(asked);
    showParts(asked);
    const began = performance.now();
    const found = await results(asked, abort.signal);
    const took = found ? performance.now() - began : null;
    const hits = found?.hits ?? (await lookAround(asked));
    if (abort.signal.aborted) return;
    showHits(hits, asked, took);
    warn([...unknown(asked, facets).map((name) => `The collection has no field ${name}, so it was not filtered by it.`), ...(found?.warnings ?? [])]);
  } catch (error) {
    if (error.name === "AbortError" || abort.signal.aborted) return;
    grid.replaceChildren();
    byId("more").hidden = true;
    tell(error.message, true);
  } finally {
    if (!abort.signal.aborted) grid.removeAttribute("aria-busy");
  }
}

/** Return the answer of the service, null if there is no query. */
async function results(asked, signal) {
  const image = current();
  if (history.state?.image && !image) { // after a reload, which loses the File
    history.replaceState(null, "");
    if (!asked.words && !asked.like) throw new Error("Reloading the page lost the image; drop it here again.");
  }
  const filter = expression(asked, facets);
  const query = { limit: asked.count, ...(filter && { filter }) };
  if (asked.words) query.text = asked.words;
  if (asked.like) query.product_id = asked.like;
  if (!asked.words && !asked.like && !image) return null;
  if (asked.like && !asked.words && !image) return similar(asked.like, asked.count, filter, signal);
  if (asked.words && (image || asked.like))
    query.weights = { text: asked.weight, [image ? "picture" : "product"]: round(1 - asked.weight) };
  return search(query, image, signal);
}

const round = (number) => Math.round(number * 100) / 100;

function tell(text, isFault = false) {
  const status = byId("status");
  status.textContent = text;
  status.classList.toggle("fault", isFault);
}

/** Say after the number of results what is wrong with the filters. */
function warn(warnings) {
  if (warnings.length) byId("status").append(make("span", { class: "fault" }, ` ${warnings.join(" ")}`));
}

/** Show products; `milliseconds` is how long the search took, null if there was no query. */
function showHits(hits, asked, milliseconds) {
  const role = roles(facets);
  byId("grid").replaceChildren(...hits.map((hit) => card(hit, role)));
  byId("more").hidden = milliseconds === null || hits.length < asked.count || asked.count >= 1000;
  if (milliseconds === null) tell(hits.length ? "Some products from the collection. Describe what you want, drop an image, or choose a product." : "");
  else if (!hits.length) tell("No products match these filters.");
  else tell(`${counted(hits.length, "product")}, most similar first · ${Math.round(milliseconds)} ms`);
  const key = write({ ...asked, count: 0 });
  if (shownFor && key === shownFor && asked.count > STEP) byId("grid").children[asked.count - STEP]?.querySelector("a").focus();
  shownFor = key;
}

/** Return a few products from all over the map, for a page without a query. */
async function lookAround(asked) {
  const plane = await ask("v1/collection/map");
  const step = Math.max(1, Math.floor(plane.product_ids.length / STEP));
  const ignored = unknown(asked, facets);
  const set = (filters) => Object.entries(filters).filter(([name]) => !ignored.includes(name));
  const [lists, ranges] = [set(asked.lists), set(asked.ranges)];
  const fits = (at) => lists.every(([name, values]) => values.includes(String(plane.fields[name]?.[at]))) &&
    ranges.every(([name, range]) => {
      const value = plane.fields[name]?.[at] ?? NaN;
      return !(value < range.min) && !(value > range.max) && !Number.isNaN(value);
    });
  const all = [...plane.product_ids.keys()];
  const filtered = lists.length + ranges.length > 0;
  const chosen = (filtered ? all.filter(fits) : all.filter((at) => at % step === 0)).slice(0, STEP);
  return chosen.map((at) => ({
    product_id: plane.product_ids[at],
    fields: Object.fromEntries(Object.entries(plane.fields).map(([name, column]) => [name, column[at]])),
  }));
}

function card(hit, role) {
  const title = hit.fields[role.title] || hit.product_id;
  const price = hit.fields[role.price];
  const rest = role.lists.slice(0, 2).map((name) => hit.fields[name]).filter((value) => value !== null && value !== "" && value !== undefined);
  return make("li", {}, make("a", { class: "card", href: write({ ...read(), tab: "search", words: "", like: hit.product_id, count: STEP }), dataset: { product: hit.product_id } },
    make("span", { class: "tile" }, show(make("img", { alt: "" }), hit.product_id)),
    make("span", { class: "name", dir: "auto" }, title),
    make("span", { class: "facts" },
      price === null || price === undefined ? "" : make("span", { class: "price" }, priced(price)),
      hit.score === undefined ? "" : make("span", { class: "score", title: "Cosine similarity of the two vectors" },
        make("span", { class: "unseen" }, "similarity "), fixed(hit.score, 2))),
    rest.length ? make("span", { class: "rest" }, dotted(rest)) : ""));
}

/** Show the parts of the query besides words, an image or a product, and the slider for the weight of the words. */
async function showParts(asked) {
  const parts = byId("parts");
  const image = current();
  const shown = [];
  if (image) {
    const thumbnail = make("img", { alt: "", src: URL.createObjectURL(image) });
    shown.push(part(thumbnail, "Similar to your image", () => change({}, null)));
  }
  if (asked.like) {
    const name = isolated(asked.like);
    shown.push(part(show(make("img", { alt: "" }), asked.like, 96), ["Similar to ", name], () => change({ like: "" })));
    product(asked.like).then((found) => (name.textContent = found.fields[roles(facets).title] || asked.like)).catch(() => {});
  }
  if (shown.length && asked.words) {
    const slider = make("input", { type: "range", min: "0", max: "1", step: "0.1", value: asked.weight,
      onchange: (event) => change({ weight: Number(event.target.value) }) });
    shown.push(make("label", { class: "weigh" }, make("span", {}, "Image"), slider, make("span", {}, "Words")));
    slider.setAttribute("aria-label", "Weight of the words against the image");
  }
  const focused = parts.contains(document.activeElement) && document.activeElement.type === "range";
  parts.replaceChildren(...shown);
  if (focused) parts.querySelector("input")?.focus();
}

const part = (image, label, remove) => make("span", { class: "part" }, image, make("span", {}, label),
  make("button", { type: "button", class: "quiet", "aria-label": "Remove from the search", onclick: remove }, "×"));

/** Create the filters once, from the facets of the collection, and set them from the URL. */
function showFilters(asked) {
  const area = byId("facets");
  if (!area.childElementCount) {
    area.append(...facets.filter((facet) => facet.values.length > 1).map(listFilter));
    area.append(...facets.filter((facet) => facet.low !== null && facet.high > facet.low).map(rangeFilter));
    area.append(make("button", { type: "button", id: "clear", class: "quiet", onclick: () => change({ lists: {}, ranges: {}, count: STEP }) }, "Clear filters"));
    byId("filters").hidden = area.childElementCount === 1;
    byId("filters").open = matchMedia("(min-width: 60rem)").matches;
  }
  for (const select of area.querySelectorAll("select")) select.value = asked.lists[select.name]?.[0] ?? "";
  for (const box of area.querySelectorAll("input[type=checkbox]")) box.checked = (asked.lists[box.name] ?? []).includes(box.value);
  for (const input of area.querySelectorAll("input[type=number]"))
    if (input !== document.activeElement) input.value = asked.ranges[input.name]?.[input.dataset.end] ?? "";
  const set = Object.values(asked.lists).length + Object.values(asked.ranges).length;
  byId("clear").hidden = !set;
  byId("filters").querySelector("summary").textContent = set ? `Filters (${set})` : "Filters";
}

function listFilter(facet, at) {
  const label = named(facet.name);
  const changed = (values) => change({ lists: replaced(facet.name, values, "lists"), count: STEP });
  if (at === 0)
    return make("fieldset", { class: "chips" }, make("legend", {}, label), facet.values.map(({ value, rows }) =>
      make("label", { class: "chip" },
        make("input", { type: "checkbox", name: facet.name, value: String(value), onchange: (event) => {
          const chosen = new Set(read().lists[facet.name] ?? []);
          if (event.target.checked) chosen.add(String(value));
          else chosen.delete(String(value));
          changed([...chosen]);
        } }),
        make("span", {}, isolated(value), make("small", {}, ` ${rows.toLocaleString()}`)))));
  return make("label", { class: "field" }, label,
    make("select", { name: facet.name, onchange: (event) => changed(event.target.value ? [event.target.value] : []) },
      make("option", { value: "" }, "any"),
      facet.values.map(({ value, rows }) => make("option", { value: String(value), dir: "auto" }, `${value} (${rows.toLocaleString()})`))));
}

function rangeFilter(facet) {
  const ends = [["min", "from", facet.low], ["max", "to", facet.high]];
  return make("fieldset", { class: "range" }, make("legend", {}, named(facet.name)), make("div", {}, ends.map(([end, word, limit]) =>
    make("label", {}, word, make("input", { type: "number", step: "any", name: facet.name, dataset: { end }, placeholder: priced(limit),
      onchange: (event) => {
        const range = { ...read().ranges[facet.name] };
        if (event.target.value === "") delete range[end];
        else range[end] = event.target.valueAsNumber;
        change({ ranges: replaced(facet.name, range, "ranges"), count: STEP });
      } })))));
}

function replaced(name, value, kind) {
  const all = { ...read()[kind], [name]: value };
  if (!Object.keys(value).length) delete all[name];
  return all;
}

const named = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
