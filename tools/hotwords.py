#!/usr/bin/env python3
"""Measure hot words at several weights: words found, false detections, and errors in other words.

    tools/hotwords.py exp/lstm/model data/dev --train data/train --words rubout,erase,enter

Measures twice: with the model's lexicon and language model, and with a lexicon and a language model (trained on
--train) without the hot words. The model must have phones as tokens, and a lexicon.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "pipeline"))

from recitative.asr.decoding import DecodingOptions, new_decoder
from recitative.asr.kind import RECOGNIZER, Language
from recitative.asr.network import new_transcriber
from recitative.asr.stream import Transcriber
from recitative.asr.tuning import DevOutputs, network_outputs
from recitative.data.directory import DataDirectory
from recitative.decoding.hotwords import HotWord
from recitative.lm.estimate import estimate
from recitative.lm.ngram import NgramModel
from recitative.model.folder import load_model
from recitative.score.wer import align
from recitative.text.tokens import Lexicon

WEIGHTS = (0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0)
ORDER = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model folder")
    parser.add_argument("data", type=Path, help="a data directory with transcripts")
    parser.add_argument(
        "--train", type=Path, required=True, help="data directory whose transcripts are the language model text"
    )
    parser.add_argument("--words", required=True, help="hot words, separated by commas")
    arguments = parser.parse_args()
    recognizer = load_model(arguments.model, RECOGNIZER)
    transcriber = new_transcriber(recognizer)
    heard = network_outputs(transcriber, arguments.data)
    words = arguments.words.split(",")
    known = dataclasses.replace(recognizer.language, calibrator=None)
    assert known.lexicon, "a model of phones has a lexicon"
    sounds = {word: known.lexicon.entries[word][0] for word in words}
    for name, language in (("known", known), ("unknown", without(known, words, arguments.train))):
        print(f"{name:8} no hot words: {measure(transcriber, language, heard, words, DecodingOptions())}")
        for weight in WEIGHTS:
            hot = tuple(HotWord(word, weight, sounds[word] if name == "unknown" else ()) for word in words)
            found = measure(transcriber, language, heard, words, DecodingOptions(hot_words=hot))
            print(f"{name:8} weight {weight:4g}: {found}")


def without(language: Language, words: list[str], train: Path) -> Language:
    """Remove words from the lexicon, and train a language model on transcripts without them."""
    assert language.lexicon
    lexicon = Lexicon({word: ways for word, ways in language.lexicon.entries.items() if word not in words})
    texts = [(u.text or "").split() for u in DataDirectory.read(train).utterances]
    lines = [" ".join(word for word in text if word not in words) for text in texts]
    model = estimate([line for line in lines if line], ORDER, extra_words=set(lexicon.entries))
    return dataclasses.replace(language, lexicon=lexicon, ngram=NgramModel.of(model.table).to_text())


def measure(
    transcriber: Transcriber, language: Language, heard: DevOutputs, words: list[str], options: DecodingOptions
) -> str:
    decoder = new_decoder(transcriber.settings.decode, transcriber.timed, language, options)
    found = said = false = wrong = others = 0
    for utt_id, log_probs in heard.log_probs.items():
        hyp = decoder.finish(decoder.step(log_probs, decoder.start())).text.split()
        for pair in align(heard.refs[utt_id].split(), hyp):
            false += pair.hyp in words and pair.op != "C"
            if pair.ref in words:
                said += 1
                found += pair.op == "C"
            elif pair.op != "I":
                others += 1
                wrong += pair.op != "C"
    return f"found {found} of {said}, false {false}, errors in other words {wrong} of {others}"


if __name__ == "__main__":
    main()
