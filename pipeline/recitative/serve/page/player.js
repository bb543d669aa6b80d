// Plays drafts with Web Audio, as tones that decay like those of a struck string. The highest voice is on the left.
const HARMONICS = [0, 1, 0.42, 0.28, 0.15, 0.09, 0.05, 0.03]; // amplitudes from the fundamental on
const AHEAD_S = 1.2; // so long before it sounds a note is handed to the browser: timers of a hidden page run once a second
const EVERY_MS = 30;

export class Player {
  #audio = null; // begins with the first sound: browsers allow it only when the user has done something
  #playing = null; // { draft, gains, startedAt (s), from (beat), until (beat): notes before it are handed over }

  constructor(onMove) {
    this.onMove = onMove; // called with the draft and the beat, as it goes, and with null at the end
  }

  get draft() {
    return this.#playing?.draft ?? null;
  }

  get beat() {
    const { draft, startedAt, from } = this.#playing;
    return from + (Math.max(0, this.#audio.currentTime - startedAt) * draft.tempo) / 60;
  }

  async play(draft, from) {
    this.stop();
    const audio = this.#open();
    await audio.resume();
    this.#playing = { draft, from, until: from, startedAt: audio.currentTime + 0.05, gains: new Map() };
    this.#continue();
  }

  stop() {
    if (!this.#playing) return;
    for (const gain of this.#playing.gains.values()) {
      gain.gain.setTargetAtTime(0, this.#audio.currentTime, 0.02);
      setTimeout(() => gain.disconnect(), 200);
    }
    this.#playing = null;
    this.onMove(null, 0);
  }

  // What is muted has changed.
  mix() {
    if (!this.#playing) return;
    const { draft, gains } = this.#playing;
    for (const [voice, gain] of gains) gain.gain.setTargetAtTime(draft.muted.has(voice) ? 0 : 1, this.#audio.currentTime, 0.02);
  }

  // A note alone, to hear what it is.
  sample({ pitch, voice }, voices) {
    const audio = this.#open();
    audio.resume();
    this.#strike(pitch, audio.currentTime + 0.01, 0.35, this.#channel(voice, voices));
  }

  #open() {
    if (this.#audio) return this.#audio;
    const audio = (this.#audio = new AudioContext());
    this.wave = audio.createPeriodicWave(HARMONICS.map(() => 0), HARMONICS);
    this.out = new DynamicsCompressorNode(audio, { threshold: -18, ratio: 4 });
    const room = new ConvolverNode(audio, { buffer: echo(audio, 1.4) });
    this.out.connect(audio.destination);
    this.out.connect(room).connect(new GainNode(audio, { gain: 0.12 })).connect(audio.destination);
    return audio;
  }

  #channel(voice, voices) {
    const gain = new GainNode(this.#audio);
    const pan = voices > 1 ? 0.6 * ((2 * voice) / (voices - 1) - 1) : 0;
    gain.connect(new StereoPannerNode(this.#audio, { pan })).connect(this.out);
    return gain;
  }

  #continue() {
    const playing = this.#playing;
    if (!playing) return;
    const { draft, gains, startedAt, from } = playing;
    const beat = this.beat;
    this.onMove(draft, beat);
    if (beat >= draft.length) return this.stop();
    const until = beat + (AHEAD_S * draft.tempo) / 60;
    for (const { start, end, pitch, voice } of draft.notes) {
      const begin = Math.max(start, from);
      if (begin < playing.until || begin >= until || end <= from) continue;
      if (!gains.has(voice)) gains.set(voice, this.#channel(voice, draft.voices));
      const seconds = (beats) => (beats * 60) / draft.tempo;
      this.#strike(pitch, startedAt + seconds(begin - from), seconds(end - begin), gains.get(voice));
    }
    playing.until = until;
    this.mix();
    setTimeout(() => playing === this.#playing && this.#continue(), EVERY_MS);
  }

  #strike(pitch, at, seconds, channel) {
    const frequency = 440 * 2 ** ((pitch - 69) / 12);
    const tone = new OscillatorNode(this.#audio, { frequency });
    tone.setPeriodicWave(this.wave);
    const bright = new BiquadFilterNode(this.#audio, { type: "lowpass", frequency: 7 * frequency });
    bright.frequency.setTargetAtTime(2 * frequency, at, 0.3);
    const level = new GainNode(this.#audio, { gain: 0 });
    level.gain.setValueAtTime(0, at);
    level.gain.linearRampToValueAtTime(0.22, at + 0.008);
    level.gain.setTargetAtTime(0.05, at + 0.008, 1.2);
    level.gain.setTargetAtTime(0, at + Math.max(0.02, seconds - 0.04), 0.04);
    tone.connect(bright).connect(level).connect(channel);
    tone.start(at);
    tone.stop(at + seconds + 0.25);
  }
}

// The sound of a room: noise that decays.
function echo(audio, seconds) {
  const buffer = new AudioBuffer({ length: seconds * audio.sampleRate, numberOfChannels: 2, sampleRate: audio.sampleRate });
  for (const channel of [0, 1]) {
    const samples = buffer.getChannelData(channel);
    for (let i = 0; i < samples.length; i++) samples[i] = (Math.random() * 2 - 1) * (1 - i / samples.length) ** 3;
  }
  return buffer;
}
