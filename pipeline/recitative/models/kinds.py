"""All kinds of models."""

from __future__ import annotations

from recitative.anomaly.kind import FORECASTER
from recitative.asr.g2p_kind import G2P
from recitative.asr.recognizer_kind import RECOGNIZER
from recitative.classification.kind import CLASSIFIER
from recitative.lm.kind import LANGUAGE_MODEL
from recitative.music.event_kind import EVENTS
from recitative.music.kind import MUSIC
from recitative.sound.kinds import SOUND, SPECTROGRAM

KINDS = (RECOGNIZER, CLASSIFIER, FORECASTER, LANGUAGE_MODEL, G2P, MUSIC, EVENTS, SOUND, SPECTROGRAM)
MUSIC_KINDS = (MUSIC, EVENTS)
SOUND_KINDS = (SOUND, SPECTROGRAM)
