"""The kind 'music': written music as frames of voices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recitative.model.file import ModelMetadata
from recitative.model.kind import LENGTHS, Entries, ModelKind, Signature
from recitative.music.settings import MusicData, MusicSettings

if TYPE_CHECKING:
    from recitative.music.composer import MusicScorer
    from recitative.music.network import MusicModel


def build(settings: MusicSettings) -> MusicModel:
    from recitative.music.network import new_music_model

    return new_music_model(settings)


def describe(metadata: ModelMetadata[MusicSettings]) -> dict[str, str]:
    frames = metadata.settings.frames
    does = "continues" if metadata.settings.model.recurrent.direction == "forward" else "fills in"
    what = "pitches" if frames.sets else "voices"
    grid = f"{frames.steps_per_quarter} steps a quarter note"
    return {"kind": f"music, {does}", "frames": f"{frames.voices} {what}, {frames.lowest} to {frames.highest}, {grid}"}


def _graphs(_settings: MusicSettings, _extras: Mapping[str, Any]) -> Mapping[str, Signature]:
    ids: Entries = {"ids": ("int64", (None, None, None)), **LENGTHS}
    choice: Entries = {
        "hidden": ("float32", (None, None)),
        "ids": ("int64", (None, None)),
        "beside": ("int64", (None, None)),
    }
    return {
        "": Signature(ids, {"hidden": ("float32", (None, None, None))}),
        "choice": Signature(choice, {"scores": ("float32", (None, None))}),
    }


def _run(stage: Any, settings: MusicSettings, _extras: Mapping[str, Any]) -> MusicScorer:
    from recitative.music.composer import MusicScorer

    return MusicScorer(stage, settings)


MUSIC: ModelKind[MusicSettings, MusicModel] = ModelKind(
    name="music",
    title="music model",
    settings=MusicSettings,
    build=build,
    train="recitative train",
    export="recitative export",
    describe=describe,
    task="recitative.music.task",
    data=MusicData,
    graphs=_graphs,
    runner=_run,
)
