"""The recipe for a user's own recordings, from its first stage to its last, on a folder such as a user might have."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import soundfile

from recitative.config import load_settings
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError

Run = Callable[..., subprocess.CompletedProcess[str]]
RECIPES = Path(__file__).resolve().parents[2] / "recipes"
CORPUS = RECIPES / "digits" / "corpus"
TINY = (
    "train.epochs=1 train.threads=1 train.workers=0 train.device=cpu model.recurrent.hidden=8 model.recurrent.layers=1"
)


def _folder(folder: Path, speakers: list[str], each: int) -> Path:
    """Recordings at the rate of a telephone, transcripts as people write them, and a table."""
    folder.mkdir()
    rows = [line.split("\t") for line in (CORPUS / "manifest.tsv").read_text().splitlines()[1:]]
    taken = [row for speaker in speakers for row in [one for one in rows if one[1] == speaker][:each]]
    for name, *_ in taken:
        samples, rate = soundfile.read(CORPUS / "audio" / f"{name}.ogg")
        soundfile.write(folder / f"{name}.wav", samples[::2], rate // 2)
    lines = ["file;speaker;transcript", *(f"{row[0]}.wav;{row[1]};{row[3].capitalize()}." for row in taken)]
    (folder / "words.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_from_a_folder_to_a_model_that_listens(tmp_path: Path, run_recipe: Run) -> None:
    _folder(tmp_path / "mine", ["af_alloy", "am_adam"], 12)
    done = run_recipe(
        "own", tmp_path, "--audio", "mine", "--table", "mine/words.csv", "--train-args", TINY, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    model = tmp_path / "exp" / "lstm" / "model.onnx"
    assert f"to speak to it: recitative listen --model {model}" in done.stdout
    assert "recordings converted to 16000 Hz, one channel: 24" in done.stdout
    assert "warning: 2 speakers do not divide into three sets; split by utterance" in done.stderr
    assert "lstm: the text from chunks of 160 ms equals the text of whole recordings" in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "exp" / "results.jsonl").read_text().splitlines()]
    assert {(row["decoding"], row["metric"]) for row in rows} >= {("beam", "%WER"), ("beam, 3-gram", "%WER")}
    assert "include" not in (tmp_path / "data" / "conf" / "lstm.yaml").read_text()
    assert load_settings(tmp_path / "data" / "conf" / "lstm.yaml").model.recurrent.direction == "forward"


def test_rows_that_cannot_be_used_stop_the_first_stage(tmp_path: Path, run_recipe: Run) -> None:
    folder = _folder(tmp_path / "mine", ["af_alloy"], 3)
    (folder / "af_alloy-01.wav").unlink()
    done = run_recipe("own", tmp_path, "--audio", "mine", "--table", "mine/words.csv", cwd=tmp_path)
    assert done.returncode == 1
    assert "rows that cannot be used: 1 of 3; none; correct them, or leave them out with --skip-bad" in done.stderr
    assert "stage 1 (prepare): FAILED with exit status 1" in done.stderr


def test_common_voice_is_prepared_with_its_official_sets(tmp_path: Path, run_recipe: Run) -> None:
    clips = tmp_path / "cy" / "clips"
    clips.mkdir(parents=True)
    for number, name in enumerate(("train", "dev", "test")):
        samples, rate = soundfile.read(CORPUS / "audio" / f"af_alloy-0{number}.ogg")
        soundfile.write(clips / f"common_voice_cy_{number}.mp3", samples, rate)
        row = f"{str(number) * 128}\tcommon_voice_cy_{number}.mp3\tUn, dau!\t2\t0"
        (tmp_path / "cy" / f"{name}.tsv").write_text(f"client_id\tpath\tsentence\tup_votes\tdown_votes\n{row}\n")
    done = run_recipe(
        "commonvoice", tmp_path, "--corpus", "cy", "--models", "lstm blstm", "--stop-stage", "1", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("train", "dev", "test"):
        (utterance,) = DataDirectory.read(tmp_path / "data" / name).utterances
        assert utterance.text == "un dau"
    settings = [load_settings(tmp_path / "data" / "conf" / f"{model}.yaml") for model in ("lstm", "blstm")]
    assert [one.model.recurrent.direction for one in settings] == ["forward", "bidirectional"]


@pytest.fixture
def divide() -> ModuleType:
    spec = importlib.util.spec_from_file_location("divide", RECIPES / "own" / "local" / "divide.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _data(counts: list[int]) -> DataDirectory:
    """Speakers with so many utterances each."""
    ids = {f"s{speaker:02d}-{number:03d}" for speaker, count in enumerate(counts) for number in range(count)}
    return DataDirectory(tuple(Utterance(one, one[:3], f"{one}.wav", text="x") for one in sorted(ids)))


def test_many_speakers_are_divided_whole(divide: ModuleType, tmp_path: Path) -> None:
    _data([10] * 20).write(tmp_path / "all")
    divide.divide(tmp_path / "all", tmp_path, 0.1, 1)
    sets = [DataDirectory.read(tmp_path / name) for name in ("train", "dev", "test")]
    assert [len(one.by_speaker) for one in sets] == [16, 2, 2]
    assert len(set().union(*(one.by_speaker for one in sets))) == 20


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        ([50], [40, 5, 5]),
        ([30, 20], [40, 5, 5]),
        ([3], [1, 1, 1]),
        ([200, 200, 200], [480, 60, 60]),
        ([2, 300, 2], [244, 30, 30]),
    ],
)
def test_few_speakers_are_divided_by_utterance_and_this_is_told(
    divide: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], counts: list[int], sizes: list[int]
) -> None:
    _data(counts).write(tmp_path / "all")
    divide.divide(tmp_path / "all", tmp_path, 0.1, 1)
    sets = [DataDirectory.read(tmp_path / name).utt2spk for name in ("train", "dev", "test")]
    assert [len(one) for one in sets] == sizes
    assert len(set().union(*sets)) == sum(counts), "nobody is in two sets, nobody is lost"
    assert "split by utterance: the error rate will be that of known voices" in capsys.readouterr().err


def test_two_utterances_are_no_corpus(divide: ModuleType, tmp_path: Path) -> None:
    _data([2]).write(tmp_path / "all")
    with pytest.raises(DataError, match="all: has 2 utterances; at least three, one for each set; add recordings"):
        divide.divide(tmp_path / "all", tmp_path, 0.1, 1)
