"""From candidates to hits: one for each time that a keyword is said, as soon as that is known.

A search proposes a candidate at every frame on which a keyword may just have ended. Of those that overlap the best one
stands, and is a hit ``hold_frames`` after it was seen, unless a better one came meanwhile; what overlaps a hit is no
hit any more. So a hit is told at most ``hold_frames`` after its candidate, and no cutting of the stream changes it.

Where a search can tell that nothing was said, a keyword is not said again before that was so for ``rearm_frames``:
candidates that follow each other more closely are one stretch, in which there is one hit however long it lasts.

A rival is a longer word with the keyword within, as "sixty" is for "six". Where one that overlaps is at most ``margin``
nats less probable than the keyword, what was said is the longer word, and there is no hit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Candidate:
    """A keyword on the frames [begin, end), known once ``seen`` frames were heard."""

    keyword: int  # its number
    begin: int
    end: int
    seen: int
    cost: float  # -ln of its probability
    num_labels: int
    is_rival: bool = False

    @property
    def confidence(self) -> float:
        """0..1: the geometric mean over the labels."""
        return math.exp(-self.cost / self.num_labels)

    def overlaps(self, other: Candidate) -> bool:
        return self.begin < other.end and other.begin < self.end


@dataclass(frozen=True)
class HitRules:
    """hold_frames: how long a candidate waits for a better one or a rival; margin, rearm_frames: see above, 0 = any
    candidate that does not overlap the last hit is another."""

    hold_frames: int
    margin: float = 0.0
    rearm_frames: int = 0


@dataclass(frozen=True)
class Track:
    """What is open of one keyword: the best candidate, rivals of the last frames, where the last hit ended, and when
    the last candidate was seen."""

    pending: Candidate | None = None
    rivals: tuple[Candidate, ...] = ()
    taken_until: int = 0
    last_seen: float = -math.inf


Known = tuple[int, Candidate]
"""A hit, behind the number of frames after which it was certain."""


def new_tracks(num_keywords: int) -> tuple[Track, ...]:
    return (Track(),) * num_keywords


def follow(
    tracks: Sequence[Track], candidates: Iterable[Candidate], num_frames: int, rules: HitRules
) -> tuple[list[Candidate], tuple[Track, ...]]:
    """The candidates seen since the last call, in the order of ``seen``, up to ``num_frames`` in all.

    Returns the hits that are certain by now, in the order in which they became so.
    """
    followed = list(tracks)
    known: list[Known] = []
    for candidate in candidates:
        track = _expired(followed[candidate.keyword], candidate.seen - 1, rules, known)
        followed[candidate.keyword] = _with_candidate(track, candidate, rules, known)
    followed = [_expired(track, num_frames, rules, known) for track in followed]
    return _in_order(known), tuple(followed)


def finish(
    tracks: Sequence[Track], candidates: Iterable[Candidate], num_frames: int, rules: HitRules
) -> list[Candidate]:
    """The stream ends here: nothing better can come."""
    hits, followed = follow(tracks, candidates, num_frames, rules)
    known: list[Known] = []
    for track in followed:
        _close(track, num_frames, rules, known)
    return hits + _in_order(known)


def _in_order(known: list[Known]) -> list[Candidate]:
    return [hit for _, hit in sorted(known, key=lambda pair: (pair[0], pair[1].keyword))]


def pick(candidates: Sequence[Candidate], thresholds: Sequence[float], rules: HitRules) -> list[Candidate]:
    """The hits of a whole stream: of candidates of a search with lower thresholds those it would find with these."""
    kept = [c for c in candidates if c.is_rival or c.confidence >= thresholds[c.keyword]]
    if all(c.is_rival for c in kept):
        return []
    return finish(new_tracks(len(thresholds)), kept, max(c.seen for c in kept), rules)


def _expired(track: Track, frame: int, rules: HitRules, known: list[Known]) -> Track:
    """After all candidates up to ``frame``."""
    if track.pending and (until := track.pending.seen + rules.hold_frames) <= frame:
        return _close(track, until, rules, known)
    return track


def _close(track: Track, frame: int, rules: HitRules, known: list[Known]) -> Track:
    """What is pending becomes a hit, or gives way to a rival; either way its frames are taken."""
    pending = track.pending
    if pending is None:
        return track
    if not any(rival.overlaps(pending) and rival.cost <= pending.cost + rules.margin for rival in track.rivals):
        known.append((frame, pending))
    return replace(track, pending=None, taken_until=pending.end)


def _with_candidate(track: Track, candidate: Candidate, rules: HitRules, known: list[Known]) -> Track:
    if candidate.is_rival:
        recent = (r for r in track.rivals if r.seen >= candidate.seen - 2 * rules.hold_frames)
        return replace(track, rivals=(*recent, candidate))
    lasts = rules.rearm_frames > 0 and candidate.seen - track.last_seen <= rules.rearm_frames
    track = replace(track, last_seen=candidate.seen)
    if candidate.begin < track.taken_until or (lasts and track.pending is None):
        return track
    pending = track.pending
    if pending and candidate.begin >= pending.end and not lasts:  # said again
        track = _close(track, candidate.seen, rules, known)
    elif pending and candidate.cost == pending.cost:  # it lasts
        return replace(track, pending=replace(pending, end=max(pending.end, candidate.end)))
    elif pending and candidate.confidence <= pending.confidence:
        return track
    return replace(track, pending=candidate)
