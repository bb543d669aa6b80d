// The page of the server: live captions, and transcripts of recordings. No build step, no libraries.
const $ = (id) => document.getElementById(id);
const base = new URL(".", location.href);
let token = new URLSearchParams(location.search).get("token") || sessionStorage.getItem("token") || "";

function headers() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

function tell(problem) {
  $("problem").textContent = problem;
  $("problem").hidden = !problem;
}

async function problemOf(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `the server answered ${response.status} ${response.statusText}`;
  }
}

// The model, and the token if the server asks for one

async function connect() {
  const response = await fetch(new URL("v1/models", base), { headers: headers() }).catch(() => null);
  if (!response) return tell("The server cannot be reached.");
  $("access").hidden = response.status !== 401;
  if (!response.ok) return response.status === 401 ? $("token").focus() : tell(await problemOf(response));
  const [model] = (await response.json()).data;
  const latency = model.latency_ms === null ? "" : `, ${Math.round(model.latency_ms)} ms of look-ahead`;
  $("model").textContent = `model ${model.id}${latency}`;
  $("microphone").disabled = model.latency_ms === null;
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  sessionStorage.setItem("token", token);
  connect();
});

// Live captions

let live = null; // { socket, audio, tracks } while the microphone is on

async function start() {
  tell("");
  if (!navigator.mediaDevices) return tell("Browsers give the microphone only to pages from localhost or by HTTPS.");
  let media;
  try {
    media = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false } });
  } catch (error) {
    return tell(error.name === "NotAllowedError" ? "The browser does not allow this page the microphone: allow it beside the address."
      : `There is no microphone to listen to (${error.message}).`);
  }
  const audio = new AudioContext();
  await audio.audioWorklet.addModule(new URL("page/capture.js", base));
  const source = audio.createMediaStreamSource(media);
  const capture = new AudioWorkletNode(audio, "capture", { numberOfOutputs: 0 });
  const analyser = new AnalyserNode(audio, { fftSize: 1024, smoothingTimeConstant: 0.3 });
  source.connect(capture);
  source.connect(analyser);
  const address = new URL(`v1/stream?rate=${audio.sampleRate}`, base);
  address.protocol = address.protocol.replace("http", "ws");
  if (token) address.searchParams.set("token", token);
  const socket = new WebSocket(address);
  live = { socket, audio, media, analyser };
  capture.port.onmessage = ({ data }) => {
    level(data);
    if (socket.readyState === WebSocket.OPEN && socket.bufferedAmount < 1e6) socket.send(data);
  };
  socket.onmessage = ({ data }) => show(JSON.parse(data));
  socket.onclose = ({ code, reason }) => {
    if (live?.socket === socket) stop(code === 1000 ? "" : reason || $("problem").textContent || "The connection was lost.");
  };
  $("microphone").textContent = "Stop the microphone";
  $("microphone").setAttribute("aria-pressed", "true");
  requestAnimationFrame(draw);
}

function stop(problem = "") {
  if (!live) return;
  const { socket, audio, media } = live;
  live = null;
  media.getTracks().forEach((track) => track.stop());
  audio.close();
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "finish" }));
  $("microphone").textContent = "Start the microphone";
  $("microphone").setAttribute("aria-pressed", "false");
  $("level").value = -60;
  if (problem) tell(problem);
}

function show(event) {
  if (event.type === "error") return tell(event.message);
  if (event.type === "end") return;
  const captions = $("captions");
  const atEnd = captions.scrollTop + captions.clientHeight > captions.scrollHeight - 40;
  let line = captions.querySelector(".running");
  if (!line) {
    line = document.createElement("p");
    line.className = "running";
    captions.append(line);
  }
  if (event.type === "final") {
    line.textContent = event.text;
    line.className = "";
    if (!event.text) line.remove();
  } else {
    const rest = document.createElement("span");
    rest.className = "open";
    rest.textContent = event.text.slice(event.stable.length);
    line.replaceChildren(event.stable, rest);
  }
  if (atEnd) captions.scrollTop = captions.scrollHeight;
}

function level(samples) {
  let sum = 0;
  for (const sample of samples) sum += (sample / 32768) ** 2;
  $("level").value = Math.max(-60, 10 * Math.log10(sum / samples.length + 1e-9));
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

$("microphone").addEventListener("click", () => (live ? stop() : start()));
$("clear").addEventListener("click", () => $("captions").replaceChildren());
$("save-live").addEventListener("click", () =>
  save([...$("captions").children].map((line) => line.textContent).join("\n") + "\n", "captions.txt"));

// Recordings

let recording = null; // { name, segments: [{ start, end, words, line }] }

async function transcribe(file) {
  tell("");
  recording = { name: file.name, segments: [] };
  $("transcript").replaceChildren();
  $("downloads").hidden = $("how").hidden = true;
  $("progress").hidden = false;
  $("progress").removeAttribute("value");
  $("player").src = URL.createObjectURL(file);
  $("player").hidden = false;
  const form = new FormData();
  form.set("file", file);
  form.set("stream", "true");
  const response = await fetch(new URL("v1/audio/transcriptions", base),
    { method: "POST", body: form, headers: headers() }).catch(() => null);
  if (!response?.ok) {
    $("progress").hidden = true;
    return tell(response ? await problemOf(response) : "The server cannot be reached.");
  }
  let rest = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const events = (rest + part.value).split("\n\n");
    rest = events.pop();
    for (const event of events) heard(JSON.parse(event.replace(/^data: /, "")));
  }
  $("progress").hidden = true;
  $("downloads").hidden = $("how").hidden = !recording.segments.length;
  if (!recording.segments.length && $("problem").hidden) tell("No words were found in this recording.");
}

function heard(event) {
  if (event.error) return tell(event.error.message);
  if (event.type !== "transcript.text.delta") return;
  const line = document.createElement("p");
  line.contentEditable = "plaintext-only";
  line.spellcheck = false;
  line.setAttribute("aria-label", `from ${clock(event.start, ".")}`);
  for (const word of event.words) {
    const span = document.createElement("span");
    span.className = word.confidence < 0.5 ? "word unsure" : "word";
    span.textContent = word.word;
    span.title = `${clock(word.start, ".")}, confidence ${Math.round(100 * word.confidence)} %`;
    span.dataset.start = word.start;
    span.dataset.end = word.end;
    line.append(span, " ");
  }
  $("transcript").append(line);
  recording.segments.push({ ...event, line });
  if ($("player").duration) $("progress").value = event.end / $("player").duration;
}

$("transcript").addEventListener("click", ({ target }) => {
  if (!target.dataset.start) return;
  $("player").currentTime = Math.max(0, target.dataset.start - 0.05);
  $("player").play();
});
$("player").addEventListener("timeupdate", () => {
  const now = $("player").currentTime;
  for (const word of $("transcript").querySelectorAll(".word"))
    word.classList.toggle("now", word.dataset.start <= now && now < word.dataset.end);
});
$("file").addEventListener("change", ({ target }) => target.files[0] && transcribe(target.files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) transcribe(event.dataTransfer.files[0]);
  });
}

// Downloads, with what was edited

const writers = {
  txt: (segments) => segments.map((s) => s.text).join("\n") + "\n",
  srt: (segments) => segments.map((s, i) => `${i + 1}\n${clock(s.start, ",")} --> ${clock(s.end, ",")}\n${s.text}\n`).join("\n"),
  vtt: (segments) => "WEBVTT\n\n" + segments.map((s) => `${clock(s.start, ".")} --> ${clock(s.end, ".")}\n${s.text}\n`).join("\n"),
  json: (segments) => JSON.stringify({ file: recording.name, segments }, null, 2) + "\n",
};

$("downloads").addEventListener("click", ({ target }) => {
  const format = target.dataset.format;
  if (!format) return;
  const segments = recording.segments.map(({ start, end, words, line }) =>
    ({ start, end, text: line.textContent.trim().replace(/\s+/g, " "), words }));
  save(writers[format](segments), `${recording.name.replace(/\.[^.]*$/, "")}.${format}`);
});

function save(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

function clock(seconds, comma) {
  const ms = Math.round(1000 * seconds);
  const two = (n) => String(n).padStart(2, "0");
  return `${two(Math.floor(ms / 3600000))}:${two(Math.floor(ms / 60000) % 60)}:${two(Math.floor(ms / 1000) % 60)}${comma}${String(ms % 1000).padStart(3, "0")}`;
}

connect();
