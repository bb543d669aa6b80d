"""The verbs of sound, from training to WAV files."""

import importlib
import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

import small_corpus
from command_line import refusal, run
from recitative.data.directory import DataDirectory

TINY = [
    "features.sample_rate=8000", "features.num_mel_bins=6", "sound.step=8", "sound.history=8", "sound.context=1",
    "model.condition_width=4", "model.width=6", "model.recurrent.hidden=6", "model.recurrent.projection=4",
    "segments.rows=3", "segments.segment_s=0.02", "train.epochs=1", "train.warmup_steps=1", "train.threads=1",
]  # fmt: skip


TINY_FRAMES = [
    "kind=spectrogram", "features.sample_rate=8000", "features.num_mel_bins=6", "model.width=4",
    "model.recurrent.hidden=6", "train.epochs=1", "train.warmup_steps=1", "train.threads=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder with data 'train' and models mel.onnx, labels.onnx, none.onnx and frames.onnx."""
    folder = tmp_path_factory.mktemp("sound")
    small_corpus.write_sounds(folder / "train", 8000, seconds=[0.1, 0.12], text=["one", "two"])
    settings = {name: [f"sound.condition={name}", *TINY] for name in ("mel", "labels", "none")}
    for name, values in (settings | {"frames": TINY_FRAMES}).items():
        places = ("--train", folder / "train", "--dev", folder / "train", "--output", folder / name)
        run("sound", "train", "--quiet", *places, *values)
        run("sound", "export", folder / name / "model", "--output", folder / f"{name}.onnx")
    return folder


def test_recordings_are_drawn_anew_with_their_lengths(models, tmp_path):
    recordings = [models / "train" / "audio" / f"u{i}.wav" for i in (0, 1)]
    listed = run("vocode", *recordings, "--model", models / "mel.onnx", "--output", tmp_path / "out").out.split()
    assert listed == [str(tmp_path / "out" / f"u{i}.wav") for i in (0, 1)]
    for path, original in zip(listed, recordings, strict=True):
        assert soundfile.info(path).frames == soundfile.info(original).frames
        assert soundfile.info(path).samplerate == 8000


def test_a_data_directory_is_drawn_as_one_like_it(models, tmp_path):
    run("vocode", models / "train", "--model", models / "mel.onnx", "--output", tmp_path / "o")
    before, after = DataDirectory.read(models / "train"), DataDirectory.read(tmp_path / "o")
    assert after.texts == before.texts
    assert after.utt2spk == before.utt2spk
    assert all(str(tmp_path) in utterance.recording_path for utterance in after.utterances)


def test_a_folder_and_its_exported_file_draw_the_same_bytes(models, tmp_path):
    recording = models / "train" / "audio" / "u0.wav"
    for name, model in (("a", models / "mel" / "model"), ("b", models / "mel.onnx"), ("c", models / "mel.onnx")):
        run("vocode", recording, "--model", model, "--output", tmp_path / name)
    contents = {(tmp_path / name / "u0.wav").read_bytes() for name in "abc"}
    assert len(contents) == 1


def test_a_bad_recording_is_named_and_the_others_are_drawn(models, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    small_corpus.write_audio(tmp_path / "short.wav", np.zeros(100, np.float32), 8000)
    good = models / "train" / "audio" / "u0.wav"
    files = (tmp_path / "broken.wav", tmp_path / "short.wav", good)
    ran = run("vocode", *files, "--model", models / "mel.onnx", "--output", tmp_path / "out", status=1)
    assert ran.out.split() == [str(tmp_path / "out" / "u0.wav")]
    assert "broken.wav" in ran.err
    assert "short.wav: has 100 samples, less than one frame" in ran.err


def test_labels_make_a_file_for_each_speaker_as_long_as_the_text_usually_is(models, tmp_path):
    command = ("generate", "sound", "--model", models / "labels.onnx", "--text", "two", "--output", tmp_path)
    names = [Path(path).name for path in run(*command, "--count", 2).lines]
    assert names == ["two-u0-1.wav", "two-u0-2.wav", "two-u1-1.wav", "two-u1-2.wav"]
    assert {soundfile.info(tmp_path / name).frames for name in names} == {960}
    first, second = (soundfile.read(tmp_path / name)[0] for name in names[:2])
    assert (first != second).any()


def test_a_model_of_mel_frames_and_a_vocoder_make_sound(models, tmp_path):
    contents = []
    for model, vocoder, option in (
        ("frames.onnx", "mel.onnx", "--spectrogram-temperature"), ("frames/model", "mel/model", "--heat"),
    ):  # fmt: skip
        what = (option, 0.8, "--text", "two", "--speaker", "u1", "--count", 2, "--output", tmp_path)
        paths = run("generate", "sound", "--model", models / model, "--vocoder", models / vocoder, *what).lines
        assert [Path(path).name for path in paths] == ["two-u1-1.wav", "two-u1-2.wav"]
        assert {soundfile.info(path).frames for path in paths} == {960}
        contents.append([soundfile.read(path)[0].tolist() for path in paths])
    assert contents[0] == contents[1]
    assert contents[0][0] != contents[0][1]


@pytest.mark.parametrize("names", [["labels.onnx"], ["frames.onnx", "mel.onnx"]])
def test_sounds_like_a_data_directory_have_its_texts_speakers_and_lengths(models, tmp_path, names):
    chosen = zip(("--model", "--vocoder"), (models / name for name in names), strict=False)
    run("generate", "sound", *itertools.chain(*chosen), "--like", models / "train", "--output", tmp_path / "like")
    made = DataDirectory.read(tmp_path / "like")
    assert made.texts == {"u0": "one", "u1": "two"}
    assert [soundfile.info(u.recording_path).frames for u in made.utterances] == [800, 960]


def test_a_sound_goes_on_from_a_recording(models, tmp_path):
    tone = (0.3 * np.sin(np.arange(400) / 5)).astype(np.float32)
    small_corpus.write_audio(tmp_path / "tone.wav", tone, 8000)
    what = ("--continue", tmp_path / "tone.wav", "--seconds", 0.05, "--output", tmp_path / "out")
    run("generate", "sound", "--model", models / "none.onnx", *what)
    samples, _ = soundfile.read(tmp_path / "out" / "sound-1.wav")
    assert len(samples) == 800
    np.testing.assert_allclose(samples[:400], tone, atol=0.05)


def test_a_stream_is_a_wav_with_the_samples_of_the_file(models, tmp_path):
    command = ("generate", "sound", "--model", models / "none.onnx", "--seconds", 0.05, "--seed", 3)
    run(*command, "--output", tmp_path)
    content = run(*command, "--output", "-").content
    assert content[:4] == b"RIFF"
    expected, _ = soundfile.read(tmp_path / "sound-1.wav", dtype="int16")
    np.testing.assert_array_equal(np.frombuffer(content[44:], "<i2"), expected)


@pytest.mark.parametrize(("arguments", "message"), [
    (("--model", "labels.onnx", "--text", "nine"), "--text 'nine': the model knows one, two"),
    (("--model", "labels.onnx", "--text", "one", "--speaker", "eve"), "speaker 'eve': the model knows u0, u1"),
    (("--model", "labels.onnx", "--text", "one", "--temperature", "0"), "--temperature 0: must be above 0"),
    (("--model", "labels.onnx", "--text", "one", "--seconds", "-1"), "--seconds -1: must be above 0, or 0"),
    (("--model", "labels.onnx", "--text", "one", "--output", "-"), "--output -: 2 sounds; only one can be streamed"),
    (("--model", "none.onnx", "--text", "one"), "--text, --speaker: the model has no labels"),
    (("--model", "labels.onnx", "--like", "train", "--text", "one"), "--text: not with --like, which gives texts"),
    (("--model", "labels.onnx", "--like", "train", "--count", "2"), "--count: not with --like"),
    (("--model", "labels.onnx", "--like", "train", "--seconds", "1"), "--seconds: not with --like"),
    (("--model", "labels.onnx", "--like", "train", "--output", "-"), "--output -: not with --like"),
    (("--model", "labels.onnx", "--text", "one", "--spectrogram-temperature", "1"), "generates samples itself; leave"),
    (("--model", "none.onnx", "--like", "train"), "--like: needs a model with sound.condition=labels"),
    (("--model", "mel.onnx"), "is a vocoder; use 'recitative vocode'"),
    (("--model", "none.onnx", "--output", "/proc/nowhere"), "--output /proc/nowhere: "),
    (("--model", "frames.onnx", "--text", "one"), "generates mel frames; add a --vocoder"),
    (("--model", "frames.onnx", "--vocoder", "none.onnx", "--text", "one"), "--vocoder: sound.condition=none"),
    (("--model", "labels.onnx", "--vocoder", "mel.onnx", "--text", "one"), "generates samples itself; leave it out"),
])  # fmt: skip
def test_wrong_usage_is_one_line(models, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    resolved = [str(models / word) if word.endswith(".onnx") or word == "train" else word for word in arguments]
    assert message in refusal("generate", "sound", *resolved)


def test_a_pretrained_model_of_another_kind_is_told(tmp_path):
    said = run("generate", "sound", "--model", "chorales", "--text", "one", status=1).err
    assert "error: chorales: is a music model; a sound model or a spectrogram model; correct the model" in said


def test_a_model_that_is_not_told_mel_frames_is_no_vocoder(models, tmp_path):
    recording = models / "train" / "audio" / "u0.wav"
    refused = refusal("vocode", recording, "--model", models / "none.onnx", "--output", tmp_path)
    assert "sound.condition=none; a vocoder has sound.condition=mel" in refused


def test_likelihood_and_speed_are_printed(models, monkeypatch, capsys):
    assert "nats per sample (1760 samples)" in run("sound", "score", models / "mel" / "model", models / "train").out
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "tools")
    bench = importlib.import_module("bench_models")
    bench.app([str(models / "mel.onnx"), "--seconds", "0.1", "--runs", "2"], standalone_mode=False)
    assert "on one thread" in capsys.readouterr().out
    assert "nats per dimension (18 frames)" in run("sound", "score", models / "frames" / "model", models / "train").out
    assert "sound, as mel frames for a vocoder" in run("info", models / "frames.onnx").out
