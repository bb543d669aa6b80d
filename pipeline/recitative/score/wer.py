"""Word, character and sentence error rates from minimum edit distance alignments, and the files that ``score`` writes.

    rate = (insertions + deletions + substitutions) / symbols in the references

Alignment is ``kaldialign`` (C++), with unit costs. Where several alignments cost the same it decides as Kaldi's
``LevenshteinEditDistance`` (src/util/edit-distance-inl.h) does: going back from the end, a substitution or match is
chosen only if it is strictly cheaper than both others, a deletion only if it is strictly cheaper than an insertion,
otherwise an insertion. So not only the sum but also the numbers of insertions, deletions and substitutions are Kaldi's.

Characters are counted as in ESPnet and jiwer: words are joined by single spaces, and each space is a character. Kaldi's
score_kaldi_cer.sh omits spaces, so its CER is not comparable.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import kaldialign
import numpy as np

from recitative.atomic import write_text, writes
from recitative.data.annotations import read_trn, trn_line
from recitative.data.directory import read_speakers, read_transcripts
from recitative.data.tables import read_table
from recitative.errors import DataError, Problem, raise_all
from recitative.reading import read_text
from recitative.score.results import Measurement, ResultRow, rows_of
from recitative.text.tokens import Spelling

Op = Literal["C", "S", "I", "D"]
"""Correct, substitution, insertion, deletion: the letters of Kaldi's and sclite's alignments."""

_NOTHING = ""  # the missing side of a pair; no word or character is empty


class Pair(NamedTuple):
    """One column of an alignment; ``ref`` is empty for an insertion, ``hyp`` for a deletion."""

    op: Op
    ref: str
    hyp: str


Alignment = list[Pair]


@dataclass(frozen=True)
class ErrorCounts:
    """Counts of symbols; unlike rates, they can be added over utterances."""

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
        """Errors per reference symbol, >= 0, possibly above 1; without symbols 0, or inf if there are errors."""
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
class ErrorRates:
    """Error counts of a set of hypotheses; every mapping is in the order of the references."""

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
    """The symbols of WER: words separated by white space."""
    return text.split()


def characters(text: str) -> list[str]:
    """The symbols of CER: Unicode code points, including one space between words."""
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
) -> ErrorRates:
    """Align every hypothesis with its reference and count.

    refs, hyps: utt_id -> text; utt2spk: utt_id -> speaker; symbols: ``words`` for WER, ``characters`` for CER; where:
    the file of the hypotheses, for errors.
    A reference without a hypothesis counts as deleted and is listed in ``missing``. Raises DataError for a hypothesis
    of an unknown utterance, an utterance without speaker, and no references.
    """
    _check(refs, hyps, utt2spk, where)
    alignments = {utt_id: align(symbols(ref), symbols(hyps.get(utt_id, ""))) for utt_id, ref in refs.items()}
    by_utterance = {utt_id: count_errors(alignment) for utt_id, alignment in alignments.items()}
    speakers = {utt_id: utt2spk[utt_id] for utt_id in refs} if utt2spk else {}
    by_speaker: dict[str, ErrorCounts] = {}
    for utt_id, speaker in speakers.items():
        by_speaker[speaker] = by_speaker.get(speaker, ErrorCounts()) + by_utterance[utt_id]
    return ErrorRates(
        total=sum(by_utterance.values(), ErrorCounts()),
        by_speaker=by_speaker,
        by_utterance=by_utterance,
        alignments=alignments,
        speakers=speakers,
        missing=tuple(utt_id for utt_id in refs if utt_id not in hyps),
    )


def confidence_interval(
    counts: Iterable[ErrorCounts], *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of the rate over utterances (Bisani and Ney, ICASSP 2004), by percentiles.

    Whole utterances are resampled, since errors within one are dependent. Percentiles are used because Kaldi's mean +-
    1.96 standard deviations gives rates below zero for few errors.
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


def difference_interval(
    first: Mapping[str, ErrorCounts], second: Mapping[str, ErrorCounts], *, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of how much higher the second's rate is, over the utterances that both have.

    Both are resampled together, since an utterance that is hard for one is hard for the other (Bisani and Ney 2004).
    NaN without common utterances.
    """
    pairs = [(first[utt_id], second[utt_id]) for utt_id in first if utt_id in second]
    if not pairs:
        return math.nan, math.nan
    return confidence_interval([ErrorCounts(a.ref, substitutions=b.errors - a.errors) for a, b in pairs], level=level)


def _op(ref: str, hyp: str) -> Op:
    if ref == _NOTHING:
        return "I"
    if hyp == _NOTHING:
        return "D"
    return "C" if ref == hyp else "S"


def _check(refs: Mapping[str, str], hyps: Mapping[str, str], utt2spk: Mapping[str, str] | None, where: str) -> None:
    if not refs:
        raise DataError("references", "have no utterances", "at least one")
    unknown = [f"utterance '{utt_id}' is not in the references" for utt_id in hyps if utt_id not in refs]
    problems = [Problem(where, found, "", "score against the data of these hypotheses") for found in unknown]
    without_speaker = [f"utterance '{utt_id}' has no speaker" for utt_id in refs if utt2spk and utt_id not in utt2spk]
    problems += [Problem("utt2spk", found, "", "add it there") for found in without_speaker]
    raise_all(problems)


GAP = "***"  # printed for the missing side of a pair, as in Kaldi
_OP_NAMES = {"C": "correct", "S": "substitution", "I": "insertion", "D": "deletion"}


def summary(word_scores: ErrorRates, char_scores: ErrorRates, name: str = "%WER") -> str:
    """The lines of the file ``wer``: Kaldi's four, including CER, and the bootstrap interval of the WER."""
    low, high = confidence_interval(word_scores.by_utterance.values())
    interval = f"95 % confidence interval of the {name[1:]}: {100 * low:.2f} to {100 * high:.2f}"
    lines = (
        word_scores.total.kaldi_line(name),
        char_scores.total.kaldi_line("%CER"),
        word_scores.sentence_line(),
        f"Scored {word_scores.sentences} sentences, {len(word_scores.missing)} not present in hyp.",
        f"{interval} (bootstrap over utterances)",
    )
    return "\n".join(lines)


def write_details(directory: Path, word_scores: ErrorRates, char_scores: ErrorRates) -> None:
    """Write the files of a scoring, each atomic; an old ``missing`` is removed.

    wer        the summary lines
    missing    utterances without a hypothesis, one a line; only if there are any
    ref.trn, hyp.trn  for NIST's sclite: 'sclite -r ref.trn trn -h hyp.trn trn -i spu_id'
    per_utt    Kaldi's wer_per_utt_details.pl: four lines an utterance, words in columns
    per_spk    Kaldi's wer_per_spk_details.pl: counts (raw) and percent (sys) of every speaker and their sum
    ops_words  Kaldi's wer_ops_details.pl: operation, reference, hypothesis, count; most frequent first
    ops_chars  the same for characters; a space is printed as <space>
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "wer", summary(word_scores, char_scores) + "\n")
    write_text(directory / "per_utt", "".join(format_utterance(*item) for item in word_scores.alignments.items()))
    for side, op in (("ref", "I"), ("hyp", "D")):
        lines = [
            trn_line(utt_id, " ".join(getattr(pair, side) for pair in alignment if pair.op != op))
            for utt_id, alignment in word_scores.alignments.items()
        ]
        write_text(directory / f"{side}.trn", "".join(lines))
    write_text(directory / "per_spk", format_speakers(word_scores))
    write_text(directory / "ops_words", format_confusions(word_scores.alignments.values()))
    write_text(directory / "ops_chars", format_confusions(char_scores.alignments.values()))
    if word_scores.missing:
        write_text(directory / "missing", "".join(f"{utt_id}\n" for utt_id in word_scores.missing))
    else:
        (directory / "missing").unlink(missing_ok=True)


def format_utterance(utt_id: str, alignment: Alignment) -> str:
    """Four lines: reference, hypothesis, operations, and the counts C S I D."""
    columns = [(pair.ref or GAP, pair.hyp or GAP, pair.op) for pair in alignment]
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True) if columns else [()] * 3
    lines = [
        f"{utt_id} {name:<4} {'  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))}".rstrip()
        for name, row in zip(("ref", "hyp", "op"), rows, strict=True)
    ]
    counts = count_errors(alignment)
    lines.append(f"{utt_id} #csid {counts.correct} {counts.substitutions} {counts.insertions} {counts.deletions}")
    return "\n".join(lines) + "\n"


def read_utterances(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """References and hypotheses, utt_id -> text, from a ``per_utt`` file."""
    refs: dict[str, str] = {}
    hyps: dict[str, str] = {}
    lines = read_text(path, "alignments of a scoring", "score again").splitlines()
    for number in range(0, len(lines), 4):
        rows = [line.split() for line in lines[number : number + 4]]
        names = [row[1:2] for row in rows]
        if names != [["ref"], ["hyp"], ["op"], ["#csid"]] or len({len(row) for row in rows[:3]}) > 1:
            where = f"{path}:{number + 1}"
            raise DataError(where, "is not an alignment", "four lines: ref, hyp, op, #csid", "score again")
        columns = list(zip(*(row[2:] for row in rows[:3]), strict=True))
        refs[rows[0][0]] = " ".join(ref for ref, _, op in columns if op != "I")
        hyps[rows[0][0]] = " ".join(hyp for _, hyp, op in columns if op != "D")
    return refs, hyps


def format_speakers(scores: ErrorRates) -> str:
    """Kaldi's table of speakers; without speakers only the sum."""
    sentences = Counter(scores.speakers.values())
    wrong = Counter(speaker for utt_id, speaker in scores.speakers.items() if scores.by_utterance[utt_id].errors)
    width = max([len("SPEAKER"), *map(len, scores.by_speaker)])
    names = ("#SENT", "#WORD", "Corr", "Sub", "Ins", "Del", "Err", "S.Err")
    lines = [f"{'SPEAKER':<{width}} id  " + " ".join(f"{name:>8}" for name in names)]
    for speaker, counts in sorted(scores.by_speaker.items()):
        lines += _speaker_lines(f"{speaker:<{width}}", counts, sentences[speaker], wrong[speaker])
    lines += _speaker_lines(f"{'SUM':<{width}}", scores.total, scores.sentences, scores.sentence_errors)
    return "\n".join(lines) + "\n"


def count_confusions(alignments: Iterable[Alignment]) -> Counter[Pair]:
    """How often every (op, ref, hyp) occurs."""
    return Counter(pair for alignment in alignments for pair in alignment)


def format_confusions(alignments: Iterable[Alignment]) -> str:
    """One line per (operation, reference, hypothesis): errors first, then by frequency."""
    counts = count_confusions(alignments)
    ordered = sorted(counts.items(), key=lambda item: (item[0][0] == "C", -item[1], item[0]))
    return "".join(
        f"{_OP_NAMES[op]:<12} {_printed(ref):<15} {_printed(hyp):<15} {count:>6}\n" for (op, ref, hyp), count in ordered
    )


def _speaker_lines(label: str, counts: ErrorCounts, sentences: int, wrong: int) -> list[str]:
    numbers = (counts.correct, counts.substitutions, counts.insertions, counts.deletions, counts.errors)
    start = f"{sentences:>8} {counts.ref:>8} "
    lines = [f"{label} raw {start}" + " ".join(f"{number:>8}" for number in (*numbers, wrong))]
    if counts.ref:
        shares = [100 * number / counts.ref for number in numbers] + [100 * wrong / sentences]
        lines.append(f"{label} sys {start}" + " ".join(f"{share:>8.2f}" for share in shares))
    return lines


def _printed(symbol: str) -> str:
    return {"": GAP, " ": "<space>"}.get(symbol, symbol)


@dataclass(frozen=True)
class DirectoryScores:
    """Error rates of words and characters. tokens: the unit if the "words" are tokens, such as phones; else empty."""

    words: ErrorRates
    characters: ErrorRates
    tokens: str = ""

    def summary(self) -> str:
        """``%WER``, ``%CER`` and ``%SER`` lines, and more."""
        return summary(self.words, self.characters, self.name)

    @property
    def name(self) -> str:
        """The name of the error rate."""
        return {"": "%WER", "phone": "%PER"}.get(self.tokens, "%TER")

    def rows(self, origin: ResultRow) -> list[ResultRow]:
        """Result rows of %WER, %CER and %SER; all other fields are those of ``origin``."""
        measured = [
            Measurement(self.name, round(100 * self.words.total.rate, 4), self.words.total.kaldi_counts()),
            Measurement("%CER", round(100 * self.characters.total.rate, 4), self.characters.total.kaldi_counts()),
            Measurement("%SER", round(100 * self.words.sentence_rate, 4), self.words.sentence_counts()),
        ]
        return rows_of(measured[:1] if self.tokens else measured, origin)


@writes("output")
def score_directory(
    data_dir: Path, hyp_text: Path, output: Path, spelling: Spelling | None = None, tokens: str = ""
) -> DirectoryScores:
    """Score hypotheses, a Kaldi text or a .trn of sclite, against ``data_dir/text`` by the speakers of
    ``data_dir/utt2spk``; write the files of ``write_details`` to ``output``.

    spelling: the hypotheses are its tokens, of the unit ``tokens``; the transcripts are spelled first. Raises DataError
    for bad tables, unknown utterances, and words that cannot be spelled.
    """
    refs = {row.key: row.value for row in read_transcripts(data_dir)}
    hyps = _read_hypotheses(hyp_text)
    utt2spk = read_speakers(data_dir)
    if spelling:
        refs = {utt_id: " ".join(spelling.split(text)) for utt_id, text in refs.items()}
    scores = DirectoryScores(
        score(refs, hyps, utt2spk, where=str(hyp_text)),
        score(refs, hyps, utt2spk, symbols=characters, where=str(hyp_text)),
        tokens,
    )
    write_details(output, scores.words, scores.characters)
    return scores


def _read_hypotheses(path: Path) -> dict[str, str]:
    """utt_id -> text. Raises DataError for lines that cannot be read."""
    if path.suffix.lower() != ".trn":
        return {row.key: row.value for row in read_table(path)}
    lines, problems = read_trn(path)
    raise_all(problems)
    return {utt_id: text for utt_id, (_, text) in lines.items()}
