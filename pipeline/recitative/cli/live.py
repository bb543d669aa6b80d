"""The microphone of ``listen`` and ``classify``: which one, and what it lost."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recitative.audio.microphone import LiveAudio


def open_device(device: str, block_s: float) -> AbstractContextManager[LiveAudio]:
    """device: a number or a part of a name; '' is the default one. Raises what ``open_microphone`` raises."""
    from recitative.audio.microphone import open_microphone

    return open_microphone(int(device) if device.isdigit() else device or None, block_s)


def warn_of_overruns(live: LiveAudio) -> None:
    """Say how many blocks nobody took in time, if any."""
    if live.overruns:
        print(f"warning: {live.overruns} blocks of audio were lost; the machine is too slow or busy", file=sys.stderr)
