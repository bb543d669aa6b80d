"""``recitative features``: feature matrices on disk, for Kaldi's tools or to train without computing them again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.engine import AddressOption, EngineOption, JobsOption, new_engine
from recitative.cli.progress import track
from recitative.config import load_settings
from recitative.data.directory import DataDirectory
from recitative.features.extraction import extract, write_features


def features(
    data_dir: Annotated[Path, typer.Argument(help="Data directory; feats.scp and utt2num_frames are added to it.")],
    out_dir: Annotated[Path, typer.Argument(help="Folder for feats.ark and feats.scp.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings, such as features.kind=mfcc.")] = None,
    conf: Annotated[Path | None, typer.Option(help="YAML settings file.")] = None,
    jobs: JobsOption = 0,
    engine: EngineOption = "local",
    address: AddressOption = "",
) -> None:
    """Compute fbank or MFCC features and write feats.ark and feats.scp in Kaldi's format.

    \b
    recitative features data/train data/fbank --conf conf/lstm.yaml
    """
    settings = load_settings(conf, overrides or ()).features
    directory = DataDirectory.read(data_dir)
    items = extract(directory, settings, new_engine(jobs, engine, address))
    frames = write_features(data_dir, out_dir, track(items, "features", len(directory.utterances)))
    print(f"{out_dir / 'feats.scp'}: {len(frames)} utterances, {sum(frames.values())} frames, {settings.dim} channels")
