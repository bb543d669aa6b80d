"""Speech to text without PyTorch: whole recordings, or any number of streams.

    recognizer = Recognizer.load("model.onnx")
    recognizer.transcribe("recording.flac").text

    stream = recognizer.stream()
    for event in stream.accept(samples, 48000):     # as they come, in pieces of any length
        print(event.text)                           # a Partial, or the Final of an utterance that has ended
    for event in stream.finish():                   # the rest, at the end of the stream; then it is new again
        print(event.text)

The Finals of a stream together say what ``transcribe`` says of the same samples, however they are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path

from recitative import pretrained
from recitative.asr.decoders import Wishes
from recitative.asr.readable import TextForm, load_punctuator
from recitative.asr.stream import DecodedStream, EndpointRules, Stream
from recitative.asr.transcriber import DecodedNetwork, load_transcriber
from recitative.asr.transcript import Final, Partial, Segment, Transcript
from recitative.audio.inputs import AudioInput, is_file, open_audio
from recitative.audio.samples import SampleInput
from recitative.errors import UsageError
from recitative.model.stream import E, run_together
from recitative.stage import Array

__all__ = ["EndpointRules", "Final", "Partial", "Recognizer", "Segment", "Stream", "Transcript"]

Progress = Callable[[float, float], None]

BLOCK_S = 10.0  # a streaming model hears a whole recording in pieces of this length, so that memory stays small


class Recognizer:
    """A loaded model. It is stateless: each stream holds its own state.

    Thread safety: any number of threads may share a recognizer, and transcribe or run streams with it at the same time.
    A stream belongs to one thread at a time.
    """

    def __init__(self, network: DecodedNetwork, name: str = "", text: TextForm = "raw") -> None:
        """network: a transcriber, or one that looks for keywords; name: stands in transcripts; text: 'readable' adds
        punctuation, capitals and figures to English, see ``asr.readable``. Raises what building its decoder raises."""
        self.name = name
        self.text: TextForm = text
        if text == "readable":
            load_punctuator()
        self._network = network
        network.decoder.start()  # an error now, not in the middle

    @classmethod
    def load(
        cls, model: str | Path, *, threads: int = 1, wishes: Wishes | None = None, text: TextForm = "raw"
    ) -> Recognizer:
        """A file made by ``recitative export``, or a pretrained model by name. Raises DataError for anything else.

        wishes: hot words, a grammar, another language model: see ``asr.decoders``.
        """
        transcriber = load_transcriber(pretrained.find(model), threads=threads, wishes=wishes)
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
        """Audio that must follow a sound before it is decided; None = the whole recording."""
        return self._network.latency_ms

    def transcribe(
        self,
        audio: AudioInput,
        sample_rate: int | None = None,
        *,
        block_s: float = BLOCK_S,
        channel: int | None = None,
        partial: bool = False,
        text: TextForm | None = None,
        progress: Progress = lambda heard_s, total_s: None,
    ) -> Transcript:
        """A whole recording: a path, an open binary file, bytes of a file, or samples.

        Samples are (S,) float in [-1, 1] or int16, an array or a torch tensor, at ``sample_rate`` Hz (default: the
        model's own). They are heard ``block_s`` seconds at a time, on which the transcript does not depend;
        ``progress(heard_s, total_s)`` is called after each. Of a file only: ``channel`` is the one that is heard, from
        0 (None: their average), and ``partial`` hears what there is of a damaged file. ``text`` is 'raw' or 'readable';
        None: as the recognizer's own. Raises DataError for audio that cannot be read, is not finite or far too large,
        and UsageError for samples of another shape or type.
        """
        segments = self.segments(
            audio, sample_rate, block_s=block_s, channel=channel, partial=partial, text=text, progress=progress
        )
        while True:
            try:
                next(segments)
            except StopIteration as end:
                transcript: Transcript = end.value
                return transcript

    def segments(
        self,
        audio: AudioInput,
        sample_rate: int | None = None,
        *,
        block_s: float = BLOCK_S,
        channel: int | None = None,
        partial: bool = False,
        text: TextForm | None = None,
        progress: Progress = lambda heard_s, total_s: None,
    ) -> Generator[Segment, None, Transcript]:
        """The segments of ``transcribe`` one by one, each as soon as it has ended: for long recordings.

        The generator returns the transcript: ``transcript = yield from recognizer.segments(...)``.
        """
        odd: list[str] = []
        segments: list[Segment] = []
        stream = Stream(self._network, partial=False, text=text or self.text)
        with open_audio(audio, sample_rate or self.sample_rate, block_s, channel, partial, odd.append) as opened:
            for segment in _segments(_through(stream, *opened, progress)):
                segments.append(segment)
                yield segment
            rate, duration_s = opened[0], stream.duration_s
        for segment in _segments(stream.finish()):
            segments.append(segment)
            yield segment
        if rate < self.sample_rate and is_file(audio):
            odd.append(f"has {rate} Hz; the model knows speech of {self.sample_rate} Hz: expect more errors")
        return Transcript(tuple(segments), duration_s, tuple(odd), self.name)

    def stream(
        self, rules: EndpointRules | None = None, *, partial: bool = True, text: TextForm | None = None
    ) -> Stream:
        """A new stream of ``Partial`` and ``Final``.

        rules: when an utterance ends; None = where ``transcribe`` cuts, so that both give the same to the letter
        partial: False = ``Final`` only, which costs less
        text: 'raw' or 'readable'; None = as the recognizer's own. Raises UsageError if the model needs the whole
        recording.
        """
        self.require_streaming()
        return Stream(self._network, rules, partial=partial, text=text or self.text)

    def require_streaming(self) -> None:
        """Raises UsageError if the model needs the whole recording at once."""
        if self.latency_ms is None:
            raise UsageError("a bidirectional model cannot stream: it needs the whole recording; use a streaming model")

    def accept(self, pieces: Sequence[tuple[DecodedStream[E], SampleInput]], sample_rate: int) -> list[list[E]]:
        """The next piece of many streams of this recognizer at once: the network runs one time for all of them.

        Returns the events of each. Raises what ``accept`` of a stream raises, before any of them goes on, and
        UsageError for a stream that is given twice.
        """
        if len({id(stream) for stream, _ in pieces}) < len(pieces):
            raise UsageError("duplicate stream in one batch; join its pieces")
        return run_together(self._network, [stream.accepting(samples, sample_rate) for stream, samples in pieces])


def _through(
    stream: Stream, rate: int, total: int, blocks: Iterable[Array], progress: Progress
) -> Iterator[Partial | Final]:
    for block in blocks:
        yield from stream.accept(block, rate)
        progress(stream.duration_s, total / rate)


def _segments(events: Iterable[Partial | Final]) -> Iterator[Segment]:
    return (segment for event in events if isinstance(event, Final) for segment in event.segments)
