"""Every verb writes the same to standard output whether or not standard error is a terminal, where its bar is shown.

A verb without a row in VERBS fails. The rows are run in order, in one folder, and later ones use what earlier
ones made.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import resource
import select
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import singing
import tiny
import tones
import typer
from privileges import unprivileged

import small_corpus
import small_forecaster
import small_music
from recitative.asr import presets
from recitative.audio.files import write_wav
from recitative.cli.main import app, main
from recitative.config import dump_settings
from recitative.data.directory import DataDirectory
from recitative.music.midi import write_midi
from recitative.music.piece import Note, Piece, from_grid, tied

SOUND = (
    "features.sample_rate=8000 features.num_mel_bins=6 sound.step=8 sound.history=8 sound.context=1 "
    "model.condition_width=4 model.width=6 model.recurrent.hidden=6 model.recurrent.projection=4 segments.rows=3 "
    "segments.segment_s=0.02 train.epochs=1 train.warmup_steps=1 train.threads=1 sound.condition=mel train.workers=0 "
    "train.device=cpu train.bf16=false"
)
TEXT = (
    "text.streams=2 text.bptt=3 text.min_count=1 model.embedding=4 model.recurrent.hidden=4 train.epochs=1 "
    "train.warmup_steps=1 train.threads=1 train.device=cpu"
)

# Several rows of one verb are told apart in parentheses. OUT is a folder of the run's own. A line that begins with *
# prints times: its digits are not compared.
VERBS = {
    "check": "check train --conf conf.yaml --tokens tokens.txt",
    "data import": "data import recordings OUT/imported",
    "data copy": "data copy dev OUT/copy --prefix x-",
    "data export": "data export dev OUT/manifests --format lhotse",
    "data combine": "data combine OUT/both train OUT/copy",
    "data split (hold out)": "data split train OUT/rest OUT/held --speakers s1",
    "data split": "data split OUT/copy 2 --per-utt",
    "data subset": "data subset train OUT/few --first 2",
    "features": "features OUT/copy OUT/features --conf conf.yaml --jobs 1",
    "shards": "*shards train OUT/shards --jobs 1",
    "init-config": "*init-config train --output OUT/suggested.yaml",
    "lexicon": "lexicon train --tokens tokens.txt --output OUT/lexicon.txt",
    "train (g2p)": "train kind=g2p --train dictionary --output sounds-of-words batch_words=16 model.embedding=8 "
    "model.recurrent.layers=1 model.recurrent.hidden=8 train.epochs=1 train.warmup_steps=1 train.threads=1",
    "g2p pronounce": "*g2p pronounce sounds-of-words/model cab bca",
    "tokens": "tokens train --output OUT/tokens.txt",
    "cmvn": "cmvn train --conf conf.yaml --output OUT/cmvn --jobs 1",
    "find-batch-size": "*find-batch-size --conf conf.yaml --train train --tokens tokens.txt --memory-gb 1",
    "train": "train conf.yaml --train train --dev dev --tokens tokens.txt --cmvn cmvn --output exp",
    "average": "average exp",
    "decode": "*decode exp/model dev --output OUT/decoded --nbest 2",
    "score": "score dev OUT/decoded/text --output OUT/score",
    "tune": "tune exp/model dev",
    "report": "report exp",
    "align": "*align exp/model dev --output OUT/aligned",
    "adapt": "adapt minute --base exp/model --output OUT/me.onnx --mismatches keep train.epochs=1 train.threads=1 "
    "train.workers=0 train.device=cpu",
    "export": "export exp/model --output OUT/model.onnx --weights float32",
    "info": "info OUT/model.onnx",
    "models": "models",
    "doctor": "* doctor --no-speed",
    "transcribe": "transcribe a.wav b.wav --model exp/model --jobs 1",
    "add-words": "add-words an4-streaming --words names --output OUT/more.onnx",
    "listen": "listen --input a.wav --model exp/model",
    "keywords spot": "keywords spot a.wav b.wav --keywords cab:0.001,a:0.001 --model exp/model --jobs 1",
    "keywords tune": "keywords tune exp/model dev --keywords a,b --output OUT/thresholds.json",
    "keywords score": "keywords score exp/model dev --keywords a,b --output OUT/keywords",
    "lm train": "lm train train --order 2 --output OUT/lm.arpa",
    "lm compress": "lm compress OUT/lm.arpa --output OUT/lm.ngram",
    "lm perplexity": "lm perplexity OUT/lm.arpa dev",
    "train (language model)": f"train kind=language_model --train train --dev dev --output words {TEXT}",
    "lm predict": "lm predict a --model words/model",
    "export (language model)": "export words/model --output OUT/words.onnx",
    "generate text": "generate text a --model words/model --count 2",
    "rescore": "rescore dev OUT/decoded/nbest.jsonl --dev dev --dev-nbest OUT/decoded/nbest.jsonl "
    "--lm words/model --output OUT/rescored",
    "data folds": "data folds tones OUT/folds",
    "train (classifier)": f"train kind=classifier --train tones --dev tones --output labels {' '.join(tones.TINY)}",
    "score (classifier)": "score labels/model tones",
    "report (classifier)": "report labels/model tones --output OUT/labels.html",
    "classify": "classify a.wav b.wav --model labels/model",
    "train (hums)": f"train kind=forecaster --train hums --dev hums --output usual {' '.join(small_forecaster.TINY)}",
    "anomaly threshold": "anomaly threshold usual/model hums --false-alarms 0.1",
    "score (anomaly model)": "score usual/model hums",
    "export (anomaly model)": "export usual/model --output OUT/usual.onnx",
    "detect": "detect a.wav b.wav --model usual/model --limit -9",
    "music check": "music check songs",
    "train (music)": f"train kind=music --train songs --dev songs --output music {' '.join(small_music.SMALL)}",
    "score (music)": "score music/model songs",
    "export (music)": "export music/model --output OUT/music.onnx",
    "generate music": "generate music songs/one.mid songs/two.mid --bars 1 --model music/model --output OUT/new "
    "--no-sound",
    "melody": "melody hum.wav --output OUT/hum.mid",
    "music listen": "music listen --input hum.wav --answer continue --bars 1 --model music/model --output OUT/live "
    "--no-play --no-sound",
    "music check-constraints": "music check-constraints OUT/new --given songs --conf music/model/settings.yaml",
    "report (music)": "report OUT/new --originals songs --no-sound",
    "train (sound)": f"train kind=sound --train sounds --dev sounds --output drawn {SOUND}",
    "score (sound)": "score drawn/model sounds",
    "export (sound)": "export drawn/model --output OUT/drawn.onnx",
    "vocode": "vocode sounds/audio/u0.wav sounds/audio/u1.wav --model drawn/model --output OUT/vocoded",
    "generate sound": f"train kind=sound --train sounds --dev sounds --output noise {SOUND} sound.condition=none ; "
    "generate sound --model noise/model --seconds 0.05 --output OUT/sound",
}
SILENT: set[str] = set()  # verbs that print no result
ENDLESS = {"serve", "explore"}  # verbs that run until they are told to stop: tests/serve, tests/report


def verbs() -> list[str]:
    """Of the command tree, without hidden ones."""

    def walk(command: object, path: tuple[str, ...]) -> Iterator[str]:
        if below := getattr(command, "commands", None):
            for name, child in below.items():
                if not child.hidden:
                    yield from walk(child, (*path, name))
        else:
            yield " ".join(path)

    return sorted(walk(typer.main.get_command(app), ()))


def write_songs(folder: Path) -> None:
    grid = np.array([[64, 60, 57], [64, 60, 57], [65, 60, 57], [62, 59, 55]] * 2, np.int16)
    for number, name in enumerate(("one", "two")):
        write_midi(from_grid(tied(grid + number), 4, name=name), folder / f"{name}.mid")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs."""
    place = tmp_path_factory.mktemp("verbs")
    recurrent = {"direction": "forward", "layers": 1, "hidden": 8}
    steps_of_40_ms = {"window": 16, "stride": 16}
    config = tiny.settings(model={"front_end": steps_of_40_ms, "recurrent": recurrent}, train={"epochs": 1})
    (place / "conf.yaml").write_text(dump_settings(config))
    for name, path in tiny.write_inputs(place / "made", config, train=6, dev=3).items():
        (place / name).symlink_to(path)
    (place / "tokens.txt").symlink_to(place / "tokens")
    (place / "minute").symlink_to(tiny.write_data(place / "made minute", ["abc cab " * 7] * 12))
    for utterance in DataDirectory.read(place / "dev").utterances:
        recording = place / "recordings" / Path(utterance.recording_path).name
        recording.parent.mkdir(exist_ok=True)
        recording.symlink_to(utterance.recording_path)
        recording.with_suffix(".txt").write_text(f"{utterance.text}\n")
    (place / "tones").symlink_to(tones.write_corpus(place / "made tones", each=1))
    (place / "hums").symlink_to(small_forecaster.write_corpus(place / "made hums", count=2))
    small_corpus.write_sounds(place / "sounds", 8000, seconds=[0.1, 0.12], text=["one", "two"])
    write_songs(place / "songs")
    words = ["".join(letters) for letters in product("abc", repeat=4)]
    (place / "dictionary").write_text("".join(f"{word} {' '.join(word.upper())}\n" for word in words))
    (place / "names").write_text("pittsburgh P IH T S B ER K\nerase\n")
    for number, name in enumerate("ab"):
        write_wav(place / f"{name}.wav", tiny.speak("cab bca b", np.random.default_rng(number)), tiny.RATE)
    tune = Piece.of([Note(4 * number, pitch, 4) for number, pitch in enumerate((57, 60, 64))], 4, 100.0, "hum")
    write_wav(place / "hum.wav", singing.sing(tune, singing.CLEAN), singing.RATE)
    return place


class Outputs:
    """Of each verb: its exit status and standard output without a terminal and with one, and what the terminal got.

    A row is run when it or a later one is first asked for, so that the time limit of a test holds for one row.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.done: dict[str, SimpleNamespace] = {}

    def __getitem__(self, verb: str) -> SimpleNamespace:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.place)
            one_size = lambda work: lambda shape: 1000 * shape.rows  # noqa: E731  # no process for each measurement
            patch.setattr(presets, "in_a_process_of_its_own", one_size)
            for row in list(VERBS)[len(self.done) : list(VERBS).index(verb) + 1]:
                self.done[row] = both_ways(patch, VERBS[row])
        return self.done[verb]


@pytest.fixture(scope="module")
def outputs(place: Path) -> Outputs:
    return Outputs(place)


def both_ways(patch: pytest.MonkeyPatch, line: str) -> SimpleNamespace:

    plain = run(patch, line.replace("OUT", "plain"))
    with terminal_as_stderr(patch) as shown:
        beside = run(patch, line.replace("OUT", "terminal"))
    beside = (beside[0], beside[1].replace("terminal", "plain"))
    if "*" in line:
        plain, beside = ((status, _without_numbers(text)) for status, text in (plain, beside))
    return SimpleNamespace(plain=plain, beside=beside, terminal="".join(shown))


def _without_numbers(text: str) -> str:
    """And without the width of columns, which depends on them."""
    return re.sub(r"[ ─]+", " ", re.sub(r"[\d.]+", "N", text))


def run(patch: pytest.MonkeyPatch, lines: str) -> tuple[int, str]:
    """Exit status and standard output of the last one."""
    for line in lines.split(" ; "):
        with patch.context() as here:
            here.setattr(sys, "argv", ["recitative", *line.lstrip("*").split()])
            here.setattr(sys, "stdout", io.TextIOWrapper(written := io.BytesIO(), encoding="utf-8"))
            with pytest.raises(SystemExit) as ended:
                main()
            sys.stdout.flush()
            result = ended.value.code or 0, written.getvalue().decode("utf-8")
    return result  # type: ignore[return-value]


@contextmanager
def terminal_as_stderr(patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Standard error is a narrow terminal, for native code and all; the list gets what is sent to it."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 40, 0, 0))
    shown: list[str] = []
    closed = threading.Event()  # a process that goes on, such as the tracker of resources, keeps the terminal open
    reader = threading.Thread(target=_read_until, args=(closed, ours, shown))
    reader.start()
    usual = os.dup(2)
    sys.stderr.flush()
    os.dup2(theirs, 2)
    os.close(theirs)
    try:
        with patch.context() as here, os.fdopen(os.dup(2), "w", encoding="utf-8") as stderr:
            here.setenv("TERM", "xterm")
            for variable in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
                here.delenv(variable, raising=False)
            here.setattr(sys, "stderr", stderr)
            yield shown
    finally:
        os.dup2(usual, 2)
        os.close(usual)
        closed.set()
        reader.join()
        os.close(ours)


def _read_until(closed: threading.Event, terminal: int, shown: list[str]) -> None:
    content = b""
    with suppress(OSError):  # how Linux says that the other side is closed
        while (ready := select.select([terminal], [], [], 0.02)[0]) or not closed.is_set():
            content += os.read(terminal, 1 << 16) if ready else b""
    shown.append(content.decode("utf-8", "replace"))


def test_every_verb_has_a_row() -> None:
    assert sorted({verb.split(" (")[0] for verb in VERBS} | ENDLESS) == verbs()


@pytest.mark.parametrize("verb", VERBS)
def test_standard_output_is_the_same_beside_a_terminal(outputs: Outputs, verb: str) -> None:
    done = outputs[verb]
    assert done.plain[0] == 0, done.terminal
    assert done.beside == done.plain
    assert bool(done.plain[1]) == (verb not in SILENT)


BRIEF = {"info", "models", "doctor"}  # verbs that work on no data, and so show no bar


@pytest.mark.parametrize("verb", VERBS)
def test_a_terminal_shows_a_bar_while_a_verb_works(outputs: Outputs, verb: str) -> None:
    assert ("\x1b[?25l" in outputs[verb].terminal) == (verb not in BRIEF)  # the cursor is hidden beside a bar


NEW = re.compile(
    r"(--output |(?<!/)(?:import|copy|subset|split|features|shards|folds) \S+ |combine )(?!2)(?:OUT/)?(\S+)"
)
CHANGE_A_MODEL = {"average", "tune", "report", "anomaly threshold", "data split"}  # beside those with a new output


@pytest.mark.parametrize("largest", [0, 600])  # bytes: at 0 no file gets any, at 600 the small ones are written
@pytest.mark.parametrize("verb", VERBS)
def test_a_file_that_cannot_be_written_is_named(
    outputs: Outputs, place: Path, monkeypatch: pytest.MonkeyPatch, verb: str, largest: int
) -> None:
    """The system's limit on the size of files is used for a full disk: it meets native code, too."""
    assert outputs[verb]  # what the verb reads is there
    monkeypatch.chdir(place)
    line = VERBS[verb].rsplit(" ; ")[-1]
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, usual[1]))
    try:
        status, told = refused(monkeypatch, NEW.sub(rf"\1full{largest}/\2", line))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    writes = bool(NEW.search(line)) or verb in CHANGE_A_MODEL
    assert status == 1 if writes and not largest else status in (0, 1)
    if status:
        assert re.match(r"error: (?!a file)[^:]*: would exceed the maximal file size", told)
        assert ".partial" not in told


@pytest.mark.parametrize("verb", [verb for verb, line in VERBS.items() if NEW.search(line.rsplit(" ; ")[-1])])
def test_what_is_in_the_way_of_an_output_is_named(
    outputs: Outputs, place: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """A folder where a file is to be written, a file where a folder is."""
    assert outputs[verb]  # what the verb reads is there
    monkeypatch.chdir(place)
    line = NEW.sub(r"\1in-the-way/\2", VERBS[verb].rsplit(" ; ")[-1])
    target = Path(re.search(r"in-the-way/\S+", line)[0])  # type: ignore[index]
    if target.suffix or verb == "cmvn":
        (target / "something").mkdir(parents=True)
    else:
        target.parent.mkdir(exist_ok=True)
        target.write_text("x\n")
    status, told = refused(monkeypatch, line)
    assert status in (1, 2)
    assert re.match(rf"error: .*{target}.*: (is a folder; a file|is a file; a folder|is in a file)", told)


@pytest.mark.parametrize("verb", [verb for verb, line in VERBS.items() if NEW.search(line.rsplit(" ; ")[-1])])
def test_a_folder_that_cannot_be_written_is_named(
    outputs: Outputs, place: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    assert outputs[verb]  # what the verb reads is there
    monkeypatch.chdir(place)
    Path("read-only").mkdir(mode=0o555, exist_ok=True)
    with unprivileged():
        status, told = refused(monkeypatch, NEW.sub(r"\1read-only/\2", VERBS[verb].rsplit(" ; ")[-1]))
    assert status in (1, 2)
    assert re.match(r"error: (--output )?(\S*/)?read-only(/\S*)?: permission denied; change its permissions", told)
    assert not any(Path("read-only").iterdir())


def refused(patch: pytest.MonkeyPatch, line: str) -> tuple[int, str]:
    """The exit status and the last line of standard error."""
    with patch.context() as here:
        here.setattr(sys, "stderr", written := io.StringIO())
        here.setattr(presets, "in_a_process_of_its_own", lambda work: lambda shape: 1000 * shape.rows)
        status, _ = run(here, line.replace("OUT", "plain"))
    assert "Traceback" not in written.getvalue()
    return status, written.getvalue().strip().rpartition("\n")[2]
