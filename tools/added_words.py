"""Recall and false alarms of words added to a large vocabulary, at each log probability of their unigrams.

    OMP_NUM_THREADS=1 python tools/added_words.py LEXICON LM TEXT... --dictionary cmudict.dict --others 500

Log probabilities are simulated as in bench_vocabulary.py. The words are those of TEXT, Kaldi text tables, that the
lexicon lacks and the dictionary has, and --others further words of the dictionary, which nobody says. 60 sentences
with such words and 40 without are decoded.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from bench_vocabulary import simulated

from recitative.decoding.beam import BeamSearch
from recitative.lm.ngram import NgramModel, read_lm
from recitative.score.wer import align, score
from recitative.text.tokens import Lexicon, TokenTable, read_dictionary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lexicon", type=Path)
    parser.add_argument("lm", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--dictionary", type=Path, required=True)
    parser.add_argument("--others", type=int, default=500)
    parser.add_argument("--log-probs", type=float, nargs="+", default=[-4.0, -5.5, -6.9, -8.5, -10.0, -12.0])
    arguments = parser.parse_args()
    lexicon, lm, dictionary = (
        Lexicon.read(arguments.lexicon),
        read_lm(arguments.lm),
        read_dictionary(arguments.dictionary),
    )
    rng = np.random.default_rng(0)
    refs, said = sentences(arguments.texts, lexicon, dictionary, rng)
    silent = sorted(word for word in dictionary.entries.keys() - lexicon.entries.keys() - said if word.isalpha())
    added = sorted({*said, *rng.permutation(silent)[: arguments.others].tolist()})
    tokens = TokenTable(("<blank>", *lexicon.symbols))
    larger = lexicon.with_entries(dictionary.only(added))
    rows = [simulated(larger.encode(ref, tokens), len(tokens), rng) for ref in refs]
    print(f"{len(refs)} sentences with {len(said)} of {len(added)} added words")
    report("without them", decode(rows, tokens, lexicon, lm), refs, said, set())
    report("in the lexicon only", decode(rows, tokens, larger, lm), refs, said, {*added})
    for log_prob in arguments.log_probs:
        found = decode(rows, tokens, larger, lm.with_words(added, log_prob))
        report(f"ln P {log_prob:g}", found, refs, said, {*added})


def sentences(
    texts: Sequence[Path], lexicon: Lexicon, dictionary: Lexicon, rng: np.random.Generator
) -> tuple[list[str], set[str]]:
    """60 with words that only the dictionary has, and 40 without; and those words."""
    lines = [line.split(" ", 1)[1].strip() for text in texts for line in text.read_text().splitlines() if " " in line]
    rng.shuffle(lines)
    both = lexicon.with_entries(dictionary)
    usable = [line for line in lines if 6 < len(line.split()) < 30 and not both.unknown([line])]
    new = [line for line in usable if lexicon.unknown([line])][:60]
    plain = [line for line in usable if not lexicon.unknown([line])][:40]
    return new + plain, {*lexicon.unknown(new)}


def decode(rows: Sequence[np.ndarray], tokens: TokenTable, lexicon: Lexicon, lm: NgramModel) -> list[str]:
    search = BeamSearch(tokens, lexicon, lm=lm, lm_weight=0.6, beam=64)
    return [search.finish(search.step(row, search.start()))[0].text for row in rows]


def report(name: str, hyps: Sequence[str], refs: Sequence[str], said: set[str], added: set[str]) -> None:
    pairs = [pair for ref, hyp in zip(refs, hyps, strict=True) for pair in align(ref.split(), hyp.split())]
    found = sum(pair.ref in said and pair.ref == pair.hyp for pair in pairs)
    false = sum(pair.hyp in added and pair.ref != pair.hyp for pair in pairs)
    numbered = ({str(n): text for n, text in enumerate(some)} for some in (refs, hyps))
    rate = 100 * score(*numbered).total.rate
    total = sum(pair.ref in said for pair in pairs)
    print(f"{name}: found {found} of {total}, false {false}, WER {rate:.2f} %", flush=True)


if __name__ == "__main__":
    main()
