// A piece of music that is being worked on: its notes, which of them are selected and kept, and what can be undone.
const NAMES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];
const CHOIR = ["Soprano", "Alto", "Tenor", "Bass"];

export const BEATS_PER_BAR = 4;
export const STEP = 0.25; // beats: a sixteenth, by which notes are moved

export class Draft {
  #history = [];

  // notes: [{ start, end, pitch, voice, kept }], times in beats from the start; tempo: beats per minute; about: how it
  // was made. A note is never changed, only replaced: so a selection and the past can refer to it.
  constructor({ name, about, tempo, notes }) {
    Object.assign(this, { name, about, tempo });
    this.notes = [...notes].sort((a, b) => a.start - b.start || a.voice - b.voice || b.pitch - a.pitch);
    this.voices = Math.max(...notes.map((note) => note.voice), 0) + 1;
    const end = Math.max(...notes.map((note) => note.end), BEATS_PER_BAR);
    this.length = Math.ceil(end / BEATS_PER_BAR - 1e-6) * BEATS_PER_BAR;
    this.selected = new Set();
    this.muted = new Set();
    this.position = 0; // where it was last played to
  }

  get kept() {
    return this.notes.filter((note) => note.kept);
  }

  get canUndo() {
    return this.#history.length > 0;
  }

  voiceName(voice) {
    return this.voices === CHOIR.length ? CHOIR[voice] : `Voice ${voice + 1}`;
  }

  // "Alto, E♭4, bar 2, beat 3.5, 1 beat, kept"
  describe(note) {
    const { start, end, pitch, voice, kept } = note;
    const beat = (start % BEATS_PER_BAR) + 1;
    const length = end - start === 1 ? "1 beat" : `${+(end - start).toFixed(2)} beats`;
    const place = `bar ${Math.floor(start / BEATS_PER_BAR) + 1}, beat ${+beat.toFixed(2)}`;
    return `${this.voiceName(voice)}, ${pitchName(pitch)}, ${place}, ${length}${kept ? ", kept" : ""}`;
  }

  select(notes) {
    this.selected = new Set(notes);
  }

  // Replaces each selected note by what ``change`` gives for it: another note, or null to delete it.
  edit(change) {
    const before = { notes: this.notes, selected: this.selected };
    this.#replace(before, change);
    if (this.notes.some((note, i) => note !== before.notes[i]) || this.notes.length < before.notes.length)
      this.#history.push(before);
  }

  undo() {
    if (this.canUndo) Object.assign(this, this.#history.pop());
  }

  // The selected notes later and higher, as far as the piece and the pitches of MIDI go; such notes are kept.
  move(beats, semitones) {
    const chosen = [...this.selected];
    if (!chosen.length) return;
    const least = (of) => Math.min(...chosen.map(of)), most = (of) => Math.max(...chosen.map(of));
    const later = Math.min(Math.max(beats, -least((n) => n.start)), this.length - most((n) => n.end));
    const higher = Math.min(Math.max(semitones, -least((n) => n.pitch)), 127 - most((n) => n.pitch));
    if (!later && !higher) return;
    this.edit((n) => ({ ...n, start: n.start + later, end: n.end + later, pitch: n.pitch + higher, kept: true }));
  }

  // The selected notes end later, or earlier, but have at least one step.
  lengthen(beats) {
    const end = (n) => Math.min(Math.max(n.end + beats, n.start + STEP), this.length);
    this.edit((n) => (end(n) === n.end ? n : { ...n, end: end(n), kept: true }));
  }

  remove() {
    this.edit(() => null);
  }

  // All selected notes are kept, or none where all were.
  toggleKept() {
    const kept = ![...this.selected].every((note) => note.kept);
    this.edit((note) => (note.kept === kept ? note : { ...note, kept }));
  }

  #replace({ notes, selected }, change) {
    this.selected = new Set();
    this.notes = notes.flatMap((note) => {
      if (!selected.has(note)) return [note];
      const changed = change(note);
      if (changed) this.selected.add(changed);
      return changed ? [changed] : [];
    });
  }
}

export function pitchName(pitch) {
  return `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;
}
