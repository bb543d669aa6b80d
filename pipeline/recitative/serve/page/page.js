// Shared by all sections of the page: elements, calls of the server, errors, what is remembered, and downloads.
export const $ = (id) => document.getElementById(id);

const base = new URL(".", location.href);
let token = new URLSearchParams(location.search).get("token") || sessionStorage.getItem("token") || "";

export function hasToken() {
  return Boolean(token);
}

export function useToken(text) {
  token = text;
  sessionStorage.setItem("token", token);
}

// An element with attributes, and with what stands in it: text, which is never read as HTML, and other elements.
export function make(name, attributes = {}, ...content) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...content);
  return element;
}

// A message for the user, at the top of the window; "" removes it.
export function tell(problem) {
  $("problem").textContent = problem;
  $("problem").hidden = !problem;
}

// The response of the server. Otherwise an error with a message for the user, and with the status if there is one.
export async function call(path, options = {}) {
  const headers = token ? { ...options.headers, Authorization: `Bearer ${token}` } : options.headers;
  let response;
  try {
    response = await fetch(new URL(path, base), { ...options, headers });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error("The server cannot be reached. Is it still running?");
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => null);
  const message = answer?.error?.message || `The server answered ${response.status} ${response.statusText}.`;
  throw Object.assign(new Error(message), { status: response.status });
}

export function openSocket(path, parameters) {
  const address = new URL(path, base);
  address.protocol = address.protocol.replace("http", "ws");
  for (const [key, value] of Object.entries({ ...parameters, token })) if (value) address.searchParams.set(key, value);
  return new WebSocket(address);
}

// The text of a field, which is kept for the next visit. Where the browser keeps nothing, the field works all the same.
export function remember(id) {
  try {
    $(id).value = localStorage.getItem(id) ?? $(id).value;
    $(id).addEventListener("change", () => localStorage.setItem(id, $(id).value));
  } catch {
    // Storage can be forbidden.
  }
}

export function takeDrops(zone, onFile) {
  for (const kind of ["dragover", "dragleave", "drop"]) {
    zone.addEventListener(kind, (event) => {
      event.preventDefault();
      zone.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files[0]) onFile(event.dataTransfer.files[0]);
    });
  }
  zone.querySelector("input[type=file]").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    if (file) onFile(file);
    target.value = ""; // so that the same file can be chosen again
  });
}

export function save(content, name, type = "text/plain") {
  const link = make("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}
