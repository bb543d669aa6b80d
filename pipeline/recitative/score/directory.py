"""A data directory's transcripts beside the hypotheses of a model: every number and file that comes of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from recitative.data.tables import read_table
from recitative.data.transcripts import read_speakers, read_transcripts
from recitative.lock import waiting_for, writes
from recitative.score.details import summary, write_details
from recitative.score.results import ResultRow, append_results, write_markdown
from recitative.score.wer import Scores, characters, score
from recitative.text.lexicon import Spelling


@dataclass(frozen=True)
class DirectoryScores:
    """The same texts counted twice; ``tokens``: they are not words but tokens of this unit, phones for example."""

    words: Scores
    characters: Scores
    tokens: str = ""

    def summary(self) -> str:
        """``%WER``, ``%CER`` and ``%SER`` lines, then remarks."""
        return summary(self.words, self.characters, self.name)

    @property
    def name(self) -> str:
        """Of the error rate."""
        return {"": "%WER", "phone": "%PER"}.get(self.tokens, "%TER")

    def rows(self, origin: ResultRow) -> list[ResultRow]:
        """The results %WER, %CER and %SER; all that is not the number itself is taken from ``origin``."""
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
    files of ``recitative.score.details`` to ``output``.

    spelling: the hypotheses are its tokens, of the unit ``tokens``, and so the transcripts are spelled first
    Raises DataError for bad tables, unknown utterances, and words that cannot be spelled.
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
    """Put rows into the results file, and show all of its rows in the Markdown table if one is given."""
    with waiting_for(results):
        all_rows = append_results(results, rows)
        if results_md:
            write_markdown(results_md, all_rows)
