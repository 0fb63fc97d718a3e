// Creates elements and formats values.

/** Return an element with properties (`class`, `dataset`, `on…` and attributes) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name in element && name !== "list" && name !== "width" && name !== "height") element[name] = value;
    else element.setAttribute(name === "class" ? "class" : name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return a text from the catalog as an element whose direction, such as that of Hebrew, turns nothing beside it. */
export const isolated = (text) => make("bdi", {}, String(text));

/** Return texts from the catalog in one line. */
export const dotted = (texts) => texts.flatMap((text, at) => [at ? " · " : null, isolated(text)]);

export const byId = (id) => document.getElementById(id);

export const counted = (number, one, many = `${one}s`) => `${number.toLocaleString()} ${number === 1 ? one : many}`;

/** Format a number with decimals, and never as -0.00. */
export const fixed = (number, places) => number.toFixed(places).replace(/^-(?=0(\.0*)?$)/, "");

/** Format a number as a price: whole, or with two decimals. */
export const priced = (number) =>
  number.toLocaleString(undefined, Number.isInteger(number) ? {} : { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** Choose the fields to show as title, price and lists; a contract may name them differently or have none. */
export function roles(facets) {
  const named = (name) => facets.find((facet) => facet.name === name);
  const title = named("title") ?? facets.find((facet) => facet.type === "VARCHAR" && !facet.values.length);
  const price = named("price") ?? facets.find((facet) => facet.low !== null);
  return {
    title: title?.name,
    price: price?.name,
    lists: facets.filter((facet) => facet.values.length > 1).map((facet) => facet.name),
  };
}
