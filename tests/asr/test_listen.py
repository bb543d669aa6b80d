"""Live listening: endpoints, what is lost is counted, and a file played as a microphone."""

import json
import subprocess
import sys
import threading
import time
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from recitative.asr.recognizer import Recognizer
from recitative.asr.stream import DecodedNetwork, EndpointRules, Listener
from recitative.asr.transcript import FORMATS, Final, Segment, Transcript
from recitative.audio.files import write_wav
from recitative.audio.live import Block, LiveAudio, list_devices, open_microphone, play_file
from recitative.audio.vad import SegmentRules
from recitative.errors import DataError, UsageError
from recitative.model.export import export_checked

RULES = EndpointRules(silence_s=0.5, empty_silence_s=1.0, longest_s=5.0)
SHORT = EndpointRules(0.5, 1.0, longest_s=1.2, step_s=0.1)  # the model below talks through silence
NEVER = EndpointRules(100, 100, 100, step_s=0.1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("listen")
    export_checked(tiny.talker(layers=2), folder / "model.onnx", dev=None, weights="float32")
    return folder


@pytest.fixture
def recognizer(place):
    return Recognizer.load(place / "model.onnx")


def speech(seconds_of_silence=1.0):
    rng = np.random.default_rng(5)
    silence = np.zeros(round(seconds_of_silence * tiny.RATE), np.float32)
    return np.concatenate([part for text in ("abc acab", "cab b", "ac") for part in (tiny.speak(text, rng), silence)])


def blocks(samples, size):
    return (Block(samples[i : i + size], time.monotonic()) for i in range(0, len(samples), size))


def finals(recognizer, samples, size, rules=SHORT):
    listener = Listener(recognizer.stream(rules), tiny.RATE)
    return [event for event in listener.listen(blocks(samples, size)) if isinstance(event, Final)], listener


@pytest.mark.parametrize(
    ("decided_s", "silence_s", "said", "ends"),
    [
        (3.0, 0.4, True, False),
        (3.0, 0.5, True, True),
        (0.9, 0.9, False, False),
        (1.0, 1.0, False, True),
        (4.9, 0.0, True, False),
        (5.0, 0.0, True, True),
    ],
)
def test_an_utterance_ends_by_silence_or_length(decided_s, silence_s, said, ends):
    assert RULES.ends(decided_s=decided_s, silence_s=silence_s, said_something=said) is ends


def test_a_rule_must_be_positive():
    with pytest.raises(UsageError, match="silence_s=0: must be more than 0 seconds"):
        EndpointRules(silence_s=0)


def test_utterances_do_not_depend_on_the_blocks_and_have_times_from_the_start(recognizer):
    samples = speech()
    expected, listener = finals(recognizer, samples, len(samples))
    assert len(expected) >= 2
    assert listener.cost.audio_s == pytest.approx(len(samples) / tiny.RATE)
    for size in (37, 800, 5000):
        again, _ = finals(recognizer, samples, size)
        assert [[(w.word, w.start_s, w.end_s) for w in t.words] for t in again] == [
            [(w.word, w.start_s, w.end_s) for w in t.words] for t in expected
        ]
        assert [final.utterance for final in again] == [*range(1, len(again) + 1)]
    words = [word for transcript in expected for word in transcript.words]
    assert all(a.end_s <= b.start_s for a, b in pairwise(words))
    assert words[-1].end_s <= len(samples) / tiny.RATE


def test_without_an_endpoint_listening_says_what_transcribing_says(recognizer):
    samples = speech(0.3)
    [whole], _ = finals(recognizer, samples, 400, NEVER)
    assert whole.text == recognizer.transcribe(samples).text


def test_a_flush_in_the_middle_writes_the_words_so_far(recognizer):
    listener = Listener(recognizer.stream(NEVER), tiny.RATE)
    heard = listener.listen(blocks(speech(), 800))
    for _ in range(5):
        last = next(heard)
    [flushed] = listener.flush()
    assert isinstance(flushed, Final)
    assert flushed.text.startswith(last.text)
    assert list(listener.flush()) == []


@pytest.mark.usefixtures("_cut_early")
def test_an_utterance_that_is_decoded_in_several_segments_is_one_event(recognizer):
    [whole], _ = finals(recognizer, speech(), 400, NEVER)
    assert len(whole.segments) > 1
    assert whole.words == tuple(word for segment in whole.segments for word in segment.words)
    stream = recognizer.stream(NEVER)
    events = [event for block in blocks(speech(), 400) for event in stream.accept(block.samples, tiny.RATE)]
    assert all(whole.text.startswith(event.stable) for event in events)
    assert events[-1].num_stable >= len(whole.segments[0].words)


@pytest.fixture
def _cut_early(monkeypatch):
    rules = SegmentRules(shortest_s=1.2, longest_s=4.0, overlap_s=0.0)
    monkeypatch.setattr(DecodedNetwork, "segments", rules)


def test_what_nobody_takes_in_time_is_lost_and_counted(monkeypatch):
    monkeypatch.setattr("recitative.audio.live.QUEUE_S", 0.3)
    live = LiveAudio(8000, 0.1)
    for i in range(5):
        live.offer(np.full(800, i, np.float32))
    live._queue.get()
    live.put(None)
    assert live.overruns == 2
    assert [block.samples[0] for block in live.blocks()] == [1, 2]


def test_a_file_as_microphone_brings_every_sample_in_real_time(tmp_path):
    samples = speech()[: tiny.RATE // 2]
    write_wav(tmp_path / "a.wav", samples, tiny.RATE)
    for realtime in (False, True):
        started = time.monotonic()
        with play_file(tmp_path / "a.wav", 0.1, realtime=realtime) as live:
            got = np.concatenate([block.samples for block in live.blocks()])
        np.testing.assert_allclose(got, samples, atol=1 / 32768)
        assert live.overruns == 0
        if realtime:
            assert time.monotonic() - started >= 0.5  # it cannot be faster than the sound


def test_a_reader_that_leaves_early_does_not_hang(tmp_path):
    write_wav(tmp_path / "a.wav", np.zeros(60 * tiny.RATE, np.float32), tiny.RATE)
    threads = threading.active_count()
    for realtime in (False, True):
        with play_file(tmp_path / "a.wav", 0.1, realtime=realtime) as live:
            assert len(next(live.blocks()).samples) == tiny.RATE // 10
        assert threading.active_count() == threads


def test_what_breaks_in_the_source_is_raised_to_the_reader(tmp_path):
    samples = np.zeros(tiny.RATE, np.float32)
    path = tmp_path / "a.wav"
    write_wav(path, samples, tiny.RATE)
    path.write_bytes(path.read_bytes()[:-6000])
    with pytest.raises(DataError, match="is truncated"), play_file(path, 0.1, realtime=False) as live:
        list(live.blocks())


def test_a_silent_microphone_is_an_error_that_says_so():
    with pytest.raises(DataError, match=r"delivered nothing for 0\.01 s.*unplugged"):
        next(LiveAudio(8000, 0.1).blocks(patience_s=0.01))


class FakePortAudio(SimpleNamespace):
    class PortAudioError(Exception):
        pass

    def __init__(self, busy=False, status=None):
        super().__init__(default=SimpleNamespace(device=(1, 0)))
        self.devices = [
            {"name": "speaker", "max_input_channels": 0, "default_samplerate": 48000.0},
            {"name": "desk mic", "max_input_channels": 1, "default_samplerate": 44100.0},
        ]
        self.busy, self.status = busy, status or SimpleNamespace(input_overflow=False)

    def query_devices(self, device=None, kind=None):
        if kind is None:
            return self.devices
        if device in (None, 1, "desk"):
            return self.devices[1]
        raise ValueError(f"No input device matching {device!r}")

    def InputStream(self, *, callback, blocksize, **settings):  # noqa: N802  # its name there
        if self.busy:
            raise self.PortAudioError("Device unavailable")
        for i in range(3):
            callback(np.full((blocksize, 1), i, np.float32), blocksize, None, self.status)
        return __import__("contextlib").nullcontext()


@pytest.fixture
def port_audio(monkeypatch):
    def use(fake):
        monkeypatch.setitem(sys.modules, "sounddevice", fake)

    return use


def test_microphones_are_listed_and_heard_and_their_overflows_counted(port_audio):
    port_audio(FakePortAudio(status=SimpleNamespace(input_overflow=True)))
    [device] = list_devices()
    assert (device.number, device.name, device.sample_rate, device.is_default) == (1, "desk mic", 44100, True)
    with open_microphone("desk", 0.1) as live:
        live.put(None)
        assert [len(block.samples) for block in live.blocks()] == [4410] * 3
    assert live.overruns == 3


def test_a_missing_or_busy_microphone_is_named(port_audio):
    port_audio(FakePortAudio())
    with pytest.raises(UsageError, match="--device usb: no such microphone; inputs of this machine: 1 desk mic"):
        open_microphone("usb", 0.1).__enter__()
    port_audio(FakePortAudio(busy=True))
    with pytest.raises(DataError, match=r"microphone 'desk mic': cannot be opened \(Device unavailable\)"):
        open_microphone(None, 0.1).__enter__()


def test_without_the_package_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(UsageError, match="pip install sounddevice"):
        list_devices()


def run(*arguments, **options):
    command = [sys.executable, "-m", "recitative", "listen", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_the_verb_plays_a_file_writes_final_lines_and_the_cost(place):
    write_wav(place / "talk.wav", speech(), tiny.RATE)
    rules = ("--silence-s", 0.5, "--empty-silence-s", 1, "--longest-s", 1.2, "--chunk-ms", 100)
    done = run("--model", place / "model.onnx", "--input", place / "talk.wav", *rules)
    assert done.returncode == 0, done.stderr
    expected, _ = finals(Recognizer.load(place / "model.onnx"), speech(), 800)
    assert done.stdout.splitlines() == [final.text for final in expected]
    assert "real-time factor" in done.stderr
    assert "0 overruns" in done.stderr


def test_events_on_standard_output_are_those_of_the_library(place):
    rules = ("--silence-s", 0.5, "--empty-silence-s", 1, "--longest-s", 1.2, "--chunk-ms", 100)
    raw = np.round(speech() * 32768).clip(-32768, 32767).astype("<i2").tobytes()
    write_wav(place / "raw.wav", speech(), tiny.RATE)
    stream, expected = Recognizer.load(place / "model.onnx").stream(SHORT), []
    for start in range(0, len(raw), 800):
        expected += stream.accept(raw[start : start + 800], tiny.RATE)
    expected = [{"schema": 1, "model": "model.onnx"} | event.to_dict() for event in expected + stream.finish()]
    assert {event["type"] for event in expected} == {"partial", "final"}
    fixed = ("--model", place / "model.onnx", "--format", "jsonl", *rules, "--input")
    for source, options in ((raw, ("-", "--rate", tiny.RATE)), ((place / "raw.wav").read_bytes(), ("-",))):
        command = [sys.executable, "-m", "recitative", "listen", *map(str, (*fixed, *options))]
        done = subprocess.run(command, input=source, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert [json.loads(line) for line in done.stdout.splitlines()] == expected


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_live_subtitles_are_those_of_the_utterances_and_captions_have_the_last_lines(place, tmp_path, form):
    write_wav(place / "talk.wav", speech(), tiny.RATE)
    rules = ("--silence-s", 0.5, "--empty-silence-s", 1, "--longest-s", 1.2, "--chunk-ms", 100)
    options = ("--input", place / "talk.wav", *rules, "--format", form, "--captions", tmp_path / "captions.txt")
    done = run("--model", place / "model.onnx", *options)
    assert done.returncode == 0, done.stderr
    expected, _ = finals(Recognizer.load(place / "model.onnx"), speech(), 800)
    segments = tuple(Segment(final.start_s, final.end_s, final.words) for final in expected)
    assert done.stdout == FORMATS[form].file_content("", Transcript(segments, 9.0))
    captions = (tmp_path / "captions.txt").read_text()
    assert 1 <= captions.count("\n") <= 2
    assert captions.splitlines()[-1] == expected[-1].text[-len(captions.splitlines()[-1]) :]


def test_what_is_piped_is_heard_before_the_pipe_is_closed(place):
    fixed = ("--model", place / "model.onnx", "--format", "jsonl", "--input", "-", "--rate", tiny.RATE)
    command = [sys.executable, "-m", "recitative", "listen", *map(str, fixed)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write((speech() * 32768).astype("<i2").tobytes())
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["type"] == "partial"
        process.stdin.close()
        assert json.loads(process.stdout.read().splitlines()[-1])["type"] == "final"


@pytest.mark.parametrize("options", [("--rate", "8000"), ("--rate", "8000", "--input", "a.wav")])
def test_a_rate_is_of_raw_samples_only(place, options):
    refused = run("--model", place / "model.onnx", *options)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--rate: requires --input -" in refused.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--format", "srt", "--keywords", "ab"), "--format srt: not with --keywords"),
        (("--captions", "x.txt", "--keywords", "ab"), "--captions: not with --keywords"),
        (("--token", "x"), "--token: requires --server"),
        (("--server", "localhost", "--silence-s", "0.4"), "--server: has its own options"),
        (("--server", "localhost", "--beam", "4"), "--server: has its own options"),
        (("--server", "ftp://x"), "server 'ftp://x': is no address; give one such as http://127.0.0.1:2700"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(tmp_path, options, told):
    refused = run(*options, cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert refused.stderr.startswith(f"error: {told}")
    assert list(tmp_path.iterdir()) == []


def test_usage_is_checked_before_anything_is_heard(place):
    refused = run("--model", place / "model.onnx", "--realtime")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--realtime" in refused.stderr
    absent = run("--model", place / "model.onnx", "--input", place / "none.wav")
    assert absent.returncode == 1
    assert absent.stderr.startswith(f"error: {place / 'none.wav'}")
