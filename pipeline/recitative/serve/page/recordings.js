// Transcripts of recordings: playable, editable, to download.
import { $, call, make, remember, save, takeDrops, tell } from "./page.js";

let recording = null; // { file, segments: [{ start, end, words, line }] }

export function offerRecordings(models) {
  const recognizers = models.filter((model) => model.kind === "recognizer");
  $("recording").hidden = $("speech").hidden = !recognizers.length;
  $("recognizer").replaceChildren(...recognizers.map(({ id }) => make("option", {}, id)));
  $("recognizers").hidden = recognizers.length < 2;
}

async function transcribe(file) {
  tell("");
  const current = (recording = { file, segments: [] });
  $("transcript").replaceChildren();
  $("downloads").hidden = $("how").hidden = true;
  $("progress").hidden = false;
  $("progress").removeAttribute("value");
  URL.revokeObjectURL($("player").src);
  $("player").src = URL.createObjectURL(file);
  $("player").hidden = false;
  try {
    for await (const event of eventsOf(file)) {
      if (recording !== current) return; // another file was dropped meanwhile
      heard(event);
    }
    if (!current.segments.length) tell("No words were found in this recording.");
  } catch (error) {
    if (recording === current) tell(error.message);
  }
  if (recording !== current) return;
  $("progress").hidden = true;
  $("downloads").hidden = $("how").hidden = !current.segments.length;
}

async function* eventsOf(file) {
  const form = new FormData();
  form.set("file", file);
  form.set("model", $("recognizer").value);
  form.set("stream", "true");
  if ($("hotwords").value.trim()) form.set("hotwords", $("hotwords").value);
  const response = await call("v1/audio/transcriptions", { method: "POST", body: form });
  let rest = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const events = (rest + part.value).split("\n\n");
    rest = events.pop();
    for (const event of events) yield JSON.parse(event.replace(/^data: /, ""));
  }
}

function heard(event) {
  if (event.error) throw new Error(event.error.message);
  if (event.type !== "transcript.text.delta") return;
  const line = make("p", {
    contenteditable: "plaintext-only", spellcheck: "false", role: "textbox", "aria-multiline": "true",
    "aria-label": `Text from ${clock(event.start, ".")}`,
  });
  for (const word of event.words) {
    const span = make("span", {
      class: word.confidence < 0.5 ? "word unsure" : "word",
      title: `${clock(word.start, ".")}, confidence ${Math.round(100 * word.confidence)} %`,
      "data-start": word.start, "data-end": word.end,
    }, word.word);
    line.append(span, " ");
  }
  $("transcript").append(line);
  recording.segments.push({ ...event, line });
  if ($("player").duration) $("progress").value = event.end / $("player").duration;
}

function playFrom(word) {
  if (!word?.dataset.start) return;
  $("player").currentTime = Math.max(0, word.dataset.start - 0.05);
  $("player").play();
}

$("transcript").addEventListener("click", ({ target }) => playFrom(target));
$("transcript").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  playFrom(getSelection().focusNode?.parentElement.closest(".word"));
});
$("player").addEventListener("timeupdate", () => {
  const now = $("player").currentTime;
  for (const word of $("transcript").querySelectorAll(".word"))
    word.classList.toggle("now", word.dataset.start <= now && now < word.dataset.end);
});
remember("hotwords");
takeDrops($("drop"), transcribe);
$("again").addEventListener("click", () => transcribe(recording.file));

// Downloads, with what was edited

const writers = {
  txt: (segments) => segments.map((s) => s.text).join("\n") + "\n",
  srt: (segments) => segments.map((s, i) => `${i + 1}\n${subtitle(s, ",")}`).join("\n"),
  vtt: (segments) => "WEBVTT\n\n" + segments.map((s) => subtitle(s, ".")).join("\n"),
  json: (segments) => JSON.stringify({ file: recording.file.name, segments }, null, 2) + "\n",
};

$("downloads").addEventListener("click", ({ target }) => {
  const format = target.dataset.format;
  if (!format) return;
  const segments = recording.segments.map(({ start, end, words, line }) =>
    ({ start, end, text: line.textContent.trim().replace(/\s+/g, " "), words }));
  save(writers[format](segments), `${recording.file.name.replace(/\.[^.]*$/, "")}.${format}`);
});

function subtitle({ start, end, text }, comma) {
  return `${clock(start, comma)} --> ${clock(end, comma)}\n${text}\n`;
}

function clock(seconds, comma) {
  const ms = Math.round(1000 * seconds);
  const [h, m, s] = [ms / 3600000, (ms / 60000) % 60, (ms / 1000) % 60].map((n) => String(Math.floor(n)).padStart(2, "0"));
  return `${h}:${m}:${s}${comma}${String(ms % 1000).padStart(3, "0")}`;
}
