// Subtitles as the command line writes them: at most two lines, from 1 to 7 s, cut at pauses. The rules, and their
// reasons, are those of recitative/asr/transcript.py.
const LINE_CHARACTERS = 42, SHORTEST_S = 1, LONGEST_S = 7, PAUSE_S = 0.8, PHRASE_S = 0.3;

// segments: of { words: [{ word, start, end }] }. Returns [{ start, end, lines }]; none overlap.
export function cuesOf(segments) {
  const cues = [];
  for (const { words } of segments)
    for (const row of cut(words.flatMap(pieces))) {
      const start = rounded(Math.max(row[0].start, cues.at(-1)?.end ?? 0));
      const end = rounded(Math.min(Math.max(row.at(-1).end, start + SHORTEST_S), start + LONGEST_S));
      cues.push({ start, end, lines: breaks(row).reduce((a, b) => (b.cost < a.cost ? b : a)).lines });
    }
  return cues;
}

// The word, or, if it does not fit a line, pieces that share its time.
function pieces({ word, start, end }) {
  const count = Math.ceil(word.length / LINE_CHARACTERS), each = (end - start) / count;
  return Array.from({ length: count }, (_, i) => ({
    word: word.slice(i * LINE_CHARACTERS, (i + 1) * LINE_CHARACTERS), start: start + i * each, end: start + (i + 1) * each,
  }));
}

// The words of each cue, with the lowest sum of costs.
function cut(words) {
  const best = [{ cost: 0, start: 0 }]; // of the words before each: the cost, and where the last cue begins
  for (let end = 1; end <= words.length; end++) {
    best.push({ cost: Infinity });
    for (let start = end - 1; start >= 0 && (end - start === 1 || fits(words.slice(start, end))); start--) {
      const cost = best[start].cost + costOf(words, start, end);
      if (cost <= best[end].cost) best[end] = { cost, start };
    }
  }
  const rows = [];
  for (let end = words.length; end; end = best[end].start) rows.unshift(words.slice(best[end].start, end));
  return rows;
}

function fits(words) {
  const long = words.at(-1).end - words[0].start > LONGEST_S;
  return !long && words[1].start - words[0].end < PAUSE_S && breaks(words).length > 0;
}

function costOf(words, start, end) {
  const next = words[end], last = words[end - 1];
  const pause = next ? next.start - last.end : PHRASE_S;
  const shown = (next ? next.start : last.end) - words[start].start;
  const cost = 1 + Math.max(0, 1 - pause / PHRASE_S);
  return cost + 2 * Math.max(0, 1 - shown / SHORTEST_S) + 0.2 * (shown / LONGEST_S) ** 2;
}

// All ways to write words in at most two lines, with a cost in characters.
function breaks(words) {
  const texts = words.map(({ word }) => word), whole = texts.join(" ");
  if (whole.length <= LINE_CHARACTERS) return [{ cost: 0, lines: [whole] }];
  const found = [];
  for (let place = 1; place < texts.length; place++) {
    const lines = [texts.slice(0, place).join(" "), texts.slice(place).join(" ")];
    const longest = Math.max(...lines.map((line) => line.length));
    const pause = Math.min(Math.max(0, words[place].start - words[place - 1].end), PHRASE_S);
    if (longest <= LINE_CHARACTERS) found.push({ cost: longest - ((LINE_CHARACTERS / 4) * pause) / PHRASE_S, lines });
  }
  return found;
}

const rounded = (seconds) => Math.round(1000 * seconds) / 1000;
