"""``recitative shards``: a data directory as a few large files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.engine import AddressOption, EngineOption, JobsOption, new_engine
from recitative.cli.progress import progress_bar
from recitative.data.directory import DataDirectory
from recitative.data.shards.index import INDEX
from recitative.data.shards.writing import Format, verify_shards, write_shards
from recitative.errors import DataError


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
