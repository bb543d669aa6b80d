"""CTC prefix beam search over a lexicon, with the hypotheses in arrays: for large vocabularies and wide beams.

It gives the hypotheses and scores of ``decoding.beam`` over ``decoding.prefix``, with the same pruning, look-ahead,
language model and hot words. But a hypothesis is a row of an array, not an object: a frame costs some dozens of NumPy
calls, whatever the beam.

1. which labels may follow which rows, by the masses alone; where they lead in the tree; which words may end there
2. rows that another row has just led to (a prefix is known by its hash) gain its mass
3. candidates that even the best score of their words leaves behind ``beam`` others are dropped; the rest get theirs
4. the best of rows and candidates are the next rows

What rows were made of is written to a history (``decoding.history``), from which ``best`` and ``finish`` read labels,
words and frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from recitative.decoding.beam import Hypothesis, SpelledWord, join_spellings, log_sum, with_agreement
from recitative.decoding.history import Born, Step, agreed_words, path_of, paths_of
from recitative.decoding.hotwords import HotWords
from recitative.decoding.lexicon_tree import LexiconTree, word_scores
from recitative.lm.query import LanguageModel
from recitative.stage import Array
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable

_SMALL = 2.0**-300  # masses below are scaled up; far from where numbers get coarse
_SCALE = 2.0**300
_LN_SCALE = 300 * math.log(2.0)
_NOBODY = np.uint64(2**64 - 1)  # in place of the key of a row
_MIX = tuple(np.array([n], np.uint64) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass(frozen=True, eq=False)
class ArrayState:
    """A value: a stream may be stored here, or go on in two ways. ``rows`` are sorted, the best first."""

    rows: Array
    in_blank: bool  # no path ends in a label
    log_scale: float  # ln of what all masses are to be multiplied by
    num_frames: int
    born: Born


class ArraySearch:
    """start, step, finish; ``best`` at any time between."""

    def __init__(
        self,
        tokens: TokenTable,
        lexicon: Lexicon,
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
        """As ``decoding.prefix.SearchSpace`` and ``decoding.beam.BeamSearch``. tree: of the lexicon, if there is one
        already; several searches may share it."""
        self.beam = beam
        self._token_beam, self._word_bonus = token_beam, word_bonus
        self._tree = tree = tree or LexiconTree(lexicon, tokens)
        self._scores = word_scores(lm, tree.words, lm_weight, unknown_score)
        self._lookahead = np.zeros(tree.nodes + 1)
        if lm and lm_weight:
            words = np.arange(len(tree.words))
            first_scores = self._scores.step(self._scores.start().repeat(len(words)), words)[0]
            self._lookahead = tree.look_ahead(np.where(first_scores > -math.inf, first_scores, 0.0))
        self._bias = hot_words.automaton if hot_words else None
        largest_gain = max(word_bonus, 0.0) + (self._bias.largest_gain if self._bias else 0.0)
        self._least = math.exp(-score_beam)
        self._least_mass = self._least * math.exp(-largest_gain)
        self._kind = np.dtype(
            [(name, np.int32) for name in ("node", "label", "bias", "record", "said")]
            + [("key", np.uint64), ("above", np.uint64), ("blank", float), ("in_label", float), ("extra", float)]
            + [("lm", self._scores.start().dtype)],
            align=True,
        )

    def start(self) -> ArrayState:
        rows = np.zeros(1, self._kind)
        rows["blank"] = 1.0
        rows["lm"] = self._scores.start()
        rows["bias"] = self._bias.start if self._bias else 0
        rows["above"] = _NOBODY
        nobody = np.zeros(1, np.int32)
        return ArrayState(rows, True, 0.0, 0, Born(None, 0, -1, nobody - 1, nobody, nobody - 1, nobody))

    def step(self, log_probs: Array, state: ArrayState) -> ArrayState:
        """The next frames (T, V)."""
        rows, in_blank, log_scale, born = state.rows, state.in_blank, state.log_scale, state.born
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
            rows, born = self._grow(rows, born, math.exp(log_blank), probs[offset], state.num_frames + offset)
            in_blank = False
            if rows["blank"][0] + rows["in_label"][0] < _SMALL:
                rows["blank"] *= _SCALE
                rows["in_label"] *= _SCALE
                log_scale -= _LN_SCALE
        return ArrayState(rows, in_blank, log_scale, state.num_frames + len(log_probs), born)

    def _grow(self, rows: Array, born: Born, blank: float, probs: Array, frame: int) -> tuple[Array, Born]:
        """One frame: ``probs`` (V,) are 0 for the blank and for labels that are not tried."""
        in_label, extra = rows["in_label"], rows["extra"]
        mass = rows["blank"] + in_label
        best = float(mass[0]) * max(blank, float(probs.max()))
        floor = best * self._least
        stay_blank, stay_label = mass * blank, in_label * probs[rows["label"]]
        least_mass = best * self._least_mass
        find = _finder(rows["key"])
        joined, more = self._joined(rows, mass, probs, stay_blank + stay_label, find(rows["above"]), least_mass, floor)
        stay_label += more
        stayed = (stay_blank + stay_label >= floor).nonzero()[0]
        stay_mass = (stay_blank + stay_label)[stayed]

        parents, labels, grown = self._pairs(rows, mass, probs, least_mass)
        parents, labels, nodes, words, grown = self._moves(rows, parents, labels, grown)
        gain, after = self._gains(rows, parents, labels, nodes, words)
        near = self._near(grown, gain, words, stay_mass, int(joined.sum()), floor)
        keys = _hash(rows["key"][parents[near]], labels[near], words[near])
        same, is_known = find(keys)
        fresh = (~(is_known & joined[same])).nonzero()[0]
        keys, near = keys[fresh], near[fresh]
        parents, labels, nodes, words, grown, gain = (x[near] for x in (parents, labels, nodes, words, grown, gain))
        after = {name: states[near] for name, states in after.items()}
        ends = (words >= 0).nonzero()[0]
        scores, after["lm"][ends] = self._scores.step(after["lm"][ends], words[ends])
        gain[ends] += scores
        reached = grown * np.exp(extra[parents] + gain - extra[parents])  # rounded as the scores are
        chosen = ((reached >= floor) & (gain > -math.inf)).nonzero()[0]
        masses = np.concatenate([stay_mass, reached[chosen]])
        if not len(masses):  # every way on is forbidden: the best waits
            waits = rows[:1].copy()
            waits["blank"], waits["in_label"] = mass[0] * max(blank, 1e-30), 0.0
            return waits, born

        picked = self._best(masses)
        is_new = (picked >= len(stayed)).nonzero()[0]
        made = chosen[picked[is_new] - len(stayed)]
        source = np.concatenate([stayed, parents[chosen]])[picked]
        records = rows["record"][parents[made]]
        next_rows = rows.take(source)
        next_rows["blank"], next_rows["in_label"] = stay_blank[source], stay_label[source]
        if not len(made):
            return next_rows, born
        first, said = born.first + len(born.parent), rows["said"][parents[made]]
        added = np.arange(first, first + len(made), dtype=np.int32)
        for name, values in after.items():
            next_rows[name][is_new] = values[made]
        next_rows["key"][is_new], next_rows["above"][is_new] = keys[made], rows["key"][parents[made]]
        next_rows["node"][is_new], next_rows["label"][is_new] = nodes[made], labels[made]
        next_rows["blank"][is_new], next_rows["in_label"][is_new] = 0.0, reached[made]
        next_rows["extra"][is_new] += gain[made]
        next_rows["record"][is_new], next_rows["said"][is_new] = added, np.where(words[made] >= 0, added, said)
        return next_rows, Born(born, first, frame, records, labels[made], words[made], said)

    def _pairs(self, rows: Array, mass: Array, probs: Array, floor: float) -> tuple[Array, Array, Array]:
        """(row, label, mass) of all that may follow by the masses alone, row by row, the likeliest label first."""
        tokens = probs.nonzero()[0]
        tokens = tokens[np.argsort(-probs[tokens], kind="stable")]
        again = rows["label"][:, None] == tokens
        grown = np.where(again, rows["blank"][:, None], mass[:, None]) * probs[tokens]
        parents, columns = np.nonzero(grown >= floor)
        return parents, tokens[columns], grown[parents, columns]

    def _moves(self, rows: Array, parents: Array, labels: Array, grown: Array) -> tuple[Array, ...]:
        """The pairs as candidates: parents, labels, nodes, words (or GOES_ON), masses."""
        tree, first = self._tree, self._tree.first_move
        nodes = tree.child(rows["node"][parents], labels)
        if tree.space is not None:  # one space between words
            nodes[(labels == tree.space) & (rows["label"][parents] == tree.space)] = -1
        pairs = (nodes >= 0).nonzero()[0]
        begin = first[nodes[pairs]]
        count = first[nodes[pairs] + 1] - begin
        which = pairs.repeat(count)
        words = tree.moves[np.arange(len(which)) + (begin - np.cumsum(count) + count).repeat(count)]
        nodes = np.where(words < 0, nodes[which], tree.after)
        return parents[which], labels[which], nodes, words, grown[which]

    def _joined(
        self,
        rows: Array,
        mass: Array,
        probs: Array,
        stays: Array,
        above: tuple[Array, Array],
        least_mass: float,
        floor: float,
    ) -> tuple[Array, Array]:
        """Which rows (R,) the row without their last label leads to, and the mass (R,) that they get from it.

        above: where that row is, and whether it is in the beam
        """
        parents, joined = above
        label, extra = rows["label"], rows["extra"]
        grown = np.where(label == label[parents], rows["blank"][parents], mass[parents]) * probs[label]
        # A row below the floor is gone before a later one can add to it.
        joined = joined & (grown >= least_mass) & (grown > 0) & ((stays >= floor) | (parents < np.arange(len(rows))))
        known, more = joined.nonzero()[0], np.zeros(len(rows))
        reached = grown[known] * np.exp(extra[known] - extra[parents[known]])
        more[known] = np.where(reached >= floor, reached, 0.0)
        return joined, more

    def _gains(
        self, rows: Array, parents: Array, labels: Array, nodes: Array, words: Array
    ) -> tuple[Array, dict[str, Array]]:
        """What candidates (N,) add to the score of their parents, but for the language model's score of their words,
        and their states, but for the language model's after them."""
        gain = self._lookahead[nodes] - self._lookahead[rows["node"][parents]]
        states = {"lm": rows["lm"][parents]}
        ended = words >= 0
        if self._bias:
            more, states["bias"] = self._bias_gains(rows["bias"][parents], labels, ended)
            gain += more
        gain[ended] += self._word_bonus
        return gain, states

    def _near(self, grown: Array, gain: Array, words: Array, stay_mass: Array, joined: int, floor: float) -> Array:
        """Which candidates even the best score of their words leaves behind neither ``beam`` others nor the floor.

        joined: so many candidates at most are rows already
        """
        ended = words >= 0
        upper = grown * np.exp(np.where(ended, gain + self._scores.bounds[words], gain))
        others, count = np.concatenate([stay_mass, upper[~ended]]), self.beam + joined
        if len(others) >= count:
            floor = max(floor, float(np.partition(others, -count)[-count]))
        return np.asarray((upper >= floor * (1 - 1e-9)).nonzero()[0])

    def _bias_gains(self, before: Array, labels: Array, ended: Array) -> tuple[Array, Array]:
        """What hot words say of candidates, and their states."""
        assert self._bias is not None
        gain, states = np.zeros(len(labels)), before.tolist()
        for i, (label, is_end) in enumerate(zip(labels.tolist(), ended.tolist(), strict=True)):
            if label != self._tree.space:
                gain[i], states[i] = self._bias.step(states[i], label)
            if is_end:
                more, states[i] = self._bias.end_word(states[i])
                gain[i] += more
        return gain, np.array(states, np.int32)

    def _best(self, masses: Array) -> Array:
        """Which of them are the best ``beam``, the best first; of equals the first."""
        least = float(masses.max()) * self._least
        if len(masses) > self.beam:
            least = max(least, float(np.partition(masses, -self.beam)[-self.beam]))
        kept = (masses >= least).nonzero()[0]
        return np.asarray(kept[np.argsort(-masses[kept], kind="stable")[: self.beam]])

    def best(self, state: ArrayState) -> Hypothesis:
        """The best prefix of a stream that goes on; words not yet whole are left out."""
        rows, born = state.rows, state.born
        best = self._hypotheses(state, rows[:1], rows["extra"][:1], partial(path_of, born))[0]
        agreed = agreed_words(born, rows["said"])
        return with_agreement(best, agreed, agreed, (rows["blank"] + rows["in_label"]).tolist())

    def finish(self, state: ArrayState, count: int = 1, *, join: bool = True) -> list[Hypothesis]:
        """The ``count`` best word sequences, the best first; the same words spelled differently are one.

        If none is whole, one that isn't: the words of the best prefix. join: False = label sequences, not words.
        """
        rows = state.rows[(state.rows["node"] == 0) | (state.rows["node"] == self._tree.after)]
        extra = rows["extra"] + self._scores.finish(rows["lm"])
        if self._bias:
            extra += [self._bias.finish(bias) for bias in rows["bias"].tolist()]
        allowed = extra > -math.inf
        whole = self._hypotheses(state, rows[allowed], extra[allowed], paths_of(state.born))
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
        self, state: ArrayState, rows: Array, extras: Array, path: Callable[[int], Sequence[Step]]
    ) -> list[Hypothesis]:
        found = []
        masses = (rows["blank"] + rows["in_label"]).tolist()
        for record, mass, before, extra in zip(
            rows["record"].tolist(), masses, rows["extra"].tolist(), extras.tolist(), strict=True
        ):
            acoustic = math.log(mass) + state.log_scale - before if mass else -math.inf
            steps = path(record)
            labels, words, frames = zip(*steps, strict=True) if steps else ((), (), ())
            found.append(Hypothesis(self._spelled(labels, words, frames), labels, acoustic + extra, acoustic, extra))
        return found

    def _spelled(self, labels: Sequence[int], words: Sequence[int], frames: Sequence[int]) -> tuple[SpelledWord, ...]:
        """The words of a path, from what each of its labels ended."""
        found, begin = [], 0
        for i, word in enumerate(words):
            if word >= 0:
                found.append(SpelledWord(self._tree.words[word], begin, i + 1, frames[begin], frames[i]))
            if word >= 0 or labels[i] == self._tree.space:
                begin = i + 1
        return tuple(found)


def _finder(keys: Array) -> Callable[[Array], tuple[Array, Array]]:
    """What finds keys among these: where (N,), and whether they are there (N,)."""
    order = keys.argsort()
    ordered = keys[order]

    def find(wanted: Array) -> tuple[Array, Array]:
        places = np.minimum(ordered.searchsorted(wanted), len(ordered) - 1)
        return order[places], ordered[places] == wanted

    return find


def _hash(keys: Array, labels: Array, words: Array) -> Array:
    """Keys (N,) of prefixes -> those of the prefixes that are longer by a label and perhaps a word (splitmix64)."""
    one, two, three = _MIX
    mixed = keys + one * (labels.astype(np.uint64) * np.uint64(1 << 32) + (words + 2).astype(np.uint64))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * two
    mixed = (mixed ^ (mixed >> np.uint64(27))) * three
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
