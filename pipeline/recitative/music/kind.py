"""The kind 'music': written music as frames of voices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recitative.model.file import ModelMetadata
from recitative.model.kind import ModelKind
from recitative.music.settings import MusicData, MusicSettings

if TYPE_CHECKING:
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
)
