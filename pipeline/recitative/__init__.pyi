from pathlib import Path
from typing import Literal, overload

from recitative.anomaly.detector import AnomalyDetector
from recitative.asr.decoding import DecodingOptions as DecodingOptions
from recitative.asr.network import torchaudio_bundle as torchaudio_bundle
from recitative.asr.pronunciation import Pronouncer
from recitative.asr.recognizer import Recognizer as Recognizer
from recitative.asr.stream import EndpointRules as EndpointRules
from recitative.asr.transcript import Final as Final
from recitative.asr.transcript import Partial as Partial
from recitative.asr.transcript import Segment as Segment
from recitative.asr.transcript import Transcript as Transcript
from recitative.classification.classifier import Classifier
from recitative.classification.classifier import load_classifier as load_classifier
from recitative.decoding.hotwords import Grammar as Grammar
from recitative.decoding.hotwords import HotWord as HotWord
from recitative.keywords.spotter import Spotted as Spotted
from recitative.keywords.spotter import Spotter as Spotter
from recitative.lm.recurrent import RecurrentLanguageModel
from recitative.music.composer import EventScorer, MusicScorer
from recitative.punctuation.punctuator import Punctuator
from recitative.sound.generator import SoundGenerator, SpectrogramGenerator

__version__: str

@overload
def load(model: Literal["en", "an4-streaming", "an4-bidirectional"], *, threads: int = 1) -> Recognizer: ...
@overload
def load(model: Literal["chorales", "chorales-fill"], *, threads: int = 1) -> MusicScorer: ...
@overload
def load(model: Literal["en-punctuation"], *, threads: int = 1) -> Punctuator: ...
@overload
def load(
    model: str | Path, *, threads: int = 1
) -> (
    Recognizer
    | Classifier
    | AnomalyDetector
    | RecurrentLanguageModel
    | Pronouncer
    | Punctuator
    | MusicScorer
    | EventScorer
    | SoundGenerator
    | SpectrogramGenerator
): ...
