"""Detections from candidates: one for each time that a keyword is spoken, as soon as it is certain.

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
from typing import Generic, TypeVar

from recitative.asr.decoders import Spoken
from recitative.text.words import Word


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
    """hold_frames: how long a candidate waits for a better one or a rival. margin, refractory_frames: see the module; 0
    = every candidate that does not overlap the last detection is a new one."""

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


Known = tuple[int, DetectionCandidate]
"""(the number of frames after which it was certain, the detection)"""


def new_tracks(num_keywords: int) -> tuple[Track, ...]:
    return (Track(),) * num_keywords


def follow(
    tracks: Sequence[Track], candidates: Iterable[DetectionCandidate], num_frames: int, rules: DetectionRules
) -> tuple[list[DetectionCandidate], tuple[Track, ...]]:
    """Add the candidates found since the last call, in the order of ``seen``, up to frame ``num_frames`` of the stream.

    Returns the detections that became certain, in that order, and the new state.
    """
    followed = list(tracks)
    known: list[Known] = []
    for candidate in candidates:
        track = _expired(followed[candidate.keyword], candidate.seen - 1, rules, known)
        followed[candidate.keyword] = _with_candidate(track, candidate, rules, known)
    followed = [_expired(track, num_frames, rules, known) for track in followed]
    return _in_order(known), tuple(followed)


def finish(
    tracks: Sequence[Track], candidates: Iterable[DetectionCandidate], num_frames: int, rules: DetectionRules
) -> list[DetectionCandidate]:
    """The detections that become certain at the end of the stream."""
    detections, followed = follow(tracks, candidates, num_frames, rules)
    known: list[Known] = []
    for track in followed:
        _close(track, num_frames, rules, known)
    return detections + _in_order(known)


def _in_order(known: list[Known]) -> list[DetectionCandidate]:
    return [candidate for _, candidate in sorted(known, key=lambda pair: (pair[0], pair[1].keyword))]


def pick(
    candidates: Sequence[DetectionCandidate], thresholds: Sequence[float], rules: DetectionRules
) -> list[DetectionCandidate]:
    """The detections of a whole stream with ``thresholds``, from candidates of a search with lower ones."""
    kept = [c for c in candidates if c.is_rival or c.confidence >= thresholds[c.keyword]]
    if all(c.is_rival for c in kept):
        return []
    return finish(new_tracks(len(thresholds)), kept, max(c.seen for c in kept), rules)


def _expired(track: Track, frame: int, rules: DetectionRules, known: list[Known]) -> Track:
    """The track after all candidates up to ``frame``."""
    if track.pending and (until := track.pending.seen + rules.hold_frames) <= frame:
        return _close(track, until, rules, known)
    return track


def _close(track: Track, frame: int, rules: DetectionRules, known: list[Known]) -> Track:
    """The pending candidate becomes a detection or is dropped for a rival; either way its frames are taken."""
    pending = track.pending
    if pending is None:
        return track
    if not any(rival.overlaps(pending) and rival.cost <= pending.cost + rules.margin for rival in track.rivals):
        known.append((frame, pending))
    return replace(track, pending=None, taken_until=pending.end)


def _with_candidate(track: Track, candidate: DetectionCandidate, rules: DetectionRules, known: list[Known]) -> Track:
    if candidate.is_rival:
        recent = (r for r in track.rivals if r.seen >= candidate.seen - 2 * rules.hold_frames)
        return replace(track, rivals=(*recent, candidate))
    lasts = rules.refractory_frames > 0 and candidate.seen - track.last_seen <= rules.refractory_frames
    track = replace(track, last_seen=candidate.seen)
    if candidate.begin < track.taken_until or (lasts and track.pending is None):
        return track
    pending = track.pending
    if pending and candidate.begin >= pending.end and not lasts:  # spoken again
        track = _close(track, candidate.seen, rules, known)
    elif pending and candidate.cost == pending.cost:  # the same occurrence, longer
        return replace(track, pending=replace(pending, end=max(pending.end, candidate.end)))
    elif pending and candidate.confidence <= pending.confidence:
        return track
    return replace(track, pending=candidate)


S = TypeVar("S")  # state of the search


@dataclass(frozen=True)
class DetectionState(Generic[S]):
    """State of a stream: of the search, and the detections so far."""

    search: S
    hits: tuple[Word, ...] = ()


class DetectionDecoder(Generic[S]):
    """Base of decoders (``asr.decoders``) whose words are detections, in the order in which they become certain."""

    def __init__(self, phrases: Sequence[str], frame_s: float) -> None:
        """phrases: the keywords; frame_s: seconds per frame."""
        self.phrases = tuple(phrases)
        self._frame_s = frame_s

    def partial(self, state: DetectionState[S]) -> Spoken:
        return Spoken((), state.hits)

    def forget(self, state: DetectionState[S]) -> DetectionState[S]:
        return replace(state, hits=())

    def word(self, hit: DetectionCandidate) -> Word:
        """A detection as a word with times in seconds."""
        begin_s, end_s = hit.begin * self._frame_s, hit.end * self._frame_s
        return Word(self.phrases[hit.keyword], round(begin_s, 3), round(end_s, 3), round(hit.confidence, 4))

    def words(self, state: DetectionState[S], hits: Iterable[DetectionCandidate]) -> tuple[Word, ...]:
        """The words of the state followed by new detections."""
        return (*state.hits, *map(self.word, hits))
