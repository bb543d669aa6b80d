"""The files of a scoring: summary, alignment of every utterance, table of speakers, confusions.

wer        the summary lines
missing    utterances without a hypothesis, one a line; only if there are any
per_utt    Kaldi's wer_per_utt_details.pl: four lines an utterance, words in columns
per_spk    Kaldi's wer_per_spk_details.pl: counts (raw) and per cent (sys) of every speaker and their sum
ops_words  Kaldi's wer_ops_details.pl: operation, reference, hypothesis, count; most frequent first
ops_chars  the same for characters; a space is printed as <space>
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from recitative.atomic import write_text
from recitative.errors import DataError
from recitative.reading import read_text
from recitative.score.wer import Alignment, ErrorCounts, Pair, Scores, confidence_interval, count_errors

GAP = "***"  # printed for the side of a pair that has no word, as in Kaldi
_OP_NAMES = {"C": "correct", "S": "substitution", "I": "insertion", "D": "deletion"}


def summary(word_scores: Scores, char_scores: Scores, name: str = "%WER") -> str:
    """The lines of file ``wer``: Kaldi's four, the CER among them, and the bootstrap interval of the WER."""
    low, high = confidence_interval(word_scores.by_utterance.values())
    return "\n".join(
        (
            word_scores.total.kaldi_line(name),
            char_scores.total.kaldi_line("%CER"),
            word_scores.sentence_line(),
            f"Scored {word_scores.sentences} sentences, {len(word_scores.missing)} not present in hyp.",
            f"95 % confidence interval of the {name[1:]}: {100 * low:.2f} to {100 * high:.2f} "
            "(bootstrap over utterances)",
        )
    )


def write_details(directory: Path, word_scores: Scores, char_scores: Scores) -> None:
    """Write the files named at the top, each whole or not at all; a ``missing`` of an earlier scoring is removed."""
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "wer", summary(word_scores, char_scores) + "\n")
    write_text(directory / "per_utt", "".join(format_utterance(*item) for item in word_scores.alignments.items()))
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
    """References and hypotheses, utt_id -> text, back from a ``per_utt`` file."""
    refs: dict[str, str] = {}
    hyps: dict[str, str] = {}
    lines = read_text(path, "alignments of a scoring", "score anew").splitlines()
    for number in range(0, len(lines), 4):
        rows = [line.split() for line in lines[number : number + 4]]
        names = [row[1:2] for row in rows]
        if names != [["ref"], ["hyp"], ["op"], ["#csid"]] or len({len(row) for row in rows[:3]}) > 1:
            where = f"{path}:{number + 1}"
            raise DataError(where, "is not an alignment", "four lines: ref, hyp, op, #csid", "score anew")
        columns = list(zip(*(row[2:] for row in rows[:3]), strict=True))
        refs[rows[0][0]] = " ".join(ref for ref, _, op in columns if op != "I")
        hyps[rows[0][0]] = " ".join(hyp for _, hyp, op in columns if op != "D")
    return refs, hyps


def format_speakers(scores: Scores) -> str:
    """Kaldi's table; without speakers only the line of the sum."""
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
    """One line an (operation, reference, hypothesis): errors first, then the most frequent."""
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
