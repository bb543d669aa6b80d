"""Decode a data directory: hypotheses as a Kaldi text table, tokens with times, and how long it took."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recitative.atomic import write_text
from recitative.data.directory import DataDirectory, Utterance
from recitative.models.decoders import Spoken
from recitative.models.transcriber import Transcriber
from recitative.recognition.utterances import measure, read_utterance

BATCH = 16  # utterances decoded together


@dataclass(frozen=True)
class DecodeSummary:
    utterances: int
    audio_s: float
    seconds: float  # wall clock, audio reading and features included


def decode_directory(
    transcriber: Transcriber,
    data_folder: Path,
    output: Path,
    *,
    chunk_ms: float | None = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> DecodeSummary:
    """Write ``output/text``, ``words.jsonl``, ``tokens.jsonl``, ``nbest.jsonl``, ``data_dir`` and ``summary.json``.

    chunk_ms: feed the audio in pieces of this length, as a stream would bring it; None gives it whole. The text is
    the same. ``advance(done, total)`` is called as utterances are finished.
    """
    rate = transcriber.sample_rate
    data = DataDirectory.read(data_folder)
    durations = {u.utt_id: measure(u, rate) for u in data.utterances}
    by_length = sorted(data.utterances, key=lambda u: (durations[u.utt_id], u.utt_id))
    chunk = None if chunk_ms is None else max(1, round(chunk_ms * rate / 1000))
    started = time.monotonic()
    found: dict[str, Spoken] = {}
    for start in range(0, len(by_length), BATCH):
        group = by_length[start : start + BATCH]
        found |= _decode(transcriber, group, chunk)
        advance(len(found), len(by_length))
    summary = DecodeSummary(len(found), sum(durations.values()), time.monotonic() - started)
    _write(output, data_folder, found, summary)
    return summary


def _decode(transcriber: Transcriber, group: Sequence[Utterance], chunk: int | None) -> dict[str, Spoken]:
    spoken = transcriber.transcribe([read_utterance(u) for u in group], chunk_samples=chunk)
    return {u.utt_id: row for u, row in zip(group, spoken, strict=True)}


def _write(output: Path, data_folder: Path, found: dict[str, Spoken], summary: DecodeSummary) -> None:
    output.mkdir(parents=True, exist_ok=True)
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
