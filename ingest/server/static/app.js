// Switches between the two views by the URL.
import { read } from "./address.js";
import { byId } from "./dom.js";
import * as collection from "./collection.js";
import * as search from "./search.js";

const VIEWS = { search, collection };

function render() {
  const asked = read();
  const current = asked.tab in VIEWS ? asked.tab : "search";
  for (const name of Object.keys(VIEWS)) {
    byId(name).hidden = name !== current;
    if (name === current) byId(`tab-${name}`).setAttribute("aria-current", "page");
    else byId(`tab-${name}`).removeAttribute("aria-current");
  }
  VIEWS[current].render(asked);
}

/** Navigate within this page without reloading it. */
function go(href, state = null) {
  history.pushState(state, "", href);
  render();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (link?.classList.contains("skip")) {
    event.preventDefault(); // otherwise the URL changes and rendering again loses the focus
    byId("results").focus();
    return;
  }
  if (!link || !plain || link.target) return;
  const to = new URL(link.href);
  if (to.origin !== location.origin || to.pathname !== location.pathname) return;
  event.preventDefault();
  go(to.href);
  scrollTo({ top: 0 });
  if (link.closest("#grid")) byId("results").focus({ preventScroll: true }); // the focused card is gone
});
addEventListener("popstate", render);
search.prepare(go);
render();
