// The query in the URL: links can be shared, and back and forward work.

export const STEP = 24;

/** Read the URL: words, a product, the weight of the words, the number of results, and filters by field. */
export function read(search = location.search) {
  const given = new URLSearchParams(search);
  const asked = { tab: given.get("tab") ?? "search", words: given.get("q") ?? "", like: given.get("like") ?? "",
    weight: Number(given.get("w") ?? 0.5), count: Number(given.get("n") ?? STEP), lists: {}, ranges: {} };
  if (!(asked.weight >= 0 && asked.weight <= 1)) asked.weight = 0.5;
  if (!(Number.isInteger(asked.count) && asked.count >= 1 && asked.count <= 1000)) asked.count = STEP;
  for (const [name, value] of given) {
    const [kind, field] = [name.slice(0, name.indexOf(".")), name.slice(name.indexOf(".") + 1)];
    if (kind === "in") (asked.lists[field] ??= []).push(value);
    if ((kind === "min" || kind === "max") && value !== "" && Number.isFinite(Number(value)))
      (asked.ranges[field] ??= {})[kind] = Number(value);
  }
  return asked;
}

/** Return the URL of a query, without default values. */
export function write(asked) {
  const said = new URLSearchParams();
  if (asked.tab !== "search") said.set("tab", asked.tab);
  if (asked.words) said.set("q", asked.words);
  if (asked.like) said.set("like", asked.like);
  if (asked.weight !== 0.5) said.set("w", asked.weight);
  if (asked.count !== STEP) said.set("n", asked.count);
  for (const [field, values] of Object.entries(asked.lists)) values.forEach((value) => said.append(`in.${field}`, value));
  for (const [field, range] of Object.entries(asked.ranges))
    for (const end of ["min", "max"]) if (range[end] !== undefined) said.set(`${end}.${field}`, range[end]);
  const text = said.toString();
  return text ? `?${text}` : "./";
}

/** Return the names of filters that the collection has no field for. */
export function unknown(asked, facets) {
  const known = new Set(facets.map((facet) => facet.name));
  return [...new Set([...Object.keys(asked.lists), ...Object.keys(asked.ranges)])].filter((name) => !known.has(name));
}

/** Return the filters as a Milvus expression, without fields that the collection does not have. */
export function expression(asked, facets) {
  const parts = [];
  for (const facet of facets) {
    const chosen = asked.lists[facet.name] ?? [];
    if (chosen.length && facet.type === "BOOL") parts.push(chosen.map((value) => `${facet.name} == ${value === "true"}`).join(" or "));
    else if (chosen.length && facet.type === "VARCHAR") parts.push(`${facet.name} in ${JSON.stringify(chosen)}`);
    const range = facet.low === null ? {} : (asked.ranges[facet.name] ?? {});
    if (range.min !== undefined) parts.push(`${facet.name} >= ${range.min}`);
    if (range.max !== undefined) parts.push(`${facet.name} <= ${range.max}`);
    const bounded = range.min !== undefined || range.max !== undefined;
    if (bounded && typeof facet.missing === "number") parts.push(`${facet.name} != ${facet.missing}`);
  }
  return parts.map((part) => (parts.length > 1 && part.includes(" or ") ? `(${part})` : part)).join(" and ");
}
