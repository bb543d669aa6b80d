// The piano roll of a draft: an SVG list of notes that can be selected, moved and played from, by pointer and by keys.
import { BEATS_PER_BAR, STEP, pitchName } from "./draft.js";

const ROW = 9, LEFT = 34, TOP = 18, NARROWEST = 20; // px: of a pitch, of their names, of the bars' numbers, of a beat
const BLACK_KEYS = new Set([1, 3, 6, 8, 10]);
const CLICK_PX = 4; // a shorter drag is a click

let numbered = 0; // ids are unique on the page

export class Roll {
  #drag = null; // { x, y, note, frame }: where it began, and on what

  // actions: seek(beat), play(), changed() after every edit or selection, hear(note)
  constructor(draft, actions) {
    this.draft = draft;
    this.actions = actions;
    this.id = `roll-${++numbered}`;
    const label = `Notes of ${draft.name}`;
    this.svg = svg("svg", { role: "listbox", tabindex: 0, "aria-multiselectable": true, "aria-label": label });
    this.element = document.createElement("div");
    this.element.className = "roll";
    this.element.append(this.svg);
    this.svg.addEventListener("keydown", (event) => this.#press(event));
    for (const kind of ["down", "move", "up", "cancel"])
      this.svg.addEventListener(`pointer${kind}`, (event) => this[`${kind}At`](event));
    this.svg.addEventListener("touchstart", (event) => this.draft.selected.has(this.#noteOf(event)) && event.preventDefault());
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  draw() {
    const { notes, length } = this.draft;
    const pitches = notes.length ? notes.map((note) => note.pitch) : [60];
    this.low = Math.max(0, Math.min(...pitches) - 3);
    this.high = Math.min(127, Math.max(...pitches) + 3);
    this.beatWidth = Math.max(NARROWEST, (this.element.clientWidth - LEFT - 1) / length);
    const width = this.#x(length) + 1, height = this.#y(this.low) + ROW + 1;
    setAll(this.svg, { width, height, viewBox: `0 0 ${width} ${height}` });
    this.line = svg("line", { class: "playhead", y1: TOP, y2: height });
    this.frame = svg("rect", { class: "frame", visibility: "hidden" });
    const drawn = notes.map((note, i) => this.#note(note, i));
    this.svg.replaceChildren(this.#paper(width, height), ...drawn, this.frame, this.line);
    this.#point();
    this.place(this.draft.position);
  }

  // The line that shows where it plays; follow: it stays in view.
  place(beat, follow = false) {
    const x = this.#x(beat);
    setAll(this.line, { x1: x, x2: x });
    const { scrollLeft, clientWidth } = this.element;
    if (follow && (x > scrollLeft + clientWidth - 8 || x < scrollLeft)) this.element.scrollLeft = x - LEFT;
  }

  #x(beat) {
    return LEFT + beat * this.beatWidth;
  }

  #y(pitch) {
    return TOP + (this.high - pitch) * ROW;
  }

  #paper(width, height) {
    const group = svg("g", { "aria-hidden": true });
    for (let pitch = this.low; pitch <= this.high; pitch++) {
      const y = this.#y(pitch);
      const row = { class: "black-key", x: LEFT, y, width: width - LEFT, height: ROW };
      if (BLACK_KEYS.has(pitch % 12)) group.append(svg("rect", row));
      if (pitch % 12 === 0) group.append(svg("text", { x: LEFT - 5, y: y + ROW - 1, "text-anchor": "end" }, pitchName(pitch)));
    }
    for (let beat = 0; beat <= this.draft.length; beat++) {
      const isBar = beat % BEATS_PER_BAR === 0, x = this.#x(beat);
      group.append(svg("line", { class: isBar ? "bar" : "beat", x1: x, x2: x, y1: isBar ? TOP - 5 : TOP, y2: height }));
      if (isBar && beat < this.draft.length) group.append(svg("text", { x: x + 3, y: TOP - 5 }, beat / BEATS_PER_BAR + 1));
    }
    return group;
  }

  #note(note, i) {
    const { draft } = this;
    const x = this.#x(note.start) + 0.5, y = this.#y(note.pitch);
    const width = Math.max(3, (note.end - note.start) * this.beatWidth - 1.5);
    const classes = ["note", `voice-${note.voice % 6}`, note.kept && "kept", draft.muted.has(note.voice) && "muted"];
    const group = svg("g", {
      id: `${this.id}-${i}`, role: "option", class: classes.filter(Boolean).join(" "),
      "aria-selected": draft.selected.has(note), "aria-label": draft.describe(note),
    }, svg("title", {}, draft.describe(note)), svg("rect", { x, y, width, height: ROW, rx: 2 }));
    if (width > 11) group.append(svg("text", { x: x + 3, y: y + ROW - 2, "aria-hidden": true }, this.#letter(note.voice)));
    return group;
  }

  #letter(voice) {
    const name = this.draft.voiceName(voice);
    return name.startsWith("Voice") ? voice + 1 : name[0];
  }

  // Tells screen readers which note the keys act on.
  #point() {
    const i = this.draft.notes.findLastIndex((note) => this.draft.selected.has(note));
    if (i < 0) this.svg.removeAttribute("aria-activedescendant");
    else this.svg.setAttribute("aria-activedescendant", `${this.id}-${i}`);
  }

  #select(notes) {
    this.draft.select(notes);
    this.actions.changed();
    if (notes.length === 1) this.actions.hear(notes[0]);
  }

  // The next or previous note in time, from the selected one, or from where it plays.
  #step(direction) {
    const { notes, selected, position } = this.draft;
    const at = notes.findLastIndex((note) => selected.has(note));
    const from = notes.findIndex((note) => note.start >= position - 1e-6);
    const next = at >= 0 ? at + direction : direction > 0 ? from : (from < 0 ? notes.length : from) - 1;
    const note = notes[Math.min(Math.max(next, 0), notes.length - 1)];
    if (note) this.#select([note]);
    const element = this.svg.getElementById(this.svg.getAttribute("aria-activedescendant"));
    element?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  #edit(change) {
    change();
    this.actions.changed();
    const [note] = this.draft.selected;
    if (note && this.draft.selected.size === 1) this.actions.hear(note);
  }

  #press(event) {
    const { draft } = this, { shiftKey: far, altKey: longer, ctrlKey, metaKey } = event;
    const pitch = far ? 12 : 1, time = far ? 1 : STEP;
    const alone = {
      ArrowUp: () => this.#edit(() => draft.move(0, pitch)),
      ArrowDown: () => this.#edit(() => draft.move(0, -pitch)),
      ArrowLeft: () => this.#edit(() => (longer ? draft.lengthen(-time) : draft.move(-time, 0))),
      ArrowRight: () => this.#edit(() => (longer ? draft.lengthen(time) : draft.move(time, 0))),
      Delete: () => this.#edit(() => draft.remove()),
      Backspace: () => this.#edit(() => draft.remove()),
      Escape: () => this.#select([]),
      k: () => this.#edit(() => draft.toggleKept()),
      n: () => this.#step(1),
      p: () => this.#step(-1),
      Home: () => this.actions.seek(0),
      Enter: () => this.actions.seek(Math.min(draft.length, ...[...draft.selected].map((note) => note.start))),
      " ": () => this.actions.play(),
    };
    const together = { a: () => this.#select(draft.notes), z: () => this.#edit(() => draft.undo()) };
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const act = ctrlKey || metaKey ? together[name] : alone[name];
    if (!act) return;
    event.preventDefault();
    act();
  }

  // Pointers: a click on a note selects it, with Shift also; a drag moves what is selected. Elsewhere a click plays from
  // there, and a drag of the mouse selects what is in the frame; a finger scrolls, unless it is on a selected note.

  #at(event) {
    const box = this.svg.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  #noteOf(event) {
    const group = event.target.closest(".note");
    return group && this.draft.notes[Number(group.id.slice(this.id.length + 1))];
  }

  downAt(event) {
    if (event.button) return;
    const note = this.#noteOf(event), { selected } = this.draft;
    if (note && event.shiftKey)
      return this.#select([...selected, note].filter((one) => one !== note || !selected.has(note)));
    if (note && !selected.has(note)) this.#select([note]);
    this.#drag = { ...this.#at(event), note };
    if (note || event.pointerType === "mouse") this.svg.setPointerCapture(event.pointerId);
  }

  moveAt(event) {
    if (!this.#drag) return;
    const { x, y } = this.#at(event), dx = x - this.#drag.x, dy = y - this.#drag.y;
    if (Math.hypot(dx, dy) > CLICK_PX) this.#drag.far = true;
    if (!this.#drag.far) return;
    if (this.#drag.note) {
      const { beats, semitones } = this.#distance(dx, dy);
      for (const group of this.svg.querySelectorAll('.note[aria-selected="true"]'))
        group.setAttribute("transform", `translate(${beats * this.beatWidth} ${-semitones * ROW})`);
    } else if (event.pointerType === "mouse") {
      const corner = { x: Math.min(x, x - dx), y: Math.min(y, y - dy) };
      setAll(this.frame, { ...corner, width: Math.abs(dx), height: Math.abs(dy), visibility: "visible" });
    }
  }

  upAt(event) {
    const drag = this.#drag;
    this.#drag = null;
    if (!drag) return;
    const { x, y } = this.#at(event);
    if (drag.note && drag.far) {
      const { beats, semitones } = this.#distance(x - drag.x, y - drag.y);
      return this.#edit(() => this.draft.move(beats, semitones));
    }
    if (drag.note) return;
    if (drag.far) return this.#select(this.draft.notes.filter((note) => this.#isWithin(note, drag, { x, y })));
    this.#select([]);
    this.actions.seek(Math.min(Math.max(0, (x - LEFT) / this.beatWidth), this.draft.length));
  }

  cancelAt() {
    this.#drag = null;
    this.draw();
  }

  #distance(dx, dy) {
    return { beats: Math.round(dx / this.beatWidth / STEP) * STEP, semitones: -Math.round(dy / ROW) };
  }

  #isWithin({ start, end, pitch }, a, b) {
    const inTime = this.#x(start) < Math.max(a.x, b.x) && this.#x(end) > Math.min(a.x, b.x);
    return inTime && this.#y(pitch) < Math.max(a.y, b.y) && this.#y(pitch) + ROW > Math.min(a.y, b.y);
  }
}

function svg(name, attributes, ...content) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  setAll(element, attributes);
  element.append(...content);
  return element;
}

function setAll(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
}
