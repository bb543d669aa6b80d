// Music: pieces of a composer as drafts, which are played, compared, edited and rewritten.
import { BEATS_PER_BAR, Draft } from "./draft.js";
import { base64Of, midiOf, readMidi } from "./midi.js";
import { $, call, make, save, takeDrops, tell } from "./page.js";
import { Player } from "./player.js";
import { Roll } from "./roll.js";
import { zipOf } from "./zip.js";

const TONICS = ["C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"];

let composers = []; // models of the server
let running = null; // the AbortController of what is being composed
let composed = 0; // drafts so far
const cards = []; // in the order in which they stand on the page
const player = new Player((draft, beat) => {
  for (const card of cards) card.playing(draft === card.draft, beat);
});

export function offerMusic(models) {
  composers = models.filter((model) => model.path === "/v1/music");
  $("music").hidden = !composers.length;
  const authors = composers.filter((model) => model.modes.includes(newMode()));
  $("composer").replaceChildren(...authors.map(({ id }) => make("option", {}, id)));
  $("composers").hidden = authors.length < 2;
  $("endings").hidden = $("about-ending").hidden = !composers.some((model) => model.endings.includes("cadence"));
}

// Whether a composer does this: "continue", which also writes new pieces, "harmonize" or "fill".
function can(mode) {
  return composers.some((model) => model.modes.includes(mode));
}

// How new pieces are asked for: a model that fills in notes writes them too, with none to begin with.
function newMode() {
  return can("continue") ? "continue" : "fill";
}

for (const tonic of TONICS)
  for (const [mode, name] of [["", "major"], ["m", "minor"]])
    $("key").append(make("option", { value: tonic + mode }, `${tonic.replace("b", "♭").replace("#", "♯")} ${name}`));

// What is asked for, and its answer

function wishes() {
  const number = (id) => ($(id).value === "" ? undefined : Number($(id).value));
  const numbers = ["temperature", "bars", "tempo", "seed"].map((id) => [id, number(id)]);
  return { key: $("key").value || undefined, ...Object.fromEntries(numbers) };
}

// Asks for a piece, and shows it. from: the card of a draft that it is made of, given: those of its notes that stay;
// isKept(note): whether a note of the answer is one of them.
async function compose(mode, wish = {}, { from = null, given = [], isKept = () => false } = {}) {
  const midi = given.length ? base64Of(midiOf({ ...from.draft, notes: given })) : undefined;
  const model = mode === newMode() ? $("composer").value : undefined;
  const body = defined({ ...wishes(), ending: $("endings").hidden ? undefined : $("ending").value, ...wish, model, mode, midi });
  const key = body.key && $("key").selectedOptions[0].text, temperature = body.temperature && `temperature ${body.temperature}`;
  tell("");
  busy(new AbortController());
  try {
    const headers = { "Content-Type": "application/json" }, { signal } = running;
    const response = await call("v1/music", { method: "POST", headers, body: JSON.stringify(body), signal });
    const { seed, tempo, notes } = await response.json();
    const ending = body.ending === "cadence" && "with a cadence";
    const about = [from && `from ${from.draft.name}`, key, ending, `seed ${seed}`, temperature].filter(Boolean).join(" · ");
    const inBeats = notes.map((note) => ({ ...note, start: beats(note.start, tempo), end: beats(note.end, tempo) }));
    show({ about, tempo, notes: inBeats.map((note) => ({ ...note, kept: isKept(note) })) }, from);
  } catch (error) {
    if (error.name !== "AbortError") tell(error.message);
    $("composed").textContent = "";
  }
  busy(null);
}

// The server rounds seconds to 4 decimals, which no tick of a MIDI file is shorter than.
function beats(seconds, tempo) {
  return Math.round((seconds * tempo * 480) / 60) / 480;
}

function defined(entries) {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined));
}

function busy(controller) {
  running = controller;
  $("composing").hidden = $("cancel").hidden = !running;
  $("generate").disabled = Boolean(running);
  if (running) $("composed").textContent = "Composing …";
  for (const card of cards) card.changed();
}

$("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  compose(newMode());
});
$("cancel").addEventListener("click", () => running.abort());
takeDrops($("drop-midi"), async (file) => {
  tell("");
  try {
    const piece = readMidi(new Uint8Array(await file.arrayBuffer()), file.name);
    show({ about: file.name, ...piece });
  } catch (error) {
    tell(error.message);
  }
});

// Drafts

// A new draft stands after the one that it is made from, or before all others.
function show({ about, tempo, notes }, from = null) {
  const card = new Card(new Draft({ name: `Draft ${++composed}`, about, tempo, notes }));
  if (from) from.element.after(card.element);
  else $("drafts").prepend(card.element);
  cards.splice(from ? cards.indexOf(from) + 1 : 0, 0, card);
  card.element.scrollIntoView({ block: "nearest" });
  $("composed").textContent = `${card.draft.name} is ready.`;
  tidy();
}

// What serves several drafts stands there when there are some.
function tidy() {
  $("after-drafts").hidden = !cards.length;
  $("zip").hidden = cards.length < 2;
}

class Card {
  constructor(draft) {
    this.draft = draft;
    this.roll = new Roll(draft, {
      seek: (beat) => this.seek(beat), play: () => this.play(), changed: () => this.changed(),
      hear: (note) => player.draft || draft.muted.has(note.voice) || player.sample(note, draft.voices),
    });
    this.buttons = {
      play: button("Play", () => this.play(), ""),
      keep: button("Keep", () => this.edit(() => draft.toggleKept())),
      remove: button("Delete", () => this.edit(() => draft.remove())),
      undo: button("Undo", () => this.edit(() => draft.undo())),
      rewriteSelected: button("Rewrite selected", () =>
        this.rewrite(draft.notes.filter((note) => !draft.selected.has(note)))),
      rewriteRest: button("Rewrite the rest", () => this.rewrite(draft.kept)),
      harmonize: button("Harmonize", () => this.harmonize()),
      goOn: button("Continue", () => this.goOn()),
      midi: button("MIDI", () => save(midiOf(draft), `${fileName(draft)}.mid`, "audio/midi")),
      close: button("Discard", () => this.close()),
    };
    const { play, keep, remove, undo, rewriteSelected, rewriteRest, harmonize, goOn, midi, close } = this.buttons;
    rewriteSelected.title = "New notes in place of the selected ones";
    rewriteRest.title = "New notes around those that are kept";
    harmonize.title = "New voices under the highest one";
    const voices = [...Array(draft.voices).keys()].map((voice) => this.#voiceButton(voice));
    const title = make("h3", { id: `${fileName(draft)}-title` }, draft.name, " ", make("span", { class: "quiet" }, draft.about));
    this.status = make("p", { class: "quiet", role: "status" });
    this.element = make("article", { class: "draft", "aria-labelledby": title.id },
      title, make("div", { class: "row" }, play, ...voices), this.roll.element, this.status,
      make("div", { class: "row" }, keep, remove, undo, ...(can("fill") ? [rewriteSelected, rewriteRest] : []),
        ...(can("harmonize") ? [harmonize] : []), ...(can("continue") ? [goOn] : []), midi, close));
    this.changed();
  }

  #voiceButton(voice) {
    const name = this.draft.voiceName(voice);
    const mute = button(name, () => {
      const { muted } = this.draft;
      if (!muted.delete(voice)) muted.add(voice);
      mute.setAttribute("aria-pressed", muted.has(voice));
      player.mix();
      this.changed();
    }, `voice voice-${voice % 6}`);
    mute.prepend(make("span", { class: "swatch", "aria-hidden": "true" }));
    mute.setAttribute("aria-label", `Mute ${name}`);
    mute.setAttribute("aria-pressed", "false");
    return mute;
  }

  // After an edit or another selection: everything shows what is.
  changed() {
    const { notes, selected, kept, canUndo } = this.draft;
    this.roll.draw();
    const some = selected.size > 0, { buttons } = this;
    buttons.keep.disabled = buttons.remove.disabled = !some;
    buttons.keep.textContent = some && [...selected].every((note) => note.kept) ? "Don't keep" : "Keep";
    buttons.undo.disabled = !canUndo;
    buttons.rewriteSelected.disabled = !some || Boolean(running);
    buttons.rewriteRest.disabled = !kept.length || kept.length === notes.length || Boolean(running);
    buttons.goOn.disabled = buttons.harmonize.disabled = Boolean(running);
    const one = selected.size === 1 ? this.draft.describe([...selected][0]) : `${selected.size} notes selected`;
    this.status.textContent = some ? one : `${notes.length} ${notes.length === 1 ? "note" : "notes"}${kept.length ? `, ${kept.length} kept` : ""}`;
  }

  edit(change) {
    change();
    this.changed();
  }

  play() {
    const { draft } = this;
    if (player.draft === draft) return player.stop();
    player.play(draft, player.draft ? Math.min(player.beat, draft.length) % draft.length : draft.position);
  }

  seek(beat) {
    this.draft.position = beat;
    this.roll.place(beat);
    if (player.draft === this.draft) player.play(this.draft, beat);
  }

  playing(isPlaying, beat) {
    this.buttons.play.textContent = isPlaying ? "Pause" : "Play";
    if (!isPlaying) return;
    this.draft.position = beat >= this.draft.length ? 0 : beat;
    this.roll.place(this.draft.position, true);
  }

  rewrite(given) {
    const { length, tempo } = this.draft;
    const isSame = (a, b) => a.voice === b.voice && a.pitch === b.pitch && Math.abs(a.start - b.start) < 0.01;
    const isKept = (note) => given.some((one) => isSame(one, note));
    compose("fill", { bars: length / BEATS_PER_BAR, tempo, ending: undefined }, { from: this, given, isKept });
  }

  // New voices under the highest one.
  harmonize() {
    const given = this.draft.notes.filter((note) => note.voice === 0);
    compose("harmonize", { tempo: undefined }, { from: this, given, isKept: (note) => note.voice === 0 });
  }

  goOn() {
    const { notes, length } = this.draft;
    compose("continue", { tempo: undefined }, { from: this, given: notes, isKept: (note) => note.start < length });
  }

  close() {
    if (player.draft === this.draft) player.stop();
    cards.splice(cards.indexOf(this), 1);
    this.element.remove();
    tidy();
    $("generate").focus();
  }
}

function button(text, act, kind = "plain") {
  const made = make("button", { type: "button", class: kind }, text);
  made.addEventListener("click", act);
  return made;
}

function fileName(draft) {
  return draft.name.toLowerCase().replace(" ", "-");
}

$("zip").addEventListener("click", () => {
  const files = cards.map(({ draft }) => ({ name: `${fileName(draft)}.mid`, bytes: midiOf(draft) }));
  save(zipOf(files), "drafts.zip", "application/zip");
});
