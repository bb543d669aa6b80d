"""Peers of tools/bench_runtime.py, run in another Python. Prints [[name, seconds, texts], ...] as JSON.

python bench_decoding_peers.py FOLDER      (with rows.npz, task.json and lm.arpa)
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

import numpy as np

logging.disable(logging.CRITICAL)


def main() -> None:
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text())
    with np.load(folder / "rows.npz") as archive:
        rows = [archive[f"arr_{i}"] for i in range(len(archive.files))]
    found = []
    for beam in task["beams"]:
        for name, peer in (("pyctcdecode", pyctcdecode), ("flashlight", flashlight)):
            try:
                decode = peer(task, folder / "lm.arpa", beam)
            except ImportError as error:
                print(f"{name} is not installed ({error})", file=sys.stderr)
                continue
            started = time.process_time()
            texts = [decode(row) for row in rows]
            found.append((f"{name} beam {beam}", time.process_time() - started, texts))
    print(json.dumps(found))


def pyctcdecode(task, arpa, beam):
    from pyctcdecode import build_ctcdecoder

    labels = ["", *task["tokens"][1:]]
    decoder = build_ctcdecoder(labels, str(arpa), unigrams=task["words"], alpha=task["lm_weight"], beta=0.0)
    return lambda row: decoder.decode(row, beam_width=beam)


def flashlight(task, arpa, beam):
    from flashlight.lib.text.decoder import CriterionType, LexiconDecoder, LexiconDecoderOptions, SmearingMode, Trie
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    ids = {symbol: i for i, symbol in enumerate(task["tokens"])}
    vocabulary = Dictionary()
    for word in [*task["words"], "<unk>"]:
        vocabulary.add_entry(word)
    lm = KenLM(str(arpa), vocabulary)
    space, start = ids[" "], lm.start(False)
    trie = Trie(len(ids), space)
    for word in task["words"]:
        number = vocabulary.get_index(word)
        trie.insert([*(ids[letter] for letter in word), space], number, lm.score(start, number)[1])
    trie.smear(SmearingMode.MAX)
    options = LexiconDecoderOptions(
        beam_size=beam, beam_size_token=len(ids), beam_threshold=10.0, lm_weight=task["lm_weight"], word_score=0.0,
        unk_score=-np.inf, sil_score=0.0, log_add=False, criterion_type=CriterionType.CTC,
    )  # fmt: skip
    decoder = LexiconDecoder(options, trie, lm, space, 0, vocabulary.get_index("<unk>"), [], False)
    last = np.full((1, len(ids)), -30.0, np.float32)  # a final space ends the last word
    last[0, space] = 0.0

    def decode(row: np.ndarray) -> str:
        x = np.ascontiguousarray(np.concatenate([row, last]), np.float32)
        best = decoder.decode(x.ctypes.data, *x.shape)[0]
        return " ".join(vocabulary.get_entry(i) for i in best.words if i >= 0)

    return decode


if __name__ == "__main__":
    main()
