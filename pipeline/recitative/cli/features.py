"""``recitative features``, ``cmvn`` and ``shards``: data prepared for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.options import AddressOption, EngineOption, JobsOption, new_engine
from recitative.config import load_settings
from recitative.data.directory import DataDirectory
from recitative.data.shards import INDEX, Format, verify_shards, write_shards
from recitative.errors import DataError
from recitative.features.cmvn import accumulate
from recitative.features.extraction import extract, write_features
from recitative.terminal import progress_bar, track


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


# ``recitative cmvn``: global CMVN statistics of a training set.


def cmvn(
    data_dir: Annotated[Path, typer.Argument(help="Data directory of the training set.")],
    output: Annotated[Path, typer.Option(help="Statistics file to write, in Kaldi's text format.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings, such as features.kind=mfcc.")] = None,
    conf: Annotated[Path | None, typer.Option(help="YAML settings file.")] = None,
    jobs: JobsOption = 0,
    engine: EngineOption = "local",
    address: AddressOption = "",
) -> None:
    """Compute global CMVN statistics, as Kaldi's compute-cmvn-stats.

    \b
    recitative cmvn data/train --conf conf/lstm.yaml --output data/cmvn
    """
    settings = load_settings(conf, overrides or ()).features
    directory = DataDirectory.read(data_dir)
    items = extract(directory, settings, new_engine(jobs, engine, address))
    bar = track(items, "cmvn", len(directory.utterances))
    stats = accumulate((matrix for _, matrix in bar), settings.dim)
    stats.write(output)
    print(f"{output}: {stats.count:.0f} frames of {len(directory.utterances)} utterances, {stats.dim} channels")


# ``recitative shards``: a data directory as a few large files.


def shards(
    data_dir: Annotated[Path, typer.Argument(help="Data directory; with --verify, folder of shards.")],
    output: Annotated[Path | None, typer.Argument(help="Folder for the shards. An interrupted run is resumed.")] = None,
    format: Annotated[
        Format, typer.Option(help="keep: copy compressed recordings, store others as FLAC; opus: small, lossy.")
    ] = "keep",
    minutes: Annotated[float, typer.Option(min=0.01, help="Approximate minutes of audio per shard.")] = 60.0,
    verify: Annotated[bool, typer.Option("--verify", help="Verify the checksums of all shards.")] = False,
    jobs: JobsOption = 0,
    engine: EngineOption = "local",
    address: AddressOption = "",
) -> None:
    """Pack a data directory into webdataset shards with an index.

    A folder of shards can be used in place of a data directory.

    \b
    recitative shards data/train data/train_shards
    recitative shards data/train_shards --verify
    """
    workers = new_engine(jobs, engine, address)
    if verify:
        problems = list(verify_shards(data_dir, workers))
        if problems:
            raise DataError.collect(problems)
        print(f"{data_dir}: all shards are as the index says")
        return
    if output is None:
        raise typer.BadParameter("give the folder for the shards, or --verify")
    directory = DataDirectory.read(data_dir)
    with progress_bar("shards") as show:
        summary = write_shards(directory, output, format=format, shard_s=60 * minutes, engine=workers, advance=show)
    print(
        f"{output / INDEX}: {summary.utterances} utterances in {summary.shards} shards, "
        f"{summary.size / 1e6:.1f} MB, {summary.made} written now"
    )
