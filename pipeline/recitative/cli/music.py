"""``recitative melody`` and ``music``, with its live answers; and ``score`` and ``report`` for music."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import BaseModel

from recitative import pretrained
from recitative.atomic import write_bytes, write_text
from recitative.audio.files import Samples, inspect, is_stream, write_wav
from recitative.audio.live import Speaker
from recitative.cli.generate import (
    PAGE,
    Generated,
    Generator,
    KeyOption,
    MusicModelOption,
    OutputOptions,
    SamplingOptions,
    TransposeOption,
    generate_named,
    open_events,
    open_generator,
    open_voices,
    refuse_others,
    require_tempo,
    warn_about,
    write_piece,
)
from recitative.cli.live import open_device, open_source, require_source, warn_of_overruns
from recitative.cli.options import RateOption, Record, expand_options, print_note, require_folder
from recitative.config import load_tree
from recitative.errors import DataError, Problem, RunError, UsageError, counted
from recitative.kinds import MUSIC_KINDS, kind_of, load_settings_of
from recitative.music import midi
from recitative.music.composer import (
    SCORE_SUFFIXES,
    SUFFIXES,
    event_likelihood,
    likelihood_of,
    read_event_pieces,
    read_file,
    read_folder,
    read_pieces,
)
from recitative.music.composition import ConstraintCheck
from recitative.music.composition import check_constraints as check_piece
from recitative.music.melody import LONGEST_PHRASE_S, SAMPLE_RATE, Melody, PhraseDetector, transcribe_melody
from recitative.music.midi import find_soundfont, midi_bytes
from recitative.music.notation import abc_text, musicxml_bytes, notated
from recitative.music.page import Comparison, Exhibit, melody_figure, music_page
from recitative.music.piece import VOICES, Note, Piece, pitch_name, transposed
from recitative.music.settings import (
    EVENTS,
    TICKS_PER_STEP,
    Constraints,
    EditOptions,
    Ending,
    EventsSettings,
    FrameSettings,
    MusicSettings,
    parse_key,
    require_key,
    voice_number,
)
from recitative.music.statistics import Copy, Originals, Share, distances, longest_copy, statistics
from recitative.report.figure import check_suffix, save_figure
from recitative.score.results import Measurement
from recitative.terminal import progress_bar, track

app = typer.Typer(
    name="music",
    no_args_is_help=True,
    help="Answer a microphone with music; check folders of music and generated pieces.",
)


@app.command()
def check(
    folders: Annotated[list[Path], typer.Argument(help="Folders of MIDI or ABC files.")],
    conf: Annotated[Path | None, typer.Option(help="Settings file of a model.")] = None,
) -> None:
    """Count pieces and frames of folders of music, and report files that cannot be read.

    \b
    recitative music check data/train --conf conf/chorales.yaml
    recitative music check tunes/ more-tunes/
    """
    settings = load_settings_of(conf, [], MUSIC_KINDS)
    problems: list[Problem] = []
    for folder in folders:
        try:
            with progress_bar(f"read {folder}"):
                counts = _counts(folder, settings)
            print(counts)
        except DataError as error:
            problems.extend(error.problems)
    if problems:
        raise DataError.collect(problems)


def _counts(folder: Path, settings: MusicSettings | EventsSettings) -> str:
    if settings.kind == "events":
        found = read_event_pieces(folder, settings.events)
        cut = f"{found.cut} of them cut to {settings.events.longest_length} steps"
        return f"{folder}: {counted(len(found.pieces), 'piece')}, {counted(found.notes, 'note')}, {cut}"
    pieces = read_pieces(folder, settings)
    frames = sum(len(piece.tokens) for piece in pieces)
    sounding = sum(int((piece.tokens < settings.frames.code.silence).sum()) for piece in pieces)
    counts = f"{counted(len(pieces), 'piece')}, {counted(frames, 'frame')}"
    return f"{folder}: {counts}, {sounding / max(1, frames):.2f} voices sound in one"


@app.command()
@expand_options
def check_constraints(
    written: Annotated[Path, typer.Argument(help="Output folder of 'generate music'.")],
    record: Record,
    conf: Annotated[Path, typer.Option(help="Settings of the model, such as exp/chorales/model/settings.yaml.")],
    given: Annotated[Path | None, typer.Option(help="Folder of the given pieces, with the same names.")] = None,
    voices: Annotated[str, typer.Option(help="Given voices, such as soprano,bass or 1,4. Default: all.")] = "",
) -> None:
    """Check generated pieces: fraction of given notes that they keep, and of new notes within the ranges of the voices.

    The piece NAME-3.mid belongs to the given piece NAME. The exit status is 1 if a given note is missing.

    \b
    recitative music check-constraints samples --given melodies --conf exp/chorales/model/settings.yaml
    recitative music check-constraints samples --given melodies --voices soprano \\
      --conf exp/chorales/model/settings.yaml
    """
    if voices and not given:
        raise UsageError("--voices: requires --given")
    settings = load_tree(MusicSettings, conf)
    frames = settings.frames
    ranges = frames.ranges or ((frames.lowest, frames.highest),) * frames.voices
    sources = {path.stem: path for path in _list_music(given)} if given else {}
    numbers = {voice_number(name, frames.voices) for name in voices.split(",") if name.strip()}
    found = ConstraintCheck(Share(0, 0), Share(0, 0))
    files = _list_music(written)
    for path in track(files, "check", len(files)):
        notes: list[Note] = []
        if given:
            source = sources.get(path.stem) or sources.get(re.sub(r"-\d+$", "", path.stem))
            if not source:
                message = f"has no given piece of its name in {given}"
                raise DataError(str(path), message, "NAME or NAME-1", "correct --given")
            notes = [note for note in _read_piece(source, frames).notes if not numbers or note.voice in numbers]
        found += check_piece(_read_piece(path, frames), notes, ranges)
    shares = (("given notes kept", found.given), ("new notes in range", found.new))
    measured = [Measurement.of_share(metric, share.count, share.of) for metric, share in shares if share.of]
    record.write(measured, settings)
    for one in measured:
        print(f"{one.value:.2f} {one.metric} [ {one.counts} ]")
    if found.given.count < found.given.of:
        raise RunError(f"{written}: {found.given.of - found.given.count} given notes are missing")


def _list_music(folder: Path) -> list[Path]:
    """The MIDI and ABC files of a folder. Raises DataError if there is none."""
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not files and folder.is_dir():
        os.listdir(folder)  # raises PermissionError, which glob hides
    if not files:
        raise DataError(str(folder), "contains no music", f"files {', '.join(SUFFIXES)}", "correct the path")
    return files


def _read_piece(path: Path, frames: FrameSettings) -> Piece:
    """The first piece of a file, in the ticks of 'generate music'."""
    pieces, errors = read_file(path, frames.steps_per_quarter * TICKS_PER_STEP)
    if errors:
        raise errors[0]
    return replace(pieces[0].at_resolution(frames.steps_per_quarter * TICKS_PER_STEP), name=path.stem)


# ``recitative melody``

MELODY_SUFFIXES = (".mid", ".musicxml", ".abc")


def melody(
    recording: Annotated[
        Path, typer.Argument(metavar="FILE", help="Recording of one line: sung, hummed, whistled, played.")
    ],
    output: Annotated[
        Path | None, typer.Option(help=f"File to write: {', '.join(MELODY_SUFFIXES)}. Default: only the table.")
    ] = None,
    tempo: Annotated[
        float, typer.Option(min=0, max=400, help="Quarter notes per minute. 0: estimated from the notes.")
    ] = 0.0,
    picture: Annotated[
        Path | None, typer.Option(help="Write pitch, notes, chroma and tempogram to this .svg or .png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write down the melody of a recording: notes, tempo and key.

    The table has the seconds of each note, its name, the cents that it is off, and its start and length in quarters.
    Requires the extra 'music'.

    \b
    recitative melody hum.wav --output hum.musicxml
    recitative generate music hum.wav --harmonize
    """
    suffix = output.suffix.lower() if output else ""
    if output and suffix not in MELODY_SUFFIXES:
        raise UsageError(f"--output {output}: must end in {', '.join(MELODY_SUFFIXES)}")
    require_tempo(tempo)
    if recording.suffix.lower() in (*SUFFIXES, *SCORE_SUFFIXES):
        raise UsageError(f"{recording}: is written music, not a recording; 'recitative generate music' reads it")
    if picture:
        check_suffix(picture)
    for path in filter(None, (output, picture)):
        require_folder(path.parent)
    with progress_bar("find the notes"):
        found = transcribe_melody(recording, tempo=tempo, on_warning=warn_about(recording.stem))
    print_note(f"{found.piece.name}: {found}")
    rows = _rows(found)
    if as_json:
        head = {"tempo": found.piece.quarters_per_minute, "key": found.key, "tuning_cents": round(found.tuning_cents)}
        print(json.dumps({**head, "notes": rows}))
    else:
        print(f"{'start':>8} {'end':>8}  {'note':<5}{'cents':>6} {'quarter':>8} {'length':>7}")
    for row in () if as_json else rows:
        print(
            f"{row['start']:>8.2f} {row['end']:>8.2f}  {row['note']:<5}{row['cents']:>+6d} {row['quarter']:>8g} "
            f"{row['length']:>7g}"
        )
    if output:
        piece = notated(found.piece)
        if suffix == ".abc":
            write_text(output, abc_text(piece))
        else:
            write_bytes(output, midi_bytes(piece) if suffix == ".mid" else musicxml_bytes(piece))
        print_note(f"written: {output}")
    if picture:
        save_figure(melody_figure(found), picture)
        print_note(f"written: {picture}")


def _rows(found: Melody) -> list[dict[str, float | int | str]]:
    quarter, fifths = found.piece.steps_per_quarter, notated(found.piece).notation.fifths or 0
    return [
        {
            "start": round(note.start_s, 3), "end": round(note.end_s, 3), "note": pitch_name(note.pitch, fifths),
            "pitch": note.pitch, "cents": round(note.cents), "quarter": written.start / quarter,
            "length": written.length / quarter,
        }
        for note, written in zip(found.notes, found.piece.notes, strict=True)
    ]  # fmt: skip


# ``recitative music listen``

_BLOCK_S = 0.1
PHRASE = "phrase"  # names of files
_RECENT = 20  # answers on the page
MOST_WAITING = 4  # phrases


@app.command()
@expand_options
def listen(
    output: OutputOptions,
    options: SamplingOptions,
    device: Annotated[str, typer.Option(help="Microphone: number or part of the name.")] = "",
    input: Annotated[Path | None, typer.Option(help="Audio file, or '-' for stdin, instead of the microphone.")] = None,
    rate: RateOption = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Process --input in real time.")] = False,
    answer: Annotated[
        Literal["harmonize", "continue"], typer.Option(help="Add the other voices to a phrase, or go on after it.")
    ] = "harmonize",
    voice: Annotated[
        str, typer.Option(help="With harmonize: the voice that is sung or played. Default: soprano.")
    ] = "",
    bars: Annotated[
        int | None, typer.Option(min=1, max=64, help="With continue: number of new bars. Default: 2.")
    ] = None,
    model: MusicModelOption = "",
    key: KeyOption = "",
    ending: Annotated[Ending, typer.Option(help="Let answers end with an authentic cadence, V-I.")] = "free",
    tempo: Annotated[
        float, typer.Option(min=0, max=400, help="Quarter notes per minute. 0: estimated for each phrase.")
    ] = 0.0,
    transpose: TransposeOption = 0,
    silence_s: Annotated[float, typer.Option(min=0.2, max=5, help="Silence that ends a phrase.")] = 0.8,
    longest_s: Annotated[float, typer.Option(min=2, max=60, help="Maximum length of a phrase.")] = LONGEST_PHRASE_S,
    play: Annotated[bool, typer.Option("--play/--no-play", help="Play the answers.")] = True,
) -> None:
    """Answer the microphone live: each phrase that is sung or played is harmonized or continued, written and played.

    A phrase ends with a pause. What is heard while an answer plays is left out. Phrases without a melody are named and
    skipped. Everything is in OUTPUT as soon as it is made: phrase-1-heard.wav, the files of the answer, and a page of
    the last answers. Ctrl-C ends it. Requires the extras 'music' and 'mic'.

    \b
    recitative music listen --instrument choir --ending cadence
    recitative music listen --answer continue --bars 4
    recitative music listen --input phrases.wav --realtime --no-play
    """
    require_source(input, rate, device, realtime)
    require_tempo(tempo)
    if voice and answer == "continue":
        raise UsageError("--voice: requires --answer harmonize")
    if bars and answer == "harmonize":
        raise UsageError("--bars: requires --answer continue")
    edit = EditOptions(voice or VOICES[0], "", "") if answer == "harmonize" else EditOptions("", "", "", bars or 2)
    options.require_filling(edit, "--answer harmonize")
    generator = open_generator(model, None, edit, Constraints(parse_key(key), cadence=ending == "cadence"), "", options)
    require_folder(output.output)
    speaker = _open_speaker() if play else None
    is_live = realtime or str(input or "-") == "-"
    soundfont = output.open_soundfont(generator.voices, played=speaker is not None)
    answers = Answers(generator, output, tempo, transpose, speaker, is_live=is_live, key=key, soundfont=soundfont)
    if not input:  # its errors first
        with open_device(device, _BLOCK_S):
            pass
    elif not is_stream(str(input)):
        inspect(input)
    answers.prepare()
    try:
        with open_source(input, rate, device, _BLOCK_S, realtime) as live:
            if not input:
                print_note("listening; sing or play a phrase, and pause; Ctrl-C ends it")
            detector = PhraseDetector(live.sample_rate, silence_s, longest_s)
            for block in live.blocks():
                if is_live and speaker and speaker.was_heard_by(block):
                    detector.reset()
                    continue
                for phrase in detector.accept(block.samples):
                    answers.hear(phrase, live.sample_rate)
            for phrase in detector.finish():
                answers.hear(phrase, live.sample_rate)
            warn_of_overruns(live)
        answers.finish()
    except KeyboardInterrupt:
        answers.stop()
    quiet = "" if answers.made or answers.skipped else "; nothing was louder than the noise"
    print_note(f"phrases: {answers.made} answered, {answers.skipped} skipped{quiet}")


def _open_speaker() -> Speaker | None:
    try:
        return Speaker()
    except UsageError as error:
        print_note(f"answers are written and not played: {error}")
        return None


class Answers:
    """Answers of a session. Phrases are numbered on from those in the folder.

    A thread makes and plays the answers, so that no sound is lost meanwhile. In live audio a phrase is left out if
    MOST_WAITING others wait for their answers.
    """

    def __init__(
        self,
        generator: Generator,
        output: OutputOptions,
        tempo: float,
        transpose: int,
        speaker: Speaker | None,
        *,
        is_live: bool,
        key: str = "",
        soundfont: Path | None = None,
    ) -> None:
        self._generator, self._output, self._speaker = generator, output, speaker
        self._tempo, self._transpose, self._key, self._is_live = tempo, transpose, key, is_live
        self._soundfont = soundfont
        self._recent: deque[Exhibit] = deque(maxlen=_RECENT)
        self._worker, self._waiting = ThreadPoolExecutor(1), deque[Future[None]]()
        names = (re.match(rf"{PHRASE}-(\d+)", path.name) for path in output.output.glob(f"{PHRASE}-*"))
        self._number = max((int(name[1]) for name in names if name), default=0)
        self.made = self.skipped = 0

    def prepare(self) -> None:
        """Compile librosa's code, which takes seconds the first time."""
        with progress_bar("preparing"):
            transcribe_melody(midi.tone(69, SAMPLE_RATE // 2, SAMPLE_RATE), SAMPLE_RATE)

    def hear(self, phrase: Samples, sample_rate: int) -> None:
        """Answer a phrase (S,) when those before it are answered. Raises what went wrong with them."""
        while self._waiting and (self._waiting[0].done() or not self._is_live):
            self._waiting.popleft().result()
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(self._worker.submit(self._answer, phrase, sample_rate))
            return
        self.skipped += 1
        print_note(f"warning: a phrase was left out: {MOST_WAITING} others wait; the machine is too slow or busy")

    def finish(self) -> None:
        """Wait for all answers, and until the last was played."""
        while self._waiting:
            self._waiting.popleft().result()
        self._worker.shutdown()
        if self._speaker:
            self._speaker.wait()

    def stop(self) -> None:
        """Leave out the phrases that wait, and end what is playing; the answer that is being made is still written."""
        if self._speaker:
            self._speaker.stop()
        self._worker.shutdown(cancel_futures=True)

    def _answer(self, phrase: Samples, sample_rate: int) -> None:
        """Write and play the answer, or say why there is none."""
        self._number += 1
        name = f"{PHRASE}-{self._number}"
        try:
            found = transcribe_melody(phrase, sample_rate, tempo=self._tempo, name=name)
            write_wav(self._output.output / f"{name}-heard.wav", phrase, sample_rate)
            print_note(f"{name}: {found}")
            piece = transposed(found.piece, self._transpose).at_resolution(self._generator.steps_per_quarter)
            require_key(replace(piece, name=name), parse_key(self._key), self._key)
            drafts = generate_named(self._generator, piece, name, self._tempo, found)
        except (DataError, UsageError) as error:  # UsageError: options that do not fit this phrase
            self.skipped += 1
            print_note(f"{error}; skipped")
            return
        self._recent.extend(reversed([write_piece(draft, self._output, self._soundfont) for draft in drafts]))
        page = music_page(list(reversed(self._recent)), title="Phrases and answers", about=self._generator.about)
        write_text(self._output.output / PAGE, page)
        sys.stdout.flush()
        self.made += 1
        if self._speaker:
            new = new_part(drafts[0])
            samples = midi.render(new, soundfont=self._soundfont, program=self._output.programs)
            self._speaker.play(samples, midi.SAMPLE_RATE)


def new_part(generated: Generated) -> Piece:
    """A harmonized phrase as a whole; of a continued one what comes after it."""
    piece, given = generated.draft.piece, generated.given
    begin = min((note.start for note in piece.notes if note not in given), default=0)
    if begin < max((note.end for note in given), default=0):
        return piece
    notes = tuple(replace(note, start=note.start - begin) for note in piece.notes if note not in given)
    return replace(piece, notes=notes, length=piece.length - begin)


# ``recitative report``


def report(
    generated: Path,
    originals: Path,
    record: Record,
    *,
    output: Path | None = None,
    as_json: bool = False,
    players: int = 12,
    sound: bool = True,
    soundfont: Path | None = None,
    steps_per_quarter: int = 4,
) -> None:
    """Compare generated pieces with a corpus: a page with statistics, the longest copies, piano rolls and players.

    A copy is the longest passage of a piece that occurs in the corpus in any key, with equal notes in all voices.
    Unreadable files are reported and skipped; the exit status is then 1.
    """
    if soundfont and not (sound and players):
        raise UsageError(f"--soundfont: not with {'--players 0' if sound else '--no-sound'}; leave one of them out")
    path = output or (None if as_json else generated / "report.html")
    if path:
        require_folder(path.parent)
    with progress_bar("read music"):
        pieces, problems = _read_pieces(generated, steps_per_quarter)
        corpus, more = _read_pieces(originals, steps_per_quarter)
    voices = max(piece.voices for piece in (*pieces, *corpus))
    known = Originals.of(corpus, voices=voices)
    copies = [(piece.name, longest_copy(piece, known)) for piece in track(pieces, "copies", len(pieces))]
    comparison = Comparison(statistics(pieces, voices), statistics(corpus, voices), originals.name, copies)
    record.write(_measurements(comparison, steps_per_quarter))
    if as_json:
        longest = max((copy for _, copy in copies), key=lambda copy: copy.length, default=Copy())
        numbers = {
            "generated": comparison.generated.to_dict(),
            "originals": comparison.corpus.to_dict(),
            "distances": distances(comparison.generated, comparison.corpus).to_dict(),
            "longest_copy": longest.to_dict(),
            "copies": {name: copy.to_dict() for name, copy in copies},
        }
        print(json.dumps(numbers))
    if path:
        font = (soundfont or find_soundfont()) if sound and players else None
        shown = [_exhibit(piece, sound, font) for piece in track(pieces[:players], "sound", len(pieces[:players]))]
        write_text(path, music_page(shown, title=f"Music of {generated.name}", comparison=comparison))
        print(path, file=sys.stderr if as_json else sys.stdout)
    if problems or more:
        raise DataError.collect([*problems, *more])


def _read_pieces(folder: Path, steps_per_quarter: int) -> tuple[list[Piece], list[Problem]]:
    """The pieces on one grid, and the problems of other files. Raises DataError if there are no notes at all."""
    pieces, errors = read_folder(folder, steps_per_quarter)
    problems = [problem for error in errors for problem in error.problems]
    pieces = [piece.at_resolution(steps_per_quarter) for piece in pieces]
    if not any(piece.notes for piece in pieces):
        raise DataError.collect(problems or [Problem(str(folder), "has no notes", "music", "correct the path")])
    return pieces, problems


def _exhibit(piece: Piece, sound: bool, soundfont: Path | None) -> Exhibit:
    played = midi.mp3_bytes(midi.render(piece, soundfont=soundfont)) if sound else b""
    return Exhibit(piece.name, piece, midi_bytes(piece), played)


def _measurements(comparison: Comparison, steps_per_quarter: int) -> list[Measurement]:
    """Distances from 0 to 1 between histograms that both have, and the lengths of copies."""
    counts = f"{comparison.generated.pieces} and {comparison.corpus.pieces} pieces"
    apart = distances(comparison.generated, comparison.corpus).to_dict()
    quarters = sorted(copy.length / steps_per_quarter for _, copy in comparison.copies)
    numbers = {f"distance of {name.replace('_', ' ')}": value for name, value in apart.items()}
    numbers |= {"longest copy, quarters": quarters[-1], "longest copy, median": quarters[len(quarters) // 2]}
    return [Measurement(metric, value, counts) for metric, value in numbers.items() if value is not None]


# ``recitative score``


def score(model: Path, pieces: Path, record: Record, *, others: list[str] | None = None, as_json: bool = False) -> None:
    """Print the NLL of pieces under a model of music.

    Models of voices: nats per frame, a step of the model's grid, and per token, a voice of a frame. Only the tonic is
    given, if pieces.key sets one for all pieces. Models of events: nats per token, including the end of a piece, and
    per note. Exported files run without PyTorch.
    """
    started = time.perf_counter()
    path = pretrained.find(model)
    if kind_of(path, MUSIC_KINDS) is EVENTS:
        refuse_others(others, path)
        events = open_events(path)
        settings: BaseModel = events.settings
        with progress_bar("scoring"):
            material = read_event_pieces(pieces, events.events)
            of_events = event_likelihood(events.network, events.events.vocabulary, material.pieces)
        counted = {"tokens": of_events.tokens, "notes": of_events.notes}
        values = {"nats per token": of_events.per_token, "nats per note": of_events.per_note}
        counts = counted
    else:
        voices = open_voices([path, *map(pretrained.find, others or ())])
        if voices.fills:
            raise UsageError(
                f"{path}: a model that fills in notes has no likelihood of whole pieces; use one that continues"
            )
        settings = voices.settings
        tokens = [piece.tokens for piece in read_pieces(pieces, voices.settings)]
        with progress_bar("scoring") as show:
            of_voices = likelihood_of(voices, tokens, voices.settings.pieces.key, show)
        counted = {"frames": of_voices.frames}
        values = {"nats per frame": of_voices.per_frame, "nats per token": of_voices.per_token}
        counts = {"frames": of_voices.frames, "tokens": of_voices.tokens}
    measured = [
        Measurement(metric, value, f"{count} {unit}")
        for (metric, value), (unit, count) in zip(values.items(), counts.items(), strict=True)
    ]
    record.write(measured, settings, time.perf_counter() - started)
    if as_json:
        print(json.dumps({one.metric.replace(" ", "_"): one.value for one in measured} | counted))
        return
    shown = ", ".join(f"{one.value:.4f} {one.metric}" for one in measured)
    print(f"{shown} ({', '.join(f'{count} {unit}' for unit, count in counted.items())})")
