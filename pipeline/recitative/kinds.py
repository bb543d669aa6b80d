"""All kinds of models, the kind of a given model, and the settings of a training run of any kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recitative.anomaly.kind import FORECASTER
from recitative.asr.g2p_kind import G2P
from recitative.asr.recognizer_kind import RECOGNIZER
from recitative.classification.kind import CLASSIFIER
from recitative.config import TrainingData, read_tree, validate_tree
from recitative.errors import UsageError
from recitative.lm.kind import LANGUAGE_MODEL
from recitative.model.file import ModelMetadata
from recitative.model.kind import AnyKind, kind_of_folder
from recitative.model.session import open_kind, open_model
from recitative.music.kind import EVENTS, MUSIC
from recitative.punctuation.kind import PUNCTUATION
from recitative.sound.kind import SOUND, SPECTROGRAM

KINDS: tuple[AnyKind, ...] = (
    RECOGNIZER, CLASSIFIER, FORECASTER, LANGUAGE_MODEL, G2P, PUNCTUATION, MUSIC, EVENTS, SOUND, SPECTROGRAM,
)  # fmt: skip
MUSIC_KINDS = (MUSIC, EVENTS)
SOUND_KINDS = (SOUND, SPECTROGRAM)


def load_training(
    path: Path | None, overrides: Sequence[str], options: Mapping[str, Any], kinds: Sequence[AnyKind] = KINDS
) -> tuple[AnyKind, Any, TrainingData]:
    """The kind of model, the settings, and the data of a training run.

    path: a settings file, which may say what to read under ``data``; None: the defaults
    overrides: ``section.key=value``
    options: values for ``data``, which take precedence
    kinds: those allowed; the first is taken if no ``kind`` is set
    Raises UsageError for another kind, wrong settings, and data that are missing or not used by this kind.
    """
    where = str(path) if path else "settings"
    values = read_tree(path, overrides)
    data = {**(values.pop("data", None) or {}), **options}
    name = values.get("kind", kinds[0].name)
    kind = next((kind for kind in kinds if kind.name == name), None)
    if kind is None:
        known = ", ".join(f"'{kind.name}' ({kind.title})" for kind in kinds)
        raise UsageError(f"{where}: kind={name!r}: must be one of {known}")
    settings = validate_tree(kind.settings, values, where=where)
    if unused := sorted(data.keys() - kind.data.model_fields.keys()):
        takes = ", ".join(f"--{entry.replace('_', '-')}" for entry in kind.data.model_fields)
        raise UsageError(f"--{unused[0].replace('_', '-')}: is not used to train a {kind.title}; it takes {takes}")
    for entry, field in kind.data.model_fields.items():
        if field.is_required() and data.get(entry) is None:
            raise UsageError(
                f"--{entry}: is needed to train a {kind.title}; give it, or set data.{entry} in the settings"
            )
    return kind, settings, validate_tree(kind.data, data, where=f"{where}, data")


def kind_of(path: Path, kinds: Sequence[AnyKind] = KINDS) -> AnyKind:
    """Of which of these kinds a model is, a folder or an exported file. Raises DataError for none of them."""
    return kind_of_folder(path, kinds) if path.is_dir() else open_kind(path, kinds)[1]


def read_metadata(path: Path) -> ModelMetadata[Any]:
    """Raises DataError for what is no model file."""
    return open_model(path, KINDS)[1]
