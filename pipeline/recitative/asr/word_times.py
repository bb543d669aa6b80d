"""When words are said, from a file that somebody has checked: DATA/words.ctm, NIST's time-marked words.

    utterance channel start_s duration_s word [confidence]

with times from the start of the utterance, as 'recitative align' writes them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from recitative.data.directory import Utterance
from recitative.errors import DataError, Problem
from recitative.reading import read_text, shown
from recitative.score.spotting import Span
from recitative.text.words import Word

NAME = "words.ctm"
COLUMNS = "utterance channel start_s duration_s word [confidence]"
REMEDY = "correct it, or take the file away"


def read_ctm(path: Path) -> dict[str, list[Word]]:
    """utt_id -> its words in the order of their times, with a confidence of 1 where none is written.

    Raises one DataError for all lines that cannot be read.
    """
    found: dict[str, list[Word]] = defaultdict(list)
    problems: list[Problem] = []
    for number, line in enumerate(read_text(path, "a word and its times a line").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            utt_id, _, start, duration, word, *confidence = line.split()
            start_s, end_s = float(start), float(start) + float(duration)
            sure = float(confidence[0]) if confidence else 1.0
            if not (0 <= start_s <= end_s < math.inf and 0 <= sure <= 1 and len(confidence) < 2):
                raise ValueError
            found[utt_id].append(Word(word, start_s, end_s, sure))
        except ValueError:
            problems.append(
                Problem(f"{path}:{number}", f"'{shown(line, 60)}' is no word with its time", COLUMNS, REMEDY)
            )
    if problems:
        raise DataError.collect(problems)
    return {utt_id: sorted(words, key=lambda word: (word.start_s, word.end_s)) for utt_id, words in found.items()}


def read_word_times(folder: Path, utterances: Iterable[Utterance]) -> dict[str, list[Span]]:
    """utt_id -> when each word of its transcript is said; without the utterances that the file lacks, and empty where
    there is none.

    Raises one DataError for all lines that cannot be read, or for all utterances of other words than their transcript.
    """
    path = folder / NAME
    if not path.exists():
        return {}
    words = read_ctm(path)
    known = [utterance for utterance in utterances if utterance.utt_id in words]
    problems: list[Problem] = []
    for utterance in known:
        if (said := " ".join(word.word for word in words[utterance.utt_id])) != utterance.text:
            found = f"utterance '{utterance.utt_id}' says '{_shortened(said)}'"
            problems.append(Problem(str(path), found, f"its transcript, '{_shortened(utterance.text or '')}'", REMEDY))
    if problems:
        raise DataError.collect(problems)
    return {u.utt_id: [(word.start_s, word.end_s) for word in words[u.utt_id]] for u in known}


def _shortened(text: str, size: int = 40) -> str:
    return text if len(text) <= size else f"{text[:size]}..."
