"""A data directory in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Statistics:
    """Durations are in seconds and cover the utterances whose audio could be measured."""

    utterances: int
    speakers: int
    recordings: int
    measured: int  # utterances with a duration
    total_s: float
    shortest_s: float
    median_s: float
    longest_s: float
    words: int
    distinct_words: int
    characters: Mapping[str, int]  # character -> how often

    @classmethod
    def of(
        cls, speakers: Sequence[str], recordings: int, durations_s: Sequence[float], texts: Sequence[str]
    ) -> Statistics:
        """``speakers`` and ``texts``: one per utterance."""
        ordered = sorted(durations_s) or [0.0]
        words = Counter(word for text in texts for word in text.split())
        characters = Counter(character for text in texts for character in text)
        return cls(
            utterances=len(speakers),
            speakers=len(set(speakers)),
            recordings=recordings,
            measured=len(durations_s),
            total_s=sum(ordered),
            shortest_s=ordered[0],
            median_s=median(ordered),
            longest_s=ordered[-1],
            words=words.total(),
            distinct_words=len(words),
            characters=dict(sorted(characters.items())),
        )

    def rows(self) -> list[tuple[str, str]]:
        """Name and value of each line of a printed table."""
        alphabet = "".join("␣" if character == " " else character for character in self.characters)
        durations = f"{self.shortest_s:.2f} / {self.median_s:.2f} / {self.longest_s:.2f} s"
        return [
            ("utterances", str(self.utterances)),
            ("speakers", str(self.speakers)),
            ("recordings", str(self.recordings)),
            ("audio", f"{self.total_s / 3600:.2f} h" + self._unmeasured()),
            ("durations, min / median / max", durations),
            ("words, distinct", f"{self.words}, {self.distinct_words}"),
            ("characters, distinct", f"{sum(self.characters.values())}, {len(self.characters)}: {alphabet}"),
        ]

    def _unmeasured(self) -> str:
        left_out = self.utterances - self.measured
        return f" (not measured: {left_out})" if left_out else ""
