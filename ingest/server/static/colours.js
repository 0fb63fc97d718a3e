// The colours that a catalog's values name: "navy", "Light blue", "#aa0033".

// How shops use a word where CSS has none, or one that is too glaring for a dot.
const SHOPS = {
  red: "#d2322d", green: "#2f8f46", blue: "#2b64c8", yellow: "#f3c73b", orange: "#ef8a2b", purple: "#7d3fa3", pink: "#f190b7",
  brown: "#7b4b2c", grey: "#8b9099", gray: "#8b9099", black: "#1d1d1f", white: "#ffffff", beige: "#dfcfae", cream: "#f6ecd2",
  offwhite: "#f5f2e8", ecru: "#e6dcc3", natural: "#e3d4b5", nude: "#e3bfa5", camel: "#c19a6b", taupe: "#8b7d6f", mustard: "#d8a325",
  burgundy: "#7a1f33", bordeaux: "#7a1f33", wine: "#722f37", rust: "#b0502a", terracotta: "#c8673f", charcoal: "#3b3f45",
  anthracite: "#3a3e42", petrol: "#0f5b66", mint: "#a8dfc4", sage: "#9caf88", lilac: "#c3a5d8", rose: "#e8a0ae", silver: "#c3c7cc",
  gold: "#c9a13b", bronze: "#a0703a", copper: "#b56a3c", denim: "#41617f", cognac: "#9a5a2b",
};

/** Return the CSS colour that a value names, null if it names none. */
export function colourNamed(value) {
  const word = String(value ?? "").toLowerCase().replace(/[\s_-]/g, "");
  if (word in SHOPS) return SHOPS[word];
  if (/^#([0-9a-f]{3}|[0-9a-f]{6})$/.test(word)) return word;
  // not the keywords of CSS that depend on where they stand, such as inherit, and no names of parts of a system
  return /^(light|dark|medium|pale|deep)?[a-z]{3,}$/.test(word) && !NO_COLOURS.has(word) && CSS.supports("color", word) ? word : null;
}

const NO_COLOURS = new Set(["inherit", "initial", "unset", "revert", "revertlayer", "transparent", "currentcolor", "canvas", "canvastext",
  "linktext", "visitedtext", "activetext", "buttonface", "buttontext", "buttonborder", "field", "fieldtext", "highlight", "highlighttext",
  "selecteditem", "selecteditemtext", "mark", "marktext", "graytext", "accentcolor", "accentcolortext", "background", "menu", "window",
  "windowtext", "infotext", "infobackground", "scrollbar", "captiontext", "menutext", "activeborder", "activecaption", "appworkspace"]);

/** Return whether most of a field's values name a colour. */
export function namesColours(values) {
  const some = values.filter((value) => value !== null && value !== "");
  return some.length > 1 && some.filter((value) => colourNamed(value) !== null).length >= 0.7 * some.length;
}
