// Requests to the service: its token, errors and images.
import { byId } from "./dom.js";

const KEY = "ingest-token";
const asksToken = "asksToken" in document.documentElement.dataset;
let asking = null;

const headers = () => {
  const token = sessionStorage.getItem(KEY);
  // A header holds bytes, one per character: the token is sent as UTF-8.
  return token ? { Authorization: `Bearer ${String.fromCharCode(...new TextEncoder().encode(token))}` } : {};
};

/** Send a request; asks the user for the token if the service needs one. Throws an Error whose message can be shown. */
async function fetched(path, options = {}) {
  for (;;) {
    if (asksToken && !sessionStorage.getItem(KEY)) await (asking ??= askToken("").finally(() => (asking = null)));
    const sent = sessionStorage.getItem(KEY);
    let answer;
    try {
      answer = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The service does not answer. Is it still running?");
    }
    if (answer.status !== 401) return answer;
    if (sent === sessionStorage.getItem(KEY)) await (asking ??= askToken(sent).finally(() => (asking = null)));
  }
}

function askToken(wrong) {
  const dialog = byId("asks-token");
  byId("token-wrong").textContent = wrong ? "This token is wrong." : "";
  byId("token").value = "";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener(
      "close",
      () => {
        sessionStorage.setItem(KEY, byId("token").value);
        done();
      },
      { once: true },
    );
  });
}

/** Return the JSON of an answer; throws an Error with the reason. */
export async function ask(path, options = {}) {
  const answer = await fetched(path, options);
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(content.error ?? `The service answered ${answer.status}.`);
  return content;
}

/** Search with a query of /v1/search and an optional image (a File). */
export function search(query, image, signal) {
  if (!image) {
    const body = JSON.stringify(query);
    return ask("v1/search", { method: "POST", body, signal, headers: { "Content-Type": "application/json" } });
  }
  const body = new FormData();
  body.append("query", JSON.stringify(query));
  body.append("picture", image);
  return ask("v1/search", { method: "POST", body, signal });
}

/** Return products similar to a product, except those with the same image. */
export const similar = (id, limit, filter, signal) =>
  ask(`v1/similar?${new URLSearchParams({ product_id: id, limit, ...(filter && { filter }) })}`, { signal });

export const product = (id) => ask(`v1/product?${new URLSearchParams({ product_id: id })}`);

/** Load a product's image into an <img> when it is near the screen; a missing image leaves a blank. */
export function show(image, id, side = 384) {
  const path = `v1/picture?${new URLSearchParams({ product_id: id, side })}`;
  image.addEventListener("error", () => image.classList.add("missing"), { once: true });
  if (!sessionStorage.getItem(KEY)) {
    image.loading = "lazy";
    image.src = path;
    return image;
  }
  // An <img> cannot send the token, so the image is fetched here.
  new IntersectionObserver(async (entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    const answer = await fetched(path).catch(() => null);
    if (!answer?.ok) return image.classList.add("missing");
    image.src = URL.createObjectURL(await answer.blob());
    image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
  }, { rootMargin: "300px" }).observe(image);
  return image;
}
