"""Live audio: a microphone through PortAudio (package ``sounddevice``), a recording played like one, or a pipe.

In the first two cases a thread fills a queue that one reader empties, so the same code runs without a sound card.
Blocks that arrive while the queue is full are lost, as in the sound card's own buffer, and counted.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from recitative.audio.files import OnWarning, Samples, open_blocks
from recitative.audio.pipes import PipedFormat, piped_blocks
from recitative.errors import DataError, UsageError

QUEUE_S = 10.0  # of audio in the queue
SILENT_S = 3.0  # without data after which a microphone is considered lost


@dataclass(frozen=True)
class Block:
    samples: Samples  # (S,)
    heard_at: float  # time.monotonic() of its last sample's arrival


@dataclass(frozen=True)
class Device:
    number: int
    name: str
    channels: int
    sample_rate: int  # in Hz, its default
    is_default: bool


class LiveAudio:
    """Blocks as they arrive. ``overruns`` is the number of blocks lost so far."""

    def __init__(self, sample_rate: int, block_s: float) -> None:
        self.sample_rate = sample_rate
        self.overruns = 0
        self.closed = threading.Event()  # set by the reader: no more blocks are needed
        self._queue: queue.Queue[Block | BaseException | None] = queue.Queue(max(1, round(QUEUE_S / block_s)))

    def blocks(self, patience_s: float = SILENT_S) -> Iterator[Block]:
        """Blocks until the source ends; raises what the source raised, and DataError if no more data arrives."""
        while True:
            try:
                item = self._queue.get(timeout=patience_s)
            except queue.Empty:
                found = f"delivered nothing for {patience_s:g} s"
                raise DataError("microphone", found, "sound", "look whether it is unplugged, muted or busy") from None
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def offer(self, samples: Samples) -> None:
        """Called by the source's thread: never waits."""
        try:
            self._queue.put_nowait(Block(samples, time.monotonic()))
        except queue.Full:
            self.overruns += 1

    def put(self, item: Block | BaseException | None) -> None:
        """Called by the source's thread: waits for room in the queue, or until the reader is closed."""
        while not self.closed.is_set():
            try:
                return self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue


class PipedAudio(LiveAudio):
    """Samples from a pipe as they arrive. None are lost: who writes waits, and whoever reads may wait forever."""

    def __init__(self, pipe: BinaryIO, form: PipedFormat, block_s: float, where: str) -> None:
        """where: the name of the pipe in errors."""
        super().__init__(form.sample_rate, block_s)
        self._blocks = piped_blocks(pipe, form, block_s, where)

    def blocks(self, patience_s: float = SILENT_S) -> Iterator[Block]:
        return (Block(samples, time.monotonic()) for samples in self._blocks)


def list_devices() -> list[Device]:
    """Every input of this machine. Raises UsageError if sounddevice or PortAudio is missing."""
    sounddevice = _sounddevice()
    default = sounddevice.default.device[0]
    return [
        Device(i, str(d["name"]), int(d["max_input_channels"]), int(d["default_samplerate"]), i == default)
        for i, d in enumerate(sounddevice.query_devices())
        if d["max_input_channels"] > 0
    ]


@contextmanager
def open_microphone(device: str | int | None, block_s: float) -> Iterator[LiveAudio]:
    """Open a device by number or part of its name (None: the default), one channel, at the device's own rate.

    Raises UsageError for an unknown device, DataError for a busy one.
    """
    sounddevice = _sounddevice()
    try:
        info = sounddevice.query_devices(device, "input")
    except (ValueError, sounddevice.PortAudioError):
        known = "; ".join(f"{d.number} {d.name}" for d in list_devices()) or "none"
        wanted = "no microphone found" if device is None else f"--device {device}: no such microphone"
        raise UsageError(f"{wanted}; inputs of this machine: {known}") from None
    live = LiveAudio(int(info["default_samplerate"]), block_s)

    def heard(samples: Any, _frames: int, _time: Any, status: Any) -> None:
        if status.input_overflow:
            live.overruns += 1
        live.offer(samples[:, 0].copy())

    try:
        with sounddevice.InputStream(
            device=device,
            channels=1,
            samplerate=live.sample_rate,
            blocksize=round(block_s * live.sample_rate),
            dtype="float32",
            callback=heard,
        ):
            yield live
    except sounddevice.PortAudioError as error:
        raise DataError(
            f"microphone '{info['name']}'", f"cannot be opened ({error})", "", "close what else uses it"
        ) from None


@contextmanager
def play_file(
    path: str | Path,
    block_s: float,
    *,
    realtime: bool,
    partial: bool = False,
    on_warning: OnWarning = lambda found: None,
) -> Iterator[LiveAudio]:
    """Play a recording like a microphone: in real time, losing blocks that are not read in time, or as fast as
    possible.
    """
    with open_blocks(path, block_s, partial=partial, on_warning=on_warning) as (info, blocks):
        live = LiveAudio(info.sample_rate, block_s)
        thread = threading.Thread(target=_play, args=(live, blocks, realtime), daemon=True)
        thread.start()
        try:
            yield live
        finally:
            live.closed.set()
            thread.join()


def _play(live: LiveAudio, blocks: Iterator[Samples], realtime: bool) -> None:
    due = time.monotonic()
    try:
        for samples in blocks:
            if realtime:
                due += len(samples) / live.sample_rate  # a microphone delivers a block after its last sample
                if live.closed.wait(max(0.0, due - time.monotonic())):
                    break
                live.offer(samples)
            else:
                live.put(Block(samples, time.monotonic()))
                if live.closed.is_set():
                    break
        live.put(None)
    except BaseException as error:  # for the reader's thread to raise
        live.put(error)


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ModuleNotFoundError:
        raise UsageError("the microphone needs the package 'sounddevice'; pip install sounddevice") from None
    except OSError:
        raise UsageError(
            "the microphone needs the PortAudio library, which is not installed; on Debian and Ubuntu: "
            "apt install libportaudio2"
        ) from None
    return sounddevice
