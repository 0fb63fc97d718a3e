// The collection view: counts, map, shared images, skipped products, model and contract.
import { write, read, STEP } from "./address.js";
import { ask, show } from "./api.js";
import { byId, counted, isolated, make, roles } from "./dom.js";
import { draw } from "./map.js";

let isShown = false;

/** Show the view; it is created once. */
export async function render() {
  document.title = "Collection · ingest";
  if (isShown) return;
  isShown = true;
  const main = byId("collection");
  const status = make("p", { class: "status", role: "status" }, "Reading the whole collection…");
  main.replaceChildren(make("h1", { class: "unseen" }, "Collection"), status);
  try {
    const [found, contract, plane] = await Promise.all([ask("v1/collection"), ask("v1/contract"), ask("v1/collection/map")]);
    status.remove();
    main.append(counts(found), map(plane, found),
      make("div", { class: "beside" }, make("div", { class: "below" }, ...lastRun(found), shared(found), skipped(found.latest_run)), model(contract)));
    draw(main.querySelector(".map"), plane, roles(found.facets));
  } catch (error) {
    isShown = false;
    status.textContent = error.message;
    status.classList.add("fault");
  }
}

export const likeAddress = (id) => write({ ...read(""), like: id, count: STEP });

function counts(found) {
  const run = found.latest_run;
  const missing = run ? Object.values(run.reasons).reduce((sum, count) => sum + count, 0) : null;
  const tiles = [
    [found.rows, found.rows === 1 ? "product" : "products"],
    [found.pictures, found.pictures === 1 ? "image" : "different images"],
    [found.sharing, "share an image"],
    ...(missing === null ? [] : [[missing, "skipped in the last run"]]),
  ];
  return make("dl", { class: "tiles" }, tiles.map(([number, what]) =>
    make("div", {}, make("dt", {}, what), make("dd", {}, number.toLocaleString()))));
}

function map(plane, found) {
  const note = plane.product_ids.length < found.rows ? `A random ${plane.product_ids.length.toLocaleString()} are shown. ` : "";
  return make("section", { class: "panel", "aria-labelledby": "map-title" },
    make("h2", { id: "map-title" }, "Map"),
    make("p", { class: "note" }, `Each dot is a product; products that are similar to the model are close together. ${note}The two axes explain ${(plane.explained * 100).toFixed(0)} % of the variance.`),
    make("div", { class: "map" }));
}

function shared(found) {
  if (!found.shared.length) return section("Shared images", make("p", { class: "note" }, "No two products have the same image."));
  const more = found.shared.length < 100 ? "" : " The 100 largest groups are shown.";
  return section("Shared images",
    make("p", { class: "note" }, `${counted(found.sharing, "product")} share an image with another product.${more}`),
    make("ul", { class: "groups" }, found.shared.map((group) => make("li", {},
      make("span", { class: "tile" }, show(make("img", { alt: "" }), group.product_ids[0], 192)),
      make("div", {}, make("strong", {}, counted(group.products, "product")),
        make("p", { class: "ids" }, group.product_ids.map((id) => make("a", { href: likeAddress(id) }, isolated(id))),
          group.products > group.product_ids.length ? make("span", {}, `and ${group.products - group.product_ids.length} more`) : ""))))));
}

function lastRun(found) {
  const run = found.latest_run;
  if (!run?.failure) return [];
  const when = make("time", { dateTime: run.started }, new Date(run.started).toLocaleString());
  return [section("Last run", make("p", { class: "note" }, "The run of ", when, ` ended “${run.outcome}”. The service uses ${found.collection}.`),
    make("p", { class: "fault" }, run.failure))];
}

function skipped(run) {
  if (!run) return section("Skipped products", make("p", { class: "note" }, "There is no report of a run in this service's data folder."));
  const when = make("time", { dateTime: run.started }, new Date(run.started).toLocaleString());
  const reasons = Object.entries(run.reasons).sort((one, other) => other[1] - one[1]);
  if (!reasons.length) return section("Skipped products", make("p", { class: "note" }, "None in the run of ", when, "."));
  const total = reasons.reduce((sum, [, count]) => sum + count, 0);
  const all = run.skipped.length < total ? ` The first ${run.skipped.length.toLocaleString()} are listed.` : "";
  const rows = run.skipped.map((row) => make("tr", {}, make("th", { scope: "row" }, row.product_id || `line ${row.line}`),
    make("td", {}, row.reason), make("td", { class: "detail", dir: "auto" }, row.detail)));
  return section("Skipped products",
    make("p", { class: "note" }, `${counted(total, "product")} in the run of `, when, `.${all}`),
    make("ul", { class: "reasons" }, reasons.map(([reason, count]) => make("li", {}, make("strong", {}, count.toLocaleString()), ` ${reason}`))),
    table(["product", "reason", "detail"], rows, "Skipped products and why"));
}

function model(contract) {
  const index = contract.index ?? {};
  const facts = [
    ["Collection", contract.collection], ["Alias", contract.alias], ["Model", contract.model],
    ["Revision", contract.revision], ["Fingerprint", contract.fingerprint], ["Dimensions", contract.dim],
    ["Index", `${index.type}, M ${index.M}, efConstruction ${index.efConstruction}`],
    ["Metric", contract.metric], ["Search ef", contract.ef],
  ];
  const rows = Object.entries(contract.fields).map(([name, kind]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, kind)));
  return section("Model and contract",
    make("dl", { class: "about" }, facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, String(value))))),
    table(["field", "type"], rows, "Fields to filter by"),
    make("details", {}, make("summary", {}, "Full contract"), make("pre", { tabIndex: 0 }, JSON.stringify(contract, null, 2))));
}

const section = (title, ...content) => make("section", { class: "panel" }, make("h2", {}, title), ...content);

export const table = (heads, rows, name) => make("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": name },
  make("table", {}, make("thead", {}, make("tr", {}, heads.map((head) => make("th", { scope: "col" }, head)))), make("tbody", {}, rows)));
