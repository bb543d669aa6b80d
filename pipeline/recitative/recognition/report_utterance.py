"""One utterance of the report: aligned words, a spectrogram with the token times over it, and its sound.

Pictures are 8-bit PNGs and sound is MP3 (every browser plays it), both in the page itself as data URIs.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.audio.files import read_audio
from recitative.audio.resample import resample
from recitative.config import FeatureSettings
from recitative.data.directory import Utterance
from recitative.errors import DataError
from recitative.features.frontend import FeatureExtractor
from recitative.recognition.report_inputs import DecodedSet, Token
from recitative.score.wer import Alignment

PIXELS_PER_S = 200
PICTURE_HEIGHT = 140
LABELS_HEIGHT = 34  # two rows of tokens above the picture
TIMES_HEIGHT = 18
MEL_BINS = 64  # more would leave some without a frequency at 8 kHz
DYNAMIC_RANGE_DB = 60.0  # what lies further below the loudest point is black
LONGEST_SOUND_S = 60.0  # longer recordings would swell the page
SOUND_RATE = 16000  # Hz; MP3 knows few rates
_MP3_RATES = (8000, 16000)
_FREQUENCIES = (500, 1000, 2000, 4000)

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    samples: Samples  # (S,)
    sample_rate: int  # Hz

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate


def utterance_card(decoded: DecodedSet, utt_id: str) -> str:
    """One ``<article>``; what cannot be shown is said."""
    counts = decoded.words.by_utterance[utt_id]
    utterance = decoded.utterances.get(utt_id)
    alignment = decoded.words.alignments[utt_id]
    facts = [f"{counts.errors} errors in {counts.ref} words"]
    if utterance:
        facts.insert(0, f"speaker {utterance.speaker}")
    if utt_id in decoded.words.missing:
        facts.append("no hypothesis")
    heading = f'<h4>{escape(utt_id)} <span class="muted">{escape(" · ".join(facts))}</span></h4>'
    picture = _sight_and_sound(utterance, decoded.tokens.get(utt_id, ()), alignment) if utterance else ""
    return f'<article class="card utterance">{heading}{aligned_words(alignment)}{picture}</article>'


def aligned_words(alignment: Alignment) -> str:
    """Reference over hypothesis, a column a word, coloured by what happened."""
    columns = "".join(
        f'<span class="pair {op}"><span>{escape(ref) or "&#8709;"}</span><span>{escape(hyp) or "&#8709;"}</span></span>'
        for op, ref, hyp in alignment
    )
    return f'<div class="aligned"><span class="pair names"><span>ref</span><span>hyp</span></span>{columns}</div>'


def _sight_and_sound(utterance: Utterance, tokens: Sequence[Token], alignment: Alignment) -> str:
    try:
        samples, sample_rate = read_audio(utterance.recording_path, start_s=utterance.start_s, end_s=utterance.end_s)
    except DataError as error:
        return f'<p class="note">No picture: {escape(str(error))}</p>'
    recording = Recording(samples, sample_rate)
    if recording.duration_s > LONGEST_SOUND_S:
        sound = f'<p class="note">No sound: {recording.duration_s:.0f} s are too long for this page.</p>'
    else:
        sound = f'<audio controls preload="none" src="{_data_uri("audio/mpeg", encode_mp3(recording))}"></audio>'
    return picture(recording, tokens, alignment) + sound


def picture(recording: Recording, tokens: Sequence[Token], alignment: Alignment) -> str:
    """The mel spectrogram with frequencies, times, and every token where the model said it."""
    width = max(PIXELS_PER_S, round(recording.duration_s * PIXELS_PER_S))
    height = LABELS_HEIGHT + PICTURE_HEIGHT + TIMES_HEIGHT
    levels = mel_spectrogram(recording)
    parts = [
        _image(levels, width) if levels.size else "",
        _frequency_labels(recording.sample_rate),
        _time_labels(recording.duration_s, width),
        _token_labels(tokens, alignment, recording.duration_s, width),
        f'<path class="playhead" d="M0 {LABELS_HEIGHT}v{PICTURE_HEIGHT}"/>',
    ]
    return (
        f'<div class="scroll"><svg class="spectrogram" data-seconds="{recording.duration_s:.3f}" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}">{"".join(parts)}</svg></div>'
    )


def _image(levels: npt.NDArray[np.uint8], width: int) -> str:
    return (
        f'<image href="{_data_uri("image/png", encode_png(levels))}" x="0" y="{LABELS_HEIGHT}" width="{width}" '
        f'height="{PICTURE_HEIGHT}" preserveAspectRatio="none"/>'
    )


def mel_spectrogram(recording: Recording) -> npt.NDArray[np.uint8]:
    """(MEL_BINS, T), lowest frequency last, 255 = the loudest point, 0 = DYNAMIC_RANGE_DB below it.

    Kaldi's fbank, a column every 10 ms: what the models hear. Empty (MEL_BINS, 0) for less than one window.
    """
    settings = FeatureSettings(sample_rate=recording.sample_rate, num_mel_bins=MEL_BINS)
    log_energy = FeatureExtractor(settings).compute(recording.samples)  # (T, MEL_BINS), natural logarithm
    level_db = 10 * math.log10(math.e) * log_energy.T[::-1]
    relative = np.clip(1 + (level_db - level_db.max(initial=-np.inf)) / DYNAMIC_RANGE_DB, 0, 1)
    return np.asarray(np.round(255 * relative), np.uint8)


def encode_png(levels: npt.NDArray[np.uint8]) -> bytes:
    """Levels as the 'magma' colours, one byte a point."""
    from matplotlib import colormaps
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(levels))
    image.putpalette((colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def encode_mp3(recording: Recording) -> bytes:
    import soundfile

    samples, sample_rate = recording.samples, recording.sample_rate
    if sample_rate not in _MP3_RATES:
        samples, sample_rate = resample(samples, sample_rate, SOUND_RATE), SOUND_RATE
    buffer = io.BytesIO()
    soundfile.write(
        buffer, samples, sample_rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.3,
        bitrate_mode="VARIABLE",
    )  # fmt: skip
    return buffer.getvalue()


def _frequency_labels(sample_rate: int) -> str:
    low, high = _mel(20.0), _mel(sample_rate / 2)
    labels = []
    for hertz in _FREQUENCIES:
        if hertz < 0.48 * sample_rate:
            share = (_mel(hertz) - low) / (high - low)
            y = LABELS_HEIGHT + PICTURE_HEIGHT * (1 - share)
            name = f"{hertz // 1000} kHz" if hertz >= 1000 else f"{hertz} Hz"
            labels.append(f'<text class="frequency" x="3" y="{y + 3:.1f}">{name}</text>')
    return "".join(labels)


def _mel(hertz: float) -> float:
    return 1127 * math.log1p(hertz / 700)  # kaldi/src/feat/mel-computations.h


def _time_labels(duration_s: float, width: int) -> str:
    y = LABELS_HEIGHT + PICTURE_HEIGHT + 13
    at = [n / 2 for n in range(int(duration_s * 2) + 1) if n / 2 < duration_s - 0.1]
    return "".join(
        f'<text class="time" x="{t / duration_s * width + 2:.1f}" y="{y}">{t:g} s</text>'
        f'<path class="tick" d="M{t / duration_s * width:.1f} {y - 13}v4"/>'
        for t in at
    )


def _token_labels(tokens: Sequence[Token], alignment: Alignment, duration_s: float, width: int) -> str:
    """Tokens in the colour of their word's fate; a token too near the one before goes to the upper row."""
    parts = []
    last_x = -100.0
    upper = False
    for token, op in zip(tokens, _ops_of_tokens(tokens, alignment), strict=True):
        x = token.start_s / duration_s * width
        upper = x - last_x < 10 and not upper
        y = 13 if upper else LABELS_HEIGHT - 5
        shown = "&#183;" if token.token == " " else escape(token.token.strip())
        parts.append(
            f'<path class="onset" d="M{x:.1f} {y + 2}V{LABELS_HEIGHT + PICTURE_HEIGHT}"/>'
            f'<text class="token {op}" x="{x:.1f}" y="{y}"><title>{token.start_s:.2f} s</title>{shown}</text>'
        )
        last_x = x
    return "".join(parts)


def _ops_of_tokens(tokens: Sequence[Token], alignment: Alignment) -> list[str]:
    """For each token the operation of the hypothesis word it is part of; '' for spaces, or if the words differ."""
    words = "".join(token.token for token in tokens).split()
    hyps = [pair for pair in alignment if pair.op != "D"]
    if words != [pair.hyp for pair in hyps]:
        return [""] * len(tokens)
    word = -1
    ops: list[str] = []
    before = " "
    for symbol in (token.token for token in tokens):  # a letter, a space, or a space and a word
        word += not symbol.isspace() and (before.isspace() or symbol[0].isspace())
        ops.append("" if symbol.isspace() else hyps[word].op)
        before = symbol
    return ops


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def worst_utterances(decoded: DecodedSet, count: int) -> list[str]:
    """utt_ids with errors: most errors first, then the higher rate, then by id."""
    counted: list[tuple[Any, str]] = [
        ((-counts.errors, -counts.rate, utt_id), utt_id)
        for utt_id, counts in decoded.words.by_utterance.items()
        if counts.errors
    ]
    return [utt_id for _, utt_id in sorted(counted)[:count]]
