"""``recitative cmvn``: global CMVN statistics of a training set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.engine import AddressOption, EngineOption, JobsOption, new_engine
from recitative.cli.progress import track
from recitative.config import load_settings
from recitative.data.directory import DataDirectory
from recitative.features.cmvn import accumulate
from recitative.features.extraction import extract


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
