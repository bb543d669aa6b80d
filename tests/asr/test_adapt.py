"""A recognizer is adapted to a voice: what changes, what is held out, resuming, and what is refused."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch

from command_line import Ran, run
from recitative.asr import adaptation
from recitative.asr.adaptation import (
    MIN_LM_WEIGHT,
    SCHEDULES,
    divide,
    fine_tuning_settings,
    measure_fit,
    mismatched,
    mix_language_models,
)
from recitative.asr.kind import RECOGNIZER, Language
from recitative.asr.network import new_recognizer, new_transcriber
from recitative.asr.task import RecognitionTask, average_with
from recitative.cli import train as verb
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, UsageError
from recitative.kinds import load, read_metadata
from recitative.lm.arpa import measure
from recitative.lm.estimate import Sentences, estimate
from recitative.lm.ngram import NgramModel
from recitative.model.folder import save_model
from recitative.text.tokens import Lexicon, TokenTable
from recitative.train.run import read_inputs

FEW = ("train.epochs=2", "train.learning_rate=0.02", "train.warmup_steps=2", "train.freeze=[]", "train.workers=0",
       "train.threads=1", "train.device=cpu", "--quiet")  # fmt: skip


def adapt(recordings: Path, base: Path, output: Path, *options: object, status: int | None = 0) -> Ran:
    return run("adapt", recordings, "--base", base, "--output", output, *FEW, *options, status=status)


def some_texts(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [
        " ".join("".join(rng.choice(list("abc"), rng.integers(1, 4))) for _ in range(rng.integers(2, 4)))
        for _ in range(count)
    ]


TEXTS = some_texts(24, 1)


@pytest.fixture(scope="module", autouse=True)
def _ten_seconds_are_enough() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptation, "MIN_AUDIO_S", 10.0)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and the recordings of a voice that is a third higher than those that the base knows."""
    place = tmp_path_factory.mktemp("adapt")
    save_model(tiny.tone_recognizer(), place / "base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "TONES_HZ", {letter: 1.35 * tone_hz for letter, tone_hz in tiny.TONES_HZ.items()})
        tiny.write_data(place / "me", TEXTS)
    for utterance in DataDirectory.read(place / "me" / "data").utterances:
        recording = place / "recordings" / Path(utterance.recording_path).name
        recording.parent.mkdir(exist_ok=True)
        recording.symlink_to(utterance.recording_path)
        recording.with_suffix(".txt").write_text(f"{utterance.text.upper()}!\n")
    return place


@pytest.fixture(scope="module")
def mixed() -> list[tuple[object, ...]]:
    """What ``mix_language_models`` was asked for."""
    return []


@pytest.fixture(scope="module")
def adapted(place: Path, mixed: list[tuple[object, ...]]) -> Ran:
    (place / "sentences.txt").write_text("Cab, cab!\nabacab\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            adaptation, "mix_language_models", lambda *asked: mixed.append(asked) or mix_language_models(*asked)
        )
        return adapt(place / "recordings", place / "base", place / "me.onnx", "--text", place / "sentences.txt")


def test_it_makes_fewer_errors_on_what_was_held_out(place: Path, adapted: Ran) -> None:
    before, after = (float(rate) for rate in re.findall(r"WER +([\d.]+) %", adapted.out))
    assert before > 30
    assert after < before / 2
    assert re.search(r"me.onnx: (int8|float32), 0.0 MB", adapted.out)
    [tested, *_] = DataDirectory.read(place / "me-adapt/data/test").utterances
    assert load(place / "me.onnx").transcribe(tested.recording_path).text


def test_what_is_held_out_takes_part_in_nothing(place: Path, adapted: Ran, mixed: list[tuple[object, ...]]) -> None:
    parts = {name: DataDirectory.read(place / "me-adapt/data" / name) for name in ("train", "dev", "test")}
    assert [len(part.utterances) for part in parts.values()] == [18, 3, 3]
    assert len(set().union(*(part.utt2spk for part in parts.values()))) == len(TEXTS)
    seen = DataDirectory.read(place / "me-adapt/data/train_and_dev")  # on which int8 is compared with float32
    assert seen.utt2spk == parts["train"].utt2spk | parts["dev"].utt2spk
    inputs = read_inputs(place / "me-adapt/exp", RECOGNIZER)
    assert (inputs.train, inputs.dev) == (place / "me-adapt/data/train", place / "me-adapt/data/dev")
    [(base, own, dev)] = mixed
    assert base is None
    assert [list(lines) for lines in own] == [list(parts["train"].texts.values()), ["cab cab", "abacab"]]
    assert dev == list(parts["dev"].texts.values())


def test_a_run_that_was_stopped_ends_in_the_same_bytes(
    place: Path, adapted: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, seen = RecognitionTask.evaluate, []

    def stop_the_second_time(task: RecognitionTask) -> object:
        seen.append(task)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return evaluate(task)

    options = ("--text", place / "sentences.txt", "--work", place / "again")
    with monkeypatch.context() as patch:
        patch.setattr(RecognitionTask, "evaluate", stop_the_second_time)
        assert adapt(place / "recordings", place / "base", place / "again.onnx", *options, status=None).status
    assert len(seen) == 2
    assert not (place / "again.onnx").exists()
    adapt(place / "recordings", place / "base", place / "again.onnx", *options)
    assert (place / "again.onnx").read_bytes() == (place / "me.onnx").read_bytes()


def test_an_exported_file_is_a_base_too_and_its_notes_stay(place: Path, adapted: Ran) -> None:
    done = adapt(place / "me/data", place / "me.onnx", place / "again and again.onnx", "train.epochs=1")
    before, after = (float(rate) for rate in re.findall(r"WER +([\d.]+) %", done.out))
    assert max(before, after) < 30
    notes = read_metadata(place / "again and again.onnx").notes
    assert re.fullmatch(r"Adapted from me.onnx by .*\n\nThe base:\nAdapted from base by .*\n", notes)


def test_another_adaptation_in_the_work_folder_is_not_touched(place: Path, adapted: Ran, tmp_path: Path) -> None:
    DataDirectory.read(place / "me/data").where(lambda u: u.utt_id != "s-00").write(tmp_path / "fewer")
    done = adapt(tmp_path / "fewer", place / "base", tmp_path / "x.onnx", "--work", place / "me-adapt", status=2)
    assert "me-adapt: holds an adaptation of other recordings, transcripts or base" in done.err
    assert not (tmp_path / "x.onnx").exists()
    assert len(DataDirectory.read(place / "me-adapt/data/train").utterances) == 18


def with_texts(place: Path, folder: Path, changed: dict[int, str]) -> Path:
    """The data directory with some other transcripts, by number."""
    utterances = DataDirectory.read(place / "me/data").utterances
    texts = {utterances[number].utt_id: text for number, text in changed.items()}
    changed_ones = tuple(replace(u, text=texts.get(u.utt_id, u.text)) for u in utterances)
    DataDirectory(changed_ones).write(folder)
    return folder


def test_transcripts_that_are_not_what_is_heard_are_named(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TEXTS[4].split()[0] != TEXTS[9].split()[0]
    swapped = with_texts(place, tmp_path / "swapped", {4: TEXTS[9], 9: TEXTS[4]})
    done = adapt(swapped, place / "base", tmp_path / "x.onnx", status=1)
    count, *each = done.err[done.err.index("error: ") :].splitlines()
    assert "transcripts that do not match their recording: 2 of 24; none; correct them, or say --mismatches" in count
    assert [problem.split("'")[1] for problem in each] == ["s-04", "s-09"]
    assert f"is '{TEXTS[9]}', but '" in each[0]
    trained_on = []
    monkeypatch.setattr(adaptation, "_fine_tune", lambda base, parts, *rest: trained_on.append(parts) or sys.exit(3))
    for choice, total in (("leave-out", 22), ("keep", 24)):
        adapt(swapped, place / "base", tmp_path / f"{choice}.onnx", "--mismatches", choice, status=3)
        parts = trained_on.pop()
        ids = set().union(*(part.utt2spk for part in parts.values()))
        assert len(ids) == total
        assert ("s-04" in ids) == ("s-09" in ids) == (choice == "keep")


def test_a_shift_of_all_transcripts_is_told_at_once(place: Path) -> None:
    data = DataDirectory.read(place / "me/data")
    shifted = [*data.utterances[1:], data.utterances[0]]
    wrong = tuple(replace(u, text=other.text) for u, other in zip(data.utterances, shifted, strict=True))
    fit = measure_fit(new_transcriber(tiny.tone_recognizer()), DataDirectory(wrong))
    with pytest.raises(DataError, match="fit their recordings no better than each other's"):
        mismatched(fit, place)


def test_without_other_transcripts_none_is_suspected(place: Path) -> None:
    data = DataDirectory.read(place / "me/data")
    same = DataDirectory(tuple(replace(u, text="ab") for u in data.utterances[:3]))
    assert mismatched(measure_fit(new_transcriber(tiny.tone_recognizer()), same), place) == ()


def test_bad_input_is_one_clear_line(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, output = place / "base", tmp_path / "x.onnx"

    def refused(recordings: Path, *options: object, base: Path = base, output: Path = output) -> str:
        done = adapt(recordings, base, output, *options, status=None)
        assert done.status
        assert not (tmp_path / "x.onnx").exists()
        return done.err.splitlines()[-1].removeprefix("error: ")

    data = place / "me/data"
    other = with_texts(place, tmp_path / "other", {3: "ab zaz"})
    expected = f"{other}/text: 's-03': has 'z'; only the characters of the base; spell it otherwise, or leave it out"
    assert refused(other) == expected
    (tmp_path / "text").write_text("ab\nqa\n")
    assert f"{tmp_path / 'text'}: 'qa': has 'q'; only the" in refused(data, "--text", tmp_path / "text")
    assert f"{tmp_path}: is a folder; a file" in refused(data, output=tmp_path)
    assert "lies within" in refused(place / "recordings", "--work", place / "recordings/work")
    assert "--g2p: the base spells words in characters; leave it out" in refused(data, "--g2p", base)
    (tmp_path / "classifier").mkdir()
    (tmp_path / "classifier/settings.yaml").write_text("kind: classifier\n")
    assert "is a classifier's; 'kind: recognizer'" in refused(data, base=tmp_path / "classifier")
    monkeypatch.setattr(adaptation, "MIN_AUDIO_S", 1.0)
    few = DataDirectory.read(data)
    few.where(lambda u: u.utt_id < "s-11").write(tmp_path / "few")
    assert "few: has 11 utterances; at least 12, of which 6 are held out" in refused(tmp_path / "few")
    monkeypatch.setattr(adaptation, "MIN_AUDIO_S", 60.0)
    assert re.search(r"data: has \d\d\.\d s of audio; at least 60 s; record more", refused(data))
    assert not list(tmp_path.glob("x-adapt/exp"))


def test_new_words_need_a_pronunciation_where_tokens_are_phones(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phones = TokenTable(("<blank>", "AA", "BB", "CC"))
    sounds = lambda words: {word: tuple(2 * letter.upper() for letter in word) for word in words}  # noqa: E731
    known = {word for text in TEXTS for word in text.split()} - {"cab", "bbb"}
    words = Lexicon({word: (phones,) for word, phones in sounds(known).items()})
    made = replace(new_recognizer(tiny.settings(), phones), language=Language(words))
    data = with_texts(place, tmp_path / "data", {0: "cab abba"})
    monkeypatch.setattr(verb.pretrained, "path_of", lambda name: None)
    with pytest.raises(UsageError, match=r"^--lexicon FILE: 'abba' has no pronunciation, .*; give one with --g2p"):
        verb.extend_lexicon(made, data, [], None, "")
    (tmp_path / "given").write_text("cab CC AA BB\n")
    letters = TokenTable(("<blank>", *"abc"))
    said = SimpleNamespace(letters=letters, pronounce=lambda words: {word: sounds([word])[word] for word in words})
    monkeypatch.setattr("recitative.cli.language.open_pronouncer", lambda path: said)
    full = verb.extend_lexicon(made, data, [Sentences("text", ("bbb",), 0)], tmp_path / "given", "some")
    assert {word: full.entries[word] for word in full.entries.keys() - known} == {
        "cab": (("CC", "AA", "BB"),), "abba": (("AA", "BB", "BB", "AA"),), "bbb": (("BB", "BB", "BB"),)
    }  # fmt: skip
    adaptation.require_spelled(made, DataDirectory.read(data), adaptation.Material(data, [], full))


def test_what_is_held_out_is_always_the_same_and_a_part_of_every_size(place: Path) -> None:
    data = DataDirectory(tuple(Utterance(f"s-{number:03}", "s", "x.wav", text="a") for number in range(720)))
    parts = divide(data, place)
    assert {name: len(part.utterances) for name, part in parts.items()} == {"train": 612, "dev": 36, "test": 72}
    assert {name: part.utt2spk for name, part in divide(data, place).items()} == {
        name: part.utt2spk for name, part in parts.items()
    }
    assert len(set().union(*(part.utt2spk for part in parts.values()))) == 720


def test_the_less_audio_the_less_may_change() -> None:
    assert [row.hours for row in SCHEDULES] == sorted(row.hours for row in SCHEDULES)
    for name, grows in (("epochs", False), ("rate", True), ("batch_s", True)):
        values = [getattr(row, name) for row in SCHEDULES]
        assert values == sorted(values, reverse=not grows), name
    core = {"recurrent": {"direction": "forward", "layers": 3, "hidden": 8}, "attention": {"weight": 0.3}}
    base = tiny.settings(
        model=core, train={"learning_rate": 0.004}, augment={"noise_dir": "elsewhere", "vtlp": [0.9, 1.1]}
    )
    little, much = (fine_tuning_settings(base, hours) for hours in (0.02, 30.0))
    assert little.train.freeze == much.train.freeze == ()
    assert little.train.learning_rate < much.train.learning_rate < base.train.learning_rate
    assert (little.augment.noise_dir, little.augment.vtlp) == (None, (0.9, 1.1))
    assert new_recognizer(little, tiny.TOKENS).decoder is None


def test_fine_tuned_weights_are_averaged_with_those_of_the_base() -> None:
    tuned, base = (new_recognizer(tiny.settings(), tiny.TOKENS) for _ in range(2))
    before = {name: weight.clone() for name, weight in tuned.trained.state_dict().items()}
    average_with(tuned, base)
    theirs = base.trained.state_dict()
    for name, weight in tuned.trained.state_dict().items():
        torch.testing.assert_close(weight, (before[name] + theirs[name]) / 2)


def test_language_models_are_mixed_as_dev_and_transcripts_ask() -> None:
    lines = ["a b", "a c", "b b a"]
    base, own, dev = NgramModel.of(estimate(["c c c", "c a d"], 2).table), ["a b b", "a b"], ["c a d", "a b d"]
    mixed = mix_language_models(base, [lines, own], dev)
    assert mixed.order == 3
    alone = [*(NgramModel.of(estimate(each, 3).table) for each in (lines, own)), base]
    assert measure(mixed, dev).unknown == 0
    assert all(measure(model, dev).unknown for model in alone)
    of_base = mix_language_models(base, [own[:1]], ["c c c"] * 9)  # of which the own one knows nothing
    log_probs = [model.score(0, "b")[0] for model in (of_base, NgramModel.of(estimate(own[:1], 3).table))]
    assert log_probs[0] == pytest.approx(log_probs[1] + np.log(MIN_LM_WEIGHT), abs=0.02)
    assert measure(of_base, ["c c c"]).with_unknown == pytest.approx(measure(base, ["c c c"]).with_unknown, rel=0.05)
    of_own = mix_language_models(base, [["a b b", "a b", "b a"] * 9], ["c c c"])  # the transcripts foretell each other
    assert of_own.score(0, "b")[0] > np.log(0.3)
    twins = [f"{first} {last}" for first, last in itertools.permutations("abcdef", 2) for _ in range(2)]
    known = NgramModel.of(estimate(list("abcdef"), 1).table)
    pair = [mix_language_models(known, [lines], ["f"]) for lines in (twins, twins[::2] + twins[1::2])]
    of_neighbors, of_all = (model.score(model.score(0, "a")[1], "b")[0] for model in pair)
    assert of_neighbors < of_all - 0.1  # a sentence that is said again at once tells nothing of later ones
    only = mix_language_models(None, [lines], dev)
    assert measure(only, dev) == measure(NgramModel.of(estimate(lines, 3).table), dev)
