"""``recitative data``, ``check``, ``features``, ``cmvn`` and ``shards``: data directories, from import to what training
needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from recitative.audio.files import SUFFIXES
from recitative.cli.options import (
    EngineOptions,
    PartialOption,
    SettingsOptions,
    expand_options,
    print_note,
    print_table,
)
from recitative.config import FrontEndSettings
from recitative.data import select
from recitative.data.annotations import Form, export_directory
from recitative.data.check import CheckReport, check_directory, fix_directory
from recitative.data.directory import DataDirectory
from recitative.data.importing import MAX_SKIPPED, ImportOptions, import_corpus, read_source
from recitative.data.parallel import available_cores
from recitative.data.shards import INDEX, Format, is_shards, verify_shards, write_shards
from recitative.errors import DataError, Problem, UsageError, counted, raise_all
from recitative.features.extraction import accumulate, extract, write_features
from recitative.reading import is_file, read_text
from recitative.terminal import progress_bar, track
from recitative.text.normalize import NormalizationRules
from recitative.text.tokens import Lexicon, TokenTable, spelling_of

app = typer.Typer(
    name="data", no_args_is_help=True, help="Import recordings; subset, combine, split and copy data directories."
)

Source = Annotated[Path, typer.Argument(help="Data directory.")]
Destination = Annotated[Path, typer.Argument(help="Data directory to write. Its tables are replaced.")]
Speakers = Annotated[str | None, typer.Option(help="Speakers: 'a,b,c', or a file with one per line.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]


@app.command("import")
def import_recordings(
    source: Annotated[
        Path,
        typer.Argument(
            help="Folder of recordings with transcripts or annotations, of webdataset tars, lhotse manifests or a "
            "Hugging Face dataset; or a cuts.jsonl.gz, manifest.json or .parquet file."
        ),
    ],
    destination: Destination,
    table: Annotated[
        Path | None,
        typer.Option(
            help="CSV, TSV or JSON-lines table with path, text, perhaps speaker; sclite's .stm or .trn; or the folder "
            "of transcripts. Default: a .txt, .TextGrid or .eaf file beside each recording."
        ),
    ] = None,
    tier: Annotated[
        list[str] | None,
        typer.Option(help="Tier of TextGrid or ELAN files to read; may be repeated. 'all': each tier is a speaker."),
    ] = None,
    sample_rate: Annotated[
        int, typer.Option(min=4000, max=96000, help="Sample rate in Hz. Other recordings are converted.")
    ] = 16000,
    encoding: Annotated[
        str,
        typer.Option(
            help="Encoding of the table or .txt files, such as cp1252. Default: UTF-8, or UTF-16 with its mark."
        ),
    ] = "",
    keep_text: Annotated[bool, typer.Option("--keep-text", help="Do not normalize transcripts.")] = False,
    keep_case: Annotated[bool, typer.Option("--keep-case", help="Keep capital letters.")] = False,
    speaker_per_file: Annotated[
        bool, typer.Option("--speaker-per-file", help="Treat each recording without a known speaker as a new speaker.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out unusable rows and list them in skipped.txt.")
    ] = False,
    most_skipped: Annotated[float, typer.Option(min=0, max=1, help="Maximum fraction of rows to leave out.")] = (
        MAX_SKIPPED
    ),
    partial: PartialOption = False,
    jobs: Annotated[int, typer.Option(min=0, help="Number of threads. 0: one per core.")] = 0,
) -> None:
    """Make a data directory from recordings and transcripts.

    Transcripts become lower case without punctuation. Recordings of another sample rate or with several channels are
    converted to DESTINATION/audio. The exit status is 1 if a row cannot be used.

    \b
    recitative data import recordings data/all --table recordings/words.csv
    recitative data import interviews data/all --tier anna --tier ben       Praat or ELAN files beside recordings
    """
    if keep_text and keep_case:
        raise UsageError("--keep-text and --keep-case exclude each other; give one")
    if source.is_file() and source.suffix.lower() in SUFFIXES:
        raise UsageError(f"{source}: is one recording; give the folder of the recordings, '{source.parent}'")
    if table is None and destination.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{destination}: lies within {source}, whose recordings are read; write somewhere else")
    try:
        b" ".decode(encoding or "utf-8")  # Python does not look up the encoding of no bytes
    except LookupError:
        raise UsageError(f"--encoding {encoding}: is no encoding; such as utf-8, utf-16, cp1252 or gb18030") from None
    rules = None if keep_text else NormalizationRules(keep_case)
    options = ImportOptions(
        sample_rate, rules, speaker_per_file, skip_bad, most_skipped, jobs or available_cores(), partial
    )
    with progress_bar("read transcripts") as show:
        found = read_source(source, table, encoding, tiers=tier or (), unpacked=destination / "recordings")
        made = import_corpus(found, destination, options, show)
    for note in made.notes:
        print_note(note)
    if made.limited:
        print_note(f"{destination}/audio: recordings that reach full scale and were limited: {made.limited}")
    if made.skipped:
        print_note(f"{destination}/skipped.txt: rows left out: {len(made.skipped)}")
    print(f"{destination}: recordings converted to {sample_rate} Hz, one channel: {made.converted}")
    utterances, speakers = len(made.directory.utterances), len(made.directory.by_speaker)
    print(
        f"{destination}: {counted(utterances, 'utterance')}, {counted(speakers, 'speaker')}, "
        f"{made.seconds / 3600:.2f} h"
    )


@app.command()
def subset(
    source: Source,
    destination: Destination,
    first: Annotated[int | None, typer.Option(help="First N utterances.")] = None,
    last: Annotated[int | None, typer.Option(help="Last N utterances.")] = None,
    shortest: Annotated[int | None, typer.Option(help="N shortest utterances.")] = None,
    random: Annotated[int | None, typer.Option(help="N random utterances.")] = None,
    per_speaker: Annotated[int | None, typer.Option(help="First N utterances of each speaker.")] = None,
    speakers: Speakers = None,
    utt_list: Annotated[Path | None, typer.Option(help="File with one utterance id per line.")] = None,
    exclude: Annotated[Path | None, typer.Option(help="File of the utterances to leave out, one id per line.")] = None,
    seed: Seed = 1,
) -> None:
    """Select utterances by one of the options.

    \b
    recitative data subset data/train data/small --random 1000
    recitative data subset data/train data/clean --exclude bad-labels-train.txt    marked in 'recitative explore'
    """
    options = {
        "--first": first, "--last": last, "--shortest": shortest, "--random": random, "--per-speaker": per_speaker,
        "--speakers": speakers, "--utt-list": utt_list, "--exclude": exclude,
    }  # fmt: skip
    given = [name for name, value in options.items() if value is not None]
    if len(given) != 1:
        raise UsageError(f"subset: {' and '.join(given) or 'no selection'} given; give one of {', '.join(options)}")
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
    elif exclude is not None:
        directory = select.without_utterances(directory, _first_columns(exclude))
    _write(directory, destination)


@app.command()
def combine(
    destination: Destination,
    sources: Annotated[list[Path], typer.Argument(help="Data directories.")],
) -> None:
    """Combine data directories. Equal ids with different content are an error.

    \b
    recitative data combine data/all data/train data/dev
    recitative data combine data/train data/read data/calls data/meetings
    """
    combined, left_out = select.combine({str(source): _read(source, destination) for source in sources})
    for name in left_out:
        print_note(f"{destination}: without {name}, which not all of them have")
    _write(combined, destination)


@app.command()
def split(
    source: Source,
    into: Annotated[
        list[str], typer.Argument(metavar="N | REST HELD_OUT", help="Number of parts, or two data directories.")
    ],
    per_utt: Annotated[bool, typer.Option("--per-utt", help="Split speakers too. Only with N.")] = False,
    speakers: Speakers = None,
    random: Annotated[int | None, typer.Option(help="Hold out N random speakers.")] = None,
    seed: Seed = 1,
) -> None:
    """Split a data directory by speaker: into N equal parts, or hold speakers out.

    \b
    recitative data split data/train 4                                 data/train/split4/1 to 4
    recitative data split data/all data/train data/dev --random 3      3 speakers in data/dev
    """
    if len(into) == 1 and into[0].isdigit():
        if speakers or random:
            raise UsageError("--speakers and --random hold speakers out; give two data directories, REST HELD_OUT")
        parts, directory = int(into[0]), DataDirectory.read(source)
        pieces = (select.split_by_utterance if per_utt else select.split)(directory, parts)
        for number, piece in enumerate(pieces, start=1):
            _write(piece, source / f"split{parts}{'utt' if per_utt else ''}" / str(number))
    elif len(into) == 2 and not per_utt:
        hold_out(source, Path(into[0]), Path(into[1]), speakers, random, seed)
    else:
        raise UsageError(f"split {' '.join(into)}: give a number of parts, or two data directories")


def hold_out(
    source: Source,
    rest: Annotated[Path, typer.Argument(help="The data directory to write for the other speakers.")],
    held_out: Annotated[Path, typer.Argument(help="The data directory to write for the speakers held out.")],
    speakers: Speakers = None,
    random: Annotated[int | None, typer.Option(help="N random speakers.")] = None,
    seed: Seed = 1,
) -> None:
    """Split by speaker, so that no speaker of the held-out set is in the training set."""
    if (speakers is None) == (random is None):
        raise UsageError("split: give either --speakers or --random")
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
    prefix: Annotated[str, typer.Option(help="Prefix for utterance, speaker and recording ids.")] = "",
) -> None:
    """Copy a data directory, optionally with another prefix of its ids.

    \b
    recitative data copy data/dev data/copy --prefix copy-
    recitative data copy data/dev /mnt/disk/dev
    """
    _write(select.prefixed(_read(source, destination), prefix), destination)


@app.command("export")
def export_data(
    source: Source,
    destination: Annotated[Path, typer.Argument(help="Folder to write.")],
    format: Annotated[
        Form,
        typer.Option(
            help="lhotse, nemo: manifests; audiofolder, parquet: for Hugging Face's datasets, with the audio; stm, "
            "trn: references for sclite; textgrid, eaf, audacity: annotations for Praat, ELAN and Audacity."
        ),
    ],
) -> None:
    """Write a data directory in the form of another program.

    \b
    recitative data export data/train manifests --format lhotse
    recitative data export data/test dataset --format audiofolder
    """
    directory = _read(source, destination)
    with progress_bar(f"write {destination}") as show:
        files = export_directory(directory, destination, format, show)
    print(f"{destination}: {counted(len(directory.utterances), 'utterance')} in {counted(files, 'file')}")


@app.command()
def folds(
    data: Annotated[Path, typer.Argument(help="Data directory.")],
    output: Annotated[Path, typer.Argument(help="Output folder for FOLD/train and FOLD/test.")],
    parts: Annotated[int | None, typer.Option(min=2, help="Number of folds; each speaker is in one fold.")] = None,
    table: Annotated[Path | None, typer.Option(help="File with lines 'utterance fold'.")] = None,
) -> None:
    """Split data for cross-validation: leave one speaker out, --parts of speakers, or a --table.

    A speaker or recording in both train and test is an error.

    \b
    recitative data folds data/all data/folds --parts 5
    recitative data folds data/all data/folds --table official-folds.txt
    """
    from recitative.data.select import folds_by_speaker, leave_one_speaker_out, read_folds

    if parts and table:
        raise UsageError("--parts and --table exclude each other; give one")
    directory = _read(data)
    if parts:
        found = folds_by_speaker(directory, parts)
    else:
        found = read_folds(directory, table) if table else leave_one_speaker_out(directory)
    for fold in track(found, "write folds", len(found)):
        fold.train.write(output / fold.name / "train")
        fold.test.write(output / fold.name / "test")
        print(f"{output / fold.name}: {len(fold.train.utterances)} to train on, {len(fold.test.utterances)} to test")


def _read(source: Path, *destinations: Path) -> DataDirectory:
    if source.resolve() in [destination.resolve() for destination in destinations]:
        raise UsageError(f"{source}: is also the output; give another folder")
    with progress_bar(f"read {source}"):
        return DataDirectory.read(source)


def _write(directory: DataDirectory, destination: Path) -> None:
    with progress_bar(f"write {destination}"):
        directory.write(destination)
    print(
        f"{destination}: {counted(len(directory.utterances), 'utterance')}, "
        f"{counted(len(directory.by_speaker), 'speaker')}"
    )


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


# ``recitative check``

SHOWN_PROBLEMS = 20


@expand_options
def check(
    data_dir: Annotated[Path, typer.Argument(help="Data directory or folder of shards.")],
    options: SettingsOptions,
    tokens: Annotated[Path | None, typer.Option(help="Token table; characters that it lacks are problems.")] = None,
    lexicon: Annotated[Path | None, typer.Option(help="Lexicon; words that it lacks are problems.")] = None,
    subsampling: Annotated[
        int | None, typer.Option(min=1, help="Subsampling factor, instead of the front end's.")
    ] = None,
    no_text: Annotated[bool, typer.Option("--no-text", help="Do not require transcripts.")] = False,
    show_all: Annotated[
        bool, typer.Option("--all", help=f"Print all problems, not only the first {SHOWN_PROBLEMS}.")
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Repair what is safe to repair. The old tables stay in .backup.")
    ] = False,
    drop_bad: Annotated[
        bool, typer.Option("--drop-bad", help="With --fix: drop utterances with problems in audio or text.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --fix: allow more than 5 % of the utterances to be dropped.")
    ] = False,
) -> None:
    """Check the tables, audio and transcripts of a data directory, and print its statistics.

    The exit status is 1 if there are problems.

    \b
    recitative check data/train --tokens data/tokens.txt
    recitative check data/train --fix --drop-bad
    """
    if (force or drop_bad) and not fix:
        raise UsageError(f"--{'force' if force else 'drop-bad'} requires --fix")
    if fix and is_shards(data_dir):
        raise UsageError(f"--fix {data_dir}: shards cannot be fixed; fix their data directory and write them again")
    if lexicon and not tokens:
        raise UsageError("--lexicon requires --tokens, the token table of its phones")
    settings = options.load()
    table = TokenTable.read(tokens) if tokens else None
    spelling = spelling_of(table, Lexicon.read(lexicon, table) if lexicon else None) if table else None
    front_end = FrontEndSettings.subsampled_by(subsampling) if subsampling else settings.model.front_end

    def run() -> CheckReport:
        with progress_bar("checking audio") as show:
            return check_directory(
                data_dir, settings.features, front_end, spelling, require_text=not no_text, on_progress=show
            )

    report = run()
    if fix:
        done = fix_directory(data_dir, report.unusable if drop_bad else report.unreadable, force=force)
        for action in done.actions:
            print_note(f"{data_dir}: {action}")
        if done.backup:
            print_note(f"{data_dir}: the tables as they were are in {done.backup}")
        report = run() if done.actions else report
    _print_problems("warning: ", report.warnings, show_all)
    _print_problems("", report.problems, show_all)
    print_table(str(data_dir), report.statistics.rows())
    if count := len(report.problems):
        how = f"run 'recitative check --fix {data_dir}' to repair what is safe; --drop-bad leaves out the rest"
        remedy = "correct them" if fix else f"correct them, or {how}"
        raise DataError(str(data_dir), f"{counted(count, 'problem')} found", remedy=remedy)


def _print_problems(prefix: str, problems: Sequence[Problem], show_all: bool) -> None:
    shown = problems if show_all else problems[:SHOWN_PROBLEMS]
    for problem in shown:
        print(f"{prefix}{problem}")
    if len(shown) < len(problems):
        print(f"{prefix}... and {len(problems) - len(shown)} more; --all prints them")


# ``recitative features``, ``cmvn`` and ``shards``


@expand_options
def features(
    data_dir: Annotated[Path, typer.Argument(help="Data directory; feats.scp and utt2num_frames are added to it.")],
    out_dir: Annotated[Path, typer.Argument(help="Folder for feats.ark and feats.scp.")],
    options: SettingsOptions,
    engine: EngineOptions,
) -> None:
    """Compute fbank or MFCC features and write feats.ark and feats.scp in Kaldi's format.

    \b
    recitative features data/train data/fbank --conf conf/lstm.yaml
    recitative features data/train data/mfcc features.kind=mfcc --jobs 4
    """
    settings = options.load().features
    directory = DataDirectory.read(data_dir)
    items = extract(directory, settings, engine.to_engine())
    frames = write_features(data_dir, out_dir, track(items, "features", len(directory.utterances)))
    print(
        f"{out_dir / 'feats.scp'}: {counted(len(frames), 'utterance')}, {counted(sum(frames.values()), 'frame')}, "
        f"{counted(settings.dim, 'channel')}"
    )


@expand_options
def cmvn(
    data_dir: Annotated[Path, typer.Argument(help="Data directory of the training set.")],
    output: Annotated[Path, typer.Option(help="Statistics file to write, in Kaldi's text format.")],
    options: SettingsOptions,
    engine: EngineOptions,
) -> None:
    """Compute global CMVN statistics, as Kaldi's compute-cmvn-stats.

    \b
    recitative cmvn data/train --conf conf/lstm.yaml --output data/cmvn
    recitative cmvn data/train features.sample_rate=8000 --output data/cmvn
    """
    settings = options.load().features
    directory = DataDirectory.read(data_dir)
    items = extract(directory, settings, engine.to_engine())
    bar = track(items, "cmvn", len(directory.utterances))
    stats = accumulate((matrix for _, matrix in bar), settings.dim)
    stats.write(output)
    print(
        f"{output}: {counted(f'{stats.count:.0f}', 'frame')} of {counted(len(directory.utterances), 'utterance')}, "
        f"{counted(stats.dim, 'channel')}"
    )


@expand_options
def shards(
    data_dir: Annotated[Path, typer.Argument(help="Data directory; with --verify, folder of shards.")],
    engine: EngineOptions,
    output: Annotated[Path | None, typer.Argument(help="Folder for the shards. An interrupted run is resumed.")] = None,
    format: Annotated[
        Format, typer.Option(help="keep: copy compressed recordings, store others as FLAC; opus: small, lossy.")
    ] = "keep",
    minutes: Annotated[float, typer.Option(min=0.01, help="Approximate minutes of audio per shard.")] = 60.0,
    verify: Annotated[bool, typer.Option("--verify", help="Verify the checksums of all shards.")] = False,
) -> None:
    """Pack a data directory into webdataset shards with an index.

    A folder of shards can be used in place of a data directory.

    \b
    recitative shards data/train data/train_shards
    recitative shards data/train_shards --verify
    """
    if verify:
        with progress_bar("verify shards"):
            problems = list(verify_shards(data_dir, engine.to_engine()))
        raise_all(problems)
        print(f"{data_dir}: all shards are as the index says")
        return
    if output is None:
        raise typer.BadParameter("give the folder for the shards, or --verify")
    directory = DataDirectory.read(data_dir)
    with progress_bar("shards") as show:
        summary = write_shards(
            directory, output, format=format, shard_s=60 * minutes, engine=engine.to_engine(), advance=show
        )
    print(
        f"{output / INDEX}: {counted(summary.utterances, 'utterance')} in {counted(summary.shards, 'shard')}, "
        f"{summary.size / 1e6:.1f} MB, {summary.made} written now"
    )
