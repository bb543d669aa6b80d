"""What all decoders whose words are hits have in common, whatever finds the hits. NumPy only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from recitative.asr.decoders import Spoken
from recitative.decoding.detections import DetectionCandidate
from recitative.text.words import Word

S = TypeVar("S")  # where the search is


@dataclass(frozen=True)
class HitState(Generic[S]):
    """Of a stream: where the search is, and the hits so far."""

    search: S
    hits: tuple[Word, ...] = ()


class HitDecoder(Generic[S]):
    """The part of a decoder (``asr.decoders``) that tells of hits, in the order in which they are certain."""

    def __init__(self, phrases: Sequence[str], frame_s: float) -> None:
        """phrases: what is looked for; frame_s: seconds of a frame."""
        self.phrases = tuple(phrases)
        self._frame_s = frame_s

    def partial(self, state: HitState[S]) -> Spoken:
        return Spoken((), state.hits)

    def forget(self, state: HitState[S]) -> HitState[S]:
        return replace(state, hits=())

    def word(self, hit: DetectionCandidate) -> Word:
        """With its times in seconds."""
        begin_s, end_s = hit.begin * self._frame_s, hit.end * self._frame_s
        return Word(self.phrases[hit.keyword], round(begin_s, 3), round(end_s, 3), round(hit.confidence, 4))

    def words(self, state: HitState[S], hits: Iterable[DetectionCandidate]) -> tuple[Word, ...]:
        """Those of the state, and these behind them."""
        return (*state.hits, *map(self.word, hits))
