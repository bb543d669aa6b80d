"""``recitative generate``: music, text and sound."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from recitative import pretrained
from recitative.atomic import write_bytes, write_text
from recitative.audio.files import SUFFIXES as RECORDINGS
from recitative.audio.files import write_wav
from recitative.cli.language import open_recurrent, read_prompts, warn_of_unknown_symbols
from recitative.cli.options import (
    COMPOSERS,
    SeedOption,
    TemperatureOption,
    TopPOption,
    complete,
    expand_options,
    find_model,
    print_note,
    require_folder,
)
from recitative.cli.sound import sound
from recitative.errors import DataError, Problem, UsageError, counted
from recitative.kinds import MUSIC_KINDS, kind_of
from recitative.lm.recurrent import Sampling
from recitative.music import midi
from recitative.music.composer import (
    Ensemble,
    EventScorer,
    OnProgress,
    Scorer,
    event_likelihood,
    fit_to_events,
    read_file,
)
from recitative.music.composition import (
    FILLING_TEMPERATURE,
    TOP_P,
    Candidate,
    compose,
    compose_events,
    numbered,
    rank,
)
from recitative.music.generation import Span
from recitative.music.melody import Melody, transcribe_melody
from recitative.music.midi import INSTRUMENTS, find_soundfont, midi_bytes
from recitative.music.notation import abc_text, musicxml_bytes
from recitative.music.page import Exhibit, music_page, piano_roll
from recitative.music.piece import (
    HIGHEST,
    LOWEST,
    VELOCITY,
    VOICES,
    Note,
    Piece,
    transposed,
)
from recitative.music.settings import (
    EVENTS,
    MAX_BARS,
    MUSIC,
    NEW_BARS,
    QUARTERS_PER_MINUTE,
    TICKS_PER_STEP,
    Constraints,
    EditOptions,
    Ending,
    EventConstraints,
    blank,
    blank_events,
    parse_key,
    request_of,
    require_key,
    voice_number,
)
from recitative.report.figure import save_figure
from recitative.terminal import progress_bar, track

app = typer.Typer(name="generate", no_args_is_help=True, help="Generate music, text or sound.")

OthersOption = Annotated[
    list[str] | None,
    typer.Option("--with", help="Further model; the probabilities are averaged. Only models of voices."),
]


def open_events(path: Path) -> EventScorer:
    """Open a model of events. Raises DataError for other models."""
    from recitative.kinds import open_model

    scorer: EventScorer = open_model(path, [EVENTS])
    return scorer


def refuse_others(others: Sequence[str] | None, path: Path) -> None:
    """Raises UsageError if a model of events is combined with others."""
    if others:
        raise UsageError(f"--with: {path} is a model of events; only models of voices can be combined")


def open_voices(paths: Sequence[Path], *, fills: bool | None = None) -> Scorer:
    """Open one model of voices, or several as an ensemble. Raises DataError for other models.

    fills: require models that fill in notes, or models that continue music; None: either. Raises UsageError for models
    that do not, and for models that cannot be combined.
    """
    from recitative.kinds import open_model

    scorers: list[Scorer] = [open_model(path, [MUSIC]) for path in paths]
    scorer = scorers[0] if len(scorers) == 1 else Ensemble(scorers)
    if fills is not None and scorer.fills != fills:
        does = "fills in notes: use it with --harmonize or --rewrite" if scorer.fills else "only continues music"
        raise UsageError(f"{paths[0]}: {does}")
    return scorer


def parse_pitches(text: str) -> tuple[int, int]:
    """Parse LOW-HIGH, MIDI pitches. '': all. Raises UsageError for other text."""
    if not text:
        return LOWEST, HIGHEST
    found = re.fullmatch(r"(\d+)-(\d+)", text.strip())
    if not found or not int(found[1]) <= int(found[2]) <= HIGHEST:
        raise UsageError(f"--pitches {text}: LOW-HIGH, MIDI numbers up to {HIGHEST}, such as 60-84; 60 is middle C")
    return int(found[1]), int(found[2])


def parse_sampling(temperature: float, top_p: float, likeliest: str = "the likeliest note") -> Sampling:
    """Raises UsageError for values out of range."""
    if not temperature > 0:
        raise UsageError(f"--temperature {temperature:g}: must be above 0; 0.1 is nearly always {likeliest}")
    if not 0 < top_p <= 1:
        raise UsageError(f"--top-p {top_p:g}: must be above 0 and at most 1")
    return Sampling(temperature, top_p)


MusicModelOption = Annotated[
    str,
    typer.Option(help="Music model: folder, exported file, or pretrained name.", autocompletion=complete(*COMPOSERS)),
]
KeyOption = Annotated[str, typer.Option(help="Use only notes of this key, such as G, Bb or F#m.")]
TransposeOption = Annotated[
    int, typer.Option(min=-60, max=60, help="Semitones by which given notes are moved, such as 12: an octave higher.")
]

# Generation by a model of voices or of events

NEW = "piece"  # the name of new pieces
GIBBS_STEPS = 100


@dataclass(frozen=True)
class Generated:
    """A candidate, the given notes in it, and the recording in which they were heard."""

    draft: Candidate
    given: frozenset[Note]
    heard: Melody | None = None


@dataclass(frozen=True)
class SamplingOptions:
    """Options of sampling."""

    count: Annotated[int, typer.Option(min=1, max=1000, help="Number of pieces, or of versions of each file.")] = 1
    seed: SeedOption = 1
    temperature: Annotated[
        float | None,
        typer.Option(
            help=f"Sampling temperature. Default: 1, or {FILLING_TEMPERATURE} with --harmonize and --rewrite."
        ),
    ] = None
    top_p: TopPOption = TOP_P
    gibbs_steps: Annotated[
        int | None,
        typer.Option(min=1, help=f"Gibbs sampling steps, with --harmonize or --rewrite. Default: {GIBBS_STEPS}."),
    ] = None
    sweeps: Annotated[int | None, typer.Option(min=1, hidden=True)] = None  # older name of it

    @property
    def steps(self) -> int:
        """Of Gibbs sampling."""
        return self.gibbs_steps or self.sweeps or GIBBS_STEPS

    def require_filling(self, edit: EditOptions, options: str) -> None:
        """Raises UsageError for Gibbs steps without one of the ``options`` that take them."""
        if (self.gibbs_steps or self.sweeps) and not edit.option:
            raise UsageError(f"--gibbs-steps: requires {options}")

    def sampling(self, fills: bool) -> Sampling:
        """Raises UsageError for values out of range."""
        default = FILLING_TEMPERATURE if fills else 1.0
        return parse_sampling(default if self.temperature is None else self.temperature, self.top_p)


@dataclass(frozen=True)
class Generator:
    """generate: (given piece with ``steps_per_quarter`` or None, tempo of a new one) -> versions, the best first

    voices: most of a piece; about: the model and the settings, for the page
    """

    steps_per_quarter: int
    voices: int
    generate: Callable[[Piece | None, float, OnProgress], list[Generated]]
    about: str = ""


def voices_generator(
    scorer: Scorer, edit: EditOptions, constraints: Constraints, sampling: Sampling, options: SamplingOptions
) -> Generator:
    """Continues pieces, or fills in voices and bars."""
    frames = scorer.frames

    def generate(piece: Piece | None, tempo: float, on_progress: OnProgress) -> list[Generated]:
        new = blank(frames, edit.new_bars * frames.bar, NEW, tempo)
        request = request_of(piece, edit, frames, print_note) if piece else new
        pieces = compose(
            scorer, request, constraints, sampling, count=options.count, seed=options.seed,
            gibbs_steps=options.steps, on_progress=on_progress,
        )  # fmt: skip
        given = frozenset(request.given.notes)
        return [Generated(draft, given) for draft in rank(scorer, request, pieces)]

    return Generator(frames.steps_per_quarter * TICKS_PER_STEP, frames.voices, generate)


def events_generator(
    scorer: EventScorer, bars: int, constraints: EventConstraints, sampling: Sampling, options: SamplingOptions
) -> Generator:
    """Continues pieces. A given piece is continued for a bar at least, since it may be complete."""
    events = scorer.events

    def generate(piece: Piece | None, tempo: float, on_progress: OnProgress) -> list[Generated]:
        span = Span(bars * events.bar, events.bar if piece else 0)
        given = piece or blank_events(events, NEW, tempo)
        pieces = compose_events(
            scorer, given, constraints, span, sampling, count=options.count, seed=options.seed, on_progress=on_progress
        )
        drafts = []
        for one in pieces:
            found = event_likelihood(scorer.network, events.vocabulary, [fit_to_events(one, events)])
            drafts.append(Candidate(one, found.nats, found.tokens))
        return [Generated(draft, frozenset(given.notes)) for draft in sorted(drafts, key=lambda draft: draft.cost)]

    return Generator(events.steps_per_quarter * TICKS_PER_STEP, events.voices, generate)


def open_generator(
    model: str,
    others: Sequence[str] | None,
    edit: EditOptions,
    constraints: Constraints,
    pitches: str,
    options: SamplingOptions,
) -> Generator:
    """Open a model, '' for the included one. Raises UsageError for options that it does not have."""
    sampling = options.sampling(fills=bool(edit.option))
    name = model or (pretrained.FILLING if edit.option else pretrained.MUSIC)
    about = " with ".join([f"Model {name}", *(others or ())])
    about += f" · seed {options.seed} · temperature {sampling.temperature:g} · top-p {sampling.top_p:g}"
    path = find_model(name, COMPOSERS)
    if kind_of(path, MUSIC_KINDS) is EVENTS:
        refuse_others(others, path)
        asked = {edit.option: edit.option, "--rests": constraints.rests, "--ending": constraints.cadence}
        for option, given in asked.items():
            if given:
                raise UsageError(f"{option}: {path} is a model of events; use a model of voices")
        event_constraints = EventConstraints(constraints.key, *parse_pitches(pitches))
        generator = events_generator(open_events(path), edit.new_bars, event_constraints, sampling, options)
        return replace(generator, about=about)
    if pitches:
        raise UsageError(f"--pitches: {path} is a model of voices with ranges of their own; use a model of events")
    scorer = open_voices([path, *(find_model(other, COMPOSERS) for other in others or ())], fills=bool(edit.option))
    if edit.harmonize:
        voice_number(edit.harmonize, scorer.frames.voices)  # before files are read
    if edit.option:
        about += f" · {options.steps} Gibbs steps"
    return replace(voices_generator(scorer, edit, constraints, sampling, options), about=about)


# Output: MIDI, scores, sound, picture, and a page

PAGE = "index.html"
FORMATS = ("mid", "musicxml", "abc")
DEFAULT_INSTRUMENT = "piano"


@dataclass(frozen=True)
class OutputOptions:
    """Options of the files that are written for each piece. Raises UsageError for unknown formats and instruments."""

    output: Annotated[Path, typer.Option(help="Output folder.")] = Path("music")
    formats: Annotated[
        str, typer.Option("--format", help=f"Files to write, separated by commas: {', '.join(FORMATS)}.")
    ] = "mid"
    instrument: Annotated[
        str,
        typer.Option(help="Instrument such as organ, choir, strings or piano, or one for each voice: flute,viola,..."),
    ] = DEFAULT_INSTRUMENT
    velocity: Annotated[int, typer.Option(min=1, max=127, help="Mean MIDI velocity of the dynamics.")] = VELOCITY
    soundfont: Annotated[Path | None, typer.Option(help="SoundFont (sf2 or sf3) for the sound.")] = None
    sound: Annotated[bool, typer.Option("--sound/--no-sound", help="Write WAV files.")] = True

    def __post_init__(self) -> None:
        unknown = [name for name in self.suffixes if name not in FORMATS]
        if unknown or not self.suffixes:
            must = f"must be one or several of {', '.join(FORMATS)}, separated by commas"
            raise UsageError(f"--format {self.formats}: {must}")
        if unknown := [name for name in self._instruments if name not in INSTRUMENTS]:
            known = ", ".join(INSTRUMENTS)
            raise UsageError(f"--instrument {unknown[0] or self.instrument}: must be one of {known}")

    @property
    def suffixes(self) -> list[str]:
        names = [name.strip().lower().removeprefix(".") for name in self.formats.split(",") if name.strip()]
        return list(dict.fromkeys(names))

    @property
    def programs(self) -> list[int]:
        """General MIDI programs: one, or one for each voice."""
        return [INSTRUMENTS[name] for name in self._instruments]

    @property
    def _instruments(self) -> list[str]:
        return [name.strip().lower() for name in self.instrument.split(",")]

    def open_soundfont(self, voices: int, played: bool = False) -> Path | None:
        """The soundfont of the sound, None for the built-in sound, which has no instruments; a note says so.

        voices: of the pieces; played: whether they are heard at once. Raises UsageError for options without effect and
        a missing TinySoundFont, DataError for a file that is not a soundfont.
        """
        if len(self.programs) > voices:
            counts = f"{counted(len(self.programs), 'instrument')} for {counted(voices, 'voice')}"
            raise UsageError(f"--instrument {self.instrument}: {counts}")
        if not (self.sound or played):
            if self.soundfont:
                raise UsageError("--soundfont: not with --no-sound; leave one of them out")
            return None
        if self.soundfont:
            midi.load_soundfont(self.soundfont, midi.SAMPLE_RATE)
        found = self.soundfont or find_soundfont()
        if not found and any(name != DEFAULT_INSTRUMENT for name in self._instruments):
            print_note("note: --instrument is for MIDI and scores; for the sound too, give a --soundfont")
        return found


def write_pieces(pieces: Sequence[Generated], options: OutputOptions, soundfont: Path | None) -> list[Exhibit]:
    """Write the files of each piece. Prints the path of the first file of each."""
    return [write_piece(one, options, soundfont) for one in track(pieces, "writing", len(pieces))]


def write_piece(generated: Generated, options: OutputOptions, soundfont: Path | None) -> Exhibit:
    """Write the files of a piece, print the path of the first, and return the piece for the page."""
    piece, given, programs = generated.draft.piece, generated.given or None, options.programs
    content = midi_bytes(piece, program=programs, velocity=options.velocity)
    for suffix in options.suffixes:
        path = options.output / f"{piece.name}.{suffix}"
        if suffix == "mid":
            write_bytes(path, content)
        elif suffix == "musicxml":
            write_bytes(path, musicxml_bytes(piece, program=programs, velocity=options.velocity))
        else:
            write_text(path, abc_text(piece))
    path = options.output / f"{piece.name}.{options.suffixes[0]}"
    bar = round(piece.notation.bar_quarters) or 1
    save_figure(piano_roll(piece, given=given, quarters_per_bar=bar).figure, path.with_suffix(".svg"))
    played = b""
    if options.sound:
        samples = midi.render(piece, soundfont=soundfont, program=programs)
        write_wav(path.with_suffix(".wav"), samples, midi.SAMPLE_RATE)
        played = midi.mp3_bytes(samples)
    print(path)
    note = str(generated.draft)
    return Exhibit(piece.name, piece, content, played, note, given, bar, generated.heard)


# ``recitative generate music``

SLOWEST = 10


def require_tempo(tempo: float) -> None:
    """Raises UsageError for a tempo that is too slow; 0 is that of the file."""
    if 0 < tempo < SLOWEST:
        raise UsageError(f"--tempo {tempo:g}: must be at least {SLOWEST}, or 0")


HARMONIZE = "--harmonize"


class MusicCommand(TyperCommand):
    """``--harmonize`` without a value means the soprano."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if HARMONIZE in args:
            place = args.index(HARMONIZE) + 1
            following = args[place] if place < len(args) else "-"
            if following.startswith("-") or Path(following).suffix:
                args = [*args[:place], VOICES[0], *args[place:]]
        return super().parse_args(ctx, args)


@app.command(cls=MusicCommand)
@expand_options
def music(
    output: OutputOptions,
    options: SamplingOptions,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="MIDI or ABC files or recorded melodies, to continue, --harmonize or --rewrite."),
    ] = None,
    model: MusicModelOption = "",
    others: OthersOption = None,
    bars: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_BARS,
            help="Number of new bars, of four quarter notes or as in the file. A model of events may end earlier. "
            f"Default: {NEW_BARS}.",
        ),
    ] = None,
    harmonize: Annotated[
        str,
        typer.Option(
            metavar="[VOICE]", help="Add the other voices to a melody, which is this voice. Default: soprano."
        ),
    ] = "",
    voice: Annotated[
        str, typer.Option(metavar="NAME", help="With --harmonize: the melody, in a file of several voices.")
    ] = "",
    rewrite: Annotated[
        str, typer.Option(metavar="VOICES", help="Regenerate these voices of the files, such as alto,tenor or all.")
    ] = "",
    rewrite_bars: Annotated[
        str, typer.Option(metavar="FIRST-LAST", help="With --rewrite: only these bars, such as 5-8.")
    ] = "",
    key: KeyOption = "",
    pitches: Annotated[
        str, typer.Option(metavar="LOW-HIGH", help="Use only these MIDI pitches, such as 60-84. Only models of events.")
    ] = "",
    ending: Annotated[Ending, typer.Option(help="Let pieces end with an authentic cadence, V-I.")] = "free",
    tempo: Annotated[
        float, typer.Option(min=0, max=400, help="Quarter notes per minute. 0: as in the file, or 100 for new pieces.")
    ] = 0.0,
    transpose: TransposeOption = 0,
    rests: Annotated[bool, typer.Option("--rests", help="Allow rests. Only models of voices.")] = False,
    harmonise: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Generate music: MIDI, WAV, pictures, and a page OUTPUT/index.html.

    Without files, new pieces. Given files are continued; --harmonize adds voices, --rewrite replaces parts.
    Given notes never change. The best of several drafts is number 1.

    \b
    recitative generate music --count 4 --key G
    recitative generate music tune.mid --bars 8
    recitative generate music melody.mid --harmonize --ending cadence --format mid,musicxml
    """
    edit = EditOptions(harmonize or harmonise, rewrite, rewrite_bars, bars, voice)
    only_key = parse_key(key)
    if edit.option and not files:
        raise UsageError(f"{edit.option}: requires files")
    if transpose and not files:
        raise UsageError("--transpose: requires files; --key sets the key of new pieces")
    require_tempo(tempo)
    options.require_filling(edit, "--harmonize or --rewrite")
    constraints = Constraints(only_key, rests, ending == "cadence")
    generator = open_generator(model, others, edit, constraints, pitches, options)
    soundfont = output.open_soundfont(generator.voices)
    require_folder(output.output)
    _require_places(files or [], options.count, output)

    def prepare(piece: Piece) -> Piece:
        piece = transposed(piece, transpose)
        require_key(piece, only_key, key)
        return piece

    exhibits: list[Exhibit] = []
    problems: list[Problem] = []
    for path in dict.fromkeys(files or (None,)):
        try:
            piece, heard = _read(path, generator.steps_per_quarter, tempo) if path else (None, None)
            given, name = prepare(piece) if piece else None, path.stem if path else NEW
            exhibits += write_pieces(generate_named(generator, given, name, tempo, heard), output, soundfont)
        except DataError as error:
            problems.extend(error.problems)
        except UsageError as error:  # options that do not fit this file
            if not files or len(files) == 1:
                raise
            problems.append(Problem(str(path), str(error)))
    if exhibits:
        write_text(output.output / PAGE, music_page(exhibits, title="Music", about=generator.about))
        print_note(f"page: {output.output / PAGE}")
    if problems:
        raise DataError.collect(problems)


def _require_places(files: Sequence[Path], count: int, options: OutputOptions) -> None:
    """Raises UsageError for files whose results would replace them or each other. count: pieces of each"""
    suffixes = [*options.suffixes, *(["wav"] if options.sound else [])]
    names: dict[str, Path] = {}
    for path in files:
        if (other := names.setdefault(path.stem, path)) != path:
            raise UsageError(f"{path}: has the name of {other}, whose results it would replace; rename one of them")
        results = [options.output / f"{name}.{suffix}" for name in numbered(path.stem, count) for suffix in suffixes]
        if path.exists() and any(result.exists() and result.samefile(path) for result in results):
            raise UsageError(f"--output {options.output}: {path} is in it and would be replaced; choose another folder")


def generate_named(
    generator: Generator, piece: Piece | None, name: str, tempo: float, heard: Melody | None = None
) -> list[Generated]:
    """Generate from a piece, or from none, and print the drafts, which are numbered from the best."""
    with progress_bar(name) as on_progress:
        drafts = generator.generate(piece, tempo or QUARTERS_PER_MINUTE, on_progress)
    pieces = []
    for one, numbered_name in zip(drafts, numbered(name, len(drafts)), strict=True):
        draft = replace(one.draft, piece=replace(one.draft.piece, name=numbered_name))
        pieces.append(replace(one, draft=draft, heard=heard))
        print_note(f"{numbered_name}: {draft}")
    return pieces


def warn_about(name: str) -> Callable[[str], None]:
    return lambda warning: print_note(f"warning: {name}: {warning}")


def _read(path: Path, steps_per_quarter: int, tempo: float) -> tuple[Piece, Melody | None]:
    """The first piece of a file in ticks, or that of a recording, with how it was heard. tempo: 0 = as in the file"""
    if path.suffix.lower() in RECORDINGS:
        with progress_bar(f"find the notes of {path.name}"):
            found = transcribe_melody(path, tempo=tempo, on_warning=warn_about(path.stem))
        print_note(f"{path.stem}: {found}")
        return found.piece.at_resolution(steps_per_quarter), found
    pieces, errors = read_file(path, steps_per_quarter)
    if errors:
        raise DataError.collect([problem for error in errors for problem in error.problems])
    piece = replace(pieces[0].at_resolution(steps_per_quarter), name=path.stem)
    return replace(piece, quarters_per_minute=tempo) if tempo else piece, None


# ``recitative generate text`` and ``sound``


@app.command()
def text(
    prompts: Annotated[list[str], typer.Argument(help="Beginnings of sentences. '-': one per line on stdin.")],
    model: Annotated[Path, typer.Option(help="Language model: model folder or exported file.")],
    count: Annotated[int, typer.Option(min=1, help="Number of lines per prompt.")] = 1,
    words: Annotated[int, typer.Option(min=1, help="Maximum number of new words.")] = 20,
    temperature: TemperatureOption = 1.0,
    top_p: TopPOption = 0.95,
    seed: SeedOption = 1,
) -> None:
    """Continue prompts with a recurrent language model, one line each. '' starts a sentence.

    \b
    recitative generate text 'the cat' --model exp/rnnlm/model --count 3
    recitative generate text '' --model rnnlm.onnx --words 50 --temperature 0.8 --seed 7
    """
    from recitative.lm.recurrent import continue_text

    sampling = parse_sampling(temperature, top_p, "the likeliest word")
    scorer = open_recurrent(model, "generate text")
    for prompt in read_prompts(prompts):
        warn_of_unknown_symbols(scorer, prompt)
        with progress_bar("generate"):
            texts = continue_text(scorer, prompt, sampling, words=words, count=count, seed=seed)
        print("\n".join(texts))


app.command()(sound)
