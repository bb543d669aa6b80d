"""Live audio: a microphone through PortAudio (package ``sounddevice``), a recording played like one, or a pipe; and
sound output.

In the first two cases a thread fills a queue that one reader empties, so the same code runs without a sound card.
Blocks that arrive while the queue is full are lost, as in the sound card's own buffer, and counted. Through a pipe come
raw samples, or WAV whose length may be unknown.
"""

from __future__ import annotations

import queue
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from recitative.audio.containers import OPEN_ENDED, SHORTFALL_S
from recitative.audio.files import OnWarning, Samples, open_blocks, require_sound
from recitative.errors import DataError, UsageError, counted

QUEUE_S = 10.0  # of audio in the queue
ECHO_S = 0.3  # after a sound, in which a microphone may still hear it
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


def _sounddevice(use: str = "the microphone") -> Any:
    try:
        import sounddevice
    except ModuleNotFoundError:
        raise UsageError(f"{use} needs the package 'sounddevice'; pip install sounddevice") from None
    except OSError:
        remedy = "on Debian and Ubuntu: apt install libportaudio2"
        raise UsageError(f"{use} needs the PortAudio library, which is not installed; {remedy}") from None
    return sounddevice


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
        found = "no microphone found" if device is None else f"--device {device}: no such microphone"
        raise UsageError(f"{found}; inputs of this machine: {known}") from None
    live = LiveAudio(int(info["default_samplerate"]), block_s)

    def deliver(samples: Any, _frames: int, _time: Any, status: Any) -> None:
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
            callback=deliver,
        ):
            yield live
    except sounddevice.PortAudioError as error:
        where, found = f"microphone '{info['name']}'", f"cannot be opened ({error})"
        raise DataError(where, found, "", "close what else uses it") from None


class Speaker:
    """The default sound output. Raises UsageError if there is none."""

    def __init__(self) -> None:
        self._sounddevice = _sounddevice("sound output")
        self._span = (0.0, 0.0)  # time.monotonic() at which the last sound began, and ends with its echo
        try:
            self._sounddevice.query_devices(None, "output")
        except (ValueError, self._sounddevice.PortAudioError):
            raise UsageError("no loudspeaker or headphones found") from None

    def play(self, samples: Samples, sample_rate: int) -> None:
        """Play samples (S, channels) while the caller goes on. Waits for the last sound to end."""
        self.wait()
        now = time.monotonic()
        self._span = now, now + len(samples) / sample_rate + ECHO_S
        self._sounddevice.play(samples, sample_rate)

    def wait(self) -> None:
        """Wait for the end of the sound."""
        time.sleep(max(0.0, self._span[1] - time.monotonic()))

    def was_heard_by(self, block: Block) -> bool:
        """Whether a microphone may have picked up the last sound in a block."""
        return self._span[0] <= block.heard_at <= self._span[1]

    def stop(self) -> None:
        """End the sound."""
        self._sounddevice.stop()


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


_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_WIDTHS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
_LONGEST_CHUNK = 1 << 20  # bytes of a chunk before the samples


@dataclass(frozen=True)
class PipedFormat:
    """Format of the samples in the bytes that follow, little-endian, channels interleaved."""

    sample_rate: int  # Hz
    channels: int = 1
    bits: int = 16
    is_float: bool = False
    num_bytes: int | None = None  # of samples, from the header; None: until the pipe is closed

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8

    def decode(self, content: bytes) -> Samples:
        """Bytes of complete samples -> (S,) in [-1, 1], the average of the channels."""
        values = self._values(content).reshape(-1, self.channels)
        samples = values[:, 0] if self.channels == 1 else values.mean(axis=1, dtype=np.float32)
        return np.asarray(samples, np.float32)

    def _values(self, content: bytes) -> Samples:
        if self.is_float:
            return np.frombuffer(content, f"<f{self.bits // 8}").astype(np.float32)
        if self.bits == 8:  # the only unsigned format
            return np.frombuffer(content, np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)
        if self.bits == 24:  # as the upper three bytes of 32 bits
            wide = np.zeros((len(content) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
            content = wide.tobytes()
        integers = np.frombuffer(content, "<i2" if self.bits == 16 else "<i4")
        return integers.astype(np.float32) / np.float32(32768 if self.bits == 16 else 2**31)


def read_wav_header(pipe: BinaryIO) -> tuple[bytes, PipedFormat | None]:
    """The bytes before the samples, and the format of the samples.

    The format is None if it is not WAV or has another coding; the bytes are then the beginning of the input.
    """
    head, form = pipe.read(12), None
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return head, None
    while True:
        chunk = pipe.read(8)
        head += chunk
        if len(chunk) < 8:
            return head, None
        name, size = chunk[:4], struct.unpack("<I", chunk[4:])[0]
        if name == b"data":
            return head, form and PipedFormat(*form, None if size == 0 or size >= OPEN_ENDED else size)
        if size > _LONGEST_CHUNK:
            return head, None
        content = pipe.read(size + size % 2)  # chunks are padded to even sizes
        head += content
        if name == b"fmt ":
            form = _format(content)


def _format(content: bytes) -> tuple[int, int, int, bool] | None:
    """From the chunk 'fmt ': Hz, channels, bits, is_float; None for another coding."""
    if len(content) < 16:
        return None
    code, channels, sample_rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
    if code == _EXTENSIBLE and len(content) >= 26:
        code = struct.unpack("<H", content[24:26])[0]
    known = bits in _WIDTHS.get(code, ()) and channels > 0 and sample_rate > 0
    return (sample_rate, channels, bits, code == _FLOAT) if known else None


def piped_blocks(pipe: BinaryIO, form: PipedFormat, block_s: float, where: str) -> Iterator[Samples]:
    """The samples (S,) float32 in blocks of ``block_s`` seconds, each as soon as it is complete, the last one shorter.

    Raises DataError with ``where`` as location for NaN, infinite or far too large samples, and at the end for fewer or
    more samples than in the header.
    """
    size = max(1, round(block_s * form.sample_rate)) * form.frame_bytes
    left, done = form.num_bytes, 0
    while content := pipe.read(size if left is None else min(size, left)):
        left = left and left - len(content)
        samples = form.decode(content[: len(content) // form.frame_bytes * form.frame_bytes])
        require_sound(where, samples, done, form.sample_rate)
        done += len(samples)
        yield samples
    behind = pipe.read(8) if left == 0 else b""
    if behind and not all(32 <= letter < 127 for letter in behind[:4]):  # no chunk
        raise DataError(where, "has more samples after the end that its header gives", "", "leave the length open: 0")
    if left and left > SHORTFALL_S * form.sample_rate * form.frame_bytes:
        raise DataError(where, f"is truncated: {counted(left, 'byte')} of samples missing", "", "send all of it")


class PipedAudio(LiveAudio):
    """Samples from a pipe as they arrive. None are lost: the writer waits, and the reader may wait forever."""

    def __init__(self, pipe: BinaryIO, form: PipedFormat, block_s: float, where: str) -> None:
        """where: the name of the pipe in errors."""
        super().__init__(form.sample_rate, block_s)
        self._blocks = piped_blocks(pipe, form, block_s, where)

    def blocks(self, patience_s: float = SILENT_S) -> Iterator[Block]:
        return (Block(samples, time.monotonic()) for samples in self._blocks)
