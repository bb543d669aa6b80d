"""Speech to text without PyTorch: recordings, live streams, many files in parallel, and data directories.

    recognizer = Recognizer.load("model.onnx")
    recognizer.transcribe("recording.flac").text

    stream = recognizer.stream()
    for event in stream.accept(samples, 48000):     # chunks of any length
        print(event.text)                           # a Partial, or the Final of an utterance that has ended
    for event in stream.finish():                   # the last events; then the stream is new again
        print(event.text)

The Finals of a stream have the same text as ``transcribe`` of the same samples, however these are chunked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar, Unpack

from recitative import pretrained
from recitative.asr.decoding import DecodingOptions, DecodingResult
from recitative.asr.stream import DecodedNetwork, DecodedStream, EndpointRules, Stream, Transcriber, load_transcriber
from recitative.asr.transcript import Final, Partial, Segment, TextForm, Transcript, load_punctuator
from recitative.atomic import write_text, writes
from recitative.audio.files import AudioInput, SampleInput, is_file, is_stream, naming, on_disk, open_audio
from recitative.data.directory import DataDirectory, Utterance
from recitative.data.parallel import Engine, parallel_map
from recitative.errors import UsageError, one_line
from recitative.features.extraction import BATCH, audio_durations_s, name_of_batch, read_batches, read_utterance
from recitative.model.stream import E, run_together
from recitative.score.wer import ErrorCounts, score

Progress = Callable[[float, float], None]  # seconds done, seconds in total
T = TypeVar("T")

BLOCK_S = 10.0  # recordings are processed in blocks of this length, so that memory stays small
STREAMING_BLOCK_S = 0.16  # block length of a microphone


class TranscribeOptions(TypedDict, total=False):
    """Keyword arguments of ``Recognizer.transcribe``, with their defaults."""

    block_s: float  # BLOCK_S
    channel: int | None  # None
    partial: bool  # False
    text: TextForm | None  # None
    progress: Progress


class Recognizer:
    """A loaded model. It is stateless: each stream holds its own state.

    Thread safety: any number of threads may share a recognizer, and transcribe or run streams with it at the same time.
    A stream belongs to one thread at a time.
    """

    def __init__(self, network: DecodedNetwork, name: str = "", text: TextForm = "raw") -> None:
        """network: a transcriber, or a network for keywords
        name: the name of the model in transcripts
        text: 'readable' adds punctuation, capitals and figures to English, see ``asr.transcript``
        Raises what building the decoder raises.
        """
        self.name = name
        self.text: TextForm = text
        if text == "readable":
            load_punctuator()
        self._network = network
        network.decoder.start()  # raises errors of the options now

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        threads: int = 1,
        options: DecodingOptions | None = None,
        text: TextForm = "raw",
    ) -> Recognizer:
        """A file made by ``recitative export``, or a pretrained model by name. Raises DataError for anything else.

        options: hot words, a grammar, another language model: see ``asr.decoding``
        """
        transcriber = load_transcriber(pretrained.find(model), threads=threads, options=options)
        return cls(transcriber, pretrained.name_of(model), text)

    @property
    def network(self) -> DecodedNetwork:
        return self._network

    @property
    def sample_rate(self) -> int:
        """In Hz; other rates are resampled to it."""
        return self._network.sample_rate

    @property
    def latency_ms(self) -> float | None:
        """Audio after a sound that is needed to decode it; None = the whole recording."""
        return self._network.latency_ms

    def transcribe(
        self, audio: AudioInput, sample_rate: int | None = None, **options: Unpack[TranscribeOptions]
    ) -> Transcript:
        """The transcript of a recording: a path, an open binary file, bytes of a file, or samples.

        Samples are (S,) float in [-1, 1] or int16, an array or a torch tensor, at ``sample_rate`` Hz (default: the
        model's own). Options:

        block_s:  seconds of audio that are processed at a time, 10 by default; the transcript does not depend on it
        channel:  of a file only: the channel to use, from 0; None: the average of all
        partial:  of a file only: use the readable part of a damaged file
        text:     'raw' or 'readable'; None: as the recognizer's own
        progress: called as ``progress(done_s, total_s)`` after each block

        Raises DataError for audio that cannot be read, is not finite or far too large, and UsageError for samples of
        another shape or type.
        """
        run = _Transcription(self, audio, sample_rate, **options)
        return run.transcript(tuple(run.segments()))

    def segments(
        self, audio: AudioInput, sample_rate: int | None = None, **options: Unpack[TranscribeOptions]
    ) -> Generator[Segment, None, Transcript]:
        """The segments of ``transcribe``, each as soon as it has ended: for long recordings.

        The generator returns the transcript: ``transcript = yield from recognizer.segments(...)``.
        """
        run = _Transcription(self, audio, sample_rate, **options)
        segments: list[Segment] = []
        for segment in run.segments():
            segments.append(segment)
            yield segment
        return run.transcript(tuple(segments))

    def stream(
        self, rules: EndpointRules | None = None, *, partial: bool = True, text: TextForm | None = None
    ) -> Stream:
        """A new stream of ``Partial`` and ``Final``.

        rules:   when an utterance ends; None = at the pauses where ``transcribe`` cuts, so that both give the same text
        partial: False = ``Final`` only, which costs less
        text:    'raw' or 'readable'; None = as the recognizer's own
        Raises UsageError if the model needs the whole recording.
        """
        self.require_streaming()
        return Stream(self._network, rules, partial=partial, text=text or self.text)

    def require_streaming(self) -> None:
        """Raises UsageError if the model needs the whole recording at once."""
        if self.latency_ms is None:
            raise UsageError("a bidirectional model cannot stream: it needs the whole recording; use a streaming model")

    def accept(self, pieces: Sequence[tuple[DecodedStream[E], SampleInput]], sample_rate: int) -> list[list[E]]:
        """The next samples of many streams of this recognizer, in one call of the network.

        Returns the events of each stream. Raises what ``accept`` of a stream raises, before any stream changes, and
        UsageError for a stream that is given twice.
        """
        if len({id(stream) for stream, _ in pieces}) < len(pieces):
            raise UsageError("duplicate stream in one batch; join its pieces")
        return run_together(self._network, [stream.accepting(samples, sample_rate) for stream, samples in pieces])


class _Transcription:
    """One recording on its way through a recognizer: iterate ``segments``, then build the ``transcript``."""

    def __init__(
        self,
        recognizer: Recognizer,
        audio: AudioInput,
        sample_rate: int | None,
        block_s: float = BLOCK_S,
        channel: int | None = None,
        partial: bool = False,
        text: TextForm | None = None,
        progress: Progress = lambda done_s, total_s: None,
    ) -> None:
        self._recognizer, self._audio, self._sample_rate = recognizer, audio, sample_rate or recognizer.sample_rate
        self._block_s, self._channel, self._partial, self._progress = block_s, channel, partial, progress
        self._stream = Stream(recognizer.network, partial=False, text=text or recognizer.text)
        self._warnings: list[str] = []
        self._duration_s = 0.0

    def segments(self) -> Iterator[Segment]:
        stream, audio, warnings = self._stream, self._audio, self._warnings
        with open_audio(audio, self._sample_rate, self._block_s, self._channel, self._partial, warnings.append) as (
            rate,
            total,
            blocks,
        ):
            for block in blocks:
                yield from _segments(stream.accept(block, rate))
                self._progress(stream.duration_s, total / rate)
            self._duration_s = stream.duration_s
        yield from _segments(stream.finish())
        if rate < (known := self._recognizer.sample_rate) and is_file(audio):
            warnings.append(f"has {rate} Hz; the model knows speech of {known} Hz: expect more errors")

    def transcript(self, segments: tuple[Segment, ...]) -> Transcript:
        return Transcript(segments, self._duration_s, tuple(self._warnings), self._recognizer.name)


def _segments(events: Iterable[Partial | Final]) -> Iterator[Segment]:
    return (segment for event in events if isinstance(event, Final) for segment in event.segments)


@dataclass(frozen=True)
class WorkerModel(Generic[T]):
    """A loaded model that is pickled as the function that opens it: each worker process opens its own."""

    model: T
    open_again: Callable[[], T] | None

    def __reduce__(self) -> tuple[Any, ...]:
        assert self.open_again is not None, "several processes need open_again"
        return _open_worker_model, (self.open_again,)


def _open_worker_model(open_again: Callable[[], T]) -> WorkerModel[T]:
    return WorkerModel(open_again(), open_again)


# Many recordings in several processes, in order; a recording that fails does not stop the others.

Channel = tuple[str, int | None]
"""A file and one of its channels, from 0; None: their average."""


@dataclass(frozen=True)
class Outcome:
    """The transcript of one recording, or None and the error."""

    file: str
    transcript: Transcript | None
    error: str = ""


def transcribe_file(
    file: str,
    recognizer: Recognizer,
    *,
    block_s: float = BLOCK_S,
    partial_ok: bool = False,
    channel: Channel | None = None,
    progress: Progress = lambda done_s, total_s: None,
) -> Iterator[Segment | Outcome]:
    """The segments of one recording, each as soon as it has ended, then the outcome; see ``transcribe_files``."""
    place, number = channel or (file, None)
    try:
        with on_disk(place) as path:
            transcript = yield from recognizer.segments(
                path, block_s=block_s, channel=number, partial=partial_ok, progress=progress
            )
        yield Outcome(file, transcript)
    except Exception as error:
        yield Outcome(file, None, one_line(file, error))


def transcribe_files(
    files: Sequence[str],
    recognizer: Recognizer,
    jobs: int = 1,
    *,
    open_again: Callable[[], Recognizer] | None = None,
    block_s: float = BLOCK_S,
    partial_ok: bool = False,
    channels: Mapping[str, Channel] | None = None,
    progress: Progress = lambda done, total: None,
) -> Iterator[Outcome]:
    """One outcome for each file, in order, whatever fails.

    open_again: how another process opens the same recognizer; more than one job needs it
    partial_ok: use the readable part of damaged recordings
    channels:   the file and channel of those names in ``files`` that are no files
    progress:   files done, and all; one process counts parts of files. For a single file: seconds done, and its length
    """
    places = {file: (file, None) for file in files} | dict(channels or {})
    if jobs <= 1:
        for done, file in enumerate(files):
            advance = lambda done_s, total_s, done=done: progress(done + done_s / total_s, len(files))  # noqa: E731
            events = transcribe_file(
                file,
                recognizer,
                block_s=block_s,
                partial_ok=partial_ok,
                channel=places[file],
                progress=advance if len(files) > 1 else progress,
            )
            yield from (event for event in events if isinstance(event, Outcome))
            if len(files) > 1:
                progress(done + 1, len(files))
        return
    with ExitStack() as spools:
        recordings = (_reachable(file, places[file], spools) for file in files)
        work = partial(_transcribe_recording, WorkerModel(recognizer, open_again), block_s, partial_ok)
        outcomes = parallel_map(work, recordings, Engine(jobs=jobs), name=lambda one: one.file, failed=_failed)
        for done, outcome in enumerate(outcomes, start=1):
            yield outcome
            progress(done, len(files))


@dataclass(frozen=True)
class _Recording:
    """A recording as the user names it, and where any process finds it, or the error."""

    file: str
    path: str
    channel: int | None = None
    error: str = ""


def _reachable(file: str, place: Channel, spools: ExitStack) -> _Recording:
    """Copy standard input and pipes to disk: they are open in this process only."""
    try:
        path, channel = place
        return _Recording(file, spools.enter_context(on_disk(path)) if is_stream(path) else path, channel)
    except Exception as error:
        return _Recording(file, "", error=one_line(file, error))


def _transcribe_recording(
    worker: WorkerModel[Recognizer], block_s: float, partial_ok: bool, recording: _Recording
) -> Outcome:
    if recording.error:
        return Outcome(recording.file, None, recording.error)
    try:
        with naming(recording.file, recording.path):
            transcript = worker.model.transcribe(
                recording.path, block_s=block_s, channel=recording.channel, partial=partial_ok
            )
        return Outcome(recording.file, transcript)
    except Exception as error:
        return _failed(recording, error)


def _failed(recording: _Recording, error: Exception) -> Outcome:
    return Outcome(recording.file, None, one_line(recording.file, error))


# Data directories.


@dataclass(frozen=True)
class DecodeSummary:
    utterances: int
    audio_s: float
    seconds: float  # wall clock, audio reading and features included


@writes("output")
def decode_directory(
    transcriber: Transcriber,
    data_folder: Path,
    output: Path,
    *,
    chunk_ms: float | None = None,
    engine: Engine | None = None,
    open_again: Callable[[], Transcriber] | None = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> DecodeSummary:
    """Write ``output/text``, ``words.jsonl``, ``tokens.jsonl``, ``nbest.jsonl``, ``data_dir`` and ``summary.json``.

    chunk_ms:   process the audio in chunks of this length, as in a stream; None: as a whole. The text is the same
    engine:     the processes that do the work; None: this process
    open_again: how another process opens the same transcriber; an engine of several needs it
    advance:    is called as ``advance(done, total)`` when utterances are finished
    """
    rate = transcriber.sample_rate
    data = DataDirectory.read(data_folder)
    ids = (u.utt_id for u in data.utterances)
    durations = dict(zip(ids, audio_durations_s(data.utterances, rate).tolist(), strict=True))
    by_length = sorted(data.utterances, key=lambda u: (durations[u.utt_id], u.utt_id))
    batches = [by_length[start : start + BATCH] for start in range(0, len(by_length), BATCH)]
    chunk_samples = None if chunk_ms is None else max(1, round(chunk_ms * rate / 1000))
    work = partial(_decode_batch, WorkerModel(transcriber, open_again), chunk_samples)
    started = time.monotonic()
    found: dict[str, DecodingResult] = {}
    for batch, results in zip(
        batches, parallel_map(work, batches, engine or Engine(), name=name_of_batch), strict=True
    ):
        found |= zip((u.utt_id for u in batch), results, strict=True)
        advance(len(found), len(by_length))
    summary = DecodeSummary(len(found), sum(durations.values()), time.monotonic() - started)
    _write_results(output, data_folder, found, summary)
    return summary


def word_errors(
    transcriber: Transcriber, data_dir: Path, advance: Callable[[int, int], None] = lambda done, total: None
) -> ErrorCounts:
    """Transcribe a data directory and count the word errors. ``advance(done, total)`` counts utterances."""
    utterances = DataDirectory.read(data_dir).utterances
    hyps: dict[str, str] = {}
    for batch, samples in read_batches(utterances):
        hyps |= {u.utt_id: one.text for u, one in zip(batch, transcriber.transcribe(samples), strict=True)}
        advance(len(hyps), len(utterances))
    return score({u.utt_id: u.text or "" for u in utterances}, hyps).total


def _decode_batch(
    worker: WorkerModel[Transcriber], chunk_samples: int | None, batch: Sequence[Utterance]
) -> list[DecodingResult]:
    return worker.model.transcribe([read_utterance(u) for u in batch], chunk_samples=chunk_samples)


def _write_results(
    output: Path, data_folder: Path, found: Mapping[str, DecodingResult], summary: DecodeSummary
) -> None:
    def json_lines(name: str, entries: Callable[[DecodingResult], Sequence[Any]]) -> str:
        rows = ({"utt_id": utt_id, name: list(map(asdict, entries(result)))} for utt_id, result in in_order)
        return "".join(json.dumps(row) + "\n" for row in rows)

    for name in ("text", "nbest.jsonl"):  # a folder without text is incomplete
        (output / name).unlink(missing_ok=True)
    in_order = sorted(found.items())
    write_text(output / "tokens.jsonl", json_lines("tokens", lambda result: result.tokens))
    write_text(output / "words.jsonl", json_lines("words", lambda result: result.words))
    if any(result.alternatives for result in found.values()):
        write_text(output / "nbest.jsonl", json_lines("nbest", lambda result: result.alternatives))
    write_text(output / "data_dir", f"{data_folder}\n")
    write_text(output / "summary.json", json.dumps(asdict(summary)) + "\n")
    write_text(output / "text", "".join(f"{utt_id} {result.text}".rstrip() + "\n" for utt_id, result in in_order))
