"""Score the hypotheses of a model against the transcripts of a data directory."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from recitative.data.directory import read_speakers, read_transcripts
from recitative.data.tables import read_table
from recitative.lock import waiting_for, writes
from recitative.score.results import ResultRow, append_results, write_markdown
from recitative.score.wer import ErrorRates, characters, score, summary, write_details
from recitative.text.lexicon import Spelling


@dataclass(frozen=True)
class DirectoryScores:
    """Scores of words and of characters; tokens: not empty if the words are tokens of this unit, such as phones."""

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
        measured = (
            (self.name, self.words.total.rate, self.words.total.kaldi_counts()),
            ("%CER", self.characters.total.rate, self.characters.total.kaldi_counts()),
            ("%SER", self.words.sentence_rate, self.words.sentence_counts()),
        )
        return [
            dataclasses.replace(origin, metric=metric, value=round(100 * rate, 4), counts=counts)
            for metric, rate, counts in (measured[:1] if self.tokens else measured)
        ]


@writes("output")
def score_directory(
    data_dir: Path, hyp_text: Path, output: Path, spelling: Spelling | None = None, tokens: str = ""
) -> DirectoryScores:
    """Score a Kaldi text of hypotheses against ``data_dir/text`` by the speakers of ``data_dir/utt2spk``; write the
    files of ``recitative.score.wer`` to ``output``.

    spelling: the hypotheses are its tokens, of the unit ``tokens``; the transcripts are spelled first. Raises DataError
    for bad tables, unknown utterances, and words that cannot be spelled.
    """
    refs = {row.key: row.value for row in read_transcripts(data_dir)}
    hyps = {row.key: row.value for row in read_table(hyp_text)}
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


def record(rows: list[ResultRow], results: Path, results_md: Path | None) -> None:
    """Add rows to the results file, and write all its rows to the Markdown table, if given."""
    with waiting_for(results):
        all_rows = append_results(results, rows)
        if results_md:
            write_markdown(results_md, all_rows)
