// Asking the service: its token, its errors, and its pictures.
import { byId } from "./dom.js";

const KEY = "ingest-token";
const asksToken = "asksToken" in document.documentElement.dataset;
let asking = null;

const headers = () => {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
};

/** Fetch from the service; asks the person for the token where the service asks for it. Throws an Error to be shown. */
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
  byId("token-wrong").textContent = wrong ? "That was not it." : "";
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

/** Return the JSON that the service answers; throws an Error with its reason. */
export async function ask(path, options = {}) {
  const answer = await fetched(path, options);
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(content.error ?? `The service answered ${answer.status}.`);
  return content;
}

/** Search with a query as /v1/search takes it, and a picture (a File) or none. */
export function search(query, picture, signal) {
  if (!picture) {
    const body = JSON.stringify(query);
    return ask("v1/search", { method: "POST", body, signal, headers: { "Content-Type": "application/json" } });
  }
  const body = new FormData();
  body.append("query", JSON.stringify(query));
  body.append("picture", picture);
  return ask("v1/search", { method: "POST", body, signal });
}

/** Return what is like a product, without copies of its picture. */
export const similar = (id, limit, filter, signal) =>
  ask(`v1/products/${encodeURIComponent(id)}/similar?${new URLSearchParams({ limit, ...(filter && { filter }) })}`, { signal });

export const product = (id) => ask(`v1/products/${encodeURIComponent(id)}`);

/** Have an <img> show a product's picture, once it is near the screen; a picture that is not there leaves a blank. */
export function show(image, id, side = 384) {
  const path = `v1/products/${encodeURIComponent(id)}/picture?side=${side}`;
  image.addEventListener("error", () => image.classList.add("missing"), { once: true });
  if (!sessionStorage.getItem(KEY)) {
    image.loading = "lazy";
    image.src = path;
    return image;
  }
  // An <img> cannot send the token: what it shows is fetched for it.
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
