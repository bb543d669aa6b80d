"""Drawn sounds as a data directory like another one, so that a recogniser can be asked what is heard in them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from recitative.audio.files import write_wav
from recitative.data.tables import write_table
from recitative.runtime.sound import Samples

COPIED = ("text", "utt2spk", "spk2utt")


def write_data(like: Path, output: Path, sounds: Mapping[str, Samples], sample_rate: int) -> None:
    """Write output/wav/UTT_ID.wav, wav.scp, and the other tables as they are in ``like``."""
    folder = output / "wav"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {utt_id: folder / f"{utt_id}.wav" for utt_id in sounds}
    for utt_id, samples in sounds.items():
        write_wav(paths[utt_id], samples, sample_rate)
    write_table(output / "wav.scp", {utt_id: str(path) for utt_id, path in paths.items()})
    for table in COPIED:
        if (like / table).exists():
            shutil.copyfile(like / table, output / table)
