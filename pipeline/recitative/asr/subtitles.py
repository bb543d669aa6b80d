"""Subtitles: which words are shown together, in which lines, from when to when.

The limits are those of the BBC's and Netflix's guidelines. Within a segment, the cuts are the best of all by dynamic
programming: as few cues as possible, ended by pauses rather than in the middle of a phrase, and none too short to read.
A segment ends a cue, since it ends at a pause, so cues are written as soon as their segment is known.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Literal

from recitative.asr.transcript import Final, Partial
from recitative.text.words import Word

LINE_CHARACTERS = 42  # two lines of this length at most,
SHORTEST_S, LONGEST_S = 1.0, 7.0  # shown this long,
PAUSE_S = 0.8  # and ended where the speaker pauses so long
PHRASE_S = 0.3  # a pause that usually ends a phrase: the best place for a cut

Style = Literal["srt", "vtt"]


@dataclass(frozen=True)
class Cue:
    """One subtitle: one or two lines, and when they are shown, in seconds."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]

    def text(self, style: Style) -> str:
        """Times and lines, as in SubRip without the number, or as in WebVTT."""
        comma, lines = (
            (",", self.lines) if style == "srt" else (".", [escape(line, quote=False) for line in self.lines])
        )
        return f"{_clock(self.start_s, comma)} --> {_clock(self.end_s, comma)}\n" + "\n".join(lines) + "\n"


class Subtitles:
    """Cues of a recording or a stream, segment by segment; none overlap.

    Where speech is too fast for cues of ``SHORTEST_S``, the next cue waits for the end of the last.
    """

    def __init__(self) -> None:
        self._end_s = 0.0

    def add(self, words: Sequence[Word]) -> list[Cue]:
        """The cues of the next segment."""
        cues = []
        for row in _cut([piece for word in words for piece in _pieces(word)]):
            start_s = round(max(row[0].start_s, self._end_s), 3)
            self._end_s = round(min(max(row[-1].end_s, start_s + SHORTEST_S), start_s + LONGEST_S), 3)
            cues.append(Cue(start_s, self._end_s, _lines(row)))
        return cues


class RollingCaptions:
    """The last lines of live captions. A line does not change but at its end, unless its words do."""

    def __init__(self, num_lines: int = 2) -> None:
        self._num_lines = num_lines
        self._before: list[str] = []  # of the utterances that have ended

    def add(self, event: Partial | Final) -> str:
        """The lines after an event, each with a line end. An utterance begins a line."""
        own = textwrap.wrap(event.text, LINE_CHARACTERS, break_on_hyphens=False)
        lines = [*self._before, *own][-self._num_lines :]
        if isinstance(event, Final):
            self._before = lines
        return "".join(f"{line}\n" for line in lines)


def _pieces(word: Word) -> Iterator[Word]:
    """The word, or, if it does not fit a line, pieces that share its time."""
    count = -(-len(word.word) // LINE_CHARACTERS)
    each_s = (word.end_s - word.start_s) / count if count else 0.0
    for number in range(count):
        start = number * LINE_CHARACTERS
        times = word.start_s + number * each_s, word.start_s + (number + 1) * each_s
        yield replace(word, word=word.word[start : start + LINE_CHARACTERS], start_s=times[0], end_s=times[1])


def _cut(words: Sequence[Word]) -> list[Sequence[Word]]:
    """The words of each cue, so that the sum of ``_cost`` is least."""
    best: list[tuple[float, int]] = [(0.0, 0)]  # for the words before each: the cost, and where the last cue begins
    for end in range(1, len(words) + 1):
        options = []
        for start in range(end - 1, -1, -1):
            if end - start > 1 and not _fits(words[start:end]):
                break
            options.append((best[start][0] + _cost(words, start, end), start))
        best.append(min(options))
    rows: list[Sequence[Word]] = []
    end = len(words)
    while end:
        start = best[end][1]
        rows.insert(0, words[start:end])
        end = start
    return rows


def _fits(words: Sequence[Word]) -> bool:
    """Whether several words may be one cue; if not, no more of them may."""
    long = words[-1].end_s - words[0].start_s > LONGEST_S
    return not long and words[1].start_s - words[0].end_s < PAUSE_S and bool(_breaks(words))


def _cost(words: Sequence[Word], start: int, end: int) -> float:
    """Of a cue of words[start:end]: one, and more for a cut within a phrase, for too short a time, and, to share the
    words evenly, for a long time."""
    is_last = end == len(words)
    pause_s = PHRASE_S if is_last else words[end].start_s - words[end - 1].end_s
    shown_s = (words[end - 1].end_s if is_last else words[end].start_s) - words[start].start_s
    cost = 1 + max(0.0, 1 - pause_s / PHRASE_S)
    return cost + 2 * max(0.0, 1 - shown_s / SHORTEST_S) + 0.2 * (shown_s / LONGEST_S) ** 2


def _lines(words: Sequence[Word]) -> tuple[str, ...]:
    """One line, or two of about the same length, broken where there is a pause, the first one rather the shorter."""
    return min(_breaks(words), key=lambda found: found[0])[1]


def _breaks(words: Sequence[Word]) -> list[tuple[float, tuple[str, ...]]]:
    """All ways to write words in at most two lines, with a cost in characters; one line if it is enough."""
    texts = [word.word for word in words]
    if len(whole := " ".join(texts)) <= LINE_CHARACTERS:
        return [(0.0, (whole,))]
    found: list[tuple[float, tuple[str, ...]]] = []
    for place in range(1, len(texts)):
        lines = " ".join(texts[:place]), " ".join(texts[place:])
        longest = max(map(len, lines))
        if longest <= LINE_CHARACTERS:
            pause_s = min(max(0.0, words[place].start_s - words[place - 1].end_s), PHRASE_S)
            found.append((longest - LINE_CHARACTERS / 4 * pause_s / PHRASE_S, lines))
    return found


def _clock(seconds: float, comma: str) -> str:
    milliseconds = round(1000 * seconds)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}{comma}{milliseconds % 1000:03d}"
