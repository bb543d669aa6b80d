"""Bad input gets one line that names the place and the remedy, the right exit status, and leaves no trace.

Every row of CASES breaks a sound data directory in one way and runs a command on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

import command_line
from small_corpus import (
    RATE,
    audio_of,
    make_corpus,
    make_segmented_corpus,
    noise,
    replace_line,
    snapshot,
    write_audio,
    write_lines,
)

DATA, USAGE = 1, 2
CHECK = "check DIR/train"


@dataclass(frozen=True)
class Case:
    breaks: Callable[[Path], object]  # of the data directory
    line: str  # how a line of the output starts; DIR is the temporary folder
    status: int = DATA
    command: str = CHECK
    segmented: bool = False


def audio(make: Callable[[Path], object]) -> Callable[[Path], object]:
    """Replace the recording of anna-2."""
    return lambda train: make(audio_of(train, "anna-2"))


def samples(values: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Callable[[Path], object]:
    return audio(lambda path: write_audio(path, values, rate, subtype))


def line(table: str, number: int, content: str) -> Callable[[Path], object]:
    return lambda train: replace_line(train / table, number, content)


def lines(table: str, *content: str) -> Callable[[Path], object]:
    return lambda train: write_lines(train / table, list(content))


def content(table: str, content: bytes) -> Callable[[Path], object]:
    return lambda train: (train / table).write_bytes(content)


def remove(table: str) -> Callable[[Path], object]:
    return lambda train: (train / table).unlink()


def settings(text: str) -> Callable[[Path], object]:
    return lambda train: (train.parent / "conf.yaml").write_text(text)


def truncated(suffix: str, **encoding: str) -> Callable[[Path], object]:
    """Half of an encoded recording under another name."""

    def breaks(train: Path) -> None:
        path = audio_of(train, "anna-2").with_suffix(suffix)
        soundfile.write(path, noise(1.0), RATE, **encoding)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        replace_line(train / "wav.scp", 2, f"anna-2 {path}")

    return breaks


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def nothing(train: Path) -> None:
    """The command alone is wrong."""


WITH_NAN = noise()
WITH_NAN[1600] = np.nan
FLAT = np.concatenate([noise()[:7600], np.ones(400, np.float32)])
ANNA_2 = "DIR/train/wav.scp:2: recording 'anna-2' (DIR/audio/anna-2"
TOKENS = f"{CHECK} --tokens DIR/tokens.txt"
CONF = f"{CHECK} --conf DIR/conf.yaml"
SUBSET = "data subset DIR/train DIR/out"

CASES = {
    # recordings
    "missing recording": Case(audio(Path.unlink), f"{ANNA_2}.wav) does not exist; a recording; correct the path"),
    "empty recording": Case(
        audio(lambda path: path.write_bytes(b"")), f"{ANNA_2}.wav) is empty (0 bytes); a recording"
    ),
    "folder for a recording": Case(audio(folder), f"{ANNA_2}.wav) is a folder; a recording; give the path of a file"),
    "text named wav": Case(
        audio(lambda path: path.write_text("three" * 99)), f"{ANNA_2}.wav) is not audio that can be"
    ),
    "no samples": Case(samples(noise(0)), f"{ANNA_2}.wav) has no samples; at least one"),
    "truncated wav": Case(truncated(".wav"), f"{ANNA_2}.wav) is truncated: 16022 bytes of samples missing"),
    "truncated flac": Case(truncated(".flac"), f"{ANNA_2}.flac) is truncated: "),
    "truncated ogg": Case(truncated(".ogg", format="OGG", subtype="OPUS"), f"{ANNA_2}.ogg) is truncated: "),
    "stereo": Case(samples(np.stack([noise(), noise()], 1)), f"{ANNA_2}.wav) has 2 channels; one; mix it down"),
    "wrong rate": Case(samples(noise(), 8000), f"{ANNA_2}.wav) has 8000 Hz; 16000 Hz (features.sample_rate); resample"),
    "NaN": Case(samples(WITH_NAN, RATE, "FLOAT"), f"{ANNA_2}.wav) has NaN or infinite samples, the first at 0.100 s"),
    "16-bit scale": Case(samples(noise() * 32768, RATE, "FLOAT"), f"{ANNA_2}.wav) has samples up to 12"),
    "silence": Case(samples(np.zeros(8000, np.float32)), f"{ANNA_2}.wav) is silent: its peak is digital silence"),
    "clipping": Case(samples(FLAT), f"{ANNA_2}.wav) is clipped: 5.0% of its samples lie in flat runs at full scale"),
    # the form of tables
    "CRLF": Case(line("text", 2, "anna-2 three\r"), "DIR/train/text:2: has a carriage return (CRLF); Unix line ends"),
    "bad UTF-8": Case(
        content("text", b"anna-1 one\nanna-2 \xfcber\nbert-1 two\nbert-2 four\n"),
        'DIR/train/text:2: byte 0xfc in column 8 is not UTF-8; as Windows-1252 the line reads "anna-2 über"',
    ),
    "empty table": Case(content("text", b""), "DIR/train/text: is empty; one line per entry"),
    "empty line": Case(line("text", 2, ""), "DIR/train/text:2: is empty; 'key value'; remove the line"),
    "no last newline": Case(
        content("spk2utt", b"anna anna-1 anna-2\nbert bert-1 bert-2"),
        "DIR/train/spk2utt:2: the last line has no newline",
    ),
    "twice the same id": Case(
        line("text", 2, "anna-1 three"), "DIR/train/text:2: 'anna-1' appears again, first in line 1"
    ),
    "wrong order": Case(
        lines("text", "anna-2 three", "anna-1 one", "bert-1 two", "bert-2 four"),
        "DIR/train/text:2: 'anna-1' comes after 'anna-2'; lines sorted by key in the C locale; sort with 'LC_ALL=C",
    ),
    # tables against each other
    "no such directory": Case(nothing, "error: DIR/dev: is not a folder; a data directory", DATA, "check DIR/dev"),
    "no wav.scp": Case(remove("wav.scp"), "DIR/train/wav.scp: does not exist"),
    "no utt2spk": Case(remove("utt2spk"), "DIR/train/utt2spk: does not exist"),
    "no spk2utt": Case(
        remove("spk2utt"), "DIR/train/spk2utt: does not exist; one line per entry; run 'recitative check"
    ),
    "no text": Case(remove("text"), "DIR/train/text: does not exist; one line per entry; add the transcripts, or say"),
    "text without audio": Case(line("text", 2, "anna-9 x"), "DIR/train/text:2: utterance 'anna-9' is not in utt2spk"),
    "audio without text": Case(line("text", 2, "anna-9 x"), "DIR/train/utt2spk:2: utterance 'anna-2' is not in text"),
    "no speaker prefix": Case(
        line("utt2spk", 1, "anna-1 bert"),
        "DIR/train/utt2spk:1: utterance 'anna-1' does not start with its speaker 'bert'; ids of the form speaker-utter",
    ),
    "column missing": Case(line("utt2spk", 1, "anna-1"), "DIR/train/utt2spk:1: utterance 'anna-1' has no value; at le"),
    "column too many": Case(
        line("utt2spk", 1, "anna-1 anna f"), "DIR/train/utt2spk:1: utterance 'anna-1' 3 columns; two"
    ),
    "command for a path": Case(
        line("wav.scp", 2, "anna-2 flac -dc x.flac |"),
        "DIR/train/wav.scp:2: recording 'anna-2' is a command ('flac -dc x.flac |'); the path of a file: commands are",
    ),
    "segment beyond the end": Case(
        line("segments", 2, "anna-2 anna 0.5 1.7"),
        "DIR/train/segments:2: utterance 'anna-2' (DIR/audio/anna.wav) ends at 1.7 s, beyond the end of its recording;",
        segmented=True,
    ),
    "segment backwards": Case(
        line("segments", 2, "anna-2 anna 0.5 0.5"),
        "DIR/train/segments:2: utterance 'anna-2' start 0.5 and end 0.5; 0 <= start < end, in seconds; an end of -1",
        segmented=True,
    ),
    "segment without end": Case(
        line("segments", 2, "anna-2 anna 0.5"),
        "DIR/train/segments:2: utterance 'anna-2' 3 columns; 'utterance recording start_s end_s'; correct the line",
        segmented=True,
    ),
    # transcripts
    "empty text": Case(
        line("text", 2, "anna-2"), "DIR/train/text:2: utterance 'anna-2' has an empty text; at least one"
    ),
    "sentence marks": Case(
        line("text", 2, "anna-2 <s> x </s>"), "DIR/train/text:2: utterance 'anna-2' has '<s>'; words"
    ),
    "no-break space": Case(
        line("text", 2, "anna-2 a\u00a0b"), "DIR/train/text:2: utterance 'anna-2' has the blank U+00A0"
    ),
    "unknown character": Case(
        line("text", 2, "anna-2 3"),
        "DIR/train/text:2: utterance 'anna-2' has '3', not in the token table; its characters only; normalize the text",
        command=TOKENS,
    ),
    "text longer than its frames": Case(
        line("text", 2, "anna-2 three hundred three"),
        "DIR/train/text:2: utterance 'anna-2' is too short: 0.500 s give 16 frames for 19 labels and 2 repeats; at",
    ),
    # settings and arguments
    "no token table": Case(
        lambda train: (train.parent / "tokens.txt").unlink(),
        "error: DIR/tokens.txt: does not exist; a token table; make it with 'recitative",
        command=TOKENS,
    ),
    "bad token table": Case(
        lambda train: (train.parent / "tokens.txt").write_text("<blank> 0\na 2\n"),
        "error: DIR/tokens.txt:2: 'a 2'; 'symbol 1': ids count up from 0; make it with 'recitative tokens'",
        command=TOKENS,
    ),
    "no settings file": Case(
        nothing, "error: DIR/no.yaml: does not exist; a YAML", USAGE, f"{CHECK} --conf DIR/no.yaml"
    ),
    "settings that are no YAML": Case(settings("a: ["), "error: DIR/conf.yaml:1: is not YAML", USAGE, CONF),
    "unknown setting": Case(
        settings("features: {sampel_rate: 8000}"),
        "error: DIR/conf.yaml: unknown setting 'features.sampel_rate'; did you mean 'sample_rate'?",
        USAGE,
        CONF,
    ),
    "bad value": Case(
        settings("features: {sample_rate: fast}"),
        "error: DIR/conf.yaml: features.sample_rate='fast': input should be a valid integer",
        USAGE,
        CONF,
    ),
    "value out of range": Case(
        nothing,
        "error: settings: features.sample_rate=1: input should be greater than or equal to 4000",
        USAGE,
        f"{CHECK} features.sample_rate=1",
    ),
    "unknown override": Case(
        nothing,
        "error: settings: unknown setting 'feature'; did you mean 'features'?",
        USAGE,
        f"{CHECK} feature.sample_rate=8000",
    ),
    "override without value": Case(
        nothing, "error: setting 'features': must be section.key=value", USAGE, f"{CHECK} features"
    ),
    "--force alone": Case(nothing, "error: --force requires --fix", USAGE, f"{CHECK} --force"),
    # mending
    "too much to drop": Case(
        audio(Path.unlink),
        "error: DIR/train: 1 of 4 utterances would be dropped, the first is 'anna-2': DIR/audio/anna-2.wav does not",
        command=f"{CHECK} --fix",
    ),
    "lines that contradict": Case(
        lines("text", "anna-1 one", "anna-1 two", "anna-2 x", "bert-1 two", "bert-2 four"),
        "error: DIR/train/text:2: utterance 'anna-1' contradicts line 1; one line per key; remove one of the two lines",
        command=f"{CHECK} --fix",
    ),
    # selecting
    "no selection": Case(nothing, "error: subset: no selection given; give one of --first, --last", USAGE, SUBSET),
    "two selections": Case(
        nothing, "error: subset: --first and --random given; give one of", USAGE, f"{SUBSET} --first 1 --random 1"
    ),
    "too many": Case(nothing, "error: 5 utterances asked for; the data has 4", USAGE, f"{SUBSET} --first 5"),
    "unknown speaker": Case(
        nothing, "error: unknown speaker 'ana'; did you mean 'anna'?", USAGE, f"{SUBSET} --speakers ana"
    ),
    "unreadable list": Case(
        nothing, "error: DIR/list: does not exist; a list of ids", DATA, f"{SUBSET} --utt-list DIR/list"
    ),
    "a broken source": Case(
        line("text", 2, "anna-9 x"),
        "error: DIR/train/text:2: utterance 'anna-9' is not in",
        DATA,
        f"{SUBSET} --first 1",
    ),
    "onto itself": Case(
        nothing, "error: DIR/train: is also the output; give another folder", USAGE, "data copy DIR/train DIR/train"
    ),
    "the same utterances twice": Case(
        nothing,
        "error: DIR/copy: utterance 'anna-1' is in DIR/train too; unique ids; copy one with 'recitative data copy",
        DATA,
        "data combine DIR/out DIR/train DIR/copy",
    ),
    "more parts than speakers": Case(
        nothing,
        "error: 3 parts asked for; the data has 2 speakers, who are not",
        USAGE,
        "data split DIR/train 3",
    ),
    "all speakers held out": Case(
        nothing, "error: all 2 speakers would be held out", USAGE, "data hold-out DIR/train DIR/a DIR/b --random 2"
    ),
    "tokens without text": Case(
        remove("text"), "error: DIR/train/text: does not exist", DATA, "tokens DIR/train --output DIR/out.txt"
    ),
    "tokens of bad text": Case(
        line("text", 2, "anna-2 three\r"),
        "error: DIR/train/text:2: has a carr",
        DATA,
        "tokens DIR/train --output DIR/o",
    ),
}


def make(tmp_path: Path, *, segmented: bool = False) -> Path:
    make_corpus(tmp_path).rename(tmp_path / "copy")
    write_lines(tmp_path / "tokens.txt", [f"{s} {n}" for n, s in enumerate(["<blank>", "<space>", *"efhnortuw"])])
    return (make_segmented_corpus if segmented else make_corpus)(tmp_path)


def run(command: str, tmp_path: Path, status: int = 0) -> list[str]:
    """The lines of both outputs of the command line."""
    ran = command_line.run(*(word.replace("DIR", str(tmp_path)) for word in command.split()), status=status)
    return (ran.out + ran.err).replace(str(tmp_path), "DIR").splitlines()


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_the_right_status_and_no_trace(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    train = make(tmp_path, segmented=case.segmented)
    case.breaks(train)
    before, names = snapshot(tmp_path), sorted(tmp_path.rglob("*"))
    output = run(case.command, tmp_path, case.status)
    assert any(printed.startswith(case.line) for printed in output), "\n".join(output)
    assert not any("Traceback" in printed for printed in output)
    assert snapshot(tmp_path) == before
    assert sorted(tmp_path.rglob("*")) == names


@pytest.mark.parametrize(
    "command",
    [
        CHECK,
        f"{TOKENS} --subsampling 2",
        f"{CHECK} --fix",
        f"{CHECK} features.sample_rate=16000 --all",
        f"{SUBSET} --per-speaker 1",
        f"{SUBSET} --speakers anna,bert",
        "data combine DIR/out DIR/train",
        "data split DIR/train 2",
        "data split DIR/train 3 --per-utt",
        "data hold-out DIR/train DIR/a DIR/b --speakers bert",
        "data copy DIR/train DIR/out --prefix x-",
        "tokens DIR/train DIR/copy --output DIR/out.txt",
    ],
)
def test_the_same_commands_accept_sound_input(tmp_path: Path, command: str) -> None:
    make(tmp_path)
    run(command, tmp_path)


def test_8_bit_recordings_are_sound(tmp_path: Path) -> None:
    samples(noise(), RATE, "PCM_U8")(make(tmp_path))
    run(CHECK, tmp_path)


def test_the_first_twenty_problems_are_printed_and_the_rest_counted(tmp_path: Path) -> None:
    train = make(tmp_path)
    write_lines(train / "text", [f"anna-{number:03d} one" for number in range(25)])
    some, all_ = run(CHECK, tmp_path, DATA), run(f"{CHECK} --all", tmp_path, DATA)
    assert sum(printed.startswith("DIR/train/") for printed in some) == 20
    assert "... and 9 more; --all prints them" in some
    assert sum(printed.startswith("DIR/train/") for printed in all_) == 29
    assert any(printed.startswith("error: DIR/train: 29 problems found; correct them, or run") for printed in some)


def test_fix_says_what_it_did_and_where_the_old_tables_are(tmp_path: Path) -> None:
    train = make(tmp_path)
    audio_of(train, "anna-2").unlink()
    output = run(f"{CHECK} --fix --force", tmp_path)
    assert "DIR/train: dropped utterance 'anna-2': DIR/audio/anna-2.wav does not exist" in output
    assert "DIR/train: the tables as they were are in DIR/train/.backup" in output
