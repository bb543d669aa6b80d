"""CTC prefix beam search (Hannun et al. 2014) with explicit state: it streams, and results do not depend on chunks.

Each hypothesis, a label sequence l with its words, has two masses: that of its paths that end in a blank, and that of
its paths that end in its last label (Graves 2012, section 7.5). For each frame with probabilities p,

    blank'(l)     = (blank(l) + label(l)) * p[0]
    label'(l)     = label(l) * p[c]                                     c the last label of l
    label'(l + c) = (blank(l) + (label(l) unless c repeats)) * p[c] * e^gain

where the gain is the change of this score, in natural logarithms:

    extra = lm_weight * ln P(words) + word_bonus * len(words) + lookahead + hot words

The look-ahead is the score of the most probable word of the lexicon that can still follow, at the start of a sentence,
so that rare words are dropped early, not at their last letter (Ortmanns et al. 1996). Masses are plain numbers, scaled
by powers of two. A frame with no likely token but the blank scales all masses equally, so it costs one addition.

Hypotheses are rows of an array, so a frame costs some dozens of NumPy calls, whatever the beam:

1. which labels may follow which rows, by the masses alone; where they lead; which words may end there
2. rows that another row leads to (hypotheses are compared by a hash) gain its mass
3. candidates that even the best score of their words leaves behind 1.5 ``beam`` others are dropped; the rest are scored
4. the best of rows and candidates are the next rows; few have the same future, that is, are in the same place of a
   word, with the same states of language model and hot words, and differ only in words before

The labels and words of rows are in a history that they share (``Records``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from recitative.decoding.hotwords import WORD_END, HotWords
from recitative.decoding.hypotheses import Hypothesis, join_spellings, log_sum
from recitative.decoding.lexicon_tree import LexiconTree, SearchSpace, new_search_space, word_scores
from recitative.lm.arpa import LanguageModel
from recitative.stage import Array, Mask
from recitative.text.tokens import Lexicon, TokenTable

_SMALL = 2.0**-300  # masses below are scaled up; far above the subnormal numbers
_SCALE = 2.0**300
_LN_SCALE = 300 * math.log(2.0)
_RIVALS = 1.5  # so many times the beam are compared by their futures
_RIVALRY = 1.5  # nats by which a hypothesis ranks lower for each better one with the same future
_NO_KEY = np.uint64(2**64 - 1)  # in place of the key of a row
_MIX = tuple(np.array([n], np.uint64) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass(frozen=True, eq=False)
class BeamState:
    """An immutable state, which can be stored and continued several times. ``rows`` are sorted, the best first."""

    rows: Array
    in_blank: bool  # no path ends in a label
    log_scale: float  # ln of the factor of all masses
    num_frames: int
    records: Records


class BeamSearch:
    """``start``, then ``step`` for each chunk, ``best`` at any time, and ``finish``."""

    def __init__(
        self,
        tokens: TokenTable,
        lexicon: Lexicon | None = None,
        *,
        lm: LanguageModel | None = None,
        hot_words: HotWords | None = None,
        lm_weight: float = 0.0,
        word_bonus: float = 0.0,
        unknown_score: float = -10.0,
        beam: int = 16,
        token_beam: float = 6.5,
        score_beam: float = 12.0,
        tree: LexiconTree | None = None,
    ) -> None:
        """lexicon:   only its words are allowed; None: any characters or pieces (or words, or phones, of such a table)
        lm:        scores words, weighted by ``lm_weight``; unknown words score ``unknown_score``
        hot_words: favored phrases; their words must be in the lexicon, see ``HotWords.lexicon``
        beam:      maximal number of hypotheses
        token_beam, score_beam: nats below the best at which tokens, hypotheses are dropped
        tree:      of the lexicon, if there is one already; several searches may share it
        """
        self.beam = beam
        self._token_beam, self._word_bonus = token_beam, word_bonus
        self._space: SearchSpace = tree or new_search_space(lexicon, tokens)
        self._scores = word_scores(lm, self._space, lm_weight, unknown_score)
        self._lookahead: Array | None = None
        if lm and lm_weight and isinstance(self._space, LexiconTree):
            words = np.arange(len(self._space.words))
            first_scores = self._scores.step(self._scores.start().repeat(len(words)), words)[0]
            self._lookahead = self._space.look_ahead(np.where(first_scores > -math.inf, first_scores, 0.0))
        self._bias = hot_words.automaton if hot_words else None
        # A hypothesis may gain when it grows, so it is not dropped before.
        largest_gain = max(word_bonus, 0.0) + (self._bias.largest_gain if self._bias else 0.0)
        self._least = math.exp(-score_beam)
        self._least_mass = self._least * math.exp(-largest_gain)
        self._row_type = np.dtype(
            [("node", self._space.node_type)]
            + [(name, np.int32) for name in ("label", "bias", "record", "last_word")]
            + [("key", np.uint64), ("parent_key", np.uint64)]
            + [("blank", float), ("in_label", float), ("extra", float), ("lm", self._scores.start().dtype)],
            align=True,
        )

    def start(self) -> BeamState:
        rows = np.zeros(1, self._row_type)
        rows["node"] = self._space.root
        rows["blank"] = 1.0
        rows["lm"] = self._scores.start()
        rows["bias"] = self._bias.start if self._bias else 0
        rows["parent_key"] = _NO_KEY
        none = np.zeros(1, np.int32)
        return BeamState(rows, True, 0.0, 0, Records(None, 0, -1, none - 1, none, none - 1, none))

    def step(self, log_probs: Array, state: BeamState) -> BeamState:
        """The next frames (T, V)."""
        rows, in_blank, log_scale, records = state.rows, state.in_blank, state.log_scale, state.records
        wide = log_probs.astype(np.float64)
        near = wide >= wide.max(-1, keepdims=True, initial=-np.inf) - self._token_beam
        near[:, 0] = False
        probs = np.where(near, np.exp(wide), 0.0)
        likely = probs.max(axis=1, initial=0.0).tolist()
        for offset, log_blank in enumerate(wide[:, 0].tolist()):
            if not likely[offset]:
                log_scale += log_blank
                if not in_blank:
                    rows = rows.copy()
                    rows["blank"] += rows["in_label"]
                    rows["in_label"] = 0.0
                    in_blank = True
                continue
            rows, records = self._grow(rows, records, math.exp(log_blank), probs[offset], state.num_frames + offset)
            in_blank = False
            if rows["blank"][0] + rows["in_label"][0] < _SMALL:
                rows["blank"] *= _SCALE
                rows["in_label"] *= _SCALE
                log_scale -= _LN_SCALE
        return BeamState(rows, in_blank, log_scale, state.num_frames + len(log_probs), records)

    def _grow(self, rows: Array, records: Records, blank: float, probs: Array, frame: int) -> tuple[Array, Records]:
        """One frame: ``probs`` (V,) are 0 for the blank and for labels that are not tried."""
        mass = rows["blank"] + rows["in_label"]
        best = float(mass[0]) * max(blank, float(probs.max()))
        floor, least_mass = best * self._least, best * self._least_mass
        stay_blank, stay_label = mass * blank, rows["in_label"] * probs[rows["label"]]
        find = _finder(rows["key"])
        joined, more = self._joined(
            rows, mass, probs, stay_blank + stay_label, find(rows["parent_key"]), least_mass, floor
        )
        stay_label += more
        stayed = (stay_blank + stay_label >= floor).nonzero()[0]
        stay_mass = (stay_blank + stay_label)[stayed]

        new = self._candidates(rows, mass, probs, least_mass)
        new = new.take(self._near(new, stay_mass, int(joined.sum()), floor))
        keys = _hash(rows["key"][new.parent], new.label, self._space.word_keys(new.word))
        same, is_known = find(keys)
        fresh = (~(is_known & joined[same])).nonzero()[0]
        keys, new = keys[fresh], new.take(fresh)
        scores, new.lm[new.ends] = self._scores.step(new.lm[new.ends], new.word[new.ends])
        new.gain[new.ends] += scores
        extra = rows["extra"][new.parent]
        reached = new.mass * np.exp(extra + new.gain - extra)  # rounded as the scores are
        chosen = ((reached >= floor) & (new.gain > -math.inf)).nonzero()[0]
        masses = np.concatenate([stay_mass, reached[chosen]])
        if not len(masses):  # every way on is forbidden: the best waits
            waits = rows[:1].copy()
            waits["blank"], waits["in_label"] = mass[0] * max(blank, 1e-30), 0.0
            return waits, records

        picked = self._best(masses, partial(self._futures, rows, stayed, new, chosen))
        is_new = (picked >= len(stayed)).nonzero()[0]
        source = np.concatenate([stayed, new.parent[chosen]])[picked]
        next_rows = rows.take(source)
        next_rows["blank"], next_rows["in_label"] = stay_blank[source], stay_label[source]
        made = chosen[picked[is_new] - len(stayed)]
        keys, reached, new = keys[made], reached[made], new.take(made)
        if not len(made):
            return next_rows, records
        parents = rows[new.parent]
        last_words, label = parents["last_word"].copy(), new.label.astype(np.int32)  # a view would keep all columns
        added = Records(records, records.end, frame, parents["record"].copy(), label, new.word, last_words)
        numbers = np.arange(added.first, added.end, dtype=np.int32)
        columns = {"key": keys, "parent_key": parents["key"], "blank": 0.0, "in_label": reached}
        columns |= {"node": new.node, "label": new.label, "bias": new.bias, "lm": new.lm}
        columns |= {"extra": parents["extra"] + new.gain, "record": numbers}
        columns |= {"last_word": np.where(new.ends, numbers, last_words)}
        for name, values in columns.items():
            next_rows[name][is_new] = values
        return next_rows, added

    def _candidates(self, rows: Array, mass: Array, probs: Array, floor: float) -> _Candidates:
        """All hypotheses that are one label longer, by the masses alone, row by row, the most probable label first.

        Language model states and gains are those before the words that end are scored.
        """
        tokens = probs.nonzero()[0]
        tokens = tokens[np.argsort(-probs[tokens], kind="stable")]
        again = rows["label"][:, None] == tokens
        grown = np.where(again, rows["blank"][:, None], mass[:, None]) * probs[tokens]
        parent, column = np.nonzero(grown >= floor)
        pair, node, word, ends = self._space.moves(rows["node"][parent], rows["label"][parent], tokens[column])
        parent, column = parent[pair], column[pair]
        label, bias, gain = tokens[column], rows["bias"][parent], np.zeros(len(parent))
        if self._lookahead is not None:
            gain = self._lookahead[node] - self._lookahead[rows["node"][parent]]
        if self._bias:
            more, bias = self._bias_gains(bias, label, ends)
            gain += more
        gain[ends] += self._word_bonus
        return _Candidates(parent, label, node, word, ends, grown[parent, column], gain, rows["lm"][parent], bias)

    def _bias_gains(self, before: Array, labels: Array, ends: Mask) -> tuple[Array, Array]:
        """The gains of candidates (N,) by hot words, and their states."""
        assert self._bias is not None
        gain, states = np.zeros(len(labels)), before.tolist()
        for i, (label, is_end) in enumerate(zip(labels.tolist(), ends.tolist(), strict=True)):
            symbols = [label] if label != self._space.space else []
            if is_end:
                symbols.insert(len(symbols) if self._space.ends_with_label else 0, WORD_END)
            for symbol in symbols:
                more, states[i] = self._bias.step(states[i], symbol)
                gain[i] += more
        return gain, np.array(states, np.int32)

    def _joined(
        self,
        rows: Array,
        mass: Array,
        probs: Array,
        stays: Array,
        parent: tuple[Array, Mask],
        least_mass: float,
        floor: float,
    ) -> tuple[Mask, Array]:
        """A mask of the rows (R,) that their parents lead to, and the mass (R,) that they get from it.

        parent: the row without the last label: its place, and whether it is in the beam
        """
        parents, joined = parent
        label, extra = rows["label"], rows["extra"]
        grown = np.where(label == label[parents], rows["blank"][parents], mass[parents]) * probs[label]
        # A row below the floor is gone before a later one can add to it.
        joined = joined & (grown >= least_mass) & (grown > 0) & ((stays >= floor) | (parents < np.arange(len(rows))))
        known, more = joined.nonzero()[0], np.zeros(len(rows))
        reached = grown[known] * np.exp(extra[known] - extra[parents[known]])
        more[known] = np.where(reached >= floor, reached, 0.0)
        return joined, more

    def _near(self, new: _Candidates, stay_mass: Array, joined: int, floor: float) -> Array:
        """Those that, with the best score of their words, could pass the floor and be among the 1.5 ``beam`` best.

        joined: so many candidates at most are rows already
        """
        upper = new.mass * np.exp(np.where(new.ends, new.gain + self._scores.bound(new.word), new.gain))
        others, count = np.concatenate([stay_mass, upper[~new.ends]]), int(_RIVALS * self.beam) + joined
        if len(others) >= count:
            floor = max(floor, float(np.partition(others, -count)[-count]))
        return np.asarray((upper >= floor * (1 - 1e-9)).nonzero()[0])

    def _futures(self, rows: Array, stayed: Array, new: _Candidates, chosen: Array) -> Array:
        """A number (N,) for each row and candidate, the same for those that any labels change in the same way."""
        label, node, lm, bias = (
            np.concatenate([rows[name][stayed], getattr(new, name)[chosen]]) for name in ("label", "node", "lm", "bias")
        )
        return _hash(_numbers(lm), label, _numbers(node)) + bias.astype(np.uint64)

    def _best(self, masses: Array, futures: Callable[[], Array]) -> Array:
        """The indices of the ``beam`` best hypotheses (N,), the largest mass first; of equal ones the first.

        Of hypotheses with the same future, the best will stay the best. The others are alternatives, which confidences
        and n-best lists need, but they rank lower, so that the beam holds more that could still win.
        """
        least, most = float(masses.max()) * self._least, int(_RIVALS * self.beam)
        if len(masses) > most:
            least = max(least, float(np.partition(masses, -most)[-most]))
        kept = (masses >= least).nonzero()[0]
        order = kept[np.argsort(-masses[kept], kind="stable")[:most]]
        if len(order) <= self.beam:
            return np.asarray(order)
        future = futures()[order]
        by_future = np.argsort(future, kind="stable")
        ordered, places = future[by_future], np.arange(len(order))
        begins = np.append(True, ordered[1:] != ordered[:-1])
        better = places - np.maximum.accumulate(np.where(begins, places, 0))  # rivals with the same future
        counted = np.empty(len(order))
        counted[by_future] = masses[order[by_future]] * np.exp(-_RIVALRY * better)
        return np.asarray(order[(counted >= np.partition(counted, -self.beam)[-self.beam]).nonzero()[0][: self.beam]])

    def best(self, state: BeamState) -> Hypothesis:
        """The best hypothesis of a stream so far; with a lexicon, without an incomplete last word."""
        rows, records = state.rows, state.records
        best = self._hypotheses(state, rows[:1], rows["extra"][:1], partial(path_of, records))[0]
        agreed, agreed_so_far = agreed_words(records, rows["last_word"], self._space.open_words(rows["node"]).tolist())
        mass, so_far = rows["blank"] + rows["in_label"], np.array(agreed_so_far)
        total = sum(mass.tolist())
        shared = [float(mass[so_far > n].cumsum()[-1]) for n in range(len(best.words))]  # added up in order
        shares = tuple(min(1.0, part / total) if total else 0.0 for part in shared)
        return replace(best, stable=min(agreed), shares=shares)

    def finish(self, state: BeamState, count: int = 1, *, join: bool = True) -> list[Hypothesis]:
        """The ``count`` best word sequences, best first; different spellings of the same words are merged.

        If none is complete, the words of the best hypothesis. join: False = label sequences, not words.
        """
        rows = state.rows[self._space.is_whole(state.rows["node"])]
        extra, lm, bias = rows["extra"].copy(), rows["lm"].copy(), rows["bias"].tolist()
        words = self._space.open_words(rows["node"])
        ends = words.astype(np.bool_)
        if ends.any():
            scores, lm[ends] = self._scores.step(lm[ends], words[ends])
            extra[ends] += self._word_bonus + scores
        extra += self._scores.finish(lm)
        if self._bias:
            for i, is_end in enumerate(ends.tolist()):
                more, bias[i] = self._bias.step(bias[i], WORD_END) if is_end else (0.0, bias[i])
                extra[i] += more + self._bias.finish(bias[i])
        allowed = extra > -math.inf
        whole = self._hypotheses(state, rows[allowed], extra[allowed], paths_of(state.records))
        if join:
            joined: dict[tuple[str, ...], Hypothesis] = {}
            for hypothesis in whole:
                join_spellings(joined, hypothesis)
            whole = list(joined.values())
        if not whole:
            mass = state.rows["blank"] + state.rows["in_label"]
            total_mass = float(mass.sum())
            posterior = float(mass[0]) / total_mass if total_mass else 0.0
            return [replace(self.best(state), whole=False, posterior=posterior)]
        total = log_sum([hypothesis.score for hypothesis in whole])
        ranked = sorted(whole, key=lambda hypothesis: -hypothesis.score)
        return [replace(h, posterior=math.exp(h.score - total)) for h in ranked[:count]]

    def _hypotheses(
        self, state: BeamState, rows: Array, extras: Array, path: Callable[[int], Sequence[Step]]
    ) -> list[Hypothesis]:
        found = []
        masses = rows["blank"] + rows["in_label"]
        columns = (column.tolist() for column in (rows["record"], masses, rows["extra"], extras))
        for record, mass, before, extra in zip(*columns, strict=True):
            acoustic = math.log(mass) + state.log_scale - before if mass else -math.inf
            steps = path(record)
            labels, words, frames = zip(*steps, strict=True) if steps else ((), (), ())
            spelled = self._space.spelled(labels, words, frames)
            found.append(Hypothesis(spelled, labels, acoustic + extra, acoustic, extra))
        return found


def _finder(keys: Array) -> Callable[[Array], tuple[Array, Array]]:
    """A function that finds keys (N,) among these: their places (N,), and whether they are there (N,)."""
    order = keys.argsort()
    ordered = keys[order]

    def find(wanted: Array) -> tuple[Array, Array]:
        places = np.minimum(ordered.searchsorted(wanted), len(ordered) - 1)
        return order[places], ordered[places] == wanted

    return find


def _hash(keys: Array, labels: Array, word_keys: Array) -> Array:
    """Keys (N,) of hypotheses -> those of the hypotheses that are longer by a label and perhaps a word (splitmix64)."""
    one, two, three = _MIX
    mixed = keys + one * (labels.astype(np.uint64) * np.uint64(1 << 32) + word_keys)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * two
    mixed = (mixed ^ (mixed >> np.uint64(27))) * three
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _numbers(values: Array) -> Array:
    """A number (N,) uint64 for each value, the same for equal ones."""
    return (
        np.array([*map(hash, values)], np.int64).view(np.uint64) if values.dtype == object else values.astype(np.uint64)
    )


class _Candidates(NamedTuple):
    """Hypotheses (N,) that are one label longer than their parents."""

    parent: Array  # a row
    label: Array
    node: Array
    word: Array  # the word that ends; see ``lexicon_tree.Moves``
    ends: Mask  # whether a word ends
    mass: Array  # without the gain
    gain: Array  # change of ``extra``
    lm: Array  # state of the language model
    bias: Array  # state of the hot words

    def take(self, which: Array) -> _Candidates:
        return _Candidates(*(column[which] for column in self))


class Records(NamedTuple):
    """The history of a beam: the rows that a frame added, each with its last label and the record of its parent.

    A row of the beam has the number of its record, and that of the record at which its last word ended. Records are
    numbered throughout and never change, so that states share them.
    """

    before: Records | None  # those of earlier frames
    first: int  # the number of the first of these
    frame: int
    parent: Array
    label: Array
    word: Array  # the word that ended
    last_word: Array  # the record at which the last word before that label ended; 0 = none did

    @property
    def end(self) -> int:
        """The number after the last one."""
        return self.first + len(self.parent)

    def holding(self, record: int) -> Records:
        """The records of the frame that added a record, of this frame or an earlier one."""
        records = self
        while record < records.first:
            assert records.before
            records = records.before
        return records


Step = tuple[int, int, int]  # a label, the word that ended with it, the frame


def path_of(records: Records, record: int) -> list[Step]:
    """The labels of a row, by the number of its record."""
    steps = []
    while record > 0:
        records = records.holding(record)
        at = record - records.first
        steps.append((int(records.label[at]), records.word[at], records.frame))
        record = int(records.parent[at])
    return steps[::-1]


def paths_of(records: Records) -> Callable[[int], list[Step]]:
    """A function that does the same for many rows: all records are read at once."""
    chain: list[Records] = []
    here: Records | None = records
    while here:
        chain.append(here)
        here = here.before
    chain.reverse()
    columns = (np.concatenate([getattr(one, name) for one in chain]) for name in ("parent", "label", "word"))
    parent, label, word = (column.tolist() for column in columns)
    frame = np.repeat([one.frame for one in chain], [len(one.parent) for one in chain]).tolist()

    def path(record: int) -> list[Step]:
        steps = []
        while record > 0:
            steps.append((label[record], word[record], frame[record]))
            record = parent[record]
        return steps[::-1]

    return path


def agreed_words(records: Records, last_words: Array, open_words: Sequence[str]) -> tuple[list[int], list[int]]:
    """The numbers of first words that each row (R,) has in common with the first row: among the words that have ended,
    and including those that have not.

    last_words: (R,) the records at which the last words ended; open_words: those that have not ended, or ''
    """
    words: dict[int, tuple[int | str, int]] = {}  # of each record at which one ended, and the record of the word before
    waiting = [-record for record in set(last_words.tolist()) if record]
    heapify(waiting)
    while waiting:
        record = -heappop(waiting)
        if record in words:
            continue
        records = records.holding(record)
        before = int(records.last_word[record - records.first])
        words[record] = records.word[record - records.first], before
        if before:
            heappush(waiting, -before)
    best, here = [], int(last_words[0])
    while here:
        word, here = words[here]
        best.append(word)
    best.reverse()
    ended = len(best)
    best += [open_words[0]] * bool(open_words[0])
    length, common = {0: 0}, {0: 0}
    for record in sorted(words):
        word, before = words[record]
        n = length[before]
        length[record] = n + 1
        common[record] = common[before] + (common[before] == n and best[n : n + 1] == [word])
    agreed = [common[record] for record in last_words.tolist()]
    so_far = [
        n + (n == length[record] and best[n : n + 1] == [word])
        for n, record, word in zip(agreed, last_words.tolist(), open_words, strict=True)
    ]
    return [min(n, ended) for n in agreed], so_far
