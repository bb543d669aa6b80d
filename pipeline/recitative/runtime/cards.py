"""What any model file says about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recitative.model.file import ModelMetadata, kind_in, read_entries
from recitative.models import language_card, music_card, spectrogram_card, wave_card
from recitative.models.card import ModelCard
from recitative.models.classifier_kind import CLASSIFIER
from recitative.models.events_kind import EVENTS
from recitative.models.forecaster_kind import FORECASTER
from recitative.models.language_card import LanguageModelCard
from recitative.models.music_card import MusicCard
from recitative.models.spectrogram_card import SpectrogramCard
from recitative.models.wave_card import WaveCard
from recitative.runtime.session import open_session

KINDS = (CLASSIFIER, EVENTS, FORECASTER)
Card = ModelCard | LanguageModelCard | MusicCard | WaveCard | SpectrogramCard | ModelMetadata[Any]


def is_classifier(path: Path) -> bool:
    """Whether this model file is a classifier's. Raises DataError for what is no model file."""
    return _metadata(path).get("recitative.kind") == CLASSIFIER.name


def read_card(path: Path) -> Card:
    """Raises DataError for what is no model file."""
    metadata = _metadata(path)
    match metadata.get("recitative.kind"):
        case language_card.KIND:
            return LanguageModelCard.from_metadata(metadata, str(path))
        case music_card.KIND:
            return MusicCard.from_metadata(metadata, str(path))[0]
        case wave_card.KIND:
            return WaveCard.from_metadata(metadata, str(path))[0]
        case spectrogram_card.KIND:
            return SpectrogramCard.from_metadata(metadata, str(path))
        case None:
            return ModelCard.from_metadata(metadata, str(path))
        case _:
            return read_entries(metadata, str(path), kind_in(metadata, str(path), KINDS))


def _metadata(path: Path) -> dict[str, str]:
    return open_session(path, str(path), "model file", "make one with 'recitative export'", threads=1).metadata
