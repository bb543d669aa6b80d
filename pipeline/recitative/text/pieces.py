"""Sentence pieces: words cut into frequent parts by a unigram language model (Kudo 2018).

A piece is written as in a token table: with a space before it where it begins a word, so that the pieces of a text,
joined, are the text with a space in front. The cut of a word is the one with the largest sum of its pieces' scores,
which are natural logarithms of their probabilities. Pieces never reach over a space, so each word is cut by itself and
always in the same way.

The pieces are learned by the package ``sentencepiece``; cutting needs nothing of it and gives the same.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping

from recitative.errors import DataError, UsageError

WORD_START = "\N{LOWER ONE EIGHTH BLOCK}"  # sentencepiece's sign for the space that a word begins with

MAX_SENTENCE_BYTES = 1 << 20  # longer ones are left out by sentencepiece without a word; its own limit is 4192


class Cutter:
    """Words into pieces; each word is worked out once."""

    def __init__(self, scores: Mapping[str, float]) -> None:
        """scores: piece -> ln P. Every single character of the pieces, the space too, is a piece itself."""
        self._scores = scores
        self._longest = max(map(len, scores), default=0)
        self._known: dict[str, tuple[str, ...]] = {}

    def cut(self, word: str) -> tuple[str, ...]:
        """A word without its space -> its pieces. Characters that are no pieces stand alone."""
        found = self._known.get(word)
        if found is None:
            found = self._known[word] = self._best(f" {word}")
        return found

    def _best(self, text: str) -> tuple[str, ...]:
        """Viterbi over the ends of pieces; of equal cuts the one whose last piece is longest, as sentencepiece."""
        totals, begins = [0.0], [0]
        for end in range(1, len(text) + 1):
            best, begin = -math.inf, end - 1
            for start in range(max(0, end - self._longest), end):
                total = totals[start] + self._scores.get(text[start:end], -math.inf)
                if total > best:
                    best, begin = total, start
            totals.append(best if best > -math.inf else totals[begin])
            begins.append(begin)
        pieces, end = [], len(text)
        while end:
            pieces.append(text[begins[end] : end])
            end = begins[end]
        return tuple(reversed(pieces))


def learn_pieces(texts: Iterable[str], size: int) -> dict[str, float]:
    """At most ``size`` pieces of texts (words with single spaces) and their scores, the likeliest first.

    Every character of the texts is among them. Raises DataError where there are more characters than that, or the
    texts hold the sign U+2581 that stands for the space, and UsageError where ``sentencepiece`` is not installed.
    """
    sentences = list(texts)
    if any(WORD_START in text for text in sentences):
        raise DataError("transcripts", f"have '{WORD_START}', the sign of a word's begin", "", "remove it")
    characters = {sign for text in sentences for sign in text} | {" "}
    if len(characters) > size:
        found = f"have {len(characters)} characters, the space included"
        raise DataError("transcripts", found, f"at most the {size} pieces asked for", "ask for more, or normalise them")
    return _trained(sentences, size, len(characters))


def _trained(sentences: list[str], size: int, characters: int) -> dict[str, float]:
    try:
        import sentencepiece
    except ImportError:
        raise UsageError("sentence pieces need the package 'sentencepiece'; pip install sentencepiece") from None
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type="unigram",
        vocab_size=size + 1,  # its own sign for the unknown is one of them
        hard_vocab_limit=False,  # a small corpus may not have so many
        character_coverage=1.0,
        normalization_rule_name="identity",
        max_sentence_length=MAX_SENTENCE_BYTES,
        bos_id=-1,
        eos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    made = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    numbers = [number for number in range(len(made)) if not made.is_unknown(number)]
    return {made.id_to_piece(n).replace(WORD_START, " "): round(made.get_score(n), 6) for n in numbers}
