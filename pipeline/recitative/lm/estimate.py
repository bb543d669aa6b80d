"""N-gram models from text: counts, Kneser-Ney smoothing, interpolation, entropy pruning, and ``train``, which does all.

Smoothing is interpolated modified Kneser-Ney (Chen and Goodman, TR-10-98, Harvard 1998, section 3 and appendix A):

    P(w | h) = (a(h w) - D(a(h w))) / a(h) + g(h) P(w | h without its first word)
    a(h) = sum of a(h w) over w,   g(h) = (sum of D(a(h w)) over w) / a(h)

with the adjusted counts a of ``count_ngrams`` and, in every order, one discount D each for the counts 1, 2 and >= 3.
Unigrams are interpolated with one probability for all words that can occur: the vocabulary with ``<unk>`` and
``</s>``. A vocabulary word that is not in the text therefore gets g() / V, and so does ``<unk>``.

The table lists P for the n-grams of the text; the backoff of h is g(h). An n-gram below the minimal count gives its
whole count to g(h), so that sums stay one; discounts are measured before that (as in KenLM's lmplz --prune).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recitative.data.directory import read_transcripts, require_ids, table_of
from recitative.data.tables import column_fault, words_of
from recitative.errors import DataError, Problem, UsageError, counted, raise_all
from recitative.lm.arpa import (
    BEGIN,
    END,
    MARKS,
    NEVER,
    UNKNOWN,
    Floats,
    Ints,
    LanguageModel,
    NgramTable,
    Order,
    Perplexity,
    log_probs_of,
    measure,
)
from recitative.lm.ngram import NgramModel
from recitative.reading import read_text
from recitative.stage import Mask

NO_WORDS = frozenset({"<eps>", "#0", BEGIN, END})
"""Entries of a Kaldi words.txt that are not words."""

DEFAULT_DISCOUNTS = (0.5, 1.0, 1.5)
"""For texts too small to estimate discounts; those of KenLM's lmplz --discount_fallback."""

_WEIGHT_TOLERANCE = 1e-6  # of the sum of mixture weights: people write 0.333333
_MIN_GAIN = 1e-9  # nats a word below which the search for weights stops


@dataclass(frozen=True)
class Sentences:
    """The sentences of one file."""

    name: str  # its path
    lines: tuple[str, ...]  # words with single spaces, at least one
    empty: int  # lines without a word, which are left out

    @property
    def words(self) -> set[str]:
        return {word for line in self.lines for word in line.split(" ")}


def read_sentences(path: Path, *, plain: bool | None = None) -> Sentences:
    """Read a Kaldi text table, that of a data directory or of shards, or with ``plain`` a file of one sentence a line.

    plain: None requires a table whose lines visibly begin with ids; otherwise the first word of every sentence would
    be lost as its id. Raises UsageError for a file that may be either. Raises one DataError with all faults: the form
    of the table, a sentence mark in a text, a blank other than a space, text that isn't UTF-8, no words at all.
    """
    if plain is None:
        require_ids(path, "say --plain if every line is a sentence, --no-plain if it begins with an id")
    numbered = _numbered_lines(path) if plain else [(row.line, row.value) for row in read_transcripts(path)]
    path = path if plain else table_of(path)
    faults = [(number, fault) for number, line in numbered if (fault := column_fault("text", line))]
    raise_all([Problem(f"{path}:{number}", fault.found, fault.allowed, fault.remedy) for number, fault in faults])
    lines = tuple(filter(None, (words_of(line) for _, line in numbered)))
    if not lines:
        form = "a sentence in every line" if plain else "'utterance words...' lines, or sentences with --plain"
        raise DataError(str(path), "has no words", form, "fill it")
    return Sentences(str(path), lines, len(numbered) - len(lines))


def read_vocabulary(path: Path) -> list[str]:
    """The first column of a file: one word a line, a lexicon, or Kaldi's words.txt, whose symbols are left out.

    Raises DataError for a file that can't be read, isn't UTF-8 or has no words.
    """
    columns = [line.split() for _, line in _numbered_lines(path)]
    words = [column[0] for column in columns if column and column[0] not in NO_WORDS]
    if not words:
        raise DataError(str(path), "has no words", "one a line", "fill it")
    return words


def _numbered_lines(path: Path) -> list[tuple[int, str]]:
    lines = read_text(path).split("\n")
    return list(enumerate(lines[:-1] if lines[-1] == "" else lines, start=1))


@dataclass(frozen=True)
class NgramSettings:
    """Raises UsageError for values out of range."""

    order: int = 3
    min_counts: tuple[int, ...] = ()  # for each order, or none: every n-gram is listed
    prune: float = 0.0  # threshold of ``prune``
    weights: tuple[float, ...] = ()  # one for each text, or none: found on the dev text

    def __post_init__(self) -> None:
        _check_counts(self.order, self.min_counts)
        _check_threshold(self.prune)


@dataclass(frozen=True)
class Discounts:
    """The amounts that are subtracted from the counts 1, 2 and >= 3 of one order."""

    values: tuple[float, float, float]
    measured: bool  # False: DEFAULT_DISCOUNTS

    def of(self, adjusted: Ints) -> Floats:
        """Adjusted counts (G,) -> discounts (G,)."""
        return np.array([0.0, *self.values])[np.minimum(adjusted, 3)]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A model and its discounts, one for each order.

    frequencies: for each order but the highest, the relative frequency in the text (G,) of each n-gram of ``table``
    """

    table: NgramTable
    discounts: tuple[Discounts, ...]
    frequencies: tuple[Floats, ...]


@dataclass(frozen=True, eq=False)
class Component:
    """The model of one text, or of all texts joined."""

    name: str
    table: NgramTable
    discounts: tuple[Discounts, ...]  # one for each order
    weight: float  # in the mixture; 1 if this is the only component
    dev: Perplexity | None  # None: no dev text


@dataclass(frozen=True, eq=False)
class TrainedNgram:
    """The final model, its components, and its perplexity on the dev text, if there is one."""

    table: NgramTable
    parts: tuple[Component, ...]
    unpruned: NgramTable
    dev: Perplexity | None
    unpruned_dev: Perplexity | None


def train(
    texts: Sequence[Sentences],
    settings: NgramSettings,
    *,
    dev: Sentences | None = None,
    extra_words: Set[str] = frozenset(),
    step: Callable[[str], object] = lambda title: None,
) -> TrainedNgram:
    """One model of several texts: joined, or, with a dev text or weights, one component each, mixed by weight.

    All components know the words of all texts and ``extra_words``. ``step`` is called with the title of each step.
    Raises UsageError for weights that don't fit the texts.
    """
    if settings.weights:
        _check_weights(settings.weights, len(texts))
    words = set(extra_words).union(*(text.words for text in texts))
    if not (dev or settings.weights):
        joined = tuple(line for text in texts for line in text.lines)
        texts = [Sentences(", ".join(text.name for text in texts), joined, 0)]
    estimates = []
    for number, text in enumerate(texts, start=1):
        step(f"estimate {number} of {len(texts)}")
        estimates.append(estimate(text.lines, settings.order, extra_words=words, min_counts=settings.min_counts))
    step("weigh")
    models = [NgramModel.of(each.table) for each in estimates] if dev else []
    weights = settings.weights or (best_weights([(models, dev.lines)]) if dev else (1.0,))
    parts = tuple(
        Component(text.name, each.table, each.discounts, weight, measure(models[number], dev.lines) if dev else None)
        for number, (text, each, weight) in enumerate(zip(texts, estimates, weights, strict=True))
    )
    step("mix")
    mixed = interpolate([part.table for part in parts], weights) if len(parts) > 1 else parts[0].table
    step("prune")
    table = prune(mixed, settings.prune, _mixed_frequencies(mixed, estimates, weights)) if settings.prune else mixed
    step("measure")
    final = measure(NgramModel.of(table), dev.lines) if dev else None
    before = measure(NgramModel.of(mixed), dev.lines) if dev and settings.prune else None
    return TrainedNgram(table, parts, mixed, final, before)


def estimate(
    lines: Iterable[str], order: int, *, extra_words: Iterable[str] = (), min_counts: Sequence[int] = ()
) -> Estimate:
    """The model of sentences, one a line, words separated by blanks.

    ``<unk>`` in a sentence is the unknown word; ``<s>`` and ``</s>`` must not occur (see ``read_sentences``).
    extra_words: added to the vocabulary. min_counts: for each order, the count below which an n-gram is not listed; 1
    for unigrams and never decreasing. Raises UsageError for other numbers.
    """
    _check_counts(order, min_counts)
    words, stream = _encode(lines, extra_words)
    counts = count_ngrams(words, stream, order)
    discounts = tuple(measure_discounts(one.adjusted) for one in counts)
    keeps = [one.raw >= least for one, least in zip(counts, [0, *(min_counts or [1] * order)[1:]], strict=True)]
    probs, backoffs = [np.full(1, 1 / (len(words) - 1))], []  # the order below unigrams; <s> is never predicted
    for one, discount, keep in zip(counts, discounts, keeps, strict=True):
        taken = np.where(keep, discount.of(one.adjusted), one.adjusted)
        listed, given = _smooth(one, taken, probs[-1])
        probs.append(listed)
        backoffs.append(np.log(given))
    backoffs.append(np.zeros(len(probs[-1])))
    parts = zip(counts, probs[1:], backoffs[1:], strict=True)
    orders = [Order(one.context, one.word, np.log(listed), backoff) for one, listed, backoff in parts]
    orders[0].log_prob[words.index(BEGIN)] = NEVER
    occurrences = [one.raw[keep] for one, keep in zip(counts[:-1], keeps, strict=False)]
    if occurrences:  # every sentence begins as often as it ends
        occurrences[0][words.index(BEGIN)] = occurrences[0][words.index(END)]
    frequencies = tuple(each / counts[0].raw.sum() for each in occurrences)
    return Estimate(NgramTable(words, tuple(orders)).select(keeps), discounts, frequencies)


def _check_counts(order: int, min_counts: Sequence[int]) -> None:
    if order < 1:
        raise UsageError(f"order {order}; at least 1")
    if min_counts and (len(min_counts) != order or min_counts[0] != 1 or sorted(min_counts) != list(min_counts)):
        found = ",".join(map(str, min_counts))
        raise UsageError(
            f"minimal counts {found}; one for each of {order} orders, 1 for the first, and never decreasing"
        )


@dataclass(frozen=True, eq=False)
class Counts:
    """All n-grams of one length, (G,) each, sorted by context and word."""

    context: Ints  # row of the first n - 1 words in the order below; 0 for unigrams
    word: Ints  # id of the last word
    suffix: Ints  # row of the last n - 1 words in the order below; 0 for unigrams
    raw: Ints  # occurrences in the text
    adjusted: Ints  # the count that Kneser-Ney uses: see ``count_ngrams``


def count_ngrams(words: tuple[str, ...], stream: Ints, order: int) -> list[Counts]:
    """Counts of the lengths 1 to ``order`` of a text (T,) of word ids, every sentence between ``<s>`` and ``</s>``.

    Unigrams are the whole vocabulary, row i for word i. Adjusted counts equal the raw ones in the highest order. Below,
    an n-gram's is the number of different words before it, but the raw count if it begins with ``<s>``, which nothing
    precedes. ``<s>`` itself, which nothing predicts, counts 0.
    """
    begin, end, size = words.index(BEGIN), words.index(END), len(words)
    zeros = np.zeros(size, np.int64)
    raw = np.bincount(stream[stream != begin], minlength=size)
    counts = [Counts(zeros, np.arange(size), zeros, raw, raw)]
    starts = np.arange(len(stream))  # of the n-grams of this length
    row_at = stream  # (T,) the row of the n-gram that starts there
    for n in range(2, order + 1):
        starts = starts[stream[starts + n - 2] != end]  # no n-gram continues into the next sentence
        keys, first, rows, raw = np.unique(
            row_at[starts] * size + stream[starts + n - 1],
            return_index=True, return_inverse=True, return_counts=True,
        )  # fmt: skip
        suffix = row_at[starts[first] + 1]
        last = counts[-1]
        before = np.bincount(suffix, minlength=len(last.word))
        counts[-1] = Counts(last.context, last.word, last.suffix, last.raw, np.where(before > 0, before, last.raw))
        counts.append(Counts(keys // size, keys % size, suffix, raw, raw))
        row_at = np.full(len(stream), -1)
        row_at[starts] = rows
    return counts


def _encode(lines: Iterable[str], extra_words: Iterable[str]) -> tuple[tuple[str, ...], Ints]:
    """The vocabulary and the text (T,) in its ids, every sentence between ``<s>`` and ``</s>``."""
    first_ids: dict[str, int] = {}  # in order of appearance
    met: list[int] = []
    for line in lines:
        met.extend([first_ids.setdefault(word, len(first_ids)) for word in (BEGIN, *line.split(), END)])
    words = _vocabulary(first_ids.keys() | set(extra_words))
    ids = {word: number for number, word in enumerate(words)}
    return words, np.array([ids[word] for word in first_ids], np.int64)[np.array(met, np.int64)]


def _vocabulary(words: Set[str]) -> tuple[str, ...]:
    """The words of a table: the marks first, then the others in code point order."""
    return (*MARKS, *sorted(words - set(MARKS)))


def measure_discounts(adjusted: Ints) -> Discounts:
    """Discounts from how many n-grams have the counts 1 to 4 (Chen and Goodman, equation 26).

    DEFAULT_DISCOUNTS where one of these numbers is 0, or a discount isn't above 0 and below its count.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(adjusted, 5), minlength=6)[1:5].tolist()
    if not min(n1, n2, n3, n4):
        return Discounts(DEFAULT_DISCOUNTS, False)
    y = n1 / (n1 + 2 * n2)
    values = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    sound = all(0 < value < number for number, value in enumerate(values, start=1))
    return Discounts(values, True) if sound else Discounts(DEFAULT_DISCOUNTS, False)


def _smooth(counts: Counts, taken: Floats, lower: Floats) -> tuple[Floats, Floats]:
    """P(w | h) of each n-gram (G,) and g(h) of each context, 1 for contexts that nothing follows.

    taken: what is subtracted from each adjusted count; lower: P of the n-grams one shorter.
    """
    contexts = len(lower)
    totals = np.bincount(counts.context, counts.adjusted, contexts)
    followed = np.maximum(totals, 1)
    given = np.where(totals > 0, np.bincount(counts.context, taken, contexts) / followed, 1.0)
    kept = (counts.adjusted - taken) / followed[counts.context]
    return kept + given[counts.context] * lower[counts.suffix], given


def interpolate(tables: Sequence[NgramTable], weights: Sequence[float]) -> NgramTable:
    """Linear interpolation (Jelinek and Mercer, 1980): P(w | h) = sum over i of weight_i P_i(w | h), as one model.

    The mixture lists every n-gram that a component lists, with the probability above; its backoffs are computed anew
    (SRILM's ngram -mix-lm). So it equals the sum for listed n-grams and approximates it elsewhere. A component reads
    words that it doesn't know as ``<unk>`` in the history; as the predicted word they have probability 0 if another
    component knows them, so that sums stay one. The order is the highest of the components.

    Raises UsageError unless there is one weight for each table, all above 0 and with the sum 1.
    """
    _check_weights(weights, len(tables))
    union = _union(tables)
    orders = []
    for order, grams in zip(union.orders, union.grams, strict=True):
        mixed = np.zeros(len(order))
        for table, weight in zip(tables, weights, strict=True):
            mixed += weight / sum(weights) * _probs(table, grams, union.words)
        orders.append(Order(order.context, order.word, np.log(mixed), order.log_backoff))
    return NgramTable(union.words, tuple(orders)).with_backoffs()


def best_weights(parts: Iterable[tuple[Sequence[LanguageModel], Iterable[str]]]) -> tuple[float, ...]:
    """The weights, one for each model, that maximize the likelihood of some sentences; by expectation maximization.

    parts: models, and sentences for them; the models of all parts have the same weights, as in cross-validation
    Words that no model knows are left out. The likelihood has one maximum only, so the starting point doesn't matter.
    """
    probs = np.concatenate([_sentence_probs(models, line) for models, lines in parts for line in lines])  # (T, models)
    weights, before = np.full(probs.shape[1], 1 / probs.shape[1]), -np.inf
    while (log_prob := np.log(probs @ weights).mean()) > before + _MIN_GAIN:
        before = log_prob
        weights = (weights * probs / (probs @ weights)[:, None]).mean(axis=0)
    return tuple(weights.tolist())


def _check_weights(weights: Sequence[float], models: int) -> None:
    shown = ",".join(f"{weight:g}" for weight in weights)
    if len(weights) != models:
        raise UsageError(f"weights {shown}: {len(weights)} for {counted(models, 'model')}; give one each")
    if not all(weight > 0 for weight in weights) or not abs(sum(weights) - 1) <= _WEIGHT_TOLERANCE:
        raise UsageError(f"weights {shown} sum to {sum(weights):g}; above 0 and with the sum 1")


def _union(tables: Sequence[NgramTable]) -> NgramTable:
    """Every n-gram that one of the tables lists, with no probabilities yet."""
    words = _vocabulary({word for table in tables for word in table.words})
    ids = {word: number for number, word in enumerate(words)}
    new_ids = [np.array([ids[word] for word in table.words]) for table in tables]
    rows = new_ids  # of every table's n-grams in the union, for the last order done
    orders = [_blank(np.arange(len(words)), len(words))]
    for n in range(2, max(len(table.orders) for table in tables) + 1):
        keys = []
        for table, new, new_rows in zip(tables, new_ids, rows, strict=True):
            own = table.orders[n - 1] if n <= len(table.orders) else _blank(np.zeros(0, np.int64), 1)
            keys.append(new_rows[own.context] * len(words) + new[own.word])
        union = np.unique(np.concatenate(keys))
        rows = [np.searchsorted(union, own) for own in keys]
        orders.append(_blank(union, len(words)))
    return NgramTable(words, tuple(orders))


def _blank(keys: Ints, size: int) -> Order:
    return Order(keys // size, keys % size, np.zeros(len(keys)), np.zeros(len(keys)))


def _probs(table: NgramTable, grams: Ints, words: tuple[str, ...]) -> Floats:
    """P of the last words of n-grams (N, n) in ids of ``words``; 0 for a last word that the table doesn't know."""
    own_ids = np.array([table.ids.get(word, table.ids[UNKNOWN]) for word in words])
    known = np.array([word in table.ids for word in words])
    own = own_ids[grams[:, -len(table.orders) :]]
    return np.where(known[grams[:, -1]], np.exp(table.log_probs(own)), 0.0)


def _sentence_probs(models: Sequence[LanguageModel], line: str) -> Floats:
    """P of the words and the end of a sentence in every model, without words that none knows: (up to L + 1, models)."""
    words = line.split()
    probs = np.exp([log_probs_of(model, words) for model in models]).T
    known = np.array([[*(model.knows(word) for word in words), True] for model in models]).T
    return np.where(known, probs, 0.0)[known.any(axis=1)]


def _mixed_frequencies(
    table: NgramTable, estimates: Sequence[Estimate], weights: Sequence[float]
) -> tuple[Floats, ...]:
    """``Estimate.frequencies`` of a mixture of models of the same words."""
    found = tuple(np.zeros(len(order)) for order in table.orders[:-1])
    for each, weight in zip(estimates, weights, strict=True):
        for mixed, grams, own in zip(found, table.grams, each.frequencies, strict=False):
            mixed += weight * np.append(own, 0.0)[each.table.find(grams)]
    return found


def prune(table: NgramTable, threshold: float, frequencies: Sequence[Floats] = ()) -> NgramTable:
    """Entropy pruning: remove the n-grams that change the model least (Stolcke, DARPA BNTUW 1998).

    Without ``h w``, P(w | h) becomes a'(h) P(w | h'), with h' for h without its first word, and the backoff a(h)
    becomes a'(h). The relative entropy between the model before and after is

        D = - P(h) { p(w|h) [ln p(w|h') + ln a'(h) - ln p(w|h)] + [ln a'(h) - ln a(h)] (1 - sum of p(v|h), h v listed) }

    and the perplexity grows by the factor e^D. An n-gram is removed if that is less than 1 + threshold. Each is judged
    as if it alone were removed, the longest first; contexts of remaining n-grams stay, as in SRILM. P(h) is the
    relative frequency (``Estimate.frequencies``). Without these it is taken from the model itself, with P(<s>) = 1; for
    Kneser-Ney that is a poor estimate (Chelba et al., Interspeech 2010).

    Backoffs are computed anew and unigrams stay. 0 changes nothing; 1e-9 to 1e-6 are usual. Raises UsageError for a
    negative threshold.
    """
    _check_threshold(threshold)
    if threshold == 0:
        return table
    histories = frequencies or [np.exp(each) for each in history_log_probs(table)]
    keeps: list[Mask] = []  # the longest first
    for n in range(len(table.orders), 1, -1):
        keep = np.expm1(relative_entropies(table, n, histories[n - 2])) >= threshold
        if keeps:
            keep[table.orders[n].context[keeps[-1]]] = True
        keeps.append(keep)
    unigrams = np.ones(len(table.words), np.bool_)
    return table.select([unigrams, *reversed(keeps)]).with_backoffs()


def _check_threshold(threshold: float) -> None:
    if not threshold >= 0:
        raise UsageError(f"pruning threshold {threshold:g}; 0 or more, such as 1e-8")


def relative_entropies(table: NgramTable, n: int, history_probs: Floats) -> Floats:
    """D in nats (G,) of each n-gram of length n > 1; ``history_probs``: P(h) of the (n - 1)-grams."""
    order = table.orders[n - 1]
    log_prob, context = order.log_prob, order.context
    shorter = table.log_probs(table.grams[n - 1][:, 1:])
    explicit, lower = (np.maximum(rest, 0.0)[context] for rest in table.left_over(n))
    new_backoff = np.log(explicit + np.exp(log_prob)) - np.log(lower + np.exp(shorter))
    growth = new_backoff - table.orders[n - 2].log_backoff[context]
    inner = np.exp(log_prob) * (shorter + new_backoff - log_prob) + growth * explicit
    entropies: Floats = -history_probs[context] * inner
    return entropies


def history_log_probs(table: NgramTable) -> list[Floats]:
    """ln P(h) of all n-grams of each order, by the chain rule; 0 for ``<s>``."""
    unigrams = table.orders[0].log_prob.copy()
    unigrams[table.ids[BEGIN]] = 0.0
    found = [unigrams]
    for order in table.orders[1:]:
        found.append(found[-1][order.context] + order.log_prob)
    return found
