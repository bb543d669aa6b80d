// MIDI files, written and read.
const TICKS_PER_BEAT = 480;
const DRUMS = 9; // channel, from 0
const utf8 = new TextEncoder(), latin1 = new TextDecoder("latin1");

// A file of type 1: a track with name, tempo and length, then a track "voice N" for each voice, as the server writes it.
// piece: { name, tempo, length, notes: [{ start, end, pitch, voice }] }; times in beats, tempo in beats per minute.
export function midiOf({ name, tempo, length, notes }) {
  const voices = [...new Set(notes.map((note) => note.voice))].sort((a, b) => a - b);
  const tempoEvent = [0, 0xff, 0x51, 3, ...bigEndian(Math.round(6e7 / tempo), 3)];
  const tracks = [track([named(name), tempoEvent], length), ...voices.map((voice) => voiceTrack(voice, notes, length))];
  const numbers = [1, tracks.length, TICKS_PER_BEAT].flatMap((number) => bigEndian(number, 2));
  const header = [...utf8.encode("MThd"), ...bigEndian(6, 4), ...numbers];
  return Uint8Array.from([...header, ...tracks.flat()]);
}

function voiceTrack(voice, notes, length) {
  const channel = voice % 15 < DRUMS ? voice % 15 : (voice % 15) + 1
  const own = notes.filter((note) => note.voice === voice).sort((a, b) => a.start - b.start);
  const events = own.flatMap(({ start, end, pitch }) => {
    const again = own.find((other) => other.pitch === pitch && other.start > start);
    return [[start, 0x90 | channel, pitch, 80], [Math.min(end, again?.start ?? end), 0x80 | channel, pitch, 0]];
  });
  // At the same time notes end before others begin, so that a repeated note is struck again.
  events.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  return track([named(`voice ${voice + 1}`), [0, 0xc0 | channel, 0], ...events], length);
}

// events: [beat, ...bytes], in order
function track(events, length) {
  let before = 0;
  const body = [...events, [length, 0xff, 0x2f, 0]].flatMap(([beat, ...bytes]) => {
    const tick = Math.max(before, Math.round(beat * TICKS_PER_BEAT));
    const delta = variableLength(tick - before);
    before = tick;
    return [...delta, ...bytes];
  });
  return [...utf8.encode("MTrk"), ...bigEndian(body.length, 4), ...body];
}

function named(name) {
  const bytes = utf8.encode(name);
  return [0, 0xff, 0x03, ...variableLength(bytes.length), ...bytes];
}

function bigEndian(number, size) {
  return Array.from({ length: size }, (_, i) => (number >>> (8 * (size - 1 - i))) & 255);
}

function variableLength(number) {
  const bytes = [number & 127];
  while ((number >>= 7)) bytes.unshift(128 | (number & 127));
  return bytes;
}

export function base64Of(bytes) {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

// What midiOf takes, from the bytes of a file: each track with notes, or each channel of a single one, is a voice, the
// highest first; tracks "voice N" keep their numbers. The first tempo is that of the whole piece, drums are left out.
// Raises an error for what is no such file.
export function readMidi(bytes, name) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wrong = new Error(`${name} is not a MIDI file that can be read.`);
  if (bytes.length < 14 || view.getUint32(0) !== 0x4d546864 || view.getUint16(8) > 1 || view.getInt16(12) <= 0) throw wrong;
  const ticksPerBeat = view.getInt16(12), parts = [], found = { tempo: 0 };
  try {
    for (let at = 8 + view.getUint32(4); at + 8 <= bytes.length; at += 8 + view.getUint32(at + 4))
      if (view.getUint32(at) === 0x4d54726b) parts.push(...readTrack(view, at + 8, at + 8 + view.getUint32(at + 4), found));
  } catch {
    throw wrong; // it ends too early
  }
  if (!parts.length) throw new Error(`${name} has no notes; drums are not counted.`);
  const height = ({ notes }) => notes.reduce((sum, { pitch }) => sum + pitch, 0) / notes.length;
  if (!parts.every((part) => part.number)) parts.sort((a, b) => height(b) - height(a)).forEach((part, i) => (part.number = i + 1));
  const notes = parts.flatMap(({ number, notes }) => notes.map(({ start, end, pitch }) =>
    ({ start: start / ticksPerBeat, end: end / ticksPerBeat, pitch, voice: number - 1 })));
  return { name, tempo: found.tempo || 120, notes };
}

// The channels that have notes: [{ number of the track "voice N", notes, in ticks }]. found: its tempo is set, if one is there.
function readTrack(view, at, end, found) {
  const channels = new Map(), sounding = new Map();
  let tick = 0, status = 0, number = 0;
  const length = () => {
    let value = 0, byte;
    do value = (value << 7) | ((byte = view.getUint8(at++)) & 127); while (byte & 128);
    return value;
  };
  const stop = (key) => {
    const note = sounding.get(key);
    if (note) note.end = Math.max(tick, note.start + 1);
    sounding.delete(key);
  };
  while (at < end) {
    tick += length();
    if (view.getUint8(at) & 128) status = view.getUint8(at++);
    const kind = status >> 4, channel = status & 15;
    if (status === 0xff) {
      const type = view.getUint8(at++), size = length();
      if (type === 0x51) found.tempo ||= +(6e7 / (view.getUint32(at - 1) & 0xffffff)).toFixed(3);
      const text = latin1.decode(new DataView(view.buffer, view.byteOffset + at, size));
      if (type === 0x03) number = Number(/^voice (\d+)$/.exec(text)?.[1]);
      at += size;
    } else if (kind === 15) {
      at += length();
    } else {
      const pitch = view.getUint8(at), velocity = kind === 12 || kind === 13 ? 0 : view.getUint8(at + 1);
      at += kind === 12 || kind === 13 ? 1 : 2;
      if ((kind !== 8 && kind !== 9) || channel === DRUMS) continue;
      stop(`${channel} ${pitch}`);
      if (kind === 8 || !velocity) continue;
      const note = { start: tick, pitch };
      sounding.set(`${channel} ${pitch}`, note);
      if (!channels.has(channel)) channels.set(channel, []);
      channels.get(channel).push(note);
    }
  }
  for (const key of [...sounding.keys()]) stop(key);
  return [...channels.values()].map((notes) => ({ number, notes }));
}
