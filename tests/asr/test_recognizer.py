"""The runtime's promise: a stream says what the whole recording says, however it is cut, batched and sampled."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading

import numpy as np
import pytest
import tiny
import torch

import recitative
from recitative.asr.recognizer import Recognizer
from recitative.asr.stream import DecodedNetwork, EndpointRules
from recitative.asr.transcript import Final, Partial, Transcript
from recitative.audio import vad
from recitative.audio.files import resample, write_wav
from recitative.audio.vad import SegmentRules
from recitative.errors import DataError, UsageError
from recitative.model.export import export_checked
from recitative.model.stream import NetworkInput, run_together

CORES = {
    "forward": {"recurrent": {"direction": "forward", "layers": 2, "hidden": 16}, "lookahead_frames": 2},
    "blocks": {
        "recurrent": {"direction": "latency_controlled", "layers": 2, "hidden": 8, "chunk": 3, "right_context": 2}
    },
}
RATES = [tiny.RATE, 2 * tiny.RATE, 11025, 44100]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    dev = tiny.write_corpus(folder, 6, 1)
    for name, core in {**CORES, "whole": {}}.items():
        for weights in ("float32", "int8"):
            made = tiny.recognizer(seed=2, **core)  # this one says words
            # Random models and a corpus of other words: what int8 costs means nothing here, so it is not asked.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("recitative.model.export.MAX_WER_INCREASE", np.inf)
                export_checked(made, folder / f"{name}.{weights}.onnx", dev=dev, weights=weights)
    return folder


@pytest.fixture(params=[(core, weights) for core in CORES for weights in ("float32", "int8")], ids="-".join)
def recognizer(request, files):
    return Recognizer.load(files / f"{'.'.join(request.param)}.onnx")


@pytest.fixture(scope="module")
def forward(files):
    """For what has little to do with the network."""
    return Recognizer.load(files / "forward.int8.onnx")


def recordings(rate):
    rng = np.random.default_rng(3)
    return [resample(tiny.speak(text, rng), tiny.RATE, rate) for text in ("abc acab", "b", "cab bca b", "ac")]


def said(transcript):
    """All but the confidences, which in float32 differ by the order of its sums."""
    return [(word.word, word.start_s, word.end_s) for word in transcript.words], transcript.duration_s


def streamed(stream, pieces, rate):
    """What the events of a stream say together."""
    events = [event for piece in pieces for event in stream.accept(piece, rate)]
    duration_s = stream.duration_s
    return Transcript.of(events + stream.finish(), duration_s)


def finals(events):
    """Without the confidences."""
    return [
        (event.utterance, event.start_s, event.end_s, [(w.word, w.start_s, w.end_s) for w in event.words])
        for event in events
        if isinstance(event, Final)
    ]


def pieces(samples, rng):
    while len(samples):
        length = int(rng.choice([0, 1, rng.integers(1, 2000)]))
        yield samples[:length]
        samples = samples[length:]


@pytest.mark.parametrize("rate", RATES)
def test_any_cutting_says_the_same(recognizer, rate):
    rng = np.random.default_rng(7)
    words = 0
    for samples in recordings(rate):
        whole = recognizer.transcribe(samples, rate)
        words += len(whole.words)
        assert said(streamed(recognizer.stream(), pieces(samples, rng), rate)) == said(whole)
    assert words >= 4  # otherwise the test could not fail


def test_streams_that_step_together_say_what_each_says_alone(recognizer):
    rng = np.random.default_rng(8)
    rows = recordings(tiny.RATE)
    is_int8 = recognizer._network.network.metadata.weights == "int8"
    heard = list if is_int8 else finals  # in int8 with every bit of the confidences
    expected = []
    for row in rows:
        stream = recognizer.stream(partial=False)
        expected.append(heard(stream.accept(row, tiny.RATE) + stream.finish()))
    streams = [recognizer.stream(partial=False) for _ in rows]
    left, events = [list(pieces(row, rng)) for row in rows], [[] for _ in rows]
    while any(left):
        some = [i for i, parts in enumerate(left) if parts and rng.random() < 0.7]
        if some:
            news = recognizer.accept([(streams[i], left[i].pop(0)) for i in some], tiny.RATE)
            for i, new in zip(some, news, strict=True):
                events[i] += new
    assert [heard(e + stream.finish()) for e, stream in zip(events, streams, strict=True)] == expected
    assert all(expected)


def test_a_stream_keeps_nothing_of_those_that_step_together_with_it(recognizer):
    network = recognizer._network
    silence = np.zeros(tiny.RATE // 4, np.float32)

    def work():
        return (yield NetworkInput(silence, network.initial_state(1), last=False))

    for log_probs, state in run_together(network, [work(), work()]):
        assert all(array.base is None for array in (log_probs, *state.values()))


def test_a_long_recording_has_the_same_words_with_any_block_length(recognizer):
    samples = np.concatenate(recordings(tiny.RATE))
    whole = said(recognizer.transcribe(samples))
    for block_s in (0.07, 0.5, len(samples) / tiny.RATE):
        assert said(recognizer.transcribe(samples, block_s=block_s)) == whole


@pytest.fixture
def _cut_early(monkeypatch):
    """The detector hears no speech in the tones of these tests, so every segment is the shortest possible."""
    rules = SegmentRules(shortest_s=1.2, longest_s=4.0, overlap_s=0.0)  # this model would talk in the overlap
    monkeypatch.setattr(DecodedNetwork, "segments", rules)


@pytest.mark.usefixtures("_cut_early")
@pytest.mark.parametrize("rate", [tiny.RATE, 11025])
def test_what_goes_on_for_long_is_cut_at_the_same_places_however_it_comes(recognizer, rate):
    rng = np.random.default_rng(9)
    samples = np.concatenate(recordings(rate) * 3)
    whole = recognizer.transcribe(samples, rate)
    starts = [word.start_s for word in whole.words]
    assert starts == sorted(starts)
    assert whole.words[-1].end_s > 0.8 * len(samples) / rate
    streams = [recognizer.stream(), recognizer.stream()]
    rows, events = [list(pieces(samples, rng)), list(pieces(samples, rng))], {stream: [] for stream in streams}
    while any(rows):
        going = [(s, row.pop(0)) for s, row in zip(streams, rows, strict=True) if row]
        for (stream, _), new in zip(going, recognizer.accept(going, rate), strict=True):
            events[stream] += new
        for stream in streams:
            assert stream._decoded.num_frames * recognizer._network.frame_s < 4.1  # nothing grows
            assert stream._segments == stream._events == []
    for stream in streams:
        duration_s = stream.duration_s
        events[stream] += stream.finish()
        assert said(Transcript.of(events[stream], duration_s)) == said(whole)
    first, second = map(finals, events.values())
    assert first == second
    assert [utterance for utterance, *_ in first] == [*range(1, len(first) + 1)]
    assert len(first) > 3


class Loudness:
    """In the place of the detector: tones are speech."""

    def process_array(self, window):
        return float(np.abs(window).max() > 0.05)


@pytest.mark.parametrize("silence_s", [3.6, 40.0])
def test_a_sentence_after_a_long_silence_is_one_segment(recognizer, monkeypatch, silence_s):
    monkeypatch.setattr(vad, "new_detector", Loudness)
    rng = np.random.default_rng(4)
    pause = np.zeros(round(0.4 * tiny.RATE), np.float32)
    sentence = [part for text in ("abc", "acab cab bca b") for part in (tiny.speak(text, rng), pause)]
    samples = np.concatenate([np.zeros(round(silence_s * tiny.RATE), np.float32), *sentence])
    whole = recognizer.transcribe(samples, tiny.RATE)
    *silent, last = recognizer.segments(samples, tiny.RATE)
    assert silent
    assert all(segment.end_s <= silence_s + 0.05 for segment in silent)
    assert silence_s - 0.3 <= last.start_s <= silence_s
    assert last.end_s == pytest.approx(len(samples) / tiny.RATE, abs=0.1)
    for rules in (None, EndpointRules(silence_s=30.0, empty_silence_s=60.0, longest_s=60.0)):
        heard = [streamed(recognizer.stream(rules), pieces(samples, rng), tiny.RATE) for _ in range(2)]
        assert said(heard[0]) == said(heard[1]) == said(whole)


@pytest.mark.usefixtures("_cut_early")
def test_a_bidirectional_model_hears_segment_after_segment(files):
    recognizer = Recognizer.load(files / "whole.float32.onnx")
    samples = np.concatenate(recordings(tiny.RATE) * 3)
    expected = said(recognizer.transcribe(samples))
    assert expected[0][-1][2] > 0.8 * len(samples) / tiny.RATE
    assert said(recognizer.transcribe(samples, block_s=0.05)) == expected


def test_partial_results_grow_into_the_final_one(recognizer):
    samples = recordings(tiny.RATE)[2]
    stream = recognizer.stream()
    seen = [
        event
        for start in range(0, len(samples), 400)
        for event in stream.accept(samples[start : start + 400], tiny.RATE)
    ]
    [final] = stream.finish()
    assert all(isinstance(event, Partial) for event in seen)
    for before, after in zip(seen, [*seen[1:], final], strict=True):
        assert after.text.startswith(before.text)
        assert (after.text, getattr(after, "num_stable", None)) != (before.text, before.num_stable)  # news each time
        assert before.utterance == after.utterance == 1
        assert before.end_s <= after.end_s
        assert final.text.startswith(before.stable)
    assert seen[0].text != final.text


def test_a_stream_without_partial_results_gives_utterances_only(forward):
    samples = recordings(tiny.RATE)[2]
    stream = forward.stream(partial=False)
    assert stream.accept(samples, tiny.RATE) == []
    [final] = stream.finish()
    assert final.to_dict() | {"words": [], "segments": []} == {
        "type": "final",
        "utterance": 1,
        "start": 0.0,
        "end": final.end_s,
        "text": forward.transcribe(samples).text,
        "words": [],
        "segments": [],
    }
    assert final.to_dict()["words"][0] == {
        "word": final.words[0].word,
        "start": final.words[0].start_s,
        "end": final.words[0].end_s,
        "confidence": final.words[0].confidence,
    }


@pytest.mark.usefixtures("_cut_early")
def test_segments_come_while_a_recording_is_heard_and_are_those_of_its_transcript(recognizer, tmp_path):
    samples = np.concatenate(recordings(tiny.RATE) * 3)
    write_wav(tmp_path / "long.wav", samples, tiny.RATE)
    whole = recognizer.transcribe(tmp_path / "long.wav", block_s=0.1)
    heard = []
    segments = recognizer.segments(
        tmp_path / "long.wav", block_s=0.1, progress=lambda heard_s, total_s: heard.append(heard_s)
    )
    first = next(segments)
    assert heard[-1] < 0.5 * whole.duration_s
    assert (first, *segments) == whole.segments
    assert heard[-1] == pytest.approx(whole.duration_s)


def test_the_events_of_an_asynchronous_source_are_those_of_its_samples(forward):
    samples = recordings(tiny.RATE)[2]
    chunks = [samples[start : start + 400] for start in range(0, len(samples), 400)]

    async def source():
        for chunk in chunks:
            yield chunk

    async def collect():
        return [event async for event in forward.stream().events(source(), tiny.RATE)]

    stream = forward.stream()
    expected = [event for chunk in chunks for event in stream.accept(chunk, tiny.RATE)] + stream.finish()
    assert asyncio.run(collect()) == expected


def test_threads_may_share_a_recognizer(forward):
    samples = [np.concatenate([row] * 3) for row in recordings(tiny.RATE)[:3:2]]
    expected = [said(forward.transcribe(row)) for row in samples]
    assert expected[0] != expected[1]
    found, together = [[], []], threading.Barrier(2)

    def hear(number):
        together.wait()
        for _ in range(10):
            pieces = np.array_split(samples[number], 7)
            found[number].append(said(streamed(forward.stream(), pieces, tiny.RATE)))
            found[number].append(said(forward.transcribe(samples[number])))

    threads = [threading.Thread(target=hear, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[expected[0]] * 20, [expected[1]] * 20]


def test_a_finished_or_reset_stream_is_new(recognizer):
    first, second = recordings(tiny.RATE)[:2]
    stream = recognizer.stream()
    for spoil in (stream.finish, stream.reset):
        stream.accept(first, tiny.RATE)
        spoil()
        again = resample(second, tiny.RATE, 11025)  # even at another rate
        assert said(streamed(stream, [again], 11025)) == said(recognizer.transcribe(again, 11025))


def test_files_and_int16_say_what_samples_say(forward, tmp_path):
    samples = recordings(8000)[0]
    write_wav(tmp_path / "a.wav", samples, 8000)
    integers = np.round(samples * 32768).astype(np.int16)
    assert said(forward.transcribe(tmp_path / "a.wav")) == said(forward.transcribe(integers, 8000))


def test_a_recording_may_be_bytes_an_open_file_or_a_tensor(forward, tmp_path):
    samples = recordings(8000)[0]
    write_wav(tmp_path / "a.wav", samples, 8000)
    integers = np.round(samples * 32768).astype(np.int16)
    whole = said(forward.transcribe(integers, 8000))
    content = (tmp_path / "a.wav").read_bytes()
    assert said(forward.transcribe(content)) == said(forward.transcribe(io.BytesIO(content))) == whole
    with open(tmp_path / "a.wav", "rb") as file:
        assert said(forward.transcribe(file)) == whole
    tensor = torch.from_numpy(integers / np.float32(32768)).requires_grad_()
    for sound in (tensor, tensor.double()[None], torch.from_numpy(integers), integers.tobytes()):
        assert said(streamed(forward.stream(), [sound], 8000)) == whole
    with pytest.raises(DataError, match="the audio: is truncated"):
        forward.transcribe(content[:-3000])
    with pytest.raises(DataError, match=r"is \d+ in size; -1 to 1; divide them by 32768 if they are 16-bit values"):
        forward.transcribe(integers.astype(np.float32), 8000)
    with pytest.raises(UsageError, match="samples are 3 bytes: must be an even number"):
        forward.stream().accept(b"abc", 8000)


def test_nothing_has_no_words(recognizer):
    assert recognizer.transcribe(np.zeros(0, np.float32)).text == ""
    assert recognizer.stream().finish() == []
    assert recognizer.stream(EndpointRules()).finish() == []
    assert recognizer.stream().accept(np.zeros(0, np.float32), tiny.RATE) == []


def test_a_bidirectional_model_hears_whole_recordings_only(files):
    recognizer = Recognizer.load(files / "whole.float32.onnx")
    assert recognizer.latency_ms is None
    assert recognizer.transcribe(recordings(8000)[0], 8000).duration_s == pytest.approx(0.8)
    with pytest.raises(UsageError, match="needs the whole recording"):
        recognizer.stream()


@pytest.mark.parametrize(
    ("samples", "rate", "error", "message"),
    [
        (np.zeros((4, 2), np.float32), 8000, UsageError, r"shape \(4, 2\): must be \(S,\)"),
        (np.zeros(4, np.int32), 8000, UsageError, "samples are int32: must be float"),
        (np.array([0.0, np.nan]), 8000, DataError, "sample 1: is nan"),
        (np.array([np.inf]), 8000, DataError, "sample 0: is inf"),
        (np.zeros(4), 0, UsageError, "changed from 8000 to 0 Hz"),
        (np.zeros(4), 44100, UsageError, "changed from 8000 to 44100 Hz in mid-stream"),
    ],
)
def test_samples_that_cannot_be_heard_are_refused_and_the_stream_goes_on(forward, samples, rate, error, message):
    first = recordings(8000)[0]
    stream = forward.stream()
    events = stream.accept(first[:3000], 8000)
    with pytest.raises(error, match=message):
        stream.accept(samples, rate)
    events += stream.accept(first[3000:], 8000)
    duration_s = stream.duration_s
    assert said(Transcript.of(events + stream.finish(), duration_s)) == said(forward.transcribe(first, 8000))


def test_a_rate_that_is_none_is_refused(forward):
    with pytest.raises(UsageError, match="sample_rate=0: must be from 1000"):
        forward.stream().accept(np.zeros(4), 0)


def test_a_stream_twice_in_one_step_is_refused(forward):
    stream = forward.stream()
    with pytest.raises(UsageError, match="duplicate stream in one batch"):
        forward.accept([(stream, np.zeros(9)), (stream, np.zeros(9))], tiny.RATE)


def test_the_package_offers_the_recognizer_and_imports_no_torch(files):
    assert recitative.Recognizer is Recognizer
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy, recitative\n"
        f"r = recitative.Recognizer.load({str(files / 'forward.int8.onnx')!r})\n"
        "r.transcribe(numpy.zeros(4000))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
