"""Keyword spotting: find phrases in a stream of CTC log probabilities without training for them, or labels in those of
a classifier; and make detections of the candidates. NumPy only.

Phrases (``PhraseSearch``). At every frame t the search knows, for each label sequence of a phrase, the probability that
the path has just written it,

    a(t, j) = p(t, token_j) [a(t-1, j) + a(t-1, j-1) + a(t-1, j-2) where labels differ],    j = label, blank, label, ...

the forward sum of Graves et al. 2006, section 4.1. Paths enter on every frame with the probability 1 - p(t-1, label_1),
since otherwise the run of the first label would continue, or with that of a word boundary. Frames are independent given
the audio, so this is the exact sum over all paths, and no filler model is needed. The confidence is the geometric mean
over the L labels, a ** (1 / L), 0..1: one scale for long and short phrases. Time and memory per frame don't grow with
the stream. The span of a detection is that of the most probable way into each state.

Where tokens mark word boundaries, a phrase must begin and end at one. The boundary is a token that begins words, such
as the space, with or without blanks behind it; or K blanks in a row; or the start or end of the segment:

    u(t) = p(t, space) + p(t, blank) u(t-1)                       the last label was a space; u(-1) = 1
    boundary(t) = u(t) + (1 - u(t-K)) prod_{i<K} p(t-i, blank)    or else K frames of silence precede

Where they don't, as with phones, ``Keyword.rivals`` are longer words that contain it.

Lengerich & Hannun 2016 score a window by the same sum, with a filler; Hwang et al. 2015 and Zhuang et al. 2016 also go
label by label, by the best path and by edit distance.

Labels (``LabelSearch``). The confidence of keyword j at frame t is

    smoothed(t, j) = mean of p(i, j) over the last ``smooth_frames`` frames i <= t

as in Chen et al. 2014, "Small-footprint keyword spotting using deep neural networks", section 2.3. There the labels of
a keyword's parts are multiplied; here a keyword is one label of the classifier. Labels that are no keywords, such as
those of silence and of other words, are the filler. A candidate covers the frames of its smoothing window and those
before them that the first posterior depends on.

Detections. A search proposes a candidate at every frame on which a keyword may just have ended. Of candidates that
overlap, the most probable one becomes a detection ``hold_frames`` after it was seen, unless a better one has come
meanwhile; a candidate that overlaps a detection is dropped. So a detection is reported at most ``hold_frames`` after
its candidate, and results do not depend on how the stream is cut.

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

import numpy as np

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


BLANK = 0
BLOCK = 256  # frames whose probabilities are computed at once
ENTRY_COLUMNS = 2  # before the first state; paths enter from them


LOWEST = 1e-9  # a confidence that isn't 0


@dataclass(frozen=True)
class EdgeState:
    """spaces: u of the last K + 1 frames, the oldest first; blanks: p(blank) of the last K frames."""

    spaces: tuple[float, ...]
    blanks: tuple[float, ...]

    @property
    def silence(self) -> float:
        """The probability that the last K frames are blanks."""
        return math.prod(self.blanks)

    @property
    def boundary(self) -> float:
        """The probability that a word may begin at the next frame."""
        return self.spaces[-1] + (1.0 - self.spaces[0]) * self.silence


@dataclass(frozen=True)
class WordEdges:
    """How the tokens of a table mark word boundaries.

    starts:         labels that begin words; only the space in a table of characters
    before:         whether one must precede a phrase; False if the phrase's first label is one itself
    silence_frames: K >= 1 blanks in a row are a boundary too
    """

    starts: tuple[int, ...]
    before: bool
    silence_frames: int

    def start(self) -> EdgeState:
        """The state at the start of a segment, which is a word boundary."""
        return EdgeState((1.0,) * (self.silence_frames + 1), (0.0,) * self.silence_frames)

    def step(self, state: EdgeState, probabilities: Array) -> EdgeState:
        """The state after one more frame of token probabilities (V,)."""
        space, blank = float(probabilities[list(self.starts)].sum()), float(probabilities[BLANK])
        return EdgeState((*state.spaces[1:], space + blank * state.spaces[-1]), (*state.blanks[1:], blank))


@dataclass(frozen=True)
class ForwardState:
    """Forward probabilities of R phrases of at most S states after a frame.

    probability: (R, 2 + S) of the paths that are in a state; 0 in the entry columns
    span:        (2, R, 2 + S) the frames [begin, end) of the phrase on the most probable of them
    first:       (R,) the probability of the first label at the frame
    """

    probability: Array
    span: Array
    first: Array


class ForwardRecursion:
    """Forward probabilities of many phrases in one array, frame by frame.

    The states of a row are label, blank, label, ..., label; if words end with ``starts``, also a blank and one of
    these.
    """

    def __init__(self, rows: Sequence[Sequence[int]], starts: Sequence[int] = ()) -> None:
        width = max(map(len, rows)) * 2 + (1 if starts else -1)
        self._tokens = np.full((len(rows), width), BLANK)
        self._skips = np.zeros((len(rows), width))  # 1 where the blank before may be skipped
        for row, labels in enumerate(rows):
            self._tokens[row, : 2 * len(labels) : 2] = labels
            self._skips[row, 2 * np.flatnonzero(np.diff(labels)) + 2] = 1.0
        self._rows = np.arange(len(rows))
        self._last = np.array([2 * len(labels) for labels in rows])  # its column
        self._starts = list(starts)
        self._is_start = np.isin([labels[-1] for labels in rows], self._starts)  # the last label begins a word
        self._first = np.array([labels[0] for labels in rows])
        self._final = np.array([labels[-1] for labels in rows])

    def start(self) -> ForwardState:
        shape = (len(self._rows), self._tokens.shape[1] + ENTRY_COLUMNS)
        return ForwardState(np.zeros(shape), np.zeros((2, *shape), np.int64), np.zeros(len(self._rows)))

    def advance(self, probabilities: Array, old: ForwardState, entry: float | None, frame: int) -> ForwardState:
        """The state after frame number ``frame``, with token probabilities (V,).

        entry: the probability that a phrase may begin on it; None: that of any path that is not in its first label.
        """
        before, span = old.probability.copy(), old.span.copy()
        before[:, 1] = 1.0 - old.first if entry is None else entry
        span[0, :, 1] = frame
        stay, move, skip = before[:, 2:], before[:, 1:-1], before[:, :-2] * self._skips
        emitted = probabilities[self._tokens]
        new, new_span = np.zeros_like(before), np.zeros_like(span)
        new[:, 2:] = emitted * (stay + move + skip)
        comes = np.maximum(move, skip) > stay
        from_before = np.where(skip > move, span[:, :, :-2], span[:, :, 1:-1])
        new_span[:, :, 2:] = np.where(comes, from_before, span[:, :, 2:])
        new_span[1, self._rows, self._last] = frame + 1
        if self._starts:
            self._fill_next_word(probabilities, before, new, new_span, span)
        return ForwardState(new, new_span, probabilities[self._first])

    def _fill_next_word(self, probabilities: Array, before: Array, new: Array, new_span: Array, span: Array) -> None:
        """Fill the state after the last label and its blank, the start of the next word; a run of it isn't one."""
        rows, last = self._rows, self._last
        starting = float(probabilities[self._starts].sum())
        direct = starting - probabilities[self._final] * self._is_start
        stay, move, skip = (before[rows, last + ahead] for ahead in (2, 1, 0))
        new[rows, last + 2] = starting * (stay + move) + direct * skip
        source = np.where(skip > move, last, last + 1)
        new_span[:, rows, last + 2] = np.where(
            np.maximum(move, skip) > stay, span[:, rows, source], span[:, rows, last + 2]
        )

    def ending(self, forward: ForwardState) -> tuple[Array, Array]:
        """Probabilities (R,) and spans (2, R) of paths in their last label."""
        return forward.probability[self._rows, self._last], forward.span[:, self._rows, self._last]

    def followed(self, forward: ForwardState) -> tuple[Array, Array]:
        """The same for paths that have begun the next word."""
        return forward.probability[self._rows, self._last + 2], forward.span[:, self._rows, self._last + 2]

    def written(self, forward: ForwardState) -> tuple[Array, Array]:
        """The same for paths in their last label or on blanks behind it."""
        label, blank = (forward.probability[self._rows, self._last + ahead] for ahead in (0, 1))
        column = np.where(blank > label, self._last + 1, self._last)
        return label + blank, forward.span[:, self._rows, column]


@dataclass(frozen=True)
class Keyword:
    """A phrase as label sequences, and those of longer words that contain one of them."""

    phrase: str
    spellings: tuple[tuple[int, ...], ...]
    rivals: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class PhraseState:
    """The state of a stream after ``frame`` frames.

    edge:  of word boundaries, if the search uses them
    ended: probabilities (R,) and spans (2, R) of paths in their last labels on the last K frames, oldest first
    """

    frame: int
    forward: ForwardState
    edge: EdgeState | None
    ended: tuple[tuple[Array, Array], ...] = ()


class PhraseSearch:
    """Searches for all keywords at once, in R rows of label sequences. States are values: ``step`` changes none."""

    def __init__(
        self,
        keywords: Sequence[Keyword],
        thresholds: Sequence[float],
        *,
        edges: WordEdges | None = None,
        margin: float = 0.0,
    ) -> None:
        """thresholds: for each keyword, the confidence, above 0, that a candidate must reach.

        edges: None finds phrases within words too; margin: nats by which a rival may be less probable than the least
        probable candidate.
        """
        rows = [(number, labels, False) for number, word in enumerate(keywords) for labels in word.spellings]
        rows += [(number, labels, True) for number, word in enumerate(keywords) for labels in word.rivals]
        self._rows = [(number, len(labels), is_rival) for number, labels, is_rival in rows]
        self._recursion = ForwardRecursion([labels for _, labels, _ in rows], edges.starts if edges else ())
        self._edges = edges
        longest = [max(map(len, word.spellings)) for word in keywords]
        bars = [
            thresholds[number] ** (longest[number] if is_rival else count) * np.exp(-margin * is_rival)
            for number, count, is_rival in self._rows
        ]
        self._bars = np.array(bars)

    def start(self) -> PhraseState:
        nothing = np.zeros(len(self._rows)), np.zeros((2, len(self._rows)), np.int64)
        silence = self._edges.silence_frames if self._edges else 0
        edge = self._edges.start() if self._edges else None
        return PhraseState(0, self._recursion.start(), edge, (nothing,) * silence)

    def step(self, log_probs: Array, state: PhraseState) -> tuple[list[DetectionCandidate], PhraseState]:
        """Candidates of the next frames (T, V), in order of time, and the new state."""
        found: list[DetectionCandidate] = []
        for first in range(0, len(log_probs), BLOCK):
            for frame in np.exp(log_probs[first : first + BLOCK].astype(np.float64)):
                state, new = self._frame(frame, state)
                found += new
        return found, state

    def finish(self, state: PhraseState) -> list[DetectionCandidate]:
        """The end of the segment is a word boundary: candidates that waited for one."""
        return self._candidates(*self._recursion.written(state.forward), state.frame) if self._edges else []

    def _frame(self, probabilities: Array, state: PhraseState) -> tuple[PhraseState, list[DetectionCandidate]]:
        """One frame of token probabilities (V,)."""
        entry = state.edge.boundary if state.edge and self._edges and self._edges.before else None
        forward = self._recursion.advance(probabilities, state.forward, entry, state.frame)
        seen = state.frame + 1
        ending = self._recursion.ending(forward)
        if self._edges is None or state.edge is None:
            return PhraseState(seen, forward, None), self._candidates(*ending, seen)
        edge = self._edges.step(state.edge, probabilities)
        found = self._candidates(*self._recursion.followed(forward), seen)
        in_silence, spans = state.ended[0]
        found += self._candidates(in_silence * edge.silence, spans, seen)
        return PhraseState(seen, forward, edge, (*state.ended[1:], ending)), found

    def _candidates(self, probabilities: Array, spans: Array, seen: int) -> list[DetectionCandidate]:
        """probabilities (R,), spans (2, R)."""
        found = []
        for row in np.flatnonzero(probabilities >= self._bars).tolist():
            number, count, is_rival = self._rows[row]
            begin, end = spans[:, row].tolist()
            found.append(
                DetectionCandidate(number, begin, end, seen, -float(np.log(probabilities[row])), count, is_rival)
            )
        return found


@dataclass(frozen=True)
class LabelState:
    """The state of a stream after ``frame`` frames. recent: (smooth_frames - 1, keywords) its last posteriors."""

    frame: int
    recent: Array


class LabelSearch:
    """Searches for labels of a classifier. States are values: ``step`` changes none."""

    def __init__(
        self, columns: Sequence[int], thresholds: Sequence[float], *, smooth_frames: int, input_frames: int
    ) -> None:
        """columns: of the keywords among the labels; thresholds: for each, the confidence that a candidate must reach.

        input_frames: frames that one posterior depends on.
        """
        self._columns, self._thresholds = list(columns), np.array(thresholds)
        self._smooth_frames = smooth_frames
        self._reach = smooth_frames + input_frames - 1

    def start(self) -> LabelState:
        return LabelState(0, np.zeros((self._smooth_frames - 1, len(self._columns))))

    def step(self, log_probs: Array, state: LabelState) -> tuple[list[DetectionCandidate], LabelState]:
        """Candidates of the next frames (T, V), in order of time, and the new state."""
        posteriors = np.exp(log_probs[:, self._columns].astype(np.float64))  # (T, keywords)
        history = np.concatenate([state.recent, posteriors])
        total = np.zeros_like(posteriors)
        for offset in range(self._smooth_frames):  # in the order of time, so that no cutting changes a bit
            total += history[offset : offset + len(posteriors)]
        frame = state.frame + len(posteriors)
        confidences = total / np.minimum(np.arange(state.frame, frame) + 1, self._smooth_frames)[:, None]
        found = []
        for t, keyword in np.argwhere(confidences >= self._thresholds).tolist():
            end, cost = state.frame + t + 1, -float(np.log(max(float(confidences[t, keyword]), LOWEST)))
            found.append(DetectionCandidate(keyword, max(0, end - self._reach), end, end, cost, 1))
        return found, LabelState(frame, history[len(posteriors) :])

    def finish(self, state: LabelState) -> list[DetectionCandidate]:
        return []
