"""When words are said, from a file that somebody has checked: DATA/words.ctm, NIST's time-marked words.

    utterance channel start_s duration_s word [confidence]

with times from the start of the utterance, as 'recitative align' writes them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from recitative.data.directory import Utterance
from recitative.errors import DataError, Problem
from recitative.score.spotting import Span

NAME = "words.ctm"
COLUMNS = "utterance channel start_s duration_s word"
REMEDY = "correct it, or take the file away"


def read_word_times(folder: Path, utterances: Iterable[Utterance]) -> dict[str, list[Span]]:
    """utt_id -> when each word of its transcript is said; without the utterances that the file lacks, and empty where
    there is none.

    Raises one DataError for all lines that cannot be read, and for all utterances of other words than their transcript.
    """
    path = folder / NAME
    if not path.exists():
        return {}
    rows: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    problems: list[Problem] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            utt_id, _, start, duration, word, *_ = line.split()
            rows[utt_id].append((float(start), float(start) + float(duration), word))
        except ValueError:
            problems.append(Problem(f"{path}:{number}", f"'{line}' is no word with its time", COLUMNS, REMEDY))
    spans: dict[str, list[Span]] = {}
    for utterance in utterances:
        if utterance.utt_id not in rows:
            continue
        in_order = sorted(rows[utterance.utt_id])
        if (said := " ".join(word for _, _, word in in_order)) != utterance.text:
            found = f"utterance '{utterance.utt_id}' says '{_shortened(said)}'"
            problems.append(Problem(str(path), found, f"its transcript, '{_shortened(utterance.text or '')}'", REMEDY))
        spans[utterance.utt_id] = [(start_s, end_s) for start_s, end_s, _ in in_order]
    if problems:
        raise DataError.collect(problems)
    return spans


def _shortened(text: str, size: int = 40) -> str:
    return text if len(text) <= size else f"{text[:size]}..."
