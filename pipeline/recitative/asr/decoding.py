"""Decode a data directory: hypotheses as a Kaldi text table, tokens with times, and how long it took."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recitative.asr.decoders import Spoken
from recitative.asr.transcriber import Transcriber
from recitative.atomic import write_text
from recitative.data.directory import DataDirectory, Utterance
from recitative.data.parallel import Engine, parallel_map
from recitative.features.extraction import audio_durations_s, read_utterance
from recitative.lock import writes
from recitative.score.wer import ErrorCounts, score

BATCH = 16  # utterances decoded together, a piece of parallel work


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

    chunk_ms:   feed the audio in pieces of this length, as a stream would bring it; None gives it whole. The text is
                the same.
    engine:     what does the work; None: this process
    open_again: how another process opens the same transcriber; an engine of several needs it
    advance:    is called as ``advance(done, total)`` when utterances are finished
    """
    rate = transcriber.sample_rate
    data = DataDirectory.read(data_folder)
    ids = (u.utt_id for u in data.utterances)
    durations = dict(zip(ids, audio_durations_s(data.utterances, rate).tolist(), strict=True))
    by_length = sorted(data.utterances, key=lambda u: (durations[u.utt_id], u.utt_id))
    batches = [by_length[start : start + BATCH] for start in range(0, len(by_length), BATCH)]
    work = _Decoding(transcriber, None if chunk_ms is None else max(1, round(chunk_ms * rate / 1000)), open_again)
    started = time.monotonic()
    found: dict[str, Spoken] = {}
    for batch, spoken in zip(batches, parallel_map(work, batches, engine or Engine(), name=_name), strict=True):
        found |= zip((u.utt_id for u in batch), spoken, strict=True)
        advance(len(found), len(by_length))
    summary = DecodeSummary(len(found), sum(durations.values()), time.monotonic() - started)
    _write(output, data_folder, found, summary)
    return summary


def word_errors(
    transcriber: Transcriber, data_dir: Path, advance: Callable[[int, int], None] = lambda done, total: None
) -> ErrorCounts:
    """Transcribe a data directory and count the errors of words. ``advance(done, total)`` counts utterances."""
    utterances = DataDirectory.read(data_dir).utterances
    hyps: dict[str, str] = {}
    for start in range(0, len(utterances), BATCH):
        group = utterances[start : start + BATCH]
        rows = transcriber.transcribe([read_utterance(u) for u in group])
        hyps |= {u.utt_id: spoken.text for u, spoken in zip(group, rows, strict=True)}
        advance(len(hyps), len(utterances))
    return score({u.utt_id: u.text or "" for u in utterances}, hyps).total


@dataclass(frozen=True)
class _Decoding:
    """What is said in a batch. A process that unpickles it opens the transcriber."""

    transcriber: Transcriber
    chunk_samples: int | None
    open_again: Callable[[], Transcriber] | None

    def __call__(self, batch: Sequence[Utterance]) -> list[Spoken]:
        return self.transcriber.transcribe([read_utterance(u) for u in batch], chunk_samples=self.chunk_samples)

    def __reduce__(self) -> tuple[Any, ...]:
        assert self.open_again is not None, "an engine of several processes needs it"
        return _open_decoding, (self.open_again, self.chunk_samples)


def _open_decoding(open_again: Callable[[], Transcriber], chunk_samples: int | None) -> _Decoding:
    return _Decoding(open_again(), chunk_samples, open_again)


def _name(batch: Sequence[Utterance]) -> str:
    return f"{len(batch)} utterances, '{batch[0].utt_id}' the first"


def _write(output: Path, data_folder: Path, found: dict[str, Spoken], summary: DecodeSummary) -> None:
    for name in ("text", "nbest.jsonl"):  # a folder without text is not whole
        (output / name).unlink(missing_ok=True)
    in_order = dict(sorted(found.items()))
    lines = [f"{utt_id} {spoken.text}".rstrip() for utt_id, spoken in in_order.items()]
    write_text(output / "tokens.jsonl", _json_lines(in_order, lambda s: {"tokens": list(map(asdict, s.tokens))}))
    write_text(output / "words.jsonl", _json_lines(in_order, lambda s: {"words": list(map(asdict, s.words))}))
    if any(spoken.alternatives for spoken in found.values()):
        nbest = _json_lines(in_order, lambda s: {"nbest": list(map(asdict, s.alternatives))})
        write_text(output / "nbest.jsonl", nbest)
    write_text(output / "data_dir", f"{data_folder}\n")
    write_text(output / "summary.json", json.dumps(asdict(summary)) + "\n")
    write_text(output / "text", "".join(line + "\n" for line in lines))


def _json_lines(found: dict[str, Spoken], facts: Callable[[Spoken], dict[str, Any]]) -> str:
    return "".join(json.dumps({"utt_id": utt_id, **facts(spoken)}) + "\n" for utt_id, spoken in found.items())
