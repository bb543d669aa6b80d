// Words that were spotted and sounds that were recognized, as a list and on a timeline of the last minute.
import { $, make } from "./page.js";

const SHOWN_MS = 60000;
const MOST_PAUSE_MS = 1500; // between labels of a sound that goes on
const MOST = 500; // lines of the list

let timer = 0;
const colors = new Map(); // of each name
const sounds = []; // { source, name, from, to (ms since 1970), element }: those on the timeline

// event: of a stream that began at ``beganAt``, in ms since 1970; source: what heard it.
export function addSound(event, source, beganAt) {
  const { name, score, text } = readings[event.type](event);
  const to = beganAt + 1000 * event.end, last = sounds.findLast((sound) => sound.source === source);
  const goesOn = event.type === "label" && last && to - last.to < MOST_PAUSE_MS; // a label is of all until its end
  if (goesOn && last.name === name) {
    last.to = to;
    if (score > last.score) Object.assign(last, { score }).element.querySelector(".score").textContent = text;
    return draw();
  }
  const from = goesOn ? last.to : event.type === "label" ? to : beganAt + 1000 * event.start;
  if (!colors.has(name)) colors.set(name, `voice-${colors.size % 6}`);
  const time = new Date(from), list = $("sounds");
  const element = make("li", { class: colors.get(name) }, make("span", { class: "swatch", "aria-hidden": "true" }),
    make("time", { datetime: time.toISOString() }, time.toLocaleTimeString()), make("b", {}, name),
    make("span", { class: "score" }, text), make("span", { class: "quiet" }, source));
  $("heard").hidden = false;
  const atEnd = list.scrollTop + list.clientHeight > list.scrollHeight - 40;
  list.append(element);
  if (list.children.length > MOST) list.firstChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
  sounds.push({ source, name, score, from, to, element });
  draw();
}

// What each type of event says.
const readings = {
  spotted: ({ keyword, confidence }) => ({ name: keyword, score: confidence, text: percent(confidence) }),
  label: ({ labels: [{ label, probability }] }) => ({ name: label, score: probability, text: percent(probability) }),
  alarm: ({ score, start, end }) =>
    ({ name: "unusual sound", score, text: `score ${score.toFixed(2)}, ${(end - start).toFixed(1)} s` }),
};

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

// The timeline moves while something listens.
export function lanes(moving) {
  clearInterval(timer);
  if (moving) timer = setInterval(draw, 250);
}

function draw() {
  const now = Date.now(), place = (time) => 100 * (1 - (now - time) / SHOWN_MS);
  while (sounds.length && sounds[0].to < now - SHOWN_MS) sounds.shift();
  const sources = [...new Set(sounds.map((sound) => sound.source))];
  $("timeline").replaceChildren(...sources.map((source) => {
    const own = sounds.filter((sound) => sound.source === source);
    return make("div", { class: "lane" }, ...own.map(({ name, from, to }, i) => {
      const left = place(from), room = (own[i + 1] ? place(own[i + 1].from) : 100) - left; // for its name, until the next
      const share = Math.min(100, (100 * (place(to) - left)) / room);
      const style = `left: ${left}%; width: ${room}%; background-size: ${share}% 100%`;
      return make("span", { class: colors.get(name), style }, name);
    }));
  }));
}

// As lines of text.
export function writtenSounds() {
  return [...$("sounds").children].map((line) => [...line.children].map((part) => part.textContent).filter(Boolean).join("  "));
}

export function clearSounds() {
  sounds.length = 0;
  $("sounds").replaceChildren();
  $("heard").hidden = true;
  draw();
}
