"""Speed of beam search with a large vocabulary, on simulated log probabilities of phones.

    OMP_NUM_THREADS=1 python tools/bench_vocabulary.py LEXICON LM TEXT --beams 16 64 256 1024

LEXICON: word phone phone ...; LM: an n-gram model, ARPA or packed; TEXT: a Kaldi text table. Sentences are spoken with
2 or 3 frames of 40 ms a phone, and noise that makes about nine phones of each frame worth trying. The first line says
what it costs to open the lexicon, the model and the search, imports left out, and the most memory of the process until
then.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from recitative.decoding.beam import BeamSearch
from recitative.lm.ngram import read_lm
from recitative.score.wer import score
from recitative.text.tokens import Lexicon, TokenTable

FRAME_S = 0.04


def simulated(labels: list[int], tokens: int, rng: np.random.Generator) -> np.ndarray:
    """Log probabilities (T, V): each label once, then a blank or two."""
    path = [frame for label in labels for frame in (label, *[0] * int(rng.integers(1, 3)))]
    logits = rng.normal(0.0, 1.7, (len(path), tokens))
    logits[np.arange(len(path)), path] += 3.0 + rng.gamma(4.0, 1.35, len(path))
    logits[:, 0] += 1.5
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("lexicon", "lm", "text"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--beams", type=int, nargs="+", default=[16, 64, 256, 1024])
    parser.add_argument("--utterances", type=int, default=24)
    arguments = parser.parse_args()

    begun = time.process_time()
    lexicon = Lexicon.read(arguments.lexicon)
    tokens = TokenTable(("<blank>", *lexicon.symbols))
    scores = {"lm": read_lm(arguments.lm), "lm_weight": 0.6}
    BeamSearch(tokens, lexicon, **scores).start()
    seconds, peak = time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"opened in {seconds:.2f} s of one core, at most {peak:.0f} MB")
    rng = np.random.default_rng(0)
    texts = [line.split(" ", 1)[1].strip() for line in arguments.text.read_text().splitlines()]
    rng.shuffle(texts)
    texts = [t for t in texts if 12 < len(t.split()) < 25 and not lexicon.unknown([t])][: arguments.utterances]
    rows = [simulated(lexicon.encode(text, tokens), len(tokens), rng) for text in texts]
    seconds = FRAME_S * sum(map(len, rows))
    for beam in arguments.beams:
        search = BeamSearch(tokens, lexicon, beam=beam, **scores)
        begun = time.process_time()
        found = [search.finish(search.step(row, search.start()), count=beam)[0].text for row in rows]
        factor = (time.process_time() - begun) / seconds
        refs, hyps = ({str(n): text for n, text in enumerate(some)} for some in (texts, found))
        print(f"beam {beam}: real-time factor {factor:.4f}, WER {100 * score(refs, hyps).total.rate:.2f} %")


if __name__ == "__main__":
    main()
