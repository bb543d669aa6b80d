"""Data directories from lhotse's manifests, written here as lhotse 1.x writes them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recitative.audio.files import read_audio
from recitative.data.directory import DataDirectory
from recitative.data.importing import ImportOptions, import_corpus, read_source
from recitative.errors import DataError
from small_corpus import noise, write_audio

Json = dict[str, Any]


def recording(name: str, path: Path, channels: Sequence[int] = (0,), seconds: float = 1.0) -> Json:
    source = {"type": "file", "channels": list(channels), "source": str(path)}
    facts = {"sampling_rate": 16000, "num_samples": round(seconds * 16000), "duration": seconds}
    return {"id": name, "sources": [source], **facts, "channel_ids": list(channels)}


def supervision(name: str, recording_id: str, start: float, duration: float, **more: Any) -> Json:
    values = {"id": name, "recording_id": recording_id, "start": start, "duration": duration, "channel": 0}
    return {**values, "text": f"This is {name}.", "language": "English", "speaker": "anna", **more}


def write_manifest(path: Path, lines: Sequence[Json]) -> None:
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One recording of a second, two supervisions in it."""
    write_audio(tmp_path / "in" / "audio" / "talk.wav", noise(1.0))
    return tmp_path / "in"


def pair(folder: Path, supervisions: Sequence[Json], recordings: Sequence[Json] | None = None, end: str = "") -> Path:
    known = recordings or [recording("talk-1", folder / "audio" / "talk.wav")]
    write_manifest(folder / f"recordings.jsonl{end}", known)
    write_manifest(folder / f"supervisions.jsonl{end}", supervisions)
    return folder


def run(source: Path, output: Path, options: ImportOptions = ImportOptions()) -> DataDirectory:
    import_corpus(read_source(source), output, options)
    return DataDirectory.read(output)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_supervisions_become_segments(folder: Path, tmp_path: Path, end: str) -> None:
    lines = [supervision("one", "talk-1", 0.0, 0.4), supervision("two", "talk-1", 0.4, 0.6, speaker="bert")]
    data = run(pair(folder, lines, end=end), tmp_path / "data")
    found = [(u.utt_id, u.speaker, u.start_s, u.end_s, u.text, u.recording_id) for u in data.utterances]
    assert found == [
        ("anna-one", "anna", 0.0, 0.4, "this is one", "talk"),
        ("bert-two", "bert", 0.4, 1.0, "this is two", "talk"),
    ]


def test_supervisions_of_whole_recordings_need_no_segments(folder: Path, tmp_path: Path) -> None:
    data = run(pair(folder, [supervision("one", "talk-1", 0.0, 1.0)]), tmp_path / "data")
    assert data.utterances[0].end_s is None
    assert not (tmp_path / "data" / "segments").exists()


def test_a_path_may_be_relative_to_the_manifest(folder: Path, tmp_path: Path) -> None:
    pair(folder, [supervision("one", "r", 0, 1)], [recording("r", Path("audio/talk.wav"))])
    assert run(folder, tmp_path / "data").utterances[0].recording_path == str(folder / "audio" / "talk.wav")


def cut(folder: Path, start: float, supervisions: Sequence[Json], **more: Any) -> Json:
    talk = recording("talk-1", folder / "audio" / "talk.wav")
    values = {"id": "cut-1", "start": start, "duration": 1.0 - start, "channel": 0, "type": "MonoCut"}
    return {**values, "supervisions": list(supervisions), "recording": talk, **more}


@pytest.mark.parametrize("name", ["cuts.jsonl", "train_cuts_all.jsonl.gz"])
def test_times_in_a_cut_count_from_its_beginning(folder: Path, tmp_path: Path, name: str) -> None:
    lines = [cut(folder, 0.2, [supervision("one", "talk-1", 0.1, 0.3), supervision("two", "talk-1", 0.4, 0.4)])]
    write_manifest(folder / name, lines)
    for source in (folder, folder / name):
        data = run(source, tmp_path / "data")
        assert [(u.start_s, u.end_s) for u in data.utterances] == [(0.3, 0.6), (0.6, 1.0)]


def test_a_telephone_call_is_two_recordings(folder: Path, tmp_path: Path) -> None:
    stereo = np.stack([noise(1.0, seed=1), noise(1.0, seed=2)], axis=1)
    write_audio(folder / "audio" / "call.wav", stereo)
    lines = [supervision("a", "call", 0, 0.5), supervision("b", "call", 0.5, 0.5, channel=1, speaker="bert")]
    pair(folder, lines, [recording("call", folder / "audio" / "call.wav", channels=(0, 1))])
    first, second = run(folder, tmp_path / "data").utterances
    assert (Path(first.recording_path).name, Path(second.recording_path).name) == ("call_0.flac", "call_1.flac")
    np.testing.assert_allclose(read_audio(second.recording_path)[0], stereo[:, 1], atol=1 / 32768)


BAD = {
    "a command": (
        "recording",
        {"sources": [{"type": "command", "channels": [0], "source": "cat x"}]},
        "is a 'command'; a",
    ),
    "a URL": ("recording", {"sources": [{"type": "url", "channels": [0], "source": "x"}]}, "is a 'url'; a 'file'"),
    "two files": ("recording", {"sources": [{}, {}]}, "has 2 sources; one file; join its channels"),
    "no file": ("recording", {"sources": []}, "has 0 sources; one file"),
    "another speed": ("recording", {"transforms": [{"name": "Speed"}]}, "has transforms; recordings as they are"),
    "unknown recording": ("supervision", {"recording_id": "x"}, ": names the recording 'x'; one of"),
    "no duration": ("supervision", {"duration": None}, ": 'duration' is None; a number of seconds"),
    "beyond the end": ("supervision", {"duration": 2.0}, "lasts from 0 to 2 s; a time within 0 to 1.000 s"),
    "no such channel": ("supervision", {"channel": 3}, ": is on the channels 3; one of 0; choose one"),
    "several channels": ("supervision", {"channel": [0, 1]}, ": is on the channels 0, 1; one of 0; choose one"),
    "no text": ("supervision", {"text": None}, " (one): has no words; at least one"),
    "mixed": ("cut", {"type": "MixedCut"}, "is a MixedCut; MonoCut; save the cuts before mixing"),
    "of features": ("cut", {"recording": None}, "has no recording; cuts of audio; keep the record"),
    "without words": ("cut", {"supervisions": []}, "has no supervision; at least one; remove the"),
}
WHERE = {
    "recording": "recordings.jsonl:1: recording 'talk-1' ",
    "supervision": "supervisions.jsonl:1",
    "cut": "cuts.jsonl:1: cut 'cut-1' ",
}


@pytest.mark.parametrize(("kind", "change", "message"), BAD.values(), ids=BAD)
def test_lines_that_a_data_directory_cannot_express_are_refused(
    folder: Path, tmp_path: Path, kind: str, change: Json, message: str
) -> None:
    line = {
        "recording": recording("talk-1", folder / "audio" / "talk.wav"),
        "supervision": supervision("one", "talk-1", 0, 1),
        "cut": cut(folder, 0.0, [supervision("one", "talk-1", 0, 1)]),
    }
    line[kind] |= change
    if kind == "cut":
        write_manifest(folder / "cuts.jsonl", [line["cut"]])
    else:
        pair(folder, [line["supervision"]], [line["recording"]])
    refused(folder, tmp_path, WHERE[kind] * (not message.startswith("lasts")) + message)


def refused(folder: Path, tmp_path: Path, message: str) -> None:
    with pytest.raises(DataError) as caught:
        run(folder, tmp_path / "data")
    assert any(message in str(problem) for problem in caught.value.problems), caught.value.problems
    assert not (tmp_path / "data").exists()


def test_overlapping_windows_of_one_supervision_are_refused(folder: Path, tmp_path: Path) -> None:
    lines = [
        cut(folder, 0.0, [supervision("one", "talk-1", 0.5, 0.4)]),
        cut(folder, 0.5, [supervision("one", "talk-1", 0, 0.4)]),
    ]
    write_manifest(folder / "cuts.jsonl", lines)
    refused(folder, tmp_path, "cuts.jsonl:2 (one): ")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"recordings.jsonl": b"{}\n"}, "has no supervisions.jsonl; recordings and supervisions, or cuts; add it"),
        ({"a_cuts.jsonl": b"{}\n", "b_cuts.jsonl": b"{}\n"}, "has several files of cuts (a_cuts.jsonl, b_cuts.j"),
        ({"cuts.jsonl": b"{}\n{'id'}\n"}, "cuts.jsonl:2: is not JSON"),
        ({"cuts.jsonl": b"[1]\n"}, "cuts.jsonl:1: is a list; one object a line"),
        ({"cuts.jsonl.gz": gzip.compress(b"{}\n" * 999)[:20]}, "cuts.jsonl.gz:0: what is packed after this"),
    ],
)  # fmt: skip
def test_files_that_are_no_manifests_are_refused(
    folder: Path, tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    refused(folder, tmp_path, message)
