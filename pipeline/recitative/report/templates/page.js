// Contents, tables that are sorted and filtered, sounds that play where one clicks, and, where the page is served by
// 'recitative explore', utterances that are opened when they are wanted, and scores of their labels.
"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const live = "live" in document.body.dataset;

const contents = document.querySelector(".contents");
for (const heading of contents ? all("h2[id]") : []) {
  const link = document.createElement("a");
  link.href = `#${heading.id}`;
  link.textContent = heading.firstChild.textContent.trim();
  contents.append(link);
}

// Tables
const texts = new Intl.Collator(undefined, { numeric: true });

function sortRows(head, descending) {
  const column = head.cellIndex, body = head.closest("table").tBodies[0];
  const value = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
  const isNumber = [...body.rows].some((row) => "sort" in row.cells[column].dataset);
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "") || 0; // without a value: last, in both orders
    const order = isNumber ? Number(a) - Number(b) || 0 : texts.compare(a, b);
    return descending ? -order : order;
  };
  body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b))));
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.ariaSort = descending ? "descending" : "ascending";
}

function filterRows(listing, text) {
  const rows = [...listing.querySelector("tbody").rows], words = text.toLowerCase().split(/\s+/);
  for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
  const shown = rows.filter((row) => !row.hidden).length;
  listing.querySelector("[role=status]").textContent = shown < rows.length ? `${shown} of ${rows.length}` : rows.length;
}

document.addEventListener("input", ({ target }) => {
  if (target.type === "search") filterRows(target.closest(".listing"), target.value);
});

// Sounds: a line moves over the picture of the article; one sound at a time.
const soundOf = (article) => article.querySelector(":not(.recording) > audio"); // a recording has other times
const pictureOf = (sound) => sound.closest(".recording") ? null : sound.closest("article").querySelector(".playable");

function systemsOf(picture) {
  const [width, height] = JSON.parse(picture.dataset.size);
  return JSON.parse(picture.dataset.systems).map(
    ([from, to, x, y, w, h]) => ({ from, to, left: x / width, top: y / height, width: w / width, height: h / height }));
}

function play(article, from, until = Infinity) {
  const sound = soundOf(article);
  if (!sound) return;
  const go = () => { sound.currentTime = from; sound.until = until; sound.play(); };
  if (sound.readyState > 0) return go();
  sound.addEventListener("loadedmetadata", go, { once: true });
  sound.load();
}

function follow(sound) {
  if (sound.currentTime >= sound.until) { sound.pause(); sound.until = Infinity; }
  const picture = pictureOf(sound), now = sound.currentTime;
  if (picture) {
    const head = picture.querySelector(".playhead");
    const at = systemsOf(picture).find((system) => system.from <= now && now < system.to);
    head.style.visibility = at ? "visible" : "hidden";
    if (at) {
      const left = at.left + ((now - at.from) / (at.to - at.from)) * at.width;
      Object.assign(head.style, { left: `${100 * left}%`, top: `${100 * at.top}%`, height: `${100 * at.height}%` });
      const window = picture.parentElement, x = left * picture.clientWidth;
      if (x < window.scrollLeft || x > window.scrollLeft + window.clientWidth) window.scrollLeft = x - 40;
    }
  }
  if (!sound.paused) requestAnimationFrame(() => follow(sound));
}

document.addEventListener("play", ({ target }) => {
  for (const other of all("audio")) if (other !== target) other.pause();
  follow(target);
}, true);
document.addEventListener("seeked", ({ target }) => follow(target), true);
document.addEventListener("pause", ({ target }) => { target.until = Infinity; }, true);

document.addEventListener("click", (event) => {
  const { target } = event;
  const sort = target.closest(".sort"), word = target.closest("[data-times]"), picture = target.closest(".playable");
  if (sort) sortRows(sort.parentElement, sort.parentElement.ariaSort === "ascending");
  if (word) play(word.closest("article"), ...JSON.parse(word.dataset.times));
  if (picture) {
    const box = picture.getBoundingClientRect(), systems = systemsOf(picture);
    const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
    const at = systems.findLast((system) => system.top <= y) ?? systems[0];
    play(picture.closest("article"), at.from + Math.min(1, Math.max(0, (x - at.left) / at.width)) * (at.to - at.from));
  }
  const action = target.closest("[data-action]")?.dataset.action;
  if (action === "score") scoreLabels(target.closest("[data-set]"));
  if (action === "save") saveMarked(target.closest("[data-set]"));
});

// Keys
function step(by) {
  const links = all(".listing a").filter((link) => !link.closest("tr").hidden);
  const current = links.findIndex((link) => link.ariaCurrent);
  links[current < 0 ? 0 : current + by]?.click();
}

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.altKey || event.metaKey || target.matches("input, textarea, audio")) return;
  const sound = target.querySelector(":scope > .playable") && soundOf(target.closest("article"));
  const moves = sound ? { ArrowLeft: sound.currentTime - 0.1, ArrowRight: sound.currentTime + 0.1, Home: 0 } : {};
  if (sound && key === " ") sound.paused ? play(target.closest("article"), sound.currentTime) : sound.pause();
  else if (key in moves) sound.currentTime = Math.max(0, moves[key]);
  else if (key === "j" || key === "k") step(key === "j" ? 1 : -1);
  else if (key === "/") (document.querySelector("[data-set] [type=search]") ?? document.querySelector("[type=search]"))?.focus();
  else return;
  event.preventDefault();
});

// Utterances: a link to one marks it in the table; where the page is served, it is fetched into its panel.
async function openUtterance({ focus = true } = {}) {
  const key = decodeURIComponent(location.hash.slice(1));
  const link = all(".listing a").find((one) => one.hash === location.hash);
  if (!link) return;
  for (const one of all(".listing a[aria-current]")) one.ariaCurrent = null;
  link.ariaCurrent = "true";
  if (focus) link.scrollIntoView({ block: "nearest" });
  if (live) {
    const panel = link.closest(".card").nextElementSibling;
    panel.ariaBusy = "true";
    if (!panel.childElementCount) panel.textContent = `opening ${key} …`; // the first one opens the model
    const answer = await fetch(`utterance?key=${encodeURIComponent(key)}`);
    const html = await answer.text();
    if (decodeURIComponent(location.hash.slice(1)) !== key) return; // another one was opened meanwhile
    if (answer.ok) panel.innerHTML = html; else panel.textContent = html;
    panel.ariaBusy = "false";
  }
  if (focus) document.getElementById(key)?.querySelector("h3").focus();
}
addEventListener("hashchange", () => openUtterance());

// Labels
async function scoreLabels(card) {
  const status = card.querySelector("[data-labels]"), button = card.querySelector("[data-action=score]");
  const head = all("th", card).find((one) => one.textContent === "label score");
  const rows = new Map(all("a", card).map((link) => [decodeURIComponent(link.hash.slice(1)), link.closest("tr")]));
  const answer = await fetch(`labels?set=${encodeURIComponent(card.dataset.set)}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  button.disabled = true;
  let done = 0, rest = "", problem = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    for (const { key, score, error } of lines.map(JSON.parse)) {
      if (error) { problem = error; continue; }
      const cell = rows.get(key).cells[head.cellIndex];
      cell.textContent = score === null ? "cannot be aligned" : score.toFixed(1);
      cell.dataset.sort = score ?? -Infinity;
      status.textContent = `${++done} of ${rows.size}`;
    }
  }
  status.textContent = problem || `${done} labels scored; the most doubtful first`;
  button.disabled = false;
  if (!problem) sortRows(head, false);
}

const marksOf = (card) => `bad labels of ${card.dataset.set} of ${document.title}`;

function saveMarked(card) {
  const link = document.createElement("a");
  const names = all("input:checked", card).map((box) => `${box.value}\n`).join("");
  link.href = URL.createObjectURL(new Blob([names], { type: "text/plain" }));
  link.download = `bad-labels-${card.dataset.set}.txt`;
  link.click();
}

for (const card of live ? all("[data-set]") : []) {
  const marked = new Set(JSON.parse(localStorage.getItem(marksOf(card)) ?? "[]"));
  const update = () => {
    const names = all("input:checked", card).map((box) => box.value);
    localStorage.setItem(marksOf(card), JSON.stringify(names));
    const save = card.querySelector("[data-action=save]");
    save.disabled = names.length === 0;
    save.textContent = names.length ? `Save ${names.length} marked` : "Save marked";
  };
  const [head, ...rows] = all("tr", card);
  head.insertBefore(Object.assign(document.createElement("th"), { scope: "col", textContent: "bad" }), head.cells[1]);
  for (const row of rows) {
    const name = row.cells[0].textContent.trim(), box = document.createElement("input");
    Object.assign(box, { type: "checkbox", value: name, ariaLabel: `bad label: ${name}`, checked: marked.has(name) });
    row.insertBefore(document.createElement("td"), row.cells[1]).append(box);
  }
  card.addEventListener("change", update);
  update();
}
const opened = document.querySelector(".listing a");
if (live && !location.hash && opened) history.replaceState(null, "", opened.hash);
if (location.hash) openUtterance({ focus: false });
