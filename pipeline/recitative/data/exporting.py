"""A data directory in the forms of other programs.

lhotse       recordings.jsonl.gz, supervisions.jsonl.gz and cuts.jsonl.gz
nemo         manifest.json: an object a line
audiofolder  metadata.csv and audio/: for ``load_dataset("audiofolder", data_dir=...)`` of Hugging Face's datasets
parquet      data.parquet, recordings included, for the same library; needs pyarrow
stm, trn     ref.stm, ref.trn: references for NIST's sclite
textgrid, eaf, audacity
             a file of annotations for each recording, with a tier for each speaker, for Praat, ELAN and Audacity
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

from recitative.atomic import write_bytes, write_text
from recitative.audio.files import AudioInfo, inspect
from recitative.audio.recording import AudioSlice
from recitative.data.annotations import Tier, TimedText, eaf, labels, stm_line, textgrid, trn_line
from recitative.data.directory import DataDirectory, Utterance
from recitative.data.shards import encode_utterance
from recitative.errors import DataError, Problem

Form = Literal["lhotse", "nemo", "audiofolder", "parquet", "stm", "trn", "textgrid", "eaf", "audacity"]
FORMS: tuple[Form, ...] = get_args(Form)

Advance = Callable[[int, int], None]


def export_directory(data: DataDirectory, output: Path, form: Form, advance: Advance = lambda done, total: None) -> int:
    """Write a data directory to the folder ``output``; returns the number of files.

    ``advance(done, total)`` counts utterances. Raises DataError for utterances without a transcript, recordings in
    shards where the form has paths, and recordings that cannot be opened.
    """
    silent = [u.utt_id for u in data.utterances if not u.text]
    if silent:
        remedy = "leave them out with 'recitative data subset', or transcribe them"
        raise DataError.collect([Problem(f"utterance '{one}'", "has no transcript", "one", remedy) for one in silent])
    files = 0
    for name, content in _WRITERS[form](_shown(data.utterances, advance)):
        files += 1
        if isinstance(content, str):
            write_text(output / name, content)
        elif isinstance(content, bytes):
            write_bytes(output / name, content)
        else:
            from recitative.data.manifests import write_parquet

            write_parquet(output / name, content)
    return files


Files = Iterator[tuple[str, str | bytes | Iterator[Mapping[str, Any]]]]
"""Names and contents; rows are written as Parquet."""


def _shown(utterances: Sequence[Utterance], advance: Advance) -> Iterator[Utterance]:
    for done, utterance in enumerate(utterances, start=1):
        yield utterance
        advance(done, len(utterances))


def _recording_id(utterance: Utterance) -> str:
    return utterance.recording_id or utterance.utt_id


def _file_name(name: str) -> str:
    """An id as the name of a file."""
    return quote(name, safe="").replace("%20", " ") if "/" in name or name.startswith(".") else name


class _Recordings:
    """Opens each recording once. Raises DataError for those in shards, which have no path."""

    def __init__(self) -> None:
        self._known: dict[str, AudioInfo] = {}

    def info(self, utterance: Utterance) -> AudioInfo:
        path = utterance.recording_path
        if path not in self._known:
            if AudioSlice.parse(path):
                found, remedy = "is in a shard", "use --format audiofolder or parquet, which copy recordings"
                raise DataError(f"utterance '{utterance.utt_id}'", found, "recordings as files", remedy)
            self._known[path] = inspect(path)
        return self._known[path]

    def times(self, utterance: Utterance) -> tuple[float, float]:
        """Start and end in seconds."""
        end_s = utterance.end_s if utterance.end_s is not None else self.info(utterance).duration_s
        return utterance.start_s, end_s


# lhotse, NeMo, and Hugging Face's datasets


def _lhotse(utterances: Iterable[Utterance]) -> Files:
    recordings, opened = dict[str, dict[str, Any]](), _Recordings()
    supervisions: list[dict[str, Any]] = []
    cuts: list[dict[str, Any]] = []
    for u in utterances:
        info, name, (start_s, end_s) = opened.info(u), _recording_id(u), opened.times(u)
        source = {
            "type": "file",
            "channels": list(range(info.channels)),
            "source": str(Path(u.recording_path).resolve()),
        }
        recordings[name] = {
            "id": name, "sources": [source], "sampling_rate": info.sample_rate, "num_samples": info.num_samples,
            "duration": info.duration_s, "channel_ids": source["channels"],
        }  # fmt: skip
        length_s = round(end_s - start_s, 6)
        spoken = {"duration": length_s, "channel": 0, "text": u.text, "speaker": u.speaker}
        supervisions.append({"id": u.utt_id, "recording_id": name, "start": start_s} | spoken)
        inside = {"id": u.utt_id, "recording_id": name, "start": 0.0} | spoken
        cuts.append(
            {"id": u.utt_id, "start": start_s, "duration": length_s, "channel": 0, "supervisions": [inside],
             "recording": recordings[name], "type": "MonoCut"}
        )  # fmt: skip
    for kind, rows in (("recordings", recordings.values()), ("supervisions", supervisions), ("cuts", cuts)):
        yield f"{kind}.jsonl.gz", gzip.compress(_json_lines(rows).encode(), mtime=0)


def _nemo(utterances: Iterable[Utterance]) -> Files:
    opened, rows = _Recordings(), []
    for u in utterances:
        start_s, end_s = opened.times(u)
        path = str(Path(u.recording_path).resolve())
        row = {"audio_filepath": path, "duration": round(end_s - start_s, 6), "text": u.text, "speaker": u.speaker}
        rows.append(row | ({"offset": start_s} if u.is_segment else {}))
    yield "manifest.json", _json_lines(rows)


def _json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _audiofolder(utterances: Iterable[Utterance]) -> Files:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file_name", "text", "speaker", "utt_id"])
    for u in utterances:
        content, suffix, _ = encode_utterance(u, "keep")
        name = f"audio/{_file_name(u.utt_id)}.{suffix}"
        writer.writerow([name, u.text, u.speaker, u.utt_id])
        yield name, content
    yield "metadata.csv", table.getvalue()


def _parquet(utterances: Iterable[Utterance]) -> Files:
    def rows() -> Iterator[Mapping[str, Any]]:
        for u in utterances:
            content, suffix, _ = encode_utterance(u, "keep")
            audio = {"bytes": content, "path": f"{_file_name(u.utt_id)}.{suffix}"}
            yield {"id": u.utt_id, "speaker": u.speaker, "text": u.text, "audio": audio}

    yield "data.parquet", rows()


# sclite, Praat, ELAN, Audacity


def _stm(utterances: Iterable[Utterance]) -> Files:
    opened = _Recordings()
    rows = [(_recording_id(u), u.speaker, *opened.times(u), u.text or "") for u in utterances]
    yield "ref.stm", "".join(stm_line(*row) for row in sorted(rows, key=lambda row: (row[0], row[2])))


def _trn(utterances: Iterable[Utterance]) -> Files:
    yield "ref.trn", "".join(trn_line(u.utt_id, u.text or "") for u in utterances)


def _annotations(
    suffix: str, content: Callable[[Sequence[Tier], Utterance, float], str]
) -> Callable[[Iterable[Utterance]], Files]:
    def write(utterances: Iterable[Utterance]) -> Files:
        opened = _Recordings()
        grouped: dict[str, list[Utterance]] = defaultdict(list)
        for u in utterances:
            opened.info(u)
            grouped[_recording_id(u)].append(u)
        for name, group in grouped.items():
            spans: dict[str, list[TimedText]] = defaultdict(list)
            for u in sorted(group, key=opened.times):
                spans[u.speaker].append((*opened.times(u), u.text or ""))
            for speaker, found in spans.items():
                for before, after in pairwise(found):
                    if after[0] < before[1]:
                        where = f"recording '{name}', speaker '{speaker}'"
                        overlap = f"has two utterances at {after[0]:.3f} s"
                        raise DataError(where, overlap, "one after the other", "correct their times")
            tiers = [Tier(speaker, tuple(found), speaker) for speaker, found in sorted(spans.items())]
            yield f"{_file_name(name)}.{suffix}", content(tiers, group[0], opened.info(group[0]).duration_s)

    return write


def _labels(tiers: Sequence[Tier], utterance: Utterance, duration_s: float) -> str:
    return labels(sorted(span for tier in tiers for span in tier.spans))


_WRITERS: Mapping[Form, Callable[[Iterable[Utterance]], Files]] = {
    "lhotse": _lhotse,
    "nemo": _nemo,
    "audiofolder": _audiofolder,
    "parquet": _parquet,
    "stm": _stm,
    "trn": _trn,
    "textgrid": _annotations("TextGrid", lambda tiers, u, duration_s: textgrid(tiers, duration_s)),
    "eaf": _annotations("eaf", lambda tiers, u, duration_s: eaf(tiers, str(Path(u.recording_path).resolve()))),
    "audacity": _annotations("txt", _labels),
}
