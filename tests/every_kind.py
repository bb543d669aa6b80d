"""One small model of every kind, with random weights, in evaluation mode."""

from __future__ import annotations

from dataclasses import replace

import tiny
import tones
import torch

import small_events
import small_forecaster
import small_music
from recitative.anomaly.detector import Threshold
from recitative.asr.g2p_task import new_g2p
from recitative.asr.kind import G2PSettings, Language
from recitative.config import load_tree
from recitative.decoding.hypotheses import FEATURES, Calibrator
from recitative.lm.ngram import StoredNgram, parse_lm
from recitative.lm.recurrent import LanguageModelSettings
from recitative.lm.task import new_language_model
from recitative.punctuation.punctuator import PunctuationSettings
from recitative.punctuation.task import new_punctuation_model
from recitative.sound.conditioning import Labels, SpectrogramSettings, WaveSettings
from recitative.sound.task import new_spectrogram_model, new_wave_model
from recitative.text.tokens import Lexicon, TokenTable, Vocabulary

LEXICON = Lexicon({"ab": (("a", "b"),), "c": (("c",), ("c", "c"))})
CALIBRATOR = Calibrator(FEATURES, (0.1, -1 / 3, 2.5e-7, 0.0), -0.5)
ARPA = r"""\data\
ngram 1=5

\1-grams:
0	<s>
-0.5	</s>
-0.4	ab
-0.6	c
-1.5	<unk>

\end\
"""
LABELS = Labels(("one", "two"), ("ann",), (0.3, 0.4))


def _ready(model):
    model.network.eval()
    return model


def _g2p():
    settings = load_tree(G2PSettings, None, ["model.embedding=4", "model.recurrent.hidden=4"])
    return _ready(new_g2p(settings, *(TokenTable.from_texts([text], unit) for text, unit in LETTERS_AND_PHONES)))


LETTERS_AND_PHONES = (("abé", "character"), ("AH B EH", "phone"))


def _language_model():
    settings = load_tree(LanguageModelSettings, None, ["model.embedding=4", "model.recurrent.hidden=4"])
    return _ready(new_language_model(settings, Vocabulary.from_texts(["a b"], "word")))


def _punctuation():
    small = ["model.embedding=4", "model.buckets=8", "model.recurrent.hidden=4", "model.width=4"]
    settings = load_tree(PunctuationSettings, None, [*small, "model.lookahead_words=2"])
    return _ready(new_punctuation_model(settings, Vocabulary.from_texts(["a b"], "word")))


def _sound():
    small = ["model.width=4", "model.recurrent.hidden=4", "sound.condition=labels"]
    return _ready(new_wave_model(load_tree(WaveSettings, None, small), LABELS))


def _spectrogram():
    small = ["model.recurrent.hidden=4", "model.components=2", "model.width=4", "features.num_mel_bins=8"]
    return _ready(new_spectrogram_model(load_tree(SpectrogramSettings, None, small), LABELS))


def recognizer():
    """With a language model, a lexicon, calibrated confidences, and an attention decoder."""
    language = Language(LEXICON, StoredNgram(parse_lm(ARPA, "test").to_text()), CALIBRATOR)
    return replace(tiny.recognizer(attention={"weight": 0.3, "hidden": 8, "embedding": 4}), language=language)


MAKE = {
    "recognizer": recognizer,
    "classifier": lambda: tones.classifier(labels=("ja", "nein", "größer")),
    "events": small_events.model,
    "forecaster": lambda: replace(small_forecaster.forecaster(), threshold=Threshold(1.5, 0.5, 0.01, 200)),
    "g2p": _g2p,
    "language_model": _language_model,
    "music": small_music.model,
    "punctuation": _punctuation,
    "sound": _sound,
    "spectrogram": _spectrogram,
}


def make(name):
    """The same weights each time."""
    torch.manual_seed(0)
    return MAKE[name]()
