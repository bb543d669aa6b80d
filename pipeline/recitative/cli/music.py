"""``recitative music``: checks of folders and of constraints; and how ``score`` and ``report`` treat music."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from recitative import pretrained
from recitative.atomic import write_text
from recitative.cli.generate_music import OthersOption, open_events, open_voices, refuse_others
from recitative.cli.options import (
    CommandOption,
    HowOption,
    NameOption,
    Record,
    ResultsOption,
    SetOption,
    TableOption,
    require_folder,
)
from recitative.config import load_tree
from recitative.errors import DataError, Problem, RunError, UsageError
from recitative.kinds import MUSIC_KINDS, kind_of, load_settings_of
from recitative.music import synth
from recitative.music.composer import event_likelihood, likelihood_of
from recitative.music.composition import ConstraintCheck
from recitative.music.composition import check_constraints as check_piece
from recitative.music.kind import EVENTS
from recitative.music.midi import midi_bytes
from recitative.music.page import Comparison, Exhibit, music_page
from recitative.music.piece import VOICES, Note, Piece
from recitative.music.pieces import SUFFIXES, read_event_pieces, read_file, read_folder, read_pieces
from recitative.music.request import TICKS_PER_STEP
from recitative.music.settings import EventsSettings, FrameSettings, MusicSettings
from recitative.music.statistics import Copy, Originals, Share, distances, longest_copy, statistics
from recitative.music.synth import find_soundfont
from recitative.score.results import Measurement
from recitative.terminal import progress_bar, track


def check(
    folders: Annotated[list[Path], typer.Argument(help="Folders of MIDI or ABC files.")],
    conf: Annotated[Path | None, typer.Option(help="Settings of a model.")] = None,
) -> None:
    """Count pieces and frames of folders of music, and report files that cannot be read.

    \b
    recitative music check data/train --conf conf/chorales.yaml
    """
    settings = load_settings_of(conf, [], MUSIC_KINDS)
    problems: list[Problem] = []
    for folder in folders:
        try:
            print(_counts(folder, settings))
        except DataError as error:
            problems.extend(error.problems)
    if problems:
        raise DataError.collect(problems)


def _counts(folder: Path, settings: MusicSettings | EventsSettings) -> str:
    if settings.kind == "events":
        found = read_event_pieces(folder, settings.events)
        cut = f"{found.cut} of them cut to {settings.events.longest_length} steps"
        return f"{folder}: {len(found.pieces)} pieces, {found.notes} notes, {cut}"
    pieces = read_pieces(folder, settings)
    frames = sum(len(piece.tokens) for piece in pieces)
    sounding = sum(int((piece.tokens < settings.frames.code.silence).sum()) for piece in pieces)
    return f"{folder}: {len(pieces)} pieces, {frames} frames, {sounding / max(1, frames):.2f} voices sound in one"


# ``recitative music check-constraints``


def check_constraints(
    written: Annotated[Path, typer.Argument(help="Output folder of 'generate music'.")],
    conf: Annotated[Path, typer.Option(help="Settings of the model, such as exp/chorales/model/settings.yaml.")],
    given: Annotated[Path | None, typer.Option(help="Folder of the given pieces, with the same names.")] = None,
    voices: Annotated[str, typer.Option(help="Given voices, such as soprano,bass or 1,4. Default: all.")] = "",
    results: ResultsOption = None,
    results_md: TableOption = None,
    name: NameOption = "",
    set_name: SetOption = "",
    decoding: HowOption = "-",
    command: CommandOption = "-",
) -> None:
    """Check generated pieces: share of given notes that they keep, share of new notes within the ranges of the voices.

    The piece NAME-3.mid belongs to the given piece NAME. The exit status is 1 if a given note is missing.

    \b
    recitative music check-constraints samples --given melodies --conf exp/chorales/model/settings.yaml
    """
    record = Record(results, results_md, name, set_name, decoding, command)
    settings = load_tree(MusicSettings, conf)
    frames = settings.frames
    ranges = frames.ranges or ((frames.lowest, frames.highest),) * frames.voices
    found = ConstraintCheck(Share(0, 0), Share(0, 0))
    for path in _files(written):
        sounds = _given_to(path, given, frames, _voice_numbers(voices)) if given else []
        found += check_piece(_piece(path, frames), sounds, ranges)
    record.write(_constraint_measurements(found), settings)
    _print(found)
    if found.given.count < found.given.of:
        raise RunError(f"{written}: {found.given.of - found.given.count} given notes are missing")


def _files(folder: Path) -> list[Path]:
    """The MIDI and ABC files of a folder. Raises DataError if there is none."""
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise DataError(str(folder), "contains no music", f"files {', '.join(SUFFIXES)}", "correct the path")
    return files


def _given_to(path: Path, given: Path, frames: FrameSettings, voices: set[int]) -> list[Note]:
    """The notes of the given piece that a generated one is named after. Raises DataError if there is none."""
    sources = {source.stem: source for source in _files(given)}
    source = sources.get(path.stem) or sources.get(re.sub(r"-\d+$", "", path.stem))
    if not source:
        raise DataError(str(path), f"has no given piece of its name in {given}", "NAME or NAME-1", "correct --given")
    return [note for note in _piece(source, frames).notes if not voices or note.voice in voices]


def _piece(path: Path, frames: FrameSettings) -> Piece:
    """The first piece of a file, in the ticks of 'generate music'."""
    pieces, errors = read_file(path, frames.steps_per_quarter * TICKS_PER_STEP)
    if errors:
        raise errors[0]
    return replace(pieces[0].at_resolution(frames.steps_per_quarter * TICKS_PER_STEP), name=path.stem)


def _voice_numbers(voices: str) -> set[int]:
    names = [name.strip().lower() for name in voices.split(",") if name.strip()]
    for name in names:
        if name not in VOICES and not (name.isdigit() and int(name)):
            raise UsageError(f"--voices {name}: not a voice; use {', '.join(VOICES)}, or a number from 1")
    return {VOICES.index(name) if name in VOICES else int(name) - 1 for name in names}


def _constraint_measurements(found: ConstraintCheck) -> list[Measurement]:
    shares = (("given notes kept", found.given), ("new notes in range", found.new))
    return [Measurement.of_share(metric, share.count, share.of) for metric, share in shares if share.of]


def _print(found: ConstraintCheck) -> None:
    for one in _constraint_measurements(found):
        print(f"{one.value:.2f} {one.metric} [ {one.counts} ]")


# ``recitative report`` on generated music


def report(
    generated: Annotated[Path, typer.Argument(help="Folder of generated pieces.")],
    originals: Annotated[Path, typer.Option(help="Folder of the corpus.")],
    output: Annotated[
        Path | None, typer.Option(help="Page to write. Default: GENERATED/report.html, or none with --json.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
    players: Annotated[int, typer.Option(min=0, help="Number of pieces shown with a player.")] = 12,
    sound: Annotated[bool, typer.Option("--sound/--no-sound", help="Put sound into the page.")] = True,
    soundfont: Annotated[Path | None, typer.Option(help="SoundFont (sf2 or sf3) for the sound.")] = None,
    steps_per_quarter: Annotated[int, typer.Option(min=1, max=48, help="Resolution of the comparison.")] = 4,
    results: ResultsOption = None,
    results_md: TableOption = None,
    name: NameOption = "",
    set_name: SetOption = "",
    decoding: HowOption = "-",
    command: CommandOption = "-",
) -> None:
    """Compare generated pieces with a corpus: a page with statistics, the longest copies, piano rolls and players.

    A copy is the longest passage of a piece that occurs in the corpus in any key, with equal notes in all voices.
    Unreadable files are reported and skipped; the exit status is then 1.
    """
    record = Record(results, results_md, name, set_name, decoding, command)
    path = output or (None if as_json else generated / "report.html")
    if path:
        require_folder(path.parent)
    pieces, problems = _read(generated, steps_per_quarter)
    corpus, more = _read(originals, steps_per_quarter)
    comparison = _compared(pieces, corpus, originals.name)
    record.write(_measured(comparison, steps_per_quarter))
    if as_json:
        print(json.dumps(_numbers(comparison)))
    if path:
        font = soundfont or (find_soundfont() if sound else None)
        shown = [_exhibit(piece, sound, font) for piece in track(pieces[:players], "sound", len(pieces[:players]))]
        write_text(path, music_page(shown, title=f"Music of {generated.name}", comparison=comparison))
        print(path, file=sys.stderr if as_json else sys.stdout)
    if problems or more:
        raise DataError.collect([*problems, *more])


def _read(folder: Path, steps_per_quarter: int) -> tuple[list[Piece], list[Problem]]:
    """The pieces on one grid, and the problems of other files. Raises DataError if there are no notes at all."""
    pieces, errors = read_folder(folder, steps_per_quarter)
    problems = [problem for error in errors for problem in error.problems]
    pieces = [piece.at_resolution(steps_per_quarter) for piece in pieces]
    if not any(piece.notes for piece in pieces):
        raise DataError.collect(problems or [Problem(str(folder), "has no notes", "music", "correct the path")])
    return pieces, problems


def _compared(pieces: Sequence[Piece], corpus: Sequence[Piece], corpus_name: str) -> Comparison:
    voices = max(piece.voices for piece in (*pieces, *corpus))
    known = Originals.of(corpus, voices=voices)
    copies = [(piece.name, longest_copy(piece, known)) for piece in track(pieces, "copies", len(pieces))]
    return Comparison(statistics(pieces, voices), statistics(corpus, voices), corpus_name, copies)


def _exhibit(piece: Piece, sound: bool, soundfont: Path | None) -> Exhibit:
    played = synth.mp3_bytes(synth.render(piece, soundfont=soundfont)) if sound else b""
    return Exhibit(piece.name, piece, midi_bytes(piece), played)


def _measured(comparison: Comparison, steps_per_quarter: int) -> list[Measurement]:
    """Distances from 0 to 1 of the histograms that both have, and the lengths of copies."""
    counts = f"{comparison.generated.pieces} and {comparison.corpus.pieces} pieces"
    apart = distances(comparison.generated, comparison.corpus).to_dict()
    quarters = sorted(copy.length / steps_per_quarter for _, copy in comparison.copies)
    numbers = {f"distance of {name.replace('_', ' ')}": value for name, value in apart.items()}
    numbers |= {"longest copy, quarters": quarters[-1], "longest copy, median": quarters[len(quarters) // 2]}
    return [Measurement(metric, value, counts) for metric, value in numbers.items() if value is not None]


def _numbers(comparison: Comparison) -> dict[str, Any]:
    longest = max((copy for _, copy in comparison.copies), key=lambda copy: copy.length, default=Copy())
    return {
        "generated": comparison.generated.to_dict(),
        "originals": comparison.corpus.to_dict(),
        "distances": distances(comparison.generated, comparison.corpus).to_dict(),
        "longest_copy": longest.to_dict(),
        "copies": {name: copy.to_dict() for name, copy in comparison.copies},
    }


# ``recitative score`` on music


def score(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Music model: folder such as EXP/model, or exported file.")
    ],
    pieces: Annotated[Path, typer.Argument(help="Folder of MIDI or ABC files.")],
    others: OthersOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    results: ResultsOption = None,
    results_md: TableOption = None,
    name: NameOption = "",
    set_name: SetOption = "",
    decoding: HowOption = "-",
    command: CommandOption = "-",
) -> None:
    """Print the NLL of pieces under a model of music.

    Models of voices: nats per frame, a step of the model's grid, and per token, a voice of a frame. Only the tonic is
    given, if pieces.key sets one for all pieces. Models of events: nats per token, including the end of a piece, and
    per note. Exported files run without PyTorch.
    """
    record = Record(results, results_md, name, set_name, decoding, command)
    started = time.perf_counter()
    path = pretrained.find(model)
    if kind_of(path, MUSIC_KINDS) is EVENTS:
        refuse_others(others, path)
        found = _of_events(path, pieces)
    else:
        found = _of_voices([path, *map(pretrained.find, others or ())], pieces)
    record.write(found.measured, found.settings, time.perf_counter() - started)
    if as_json:
        print(json.dumps({one.metric.replace(" ", "_"): one.value for one in found.measured} | found.counted))
        return
    values = ", ".join(f"{one.value:.4f} {one.metric}" for one in found.measured)
    print(f"{values} ({', '.join(f'{count} {unit}' for unit, count in found.counted.items())})")


@dataclass(frozen=True)
class _Found:
    measured: list[Measurement]
    counted: dict[str, int]
    settings: BaseModel


def _of_voices(models: Sequence[Path], pieces: Path) -> _Found:
    scorer = open_voices(models)
    if scorer.fills:
        raise UsageError(
            f"{models[0]}: a model that fills in notes has no likelihood of whole pieces; use one that continues"
        )
    tokens = [piece.tokens for piece in read_pieces(pieces, scorer.settings)]
    with progress_bar("scoring") as show:
        found = likelihood_of(scorer, tokens, scorer.settings.pieces.key, show)
    measured = [
        Measurement("nats per frame", found.per_frame, f"{found.frames} frames"),
        Measurement("nats per token", found.per_token, f"{found.tokens} tokens"),
    ]
    return _Found(measured, {"frames": found.frames}, scorer.settings)


def _of_events(model: Path, pieces: Path) -> _Found:
    scorer = open_events(model)
    material = read_event_pieces(pieces, scorer.events)
    found = event_likelihood(scorer.network, scorer.events.vocabulary, material.pieces)
    measured = [
        Measurement("nats per token", found.per_token, f"{found.tokens} tokens"),
        Measurement("nats per note", found.per_note, f"{found.notes} notes"),
    ]
    return _Found(measured, {"tokens": found.tokens, "notes": found.notes}, scorer.settings)


app = typer.Typer(name="music", no_args_is_help=True, help="Check folders of music, and generated pieces.")
app.command()(check)
app.command()(check_constraints)
