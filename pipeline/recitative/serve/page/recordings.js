// Transcripts of recordings: playable, editable, to download.
import { $, call, make, remember, save, takeDrops, tell } from "./page.js";
import { cuesOf } from "./subtitles.js";

let recording = null; // { file, model, segments: [{ start, end, line }] }

export function offerRecordings(models) {
  const recognizers = models.filter((model) => model.kind === "recognizer");
  $("recording").hidden = $("speech").hidden = !recognizers.length;
  $("recognizer").replaceChildren(...recognizers.map(({ id }) => make("option", {}, id)));
  $("recognizers").hidden = recognizers.length < 2;
}

async function transcribe(file) {
  tell("");
  const current = (recording = { file, model: $("recognizer").value, segments: [] });
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
    if (recording === current && !current.segments.length) $("player").hidden = true;
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
      "data-start": word.start, "data-end": word.end, "data-confidence": word.confidence,
    }, word.word);
    line.append(span, " ");
  }
  $("transcript").append(line);
  recording.segments.push({ start: event.start, end: event.end, line });
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
  srt: (segments) => cuesOf(segments).map((cue, i) => `${i + 1}\n${subtitle(cue, ",")}`).join("\n"),
  vtt: (segments) => "WEBVTT\n\n" + cuesOf(segments).map((cue) => subtitle({ ...cue, lines: cue.lines.map(escaped) }, ".")).join("\n"),
  json: (segments) =>
    JSON.stringify({ schema: 1, model: recording.model, file: recording.file.name, segments }, null, 2) + "\n",
};

$("downloads").addEventListener("click", ({ target }) => {
  const format = target.dataset.format;
  if (!format) return;
  const segments = recording.segments.map((segment) => {
    const words = wordsOf(segment);
    return { start: segment.start, end: segment.end, text: words.map(({ word }) => word).join(" "), words };
  });
  save(writers[format](segments), `${recording.file.name.replace(/\.[^.]*$/, "")}.${format}`);
});

// The words of a segment as they are now. One that was written between others has the time between them.
function wordsOf({ start, end, line }) {
  const words = [], texts = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
  let open = null; // the word that the next text continues
  while (texts.nextNode()) {
    const { data, parentElement } = texts.currentNode, heard = parentElement.closest(".word")?.dataset;
    for (const text of heard ? [data] : data.match(/\s+|\S+/g) ?? []) {
      if (/^\s/.test(text)) open = null;
      if (!text.trim()) continue;
      if (!open) words.push((open = { word: "", start: null, end: null, confidence: null }));
      open.word += text.trim().replace(/\s+/g, " ");
      open.start ??= heard ? Number(heard.start) : null;
      open.end = heard ? Number(heard.end) : open.end;
      open.confidence ??= heard ? Number(heard.confidence) : null;
      if (/\s$/.test(text)) open = null;
    }
  }
  for (const [i, word] of words.entries()) {
    word.start ??= words[i - 1]?.end ?? start;
    word.end ??= words.slice(i + 1).find((later) => later.start !== null)?.start ?? end;
  }
  return words;
}

function subtitle({ start, end, lines }, comma) {
  return `${clock(start, comma)} --> ${clock(end, comma)}\n${lines.join("\n")}\n`;
}

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function clock(seconds, comma) {
  const ms = Math.round(1000 * seconds);
  const [h, m, s] = [ms / 3600000, (ms / 60000) % 60, (ms / 1000) % 60].map((n) => String(Math.floor(n)).padStart(2, "0"));
  return `${h}:${m}:${s}${comma}${String(ms % 1000).padStart(3, "0")}`;
}
