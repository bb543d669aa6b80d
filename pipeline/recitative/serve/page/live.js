// Live: a microphone, and what listens to it: captions, words to spot, and models of sounds.
import { $, make, openSocket, remember, save, tell } from "./page.js";
import { addSound, clearSounds, lanes, writtenSounds } from "./sounds.js";

const MOST_BEHIND_BYTES = 1e6; // a listener whose connection is slower than this misses samples

let models = []; // of the server, those that hear live audio
let live = null; // { audio, media, analyser, listeners, startedAt (ms), heardS } while the microphone is on
let asking = false; // the user is asked for the microphone

export function offerLive(all) {
  models = all.filter((model) => model.streams);
  $("live").hidden = !models.length;
  $("captioned").hidden = !captioner();
  $("spotting").hidden = !models.some((model) => model.keywords);
  $("hearing").replaceChildren(...models.filter((model) => model.kind !== "recognizer").map(({ id, labels }) => {
    const box = make("input", { type: "checkbox", value: id, checked: "" });
    box.addEventListener("change", () => live && relisten(id));
    return make("label", {}, box, ` ${id} `, make("span", { class: "quiet" }, labels?.join(", ") ?? "unusual sounds"));
  }));
  $("hearing-for").hidden = !$("hearing").children.length;
}

// The recognizer that was chosen, or another one if it needs whole recordings.
function captioner() {
  const recognizers = models.filter((model) => model.kind === "recognizer");
  return recognizers.find((model) => model.id === $("recognizer").value) ?? recognizers[0];
}

// What is to listen: { name, parameters, onEvent }.
function wanted() {
  const hotwords = $("hotwords").value.trim(), keywords = $("keywords").value.trim();
  const boxes = [...$("hearing").querySelectorAll("input:checked")];
  const all = boxes.map(({ value }) => ({ name: value, parameters: { model: value }, onEvent: addSound }));
  if (captioner()) all.push({ name: "captions", parameters: { model: captioner().id, hotwords }, onEvent: caption });
  if (keywords && !$("spotting").hidden) all.push({ name: "words", parameters: { keywords }, onEvent: addSound });
  return all;
}

// A WebSocket that gets the samples of the microphone.
class Listener {
  constructor({ name, parameters, onEvent }) {
    Object.assign(this, { name, onEvent });
    this.socket = openSocket("v1/stream", { rate: live.audio.sampleRate, ...parameters });
    this.socket.onmessage = ({ data }) => this.#heard(JSON.parse(data));
    this.socket.onclose = ({ code, reason }) => this.#closed(code, reason);
  }

  send(samples) {
    if (this.socket.readyState !== WebSocket.OPEN || this.socket.bufferedAmount > MOST_BEHIND_BYTES) return;
    this.beganAt ??= live.startedAt + 1000 * live.heardS;
    this.socket.send(samples);
  }

  finish() {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: "finish" }));
    else this.socket.close();
  }

  #heard(event) {
    if (event.type === "error") this.problem = event.message;
    else if (event.type !== "end") this.onEvent(event, this.name, this.beganAt);
  }

  #closed(code, reason) {
    if (live?.listeners.get(this.name) !== this) return; // it was ended, and another may have its name
    live.listeners.delete(this.name);
    tell(this.problem || reason || (code === 1000 ? "" : "The connection to the server was lost."));
    if (!live.listeners.size) stop();
  }
}

// Begins anew what listens under a name, with other words, and ends what is no longer wanted.
function relisten(name) {
  live.listeners.get(name)?.finish();
  live.listeners.delete(name);
  const one = wanted().find((listener) => listener.name === name);
  if (one) live.listeners.set(name, new Listener(one));
}

async function start() {
  tell("");
  if (!wanted().length) return tell("Choose what to listen for.");
  if (!navigator.mediaDevices) return tell("Browsers give the microphone only to pages from localhost or by HTTPS.");
  let media;
  try {
    media = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false } });
  } catch (error) {
    const isForbidden = error.name === "NotAllowedError";
    return tell(isForbidden ? "The browser does not allow this page the microphone: allow it beside the address."
      : `There is no microphone to listen to (${error.message}).`);
  }
  const audio = new AudioContext();
  await audio.audioWorklet.addModule(new URL("capture.js", import.meta.url));
  const source = audio.createMediaStreamSource(media);
  const capture = new AudioWorkletNode(audio, "capture", { numberOfOutputs: 0 });
  const analyser = new AnalyserNode(audio, { fftSize: 1024, smoothingTimeConstant: 0.3 });
  source.connect(capture);
  source.connect(analyser);
  live = { audio, media, analyser, listeners: new Map(), startedAt: Date.now(), heardS: 0 };
  for (const one of wanted()) live.listeners.set(one.name, new Listener(one));
  capture.port.onmessage = ({ data }) => hear(data);
  turned(true);
  $("spectrogram").hidden = false;
  requestAnimationFrame(draw);
}

function stop() {
  const { audio, media, listeners } = live;
  live = null;
  media.getTracks().forEach((track) => track.stop());
  audio.close();
  for (const listener of listeners.values()) listener.finish();
  turned(false);
}

function turned(on) {
  $("microphone").textContent = on ? "Stop the microphone" : "Start the microphone";
  $("microphone").setAttribute("aria-pressed", on);
  $("level").value = -60;
  lanes(on);
}

function hear(samples) {
  if (!live) return;
  let sum = 0;
  for (const sample of samples) sum += (sample / 32768) ** 2;
  $("level").value = Math.max(-60, 10 * Math.log10(sum / samples.length + 1e-9));
  for (const listener of live.listeners.values()) listener.send(samples);
  live.heardS += samples.length / live.audio.sampleRate;
}

function caption(event) {
  const captions = $("captions");
  const atEnd = captions.scrollTop + captions.clientHeight > captions.scrollHeight - 40;
  let line = captions.querySelector(".running");
  if (!line) captions.append((line = make("p", { class: "running" })));
  if (event.type === "final") {
    line.textContent = event.text;
    line.className = "";
    if (!event.text) line.remove();
  } else {
    line.replaceChildren(event.stable, make("span", { class: "open" }, event.text.slice(event.stable.length)));
  }
  if (atEnd) captions.scrollTop = captions.scrollHeight;
}

function draw() {
  if (!live) return;
  const canvas = $("spectrogram");
  const context = canvas.getContext("2d");
  const { analyser, audio } = live;
  const bins = new Uint8Array(analyser.frequencyBinCount);
  analyser.getByteFrequencyData(bins);
  context.drawImage(canvas, -2, 0);
  const shown = Math.min(bins.length, Math.round((8000 / audio.sampleRate) * 2 * bins.length)); // up to 8 kHz
  for (let y = 0; y < canvas.height; y++) {
    const value = bins[Math.floor((y / canvas.height) * shown)];
    context.fillStyle = `hsl(${260 - value} 80% ${value / 4}%)`;
    context.fillRect(canvas.width - 2, canvas.height - 1 - y, 2, 1);
  }
  requestAnimationFrame(draw);
}

remember("keywords");
$("microphone").addEventListener("click", async () => {
  if (live) return stop();
  if (asking) return;
  asking = true;
  await start().catch((error) => tell(error.message));
  asking = false;
});
for (const id of ["hotwords", "recognizer"]) $(id).addEventListener("change", () => live && relisten("captions"));
$("keywords").addEventListener("change", () => live && relisten("words"));
$("clear").addEventListener("click", () => {
  $("captions").replaceChildren();
  clearSounds();
});
$("save-live").addEventListener("click", () => {
  const captions = [...$("captions").children].map((line) => line.textContent);
  save([...captions, ...writtenSounds()].join("\n") + "\n", "live.txt");
});
