// The page of the server: live captions and sounds, transcripts of recordings, and music. No build step, no libraries.
import { offerLive } from "./live.js";
import { offerMusic } from "./music.js";
import { $, call, hasToken, tell, useToken } from "./page.js";
import { offerRecordings } from "./recordings.js";

// Shows what the server's models can do, or asks for its token.
async function connect() {
  let models;
  try {
    models = (await (await call("v1/models")).json()).data;
  } catch (error) {
    $("access").hidden = error.status !== 401;
    if (error.status !== 401) return tell(error.message);
    tell(hasToken() ? "This server has another token." : "");
    return $("token").focus();
  }
  tell("");
  $("access").hidden = true;
  $("models").replaceChildren(...models.map(described).flatMap((text, i) => (i ? [" · ", text] : [text])));
  offerRecordings(models);
  offerLive(models);
  offerMusic(models);
}

function described({ id, latency_ms: latency }) {
  return typeof latency === "number" ? `${id}, ${Math.round(latency)} ms of look-ahead` : id;
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken($("token").value);
  connect();
});

// A file that misses its place is not opened instead of the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());

connect();
