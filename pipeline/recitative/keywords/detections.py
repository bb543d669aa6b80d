"""Detections from candidates: one for each time that a keyword is spoken, as soon as it is certain; and their decoder.

A search proposes a candidate at every frame on which a keyword may just have ended. Of candidates that overlap, the
most probable one becomes a detection ``hold_frames`` after it was seen, unless a better one has come meanwhile; a
candidate that overlaps a detection is dropped. So a detection is reported at most ``hold_frames`` after its candidate,
and results do not depend on how the stream is cut.

Refractory period: candidates that follow each other within ``refractory_frames`` belong to one stretch of speech, which
gives one detection however long it lasts.

A rival is a longer word that contains the keyword, such as "sixty" for "six". If an overlapping rival is at most
``margin`` nats less probable than the keyword, the longer word was spoken, and nothing is detected.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from recitative.asr.decoding import DecodingResult
from recitative.stage import Array
from recitative.text.tokens import Word


@dataclass(frozen=True)
class DetectionCandidate:
    """A keyword on the frames [begin, end), found after ``seen`` frames."""

    keyword: int  # its index
    begin: int
    end: int
    seen: int
    cost: float  # -ln of its probability
    num_labels: int
    is_rival: bool = False

    @property
    def confidence(self) -> float:
        """0..1: geometric mean of the probability over the labels."""
        return math.exp(-self.cost / self.num_labels)

    def overlaps(self, other: DetectionCandidate) -> bool:
        return self.begin < other.end and other.begin < self.end


@dataclass(frozen=True)
class DetectionRules:
    """hold_frames: how long a candidate waits for a better one or a rival. margin, refractory_frames: see the module.

    With 0 refractory frames, every candidate that does not overlap the last detection is a new one.
    """

    hold_frames: int
    margin: float = 0.0
    refractory_frames: int = 0


@dataclass(frozen=True)
class Track:
    """State of one keyword: the best open candidate, recent rivals, the end of the last detection, and the frame of the
    last candidate."""

    pending: DetectionCandidate | None = None
    rivals: tuple[DetectionCandidate, ...] = ()
    taken_until: int = 0
    last_seen: float = -math.inf


_Certain = list[tuple[int, DetectionCandidate]]  # detections, each with the number of frames after which it was certain


def new_tracks(num_keywords: int) -> tuple[Track, ...]:
    return (Track(),) * num_keywords


def follow(
    tracks: Sequence[Track], candidates: Iterable[DetectionCandidate], num_frames: int, rules: DetectionRules
) -> tuple[list[DetectionCandidate], tuple[Track, ...]]:
    """Add the candidates found since the last call, in the order of ``seen``, up to frame ``num_frames`` of the stream.

    Returns the detections that became certain, in that order, and the new state.
    """
    followed = list(tracks)
    certain: _Certain = []
    for candidate in candidates:
        track = _expired(followed[candidate.keyword], candidate.seen - 1, rules, certain)
        followed[candidate.keyword] = _with_candidate(track, candidate, rules, certain)
    followed = [_expired(track, num_frames, rules, certain) for track in followed]
    return _in_order(certain), tuple(followed)


def finish(
    tracks: Sequence[Track], candidates: Iterable[DetectionCandidate], num_frames: int, rules: DetectionRules
) -> list[DetectionCandidate]:
    """The detections that become certain at the end of the stream."""
    detections, followed = follow(tracks, candidates, num_frames, rules)
    certain: _Certain = []
    for track in followed:
        _close(track, num_frames, rules, certain)
    return detections + _in_order(certain)


def _in_order(certain: _Certain) -> list[DetectionCandidate]:
    return [candidate for _, candidate in sorted(certain, key=lambda pair: (pair[0], pair[1].keyword))]


def pick(
    candidates: Sequence[DetectionCandidate], thresholds: Sequence[float], rules: DetectionRules
) -> list[DetectionCandidate]:
    """The detections of a whole stream with ``thresholds``, from candidates of a search with lower ones."""
    kept = [c for c in candidates if c.is_rival or c.confidence >= thresholds[c.keyword]]
    if all(c.is_rival for c in kept):
        return []
    return finish(new_tracks(len(thresholds)), kept, max(c.seen for c in kept), rules)


def _expired(track: Track, frame: int, rules: DetectionRules, certain: _Certain) -> Track:
    """The track after all candidates up to ``frame``."""
    if track.pending and (until := track.pending.seen + rules.hold_frames) <= frame:
        return _close(track, until, rules, certain)
    return track


def _close(track: Track, frame: int, rules: DetectionRules, certain: _Certain) -> Track:
    """The pending candidate becomes a detection or is dropped for a rival; either way its frames are taken."""
    pending = track.pending
    if pending is None:
        return track
    if not any(rival.overlaps(pending) and rival.cost <= pending.cost + rules.margin for rival in track.rivals):
        certain.append((frame, pending))
    return replace(track, pending=None, taken_until=pending.end)


def _with_candidate(track: Track, candidate: DetectionCandidate, rules: DetectionRules, certain: _Certain) -> Track:
    if candidate.is_rival:
        recent = (r for r in track.rivals if r.seen >= candidate.seen - 2 * rules.hold_frames)
        return replace(track, rivals=(*recent, candidate))
    lasts = rules.refractory_frames > 0 and candidate.seen - track.last_seen <= rules.refractory_frames
    track = replace(track, last_seen=candidate.seen)
    if candidate.begin < track.taken_until or (lasts and track.pending is None):
        return track
    pending = track.pending
    if pending and candidate.begin >= pending.end and not lasts:  # spoken again
        track = _close(track, candidate.seen, rules, certain)
    elif pending and candidate.cost == pending.cost:  # the same occurrence, longer
        return replace(track, pending=replace(pending, end=max(pending.end, candidate.end)))
    elif pending and candidate.confidence <= pending.confidence:
        return track
    return replace(track, pending=candidate)


S = TypeVar("S", bound="SearchState")


class SearchState(Protocol):
    """The state of a search after ``frame`` frames of a stream."""

    @property
    def frame(self) -> int: ...


class Search(Protocol[S]):
    """Finds candidates in log probabilities, frame by frame; see ``keywords.search``. No call changes a state."""

    def start(self) -> S: ...

    def step(self, log_probs: Array, state: S) -> tuple[list[DetectionCandidate], S]:
        """Candidates of the next frames (T, V), in the order of ``seen``, and the new state."""
        ...

    def finish(self, state: S) -> list[DetectionCandidate]:
        """Candidates that the end of the stream adds."""
        ...


@dataclass(frozen=True)
class DetectionState(Generic[S]):
    """State of a stream: of the search, of each keyword, and the detections so far."""

    search: S
    tracks: tuple[Track, ...]
    detections: tuple[Word, ...] = ()


class DetectionDecoder(Generic[S]):
    """A decoder (``asr.decoding``) whose words are detections, in the order in which they become certain."""

    def __init__(self, search: Search[S], phrases: Sequence[str], rules: DetectionRules, frame_s: float) -> None:
        """phrases: the keywords, in the order of the search; frame_s: seconds per frame."""
        self.phrases, self.rules = tuple(phrases), rules
        self._search, self._frame_s = search, frame_s

    def start(self) -> DetectionState[S]:
        return DetectionState(self._search.start(), new_tracks(len(self.phrases)))

    def step(self, log_probs: Array, state: DetectionState[S]) -> DetectionState[S]:
        candidates, search = self._search.step(log_probs, state.search)
        found, tracks = follow(state.tracks, candidates, search.frame, self.rules)
        return DetectionState(search, tracks, (*state.detections, *map(self._word, found)))

    def num_frames(self, state: DetectionState[S]) -> int:
        return state.search.frame

    def partial(self, state: DetectionState[S]) -> DecodingResult:
        return DecodingResult((), state.detections)

    def forget(self, state: DetectionState[S]) -> DetectionState[S]:
        return replace(state, detections=())

    def finish(self, state: DetectionState[S]) -> DecodingResult:
        found = finish(state.tracks, self._search.finish(state.search), state.search.frame, self.rules)
        return DecodingResult((), (*state.detections, *map(self._word, found)))

    def candidates(self, log_probs: Array) -> list[DetectionCandidate]:
        """All candidates in a whole recording (T, V), from which ``pick`` takes the detections."""
        found, state = self._search.step(log_probs, self._search.start())
        return found + self._search.finish(state)

    def _word(self, found: DetectionCandidate) -> Word:
        begin_s, end_s = found.begin * self._frame_s, found.end * self._frame_s
        return Word(self.phrases[found.keyword], round(begin_s, 3), round(end_s, 3), round(found.confidence, 4))
