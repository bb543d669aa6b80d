"""All kinds of models."""

from __future__ import annotations

from recitative.models.classifier_kind import CLASSIFIER
from recitative.models.events_kind import EVENTS
from recitative.models.forecaster_kind import FORECASTER
from recitative.models.g2p_kind import G2P
from recitative.models.language_kind import LANGUAGE_MODEL
from recitative.models.music_kind import MUSIC
from recitative.models.sound_kinds import SOUND, SPECTROGRAM

KINDS = (CLASSIFIER, EVENTS, FORECASTER, G2P, LANGUAGE_MODEL, MUSIC, SOUND, SPECTROGRAM)
MUSIC_KINDS = (MUSIC, EVENTS)
SOUND_KINDS = (SOUND, SPECTROGRAM)
