"""What a recognizer hears, as people write it: with punctuation, capitals, and figures for numbers.

A sentence may go on from one segment to the next: its words so far are read again, and the next segment begins with a
capital only if it has ended. Of a partial result only words are rewritten that no later word can change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Literal

from recitative import pretrained
from recitative.asr.transcript import Final, Partial, Segment
from recitative.punctuation.labels import LOWER, SENTENCE_ENDS, LabelledWord
from recitative.punctuation.punctuator import Punctuator
from recitative.text.figures import NUMBER_WORDS, TITLES, find_figures, num_settled
from recitative.text.words import Word

TextForm = Literal["raw", "readable"]
LONGEST_CONTEXT = 100  # words of a sentence that are read again


@cache
def load_punctuator() -> Punctuator:
    """The model of English that ships."""
    from recitative.model.onnx_stage import open_file
    from recitative.punctuation.kind import PUNCTUATION

    punctuator: Punctuator = open_file(pretrained.find(pretrained.PUNCTUATION), PUNCTUATION)
    return punctuator


class ReadableText:
    """Rewrites the results of one recording or stream, in their order."""

    def __init__(self, punctuator: Punctuator | None = None) -> None:
        """punctuator: None = that of ``load_punctuator``."""
        self._punctuator = punctuator or load_punctuator()
        self._sentence: list[str] = []  # the words so far of one that has not ended
        self._said: list[str] = []  # the words that were read last,
        self._labels: list[LabelledWord] = []  # and what was restored to them

    def final(self, event: Final) -> Final:
        return replace(event, segments=tuple(self._segment(segment) for segment in event.segments))

    def partial(self, event: Partial) -> Partial:
        """Words that are not yet settled stay as they were heard, and are not stable."""
        stable = event.words[: event.num_stable]
        decided = [word.word for word in stable[: max(0, len(stable) - self._punctuator.lookahead)]]
        settled = num_settled(decided)
        written, _ = self._write(stable, settled)
        return replace(event, words=(*written, *event.words[settled:]), num_stable=len(written))

    def _segment(self, segment: Segment) -> Segment:
        written, self._sentence = self._write(segment.words, len(segment.words))
        return replace(segment, words=tuple(written))

    def _write(self, words: Sequence[Word], first: int) -> tuple[list[Word], list[str]]:
        """The first of these words rewritten, and the words of the last sentence if it has not ended."""
        before = len(self._sentence)
        said = [*self._sentence, *(word.word for word in words)]
        if said != self._said:  # most partial results have no further stable word
            self._said, self._labels = said, self._punctuator.restore(said)
        labels = self._labels[before:]
        # Numbers are no names, though books have some, such as Zero.
        labels = [label._replace(case=LOWER) if label.word in NUMBER_WORDS else label for label in labels]
        if before and labels:  # what was written before has no end of a sentence, whatever is read in it now
            labels[0] = labels[0]._replace(begins=False)
        ended = max((before + at for at, label in enumerate(labels, 1) if label.mark in SENTENCE_ENDS), default=0)
        written = [replace(word, word=label.text) for word, label in zip(words, labels, strict=True)][:first]
        for start, end, text in reversed(find_figures(said[before : before + first])):
            mark = "" if text in TITLES.values() else labels[end - 1].mark
            written[start:end] = [_joined(words[start:end], text if text.endswith((",", mark or ",")) else text + mark)]
        return written, said[ended:][-LONGEST_CONTEXT:]


def _joined(words: Sequence[Word], text: str) -> Word:
    """A word that stands for several, from the first's start to the last's end."""
    return Word(text, words[0].start_s, words[-1].end_s, min(word.confidence for word in words))
