"""Word, character and sentence error rates from minimum edit distance alignments.

    rate = (insertions + deletions + substitutions) / symbols in the references

Alignment is ``kaldialign`` (C++), with unit costs. Where several alignments cost the same it decides as Kaldi's
``LevenshteinEditDistance`` (src/util/edit-distance-inl.h) does: going back from the end, a substitution or match is
taken only where it is strictly cheaper than both others, a deletion only where it is strictly cheaper than an
insertion, else an insertion. So the split into insertions, deletions and substitutions is Kaldi's, not only the sum.

Characters are counted as ESPnet does: words joined by single spaces, and each space is a character (jiwer counts the
same). Kaldi's score_kaldi_cer.sh leaves spaces out, so its CER is not comparable with ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import kaldialign
import numpy as np

from recitative.errors import DataError, Problem

Op = Literal["C", "S", "I", "D"]
"""Correct, substitution, insertion, deletion: the letters of Kaldi's and sclite's alignments."""

_NOTHING = ""  # stands for the missing side of a pair; no word or character is empty


class Pair(NamedTuple):
    """One column of an alignment; ``ref`` is empty for an insertion, ``hyp`` for a deletion."""

    op: Op
    ref: str
    hyp: str


Alignment = list[Pair]


@dataclass(frozen=True)
class ErrorCounts:
    """Counts of symbols; they add up over utterances, as rates do not."""

    ref: int = 0
    insertions: int = 0
    deletions: int = 0
    substitutions: int = 0

    @property
    def errors(self) -> int:
        return self.insertions + self.deletions + self.substitutions

    @property
    def correct(self) -> int:
        return self.ref - self.deletions - self.substitutions

    @property
    def rate(self) -> float:
        """Errors per reference symbol, >= 0 and possibly above 1; of no symbols: 0, or inf if there are errors."""
        if self.ref == 0:
            return float("inf") if self.errors else 0.0
        return self.errors / self.ref

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.ref + other.ref,
            self.insertions + other.insertions,
            self.deletions + other.deletions,
            self.substitutions + other.substitutions,
        )

    def kaldi_counts(self) -> str:
        """``2708 / 20138, 358 ins, 330 del, 2020 sub``"""
        return f"{self.errors} / {self.ref}, {self.insertions} ins, {self.deletions} del, {self.substitutions} sub"

    def kaldi_line(self, name: str = "%WER") -> str:
        """``%WER 13.45 [ 2708 / 20138, 358 ins, 330 del, 2020 sub ]``, as Kaldi's compute-wer prints it."""
        return f"{name} {100 * self.rate:.2f} [ {self.kaldi_counts()} ]"


@dataclass(frozen=True)
class Scores:
    """A set of hypotheses beside their references; every mapping is in the order of the references."""

    total: ErrorCounts
    by_speaker: dict[str, ErrorCounts]
    by_utterance: dict[str, ErrorCounts]
    alignments: dict[str, Alignment]
    speakers: dict[str, str]  # utt_id -> speaker; empty if no speakers were given
    missing: tuple[str, ...]  # utterances without a hypothesis, counted as all deleted

    @property
    def sentences(self) -> int:
        return len(self.by_utterance)

    @property
    def sentence_errors(self) -> int:
        return sum(counts.errors > 0 for counts in self.by_utterance.values())

    @property
    def sentence_rate(self) -> float:
        return self.sentence_errors / self.sentences

    def sentence_counts(self) -> str:
        """``1 / 5``"""
        return f"{self.sentence_errors} / {self.sentences}"

    def sentence_line(self) -> str:
        """``%SER 20.00 [ 1 / 5 ]``, as Kaldi's compute-wer prints it."""
        return f"%SER {100 * self.sentence_rate:.2f} [ {self.sentence_counts()} ]"


def words(text: str) -> list[str]:
    """The symbols of WER: what lies between white space."""
    return text.split()


def characters(text: str) -> list[str]:
    """The symbols of CER: Unicode code points, one space between words included."""
    return list(" ".join(text.split()))


def align(ref: Sequence[str], hyp: Sequence[str]) -> Alignment:
    """The cheapest alignment of two sequences of non-empty symbols."""
    return [Pair(_op(r, h), r, h) for r, h in kaldialign.align(ref, hyp, _NOTHING)]


def count_errors(alignment: Iterable[Pair]) -> ErrorCounts:
    ops = Counter(pair.op for pair in alignment)
    return ErrorCounts(ops["C"] + ops["S"] + ops["D"], ops["I"], ops["D"], ops["S"])


def score(
    refs: Mapping[str, str],
    hyps: Mapping[str, str],
    utt2spk: Mapping[str, str] | None = None,
    *,
    symbols: Callable[[str], list[str]] = words,
    where: str = "hypotheses",
) -> Scores:
    """Align every hypothesis with its reference and count.

    refs, hyps: utt_id -> text; utt2spk: utt_id -> speaker; symbols: ``words`` for WER, ``characters`` for CER; where:
    the file of the hypotheses, for errors.
    A reference without a hypothesis counts as all deleted and is named in ``missing``. Raises DataError for a
    hypothesis of an unknown utterance, an utterance without speaker, and for no references at all.
    """
    _check(refs, hyps, utt2spk, where)
    alignments = {utt_id: align(symbols(ref), symbols(hyps.get(utt_id, ""))) for utt_id, ref in refs.items()}
    by_utterance = {utt_id: count_errors(alignment) for utt_id, alignment in alignments.items()}
    speakers = {utt_id: utt2spk[utt_id] for utt_id in refs} if utt2spk else {}
    return Scores(
        total=sum(by_utterance.values(), ErrorCounts()),
        by_speaker=_sum_by_speaker(by_utterance, speakers),
        by_utterance=by_utterance,
        alignments=alignments,
        speakers=speakers,
        missing=tuple(utt_id for utt_id in refs if utt_id not in hyps),
    )


def confidence_interval(
    counts: Iterable[ErrorCounts], *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of the rate over utterances (Bisani and Ney, ICASSP 2004), by percentiles.

    Utterances are drawn with replacement, whole, since errors within one depend on each other. Percentiles and not
    Kaldi's mean +- 1.96 standard deviations, which gives rates below zero for few errors.
    """
    table = np.array([(count.errors, count.ref) for count in counts], dtype=np.float64)  # (N, 2)
    rng = np.random.default_rng(seed)
    rows_at_once = max(1, 1_000_000 // len(table))
    rates: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []
    for start in range(0, resamples, rows_at_once):
        picks = rng.integers(len(table), size=(min(rows_at_once, resamples - start), len(table)))
        errors, refs = table[picks].sum(axis=1).T
        rates.append(errors / np.maximum(refs, 1))
    low, high = np.quantile(np.concatenate(rates), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _op(ref: str, hyp: str) -> Op:
    if ref == _NOTHING:
        return "I"
    if hyp == _NOTHING:
        return "D"
    return "C" if ref == hyp else "S"


def _sum_by_speaker(by_utterance: Mapping[str, ErrorCounts], speakers: Mapping[str, str]) -> dict[str, ErrorCounts]:
    sums: dict[str, ErrorCounts] = {}
    for utt_id, speaker in speakers.items():
        sums[speaker] = sums.get(speaker, ErrorCounts()) + by_utterance[utt_id]
    return sums


def _check(refs: Mapping[str, str], hyps: Mapping[str, str], utt2spk: Mapping[str, str] | None, where: str) -> None:
    if not refs:
        raise DataError("references", "hold no utterance", "a rate needs at least one")
    problems = [
        Problem(where, f"utterance '{utt_id}' is not in the references", "", "score against the data it is from")
        for utt_id in hyps
        if utt_id not in refs
    ]
    problems += [
        Problem("utt2spk", f"utterance '{utt_id}' has no speaker", "", "add it there")
        for utt_id in refs
        if utt2spk and utt_id not in utt2spk
    ]
    if problems:
        raise DataError.collect(problems)
