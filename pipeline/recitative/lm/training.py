"""From texts to one n-gram model: an estimate of each, mixed, pruned, and measured on a text of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from recitative.lm.interpolation import best_weights, check_weights, interpolate
from recitative.lm.kneser_ney import Discounts, Estimate, check_counts, estimate
from recitative.lm.ngram import NgramModel
from recitative.lm.perplexity import Perplexity, measure
from recitative.lm.pruning import check_threshold, prune
from recitative.lm.sentences import Sentences
from recitative.lm.table import NgramTable

Step = Callable[[str], object]  # told what is done next


@dataclass(frozen=True)
class NgramSettings:
    """Raises UsageError for what no model can be made of."""

    order: int = 3
    min_counts: tuple[int, ...] = ()  # for each order, or none: everything is listed
    prune: float = 0.0  # threshold of ``lm.pruning``
    weights: tuple[float, ...] = ()  # one for each text, or none: found on the dev text

    def __post_init__(self) -> None:
        check_counts(self.order, self.min_counts)
        check_threshold(self.prune)


@dataclass(frozen=True, eq=False)
class Part:
    """What one text, or all together, gave."""

    name: str
    table: NgramTable
    discounts: tuple[Discounts, ...]  # order by order
    weight: float  # in the mixture; 1 if there is only this
    dev: Perplexity | None  # None: no dev text


@dataclass(frozen=True, eq=False)
class Trained:
    """The model, what it was made of, and how well it foresees the dev text, if there is one."""

    table: NgramTable
    parts: tuple[Part, ...]
    unpruned: NgramTable
    dev: Perplexity | None
    unpruned_dev: Perplexity | None


def train(
    texts: Sequence[Sentences],
    settings: NgramSettings,
    *,
    dev: Sentences | None = None,
    extra_words: Set[str] = frozenset(),
    step: Step = lambda title: None,
) -> Trained:
    """Several texts are joined, or, with dev text or weights, get a model each, and these are mixed.

    All parts know the words of all texts and ``extra_words``. Raises UsageError for weights that don't fit the texts.
    """
    if settings.weights:
        check_weights(settings.weights, len(texts))
    words = set(extra_words).union(*(text.words for text in texts))
    estimates = _estimates(texts, settings, words, apart=bool(dev or settings.weights), step=step)
    step("weigh")
    parts = _parts(estimates, settings.weights, dev)
    step("mix")
    mixed = (
        interpolate([part.table for part in parts], [part.weight for part in parts]) if parts[1:] else parts[0].table
    )
    step("prune")
    table = prune(mixed, settings.prune)
    step("measure")
    return Trained(table, parts, mixed, _perplexity(table, dev), _perplexity(mixed, dev) if settings.prune else None)


def _estimates(
    texts: Sequence[Sentences], settings: NgramSettings, words: Set[str], *, apart: bool, step: Step
) -> list[tuple[str, Estimate]]:
    """Names and models, of each text if they are kept apart, else of all."""
    if not apart:
        lines = tuple(line for text in texts for line in text.lines)
        texts = [Sentences(", ".join(text.name for text in texts), lines, 0)]
    estimates = []
    for number, text in enumerate(texts, start=1):
        step(f"estimate {number} of {len(texts)}")
        one = estimate(text.lines, settings.order, extra_words=words, min_counts=settings.min_counts)
        estimates.append((text.name, one))
    return estimates


def _parts(
    estimates: Sequence[tuple[str, Estimate]], weights: Sequence[float], dev: Sentences | None
) -> tuple[Part, ...]:
    models = [NgramModel(one.table) for _, one in estimates] if dev else []
    measured = [measure(model, dev.lines) for model in models] if dev else [None] * len(estimates)
    if not weights:
        weights = best_weights(models, dev.lines) if dev else (1.0,)
    parts = zip(estimates, weights, measured, strict=True)
    return tuple(Part(name, one.table, one.discounts, weight, result) for (name, one), weight, result in parts)


def _perplexity(table: NgramTable, dev: Sentences | None) -> Perplexity | None:
    return measure(NgramModel(table), dev.lines) if dev else None
