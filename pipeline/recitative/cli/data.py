"""``recitative data``: data directories from recordings and from data directories."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.data_import import import_recordings
from recitative.data import select
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, UsageError
from recitative.reading import is_file, read_text

app = typer.Typer(no_args_is_help=True, help="Make data directories: import recordings; subset, combine, split, copy.")
app.command("import")(import_recordings)

Source = Annotated[Path, typer.Argument(help="The data directory to read.")]
Destination = Annotated[Path, typer.Argument(help="The data directory to write; its tables are replaced.")]
Speakers = Annotated[str | None, typer.Option(help="Speakers: a,b,c or a file with one per line.")]
Seed = Annotated[int, typer.Option(help="Draws the same again.")]


@app.command()
def subset(
    source: Source,
    destination: Destination,
    first: Annotated[int | None, typer.Option(help="The first N utterances.")] = None,
    last: Annotated[int | None, typer.Option(help="The last N utterances.")] = None,
    shortest: Annotated[int | None, typer.Option(help="The N shortest utterances.")] = None,
    random: Annotated[int | None, typer.Option(help="N utterances drawn at random (see --seed).")] = None,
    per_speaker: Annotated[int | None, typer.Option(help="The first N utterances of every speaker.")] = None,
    speakers: Speakers = None,
    utt_list: Annotated[Path | None, typer.Option(help="A file whose lines start with utterance ids.")] = None,
    seed: Seed = 1,
) -> None:
    """Write some of the utterances. Exactly one of the options says which."""
    wanted = {
        "--first": first,
        "--last": last,
        "--shortest": shortest,
        "--random": random,
        "--per-speaker": per_speaker,
        "--speakers": speakers,
        "--utt-list": utt_list,
    }
    given = [name for name, value in wanted.items() if value is not None]
    if len(given) != 1:
        raise UsageError(f"subset: {' and '.join(given) or 'no selection'} given; give one of {', '.join(wanted)}")
    directory = _read(source, destination)
    if first is not None:
        directory = select.first(directory, first)
    elif last is not None:
        directory = select.last(directory, last)
    elif shortest is not None:
        directory = select.shortest(directory, shortest)
    elif random is not None:
        directory = select.drawn(directory, random, seed)
    elif per_speaker is not None:
        directory = select.per_speaker(directory, per_speaker)
    elif speakers is not None:
        directory = select.only_speakers(directory, _names(speakers))
    elif utt_list is not None:
        directory = select.only_utterances(directory, _first_columns(utt_list))
    _write(directory, destination)


@app.command()
def combine(
    destination: Destination,
    sources: Annotated[list[Path], typer.Argument(help="The data directories to read.")],
) -> None:
    """Write the union of data directories. The same id for different things is an error."""
    combined, left_out = select.combine({str(source): _read(source, destination) for source in sources})
    for name in left_out:
        print(f"{destination}: without {name}, which not all of them have", file=sys.stderr)
    _write(combined, destination)


@app.command()
def split(
    source: Source,
    parts: Annotated[int, typer.Argument(help="How many.")],
    per_utt: Annotated[bool, typer.Option("--per-utt", help="By utterance: speakers may be divided.")] = False,
) -> None:
    """Write SOURCE/splitN/1 to N (splitNutt with --per-utt), with about equally many utterances each."""
    directory = DataDirectory.read(source)
    pieces = (select.split_by_utterance if per_utt else select.split)(directory, parts)
    for number, piece in enumerate(pieces, start=1):
        _write(piece, source / f"split{parts}{'utt' if per_utt else ''}" / str(number))


@app.command()
def hold_out(
    source: Source,
    rest: Annotated[Path, typer.Argument(help="The data directory to write for the other speakers.")],
    held_out: Annotated[Path, typer.Argument(help="The data directory to write for the speakers held out.")],
    speakers: Speakers = None,
    random: Annotated[int | None, typer.Option(help="N speakers drawn at random (see --seed).")] = None,
    seed: Seed = 1,
) -> None:
    """Divide by speaker, so that a development set has no voice of the training set."""
    if (speakers is None) == (random is None):
        raise UsageError("hold-out: give either --speakers or --random")
    if rest.resolve() == held_out.resolve():
        raise UsageError(f"{rest}: is both outputs; give two folders")
    directory = _read(source, rest, held_out)
    names = _names(speakers) if speakers is not None else select.drawn_speakers(directory, random or 0, seed)
    remaining, held = select.hold_out(directory, names)
    _write(remaining, rest)
    _write(held, held_out)


@app.command()
def copy(
    source: Source,
    destination: Destination,
    prefix: Annotated[str, typer.Option(help="Put before every utterance, speaker and recording id.")] = "",
) -> None:
    """Write the same utterances, under other ids if a prefix is given."""
    _write(select.prefixed(_read(source, destination), prefix), destination)


def _read(source: Path, *destinations: Path) -> DataDirectory:
    if source.resolve() in [destination.resolve() for destination in destinations]:
        raise UsageError(f"{source}: is also the output; give another folder")
    return DataDirectory.read(source)


def _write(directory: DataDirectory, destination: Path) -> None:
    directory.write(destination)
    print(f"{destination}: {len(directory.utterances)} utterances, {len(directory.by_speaker)} speakers")


def _names(listed: str) -> list[str]:
    """'a,b,c' or the first column of a file."""
    if is_file(listed):
        return _first_columns(Path(listed))
    return [name.strip() for name in listed.split(",") if name.strip()]


def _first_columns(path: Path) -> list[str]:
    lines = read_text(path, "a list of ids, one per line").splitlines()
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise DataError(str(path), "is empty", "one id per line", "fill it")
    return names
