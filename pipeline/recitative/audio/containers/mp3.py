"""MP3: the number of its frames, compared with the header."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from recitative.audio.containers.layout import Bytes, Layout, StreamPart, id3_end

_RATES = (44100, 48000, 32000)
_BIT_RATES = {  # kbit/s of layer III
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_DECODER_DELAY = 529  # samples dropped by mpg123 if a header has the encoder's delay
_MISCOUNTED = 2  # frames: some headers count themselves, others omit the last
_MAX_JUNK = 1 << 16  # bytes without a frame, after which it is not MP3


@dataclass(frozen=True)
class _Frame:
    size: int  # bytes
    num_samples: int
    sample_rate: int
    side_bytes: int  # between the header and what follows


@dataclass
class _Stream:
    """Consecutive frames with at most one header frame."""

    start: int
    stop: int
    head: bytes  # the first frame's header
    frame: _Frame
    count: int = 0
    claim_at: int = 0  # position of the number of frames in the header; 0: none
    claimed: int = 0
    is_trimmed: bool = False  # whether the decoder drops:
    delay: int = 0  # samples that the encoder added before ...
    padding: int = 0  # ... and after
    ends_within: bool = False


def read_mp3(file: Bytes) -> Layout | None:
    """The layout of an MP3 file, or of several concatenated ones; None without frames of layer III."""
    streams = _streams(file)
    if not streams:
        return None
    layout = Layout(())
    for stream in streams:
        layout = layout.joined(_layout(stream))
    return layout


def _streams(file: Bytes) -> list[_Stream]:
    position, since = id3_end(file, 0), 0
    streams: list[_Stream] = []
    frames: dict[bytes, _Frame | None] = {}
    while position + 4 <= file.size:
        head = file(position, 4)
        key = head[1:]  # all that a frame's length depends on
        if head[0] != 0xFF:
            frame = None
        elif key in frames:
            frame = frames[key]
        else:
            frame = frames[key] = _frame(head)
        if (
            frame and since and position + frame.size + 4 <= file.size
        ):  # after other bytes, require two consecutive frames
            following = file(position + frame.size, 4)
            if following[0] != 0xFF or not _frame(following):
                frame = None
        if not frame:
            tag = id3_end(file, position)
            position, since = (tag, since) if tag > position else (position + 1, since + 1)
            if since > _MAX_JUNK:
                break
            continue
        since = 0
        claim = _claim(file(position, min(frame.size, 256)), position, frame)
        if not streams or claim:
            streams.append(_Stream(position, position, head, frame, 0, *(claim or ())))
        if position + frame.size > file.size:
            streams[-1].ends_within = not _is_tag(file, position)
            break
        streams[-1].count += 0 if claim else 1
        position += frame.size
        streams[-1].stop = position
    return [stream for stream in streams if stream.count]


def _layout(stream: _Stream) -> Layout:
    samples = stream.count * stream.frame.num_samples
    fault = ""
    patches: tuple[tuple[int, bytes], ...] = ()
    prefix = b""
    if stream.claim_at:
        if stream.claimed > stream.count + _MISCOUNTED:
            fault = f"is truncated: {stream.count} of {stream.claimed} frames are there"
        if stream.claimed != stream.count:
            patches = ((stream.claim_at - stream.start, struct.pack(">I", stream.count)),)
        if stream.is_trimmed:
            behind = max(0, stream.padding - _DECODER_DELAY)
            samples = max(0, samples - behind - stream.delay - _DECODER_DELAY)
    else:
        prefix = _header_frame(stream)
        fault = "is truncated: it ends within a frame" if stream.ends_within else ""
    return Layout(
        (StreamPart(stream.start, stream.stop, patches, prefix, _DECODER_DELAY if prefix else 0, samples),), fault
    )


def _frame(head: bytes) -> _Frame | None:
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    rate, bits = head[2] >> 2 & 3, head[2] >> 4
    if head[1] & 0xE0 != 0xE0 or version == 1 or layer != 1 or rate == 3 or bits in (0, 15):
        return None
    first = version == 3
    sample_rate = _RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    num_samples = 1152 if first else 576
    size = num_samples // 8 * 1000 * _BIT_RATES[first][bits] // sample_rate + (head[2] >> 1 & 1)
    mono = head[3] >> 6 == 3
    side_bytes = (17 if mono else 32) if first else (9 if mono else 17)
    return _Frame(size, num_samples, sample_rate, side_bytes)


def _claim(content: bytes, position: int, frame: _Frame) -> tuple[int, int, bool, int, int] | None:
    """For a header frame: the position of the number of frames (0: none), the number, whether delay and padding of the
    encoder follow, and these."""
    if content[36:40] == b"VBRI":
        return position + 50, int.from_bytes(content[50:54], "big"), False, 0, 0
    at = 4 + frame.side_bytes
    if content[at : at + 4] not in (b"Xing", b"Info"):
        return None
    flags = int.from_bytes(content[at + 4 : at + 8], "big")
    if not flags & 1:
        return 0, 0, False, 0, 0
    count = int.from_bytes(content[at + 8 : at + 12], "big")
    lame = at + 12 + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    trim = content[lame + 21 : lame + 24]
    if len(trim) < 3:
        return position + at + 8, count, False, 0, 0
    return position + at + 8, count, True, trim[0] << 4 | trim[1] >> 4, (trim[1] & 15) << 8 | trim[2]


def _header_frame(stream: _Stream) -> bytes:
    """A header frame with the number of frames, which the decoder would otherwise guess from the file size."""
    head, frame = bytearray(stream.head), stream.frame
    head[1] |= 1  # without a checksum
    first = frame.num_samples == 1152
    head[2] = head[2] & 0x0C | (9 if first else 8) << 4  # 128 or 64 kbit/s: there is room
    size = frame.num_samples // 8 * 1000 * (128 if first else 64) // frame.sample_rate
    body = bytes(frame.side_bytes) + b"Info" + struct.pack(">II", 1, stream.count)
    return (bytes(head) + body).ljust(size, b"\0")


def _is_tag(file: Bytes, position: int) -> bool:
    return file(position, 3) in (b"TAG", b"ID3", b"APE")
