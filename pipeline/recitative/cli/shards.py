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
    data_dir: Annotated[Path, typer.Argument(help="A data directory; or, with --verify, a folder of shards.")],
    output: Annotated[
        Path | None, typer.Argument(help="The folder for the shards; one that was begun is finished.")
    ] = None,
    format: Annotated[
        Format, typer.Option(help="keep: compressed recordings as they are, others as FLAC; opus: small, and lossy.")
    ] = "keep",
    minutes: Annotated[float, typer.Option(min=0.01, help="Audio in a shard, about.")] = 60.0,
    verify: Annotated[bool, typer.Option("--verify", help="Read all shards and compare their checksums.")] = False,
    jobs: JobsOption = 0,
    engine: EngineOption = "local",
    address: AddressOption = "",
) -> None:
    """Write webdataset's tars with an index; stopped and started again, it ends in the same bytes.

    A folder of shards can be given wherever a data directory is read.
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
