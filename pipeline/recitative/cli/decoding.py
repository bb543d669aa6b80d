"""The options of decoding, the same for ``decode``, ``transcribe`` and ``listen``."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recitative.cli.models import open_lm
from recitative.errors import UsageError

if TYPE_CHECKING:
    from recitative.asr.decoding import DecodingOptions
    from recitative.asr.stream import Transcriber
    from recitative.decoding.hotwords import HotWord
    from recitative.lm.query import LanguageModel
    from recitative.text.lexicon import Lexicon

NO_LM = "none"

LmOption = Annotated[
    str,
    typer.Option(
        "--lm", help="Language model (ARPA, packed or recurrent) instead of the model's own. 'none': no language model."
    ),
]
HotWordsOption = Annotated[
    str,
    typer.Option("--hotwords", help="Phrases to favor: 'new york, tokyo:6, word=PH PH', or a file with one per line."),
]
GrammarOption = Annotated[
    Path | None, typer.Option("--grammar", help="Grammar or list of phrases; only its sentences are recognized.")
]
LexiconOption = Annotated[Path | None, typer.Option("--lexicon", help="Lexicon; only its words are recognized.")]
NbestOption = Annotated[
    int, typer.Option("--nbest", min=1, help="Number of alternatives with scores, in the JSON formats.")
]
BeamOption = Annotated[int, typer.Option("--beam", min=0, help="Beam width. 0: the model's setting.")]


GreedyOption = Annotated[
    bool,
    typer.Option("--greedy", help="Greedy search: no lexicon, no language model."),
]


@dataclass(frozen=True)
class DecodingArguments:
    """The options of the command line, which worker processes get too."""

    lm: str = ""
    hot_words: str = ""
    grammar: Path | None = None
    lexicon: Path | None = None
    nbest: int = 1
    beam: int = 0
    greedy: bool = False

    def __post_init__(self) -> None:
        others = (self.lm, self.hot_words, self.grammar, self.lexicon, self.nbest > 1, self.beam)
        if self.greedy and any(others):
            raise UsageError("--greedy: leaves nothing to the other options of decoding; give it alone")
        if self.grammar and self.lm not in ("", NO_LM):
            raise UsageError("--grammar and --lm: a grammar takes the language model's place; give one")

    def apply(self, transcriber: Transcriber, *, warns: bool = True) -> Transcriber:
        """The transcriber with these options; itself if there are none."""
        if self == DecodingArguments():
            return transcriber
        return transcriber.with_options(self._options(transcriber, warns))

    def _options(self, transcriber: Transcriber, warns: bool) -> DecodingOptions:
        from recitative.asr.decoding import DecodingOptions
        from recitative.lm.grammar import Grammar
        from recitative.text.lexicon import Lexicon

        lexicon = Lexicon.read(self.lexicon, transcriber.tokens) if self.lexicon else None
        lm = open_lm(Path(self.lm)) if self.lm not in ("", NO_LM) else None
        if lm and warns:
            warn_of_unknown(lm, lexicon or transcriber.language.lexicon, self.lm)
        return DecodingOptions(
            lm=lm,
            no_lm=self.lm == NO_LM,
            hot_words=tuple(_hot_words(self.hot_words, transcriber.settings.decode.hot_word_weight)),
            grammar=Grammar.read(self.grammar) if self.grammar else None,
            lexicon=lexicon,
            count=self.nbest,
            beam=self.beam or None,
            greedy=self.greedy,
        )


def warn_of_unknown(lm: LanguageModel, lexicon: Lexicon | None, name: str) -> None:
    """Words of the lexicon that the language model lacks are counted; DataError if it lacks all."""
    from recitative.asr.decoding import unknown_to

    unknown = unknown_to(lm, lexicon, name) if lexicon else []
    if lexicon and unknown:
        some = ", ".join(f"'{word}'" for word in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        print(f"warning: {name} does not know {len(unknown)} of {len(lexicon)} words: {some}", file=sys.stderr)


def _hot_words(text: str, weight: float) -> list[HotWord]:
    from recitative.decoding.hotwords import parse_hot_words, read_hot_words

    if text and os.path.isfile(text):  # Path.is_file fails on a list longer than any name
        return read_hot_words(Path(text), weight)
    return parse_hot_words(text, weight)
