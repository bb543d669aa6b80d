"""Melodies in audio: the notes of one line that is sung, hummed, whistled or played on one instrument; and phrases in
live audio, by their loudness.

Pitch is tracked by pYIN (Mauch & Dixon 2014, of librosa). Notes are the path of a hidden Markov model with one state
for each semitone and one for silence, and are cut where the loudness shows a repeated note. Singers are rarely in tune
with a piano and drift: pitches are measured from a reference that follows them. The tempo is the one that makes
the distances of the onsets likely note values; a grid of sixteenths then follows them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.audio.files import AudioInput, OnWarning, Samples, read_mixed, resample
from recitative.errors import DataError, counted
from recitative.music.midi import mp3_bytes
from recitative.music.piece import Note, Piece, key_name, key_of, to_grid

Floats = npt.NDArray[np.float64]

SAMPLE_RATE = 16000  # Hz
LONGEST_S = 600.0
HOP, _FRAME = 160, 1024  # samples
HOP_S = HOP / SAMPLE_RATE
_LOWEST_HZ, _HIGHEST_HZ = 65.4, 2637.0  # C2 to E7: whistling is high
_RESOLUTION = 0.2  # semitones, of pYIN
STEPS_PER_QUARTER = 4
REMEDY = "record one line, sung, hummed, whistled or played on one instrument"


@dataclass(frozen=True)
class TranscribedNote:
    """pitch: MIDI, nearest; cents: of its mean pitch from that one, in equal temperament at A = 440 Hz"""

    start_s: float
    end_s: float
    pitch: int
    cents: float


@dataclass(frozen=True)
class Melody:
    """notes: in seconds; piece: on a grid of STEPS_PER_QUARTER; tuning_cents: mean of the recording; samples: (S,) of
    the recording, at SAMPLE_RATE; track: the pitch of every HOP of them"""

    notes: tuple[TranscribedNote, ...]
    piece: Piece
    tuning_cents: float
    samples: Samples = field(repr=False, compare=False)
    track: PitchTrack = field(repr=False, compare=False)

    @property
    def key(self) -> str:
        """Such as G major, estimated from the notes (Krumhansl)."""
        return key_name(*key_of(to_grid(self.piece, 1).pitches))

    @cached_property
    def recording(self) -> bytes:
        """As MP3."""
        return mp3_bytes(self.samples, SAMPLE_RATE)

    def __str__(self) -> str:
        tempo = f"{self.piece.quarters_per_minute:g} quarter notes per minute"
        return f"{counted(len(self.notes), 'note')}, {self.key}, {tempo}, tuning {self.tuning_cents:+.0f} cents"


def transcribe_melody(
    audio: AudioInput,
    sample_rate: int = 0,
    *,
    tempo: float = 0.0,
    name: str = "",
    on_warning: OnWarning = lambda found: None,
) -> Melody:
    """Transcribe a recording: the mean of its channels, or the left one if they cancel each other.

    sample_rate: Hz, of samples; tempo: quarter notes per minute, 0: estimated; on_warning: called if channels cancel
    each other. Raises DataError for a recording without a melody.
    """
    where = name or (str(audio) if isinstance(audio, str | Path) else "the audio")
    samples, rate = read_mixed(audio, sample_rate, where=where, longest_s=LONGEST_S, on_warning=on_warning)
    samples = resample(samples, rate, SAMPLE_RATE)
    track = track_pitch(samples, where)
    notes, tuning = transcribe_notes(track, where)
    if track.harmonic < _HARMONIC or track.first < _FIRST:
        raise DataError(where, "several notes sound at once: chords or an accompaniment", "one note at a time", REMEDY)
    title = Path(where).stem
    return Melody(tuple(notes), quantized(notes, tempo, title), tuning, samples, track)


# The pitch of each frame of 10 ms


@dataclass(frozen=True)
class PitchTrack:
    """pitch: (T,) MIDI with fractions, NaN where there is none; level_db: (T,) loudness; harmonic, first: median shares
    of the energy below 4 kHz, at all harmonics of the pitch, and at the pitch itself.

    The common period of a chord is that of a pitch below its notes, which is not there.
    """

    pitch: Floats
    level_db: Floats
    harmonic: float
    first: float


_SILENT_DB = -55.0  # below full scale: the loudest frame of a silent recording
_LEAST_VOICED = 0.25  # share of the sounding frames that have a pitch
_SOUNDING_DB = 30.0  # below the loudest frame
_HARMONIC, _FIRST = 0.85, 0.003  # least shares of the energy: at the harmonics of the pitch, and at the first of them


def track_pitch(samples: npt.NDArray[np.float32], where: str) -> PitchTrack:
    """Raises DataError for silence and for sound without pitch. samples: at SAMPLE_RATE."""
    import librosa

    padded = np.pad(samples, (0, _FRAME))
    level = 10 * np.log10(librosa.feature.rms(y=padded, frame_length=512, hop_length=HOP)[0] ** 2 + 1e-12)
    if len(samples) < SAMPLE_RATE // 5 or level.max() < _SILENT_DB:
        found = "is shorter than 0.2 s" if len(samples) < SAMPLE_RATE // 5 else "is silent"
        raise DataError(where, f"{found}: no melody in it", "a melody", REMEDY)
    hertz, voiced, _ = librosa.pyin(
        padded, fmin=_LOWEST_HZ, fmax=_HIGHEST_HZ, sr=SAMPLE_RATE, frame_length=_FRAME, hop_length=HOP,
        resolution=_RESOLUTION, fill_na=None,
    )  # fmt: skip
    sounding = level > level.max() - _SOUNDING_DB
    count = min(len(hertz), len(level))
    voiced, sounding, hertz, level = (array[:count] for array in (voiced, sounding, hertz, level))
    voiced = voiced & sounding
    if voiced.sum() < max(10, _LEAST_VOICED * sounding.sum()):
        found = f"has a pitch in {voiced.sum() / sounding.sum():.0%} of its sound: noise, speech or percussion"
        raise DataError(where, f"{found}, no melody", "a melody", REMEDY)
    pitch = np.where(voiced, 69 + 12 * np.log2(np.maximum(hertz, 1.0) / 440.0), np.nan)
    return PitchTrack(pitch, level, *_harmonic_shares(padded, hertz, voiced, librosa))


def _harmonic_shares(samples: Any, hertz: Floats, voiced: Any, librosa: Any) -> tuple[float, float]:
    """See ``PitchTrack``."""
    power = np.abs(librosa.stft(samples, n_fft=2048, hop_length=HOP)) ** 2  # (F, T)
    bins = np.arange(len(power)) * SAMPLE_RATE / 2048
    shares = []
    for frame in np.flatnonzero(voiced)[:: max(1, int(voiced.sum()) // 200)]:
        below = (bins > _LOWEST_HZ / 2) & (bins < max(4000.0, 1.5 * hertz[frame]))
        order = np.maximum(1, np.round(bins / hertz[frame]))
        near = np.abs(bins - order * hertz[frame]) < np.maximum(20.0, 0.03 * bins)
        column = power[:, frame] * below
        shares.append((column[near].sum() / column.sum(), column[near & (order == 1)].sum() / column.sum()))
    harmonic, first = np.median(np.array(shares), axis=0)
    return float(harmonic), float(first)


# Notes: a Viterbi path through semitones

_SPREAD = 0.45  # semitones, of a sung pitch around its note
_FARTHEST = 1.5  # semitones; larger distances cost no more
_NOTE_CHANGE, _NOTE_END, _NOTE_BEGIN = 8.0, 3.0, 5.0  # nats
_UNVOICED, _VOICED_SILENCE = 1.5, 3.0  # nats per frame: of a note without pitch, and of silence with one
_SHORTEST_S = 0.08
_VIBRATO, _WIDEST_VIBRATO = 18, 1.8  # frames of a cycle, and semitones from its lowest to its highest pitch
_RISE_DB, _RISE = 5.5, 8  # of the level at a repeated note, in so many frames; a room's echo changes it slowly
_FALL_DB, _FALL = 3.0, 15  # before it
_DRIFT_COST = 0.1  # for a semitone, in the mean cosine
_NEIGHBORS = 3  # notes before and after, whose tuning is averaged
_STEADY, _HELD, _HELD_S = 0.5, 0.6, 0.2  # least share of frames without a glide, or of the time in notes so long


def transcribe_notes(track: PitchTrack, where: str) -> tuple[list[TranscribedNote], float]:
    """The notes, and the tuning in cents. Raises DataError for speech."""
    steady = _without_vibrato(track.pitch)
    tuning = float(np.angle(np.nansum(np.exp(2j * np.pi * steady))) / (2 * np.pi))  # semitones
    reference = np.full(len(track.pitch), tuning)
    spans: list[tuple[int, int]] = []
    for _ in range(2):  # the second time with the drift that the first has found
        spans = _segments(track.pitch - reference)
        cut = [part for span in spans for part in _repeated(track.level_db, *span)]
        spans = [(first, last) for first, last in cut if not np.isnan(track.pitch[first:last]).all()]
        if not spans:
            raise DataError(where, "has no note that is held", "a melody", REMEDY)
        steady_notes = (np.where(np.isnan(steady[a:b]).all(), track.pitch[a:b], steady[a:b]) for a, b in spans)
        middles = np.array([float(np.nanmedian(note)) for note in steady_notes])  # without vibrato in long notes
        reference = _drifting(middles, spans, len(track.pitch))
    frames = np.array([last - first for first, last in spans])
    held = frames[frames > _HELD_S / HOP_S].sum() / frames.sum()
    steadiness = (~np.isnan(steady)).sum() / (~np.isnan(track.pitch)).sum()
    if held < _HELD and steadiness < _STEADY:
        raise DataError(where, "few of its notes are held: speech, or too fast", "notes that are held", REMEDY)
    notes = []
    for (first, last), middle in zip(spans, middles, strict=True):
        pitch = round(middle - reference[(first + last) // 2])
        notes.append(TranscribedNote(first * HOP_S, last * HOP_S, pitch, 100 * (middle - pitch)))
    return notes, 100 * float(reference.mean())


def _without_vibrato(pitch: Floats) -> Floats:
    """The mean over a cycle of vibrato around each frame; NaN where a frame has no pitch or the pitch changes."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(pitch, _VIBRATO // 2, constant_values=np.nan), _VIBRATO)
    around = around[: len(pitch)]
    level = np.ptp(around, axis=1) < _WIDEST_VIBRATO  # false for NaN
    return np.where(level, around.mean(axis=1), np.nan)


def _segments(pitch: Floats) -> list[tuple[int, int]]:
    """The frames [first, last) of each note. pitch: (T,) in semitones from the reference, NaN where there is none."""
    voiced = ~np.isnan(pitch)
    states = np.arange(np.floor(np.nanmin(pitch)), np.ceil(np.nanmax(pitch)) + 1)
    distance = np.minimum(np.abs(np.nan_to_num(pitch)[:, None] - states), _FARTHEST)
    note = np.where(voiced[:, None], -((distance / _SPREAD) ** 2) / 2, -_UNVOICED)
    emission = np.column_stack([note, np.where(voiced, -_VOICED_SILENCE, 0.0)])  # the last state is silence
    count = emission.shape[1]
    came_from = np.zeros((len(pitch), count), np.int64)
    score = emission[0] - np.append(np.full(count - 1, _NOTE_BEGIN), 0.0)
    for frame in range(1, len(pitch)):
        best = int(score[:-1].argmax())
        changed = max((score[best] - _NOTE_CHANGE, best), (score[-1] - _NOTE_BEGIN, count - 1))
        stays = score.copy()
        before = np.arange(count)
        better = changed[0] > stays[:-1]
        before[:-1][better], stays[:-1][better] = changed[1], changed[0]
        if score[best] - _NOTE_END > stays[-1]:
            before[-1], stays[-1] = best, score[best] - _NOTE_END
        came_from[frame] = before
        score = stays + emission[frame]
    path = [int(score.argmax())]
    for frame in range(len(pitch) - 1, 0, -1):
        path.append(int(came_from[frame, path[-1]]))
    states_of = np.array(path[::-1])
    ends = [*(np.flatnonzero(np.diff(states_of)) + 1).tolist(), len(states_of)]
    spans = [(first, last) for first, last in zip([0, *ends], ends, strict=False) if states_of[first] != count - 1]
    return [(first, last) for first, last in spans if last - first >= _SHORTEST_S / HOP_S]


def _repeated(level: Floats, first: int, last: int) -> list[tuple[int, int]]:
    """A note, cut where it is struck or sung again: where the level has fallen and rises."""
    least = round(_SHORTEST_S / HOP_S)
    cuts = [first]
    for frame in range(first + least, last - least):
        before = level[max(cuts[-1], frame - _FALL) : frame]
        lowest = level[frame] <= level[max(first, frame - 4) : frame + 5].min()
        rises = level[frame : frame + _RISE].max() - level[frame] >= _RISE_DB
        falls = before.max(initial=-np.inf) - level[frame] >= _FALL_DB
        if lowest and rises and falls and frame - cuts[-1] >= least:
            cuts.append(frame)
    return list(zip(cuts, [*cuts[1:], last], strict=True))


def _drifting(middles: Floats, spans: Sequence[tuple[int, int]], frames: int) -> Floats:
    """(T,): the reference in semitones: the line from which the notes are the nearest to whole semitones, corrected by
    the notes around. middles: pitches of the notes"""
    lengths = np.array([end - first for first, end in spans], np.float64)
    centers = np.array([(first + end) / 2 for first, end in spans])
    places = (centers - centers[0]) / max(1.0, centers[-1] - centers[0])
    begins, drifts = np.meshgrid(np.arange(-0.5, 0.5, 0.05), np.arange(-1, 1.01, 0.05), indexing="ij")
    apart = middles - begins[..., None] - drifts[..., None] * places
    score = (np.cos(2 * np.pi * apart) * lengths).sum(axis=-1) / lengths.sum() - _DRIFT_COST * np.abs(drifts)
    begin, drift = (float(values.flat[int(score.argmax())]) for values in (begins, drifts))
    line = begin + drift * places
    offsets = middles - line - np.round(middles - line)
    around = [slice(max(0, n - _NEIGHBORS), n + _NEIGHBORS + 1) for n in range(len(offsets))]
    smooth = [float(np.average(offsets[near], weights=lengths[near])) for near in around]
    return np.asarray(np.interp(np.arange(frames), centers, line + smooth))


# Tempo, and notes on a grid

_VALUES = {0.25: 0.03, 0.5: 0.25, 0.75: 0.01, 1.0: 0.5, 1.5: 0.07, 2.0: 0.1, 3.0: 0.02, 4.0: 0.02}  # quarters: P
_RUBATO = 0.1  # standard deviation of the logarithm of a note's length
_USUAL_TEMPO, _TEMPO_SPREAD = 95.0, 0.35  # of the logarithm
_SLOWEST, _FASTEST = 40.0, 220.0
_FOLLOWS = 0.25  # how far the tempo follows a note
_OFF_BEAT = {1: 2.0, 3: 2.0, 2: 0.5}  # cost of sixteenths into the quarter at which a note ends


def estimate_tempo(onsets: Sequence[float]) -> float:
    """Quarter notes per minute, from at least one onset in seconds."""
    apart = np.diff(onsets)
    apart = apart[(apart > 0.05) & (apart < 6)]
    tempi = np.geomspace(_SLOWEST, _FASTEST, 400)
    quarters = apart[None] * tempi[:, None] / 60
    likelihood = sum(
        probability * np.exp(-((np.log(quarters / value) / _RUBATO) ** 2) / 2) for value, probability in _VALUES.items()
    )
    score = np.log(likelihood + 1e-4).sum(axis=1) - (np.log(tempi / _USUAL_TEMPO) / _TEMPO_SPREAD) ** 2 / 2
    return float(tempi[int(score.argmax())])


def quantized(notes: Sequence[TranscribedNote], tempo: float, name: str) -> Piece:
    """The notes on a grid that follows their tempo. tempo: quarter notes per minute, 0: estimated"""
    onsets = [note.start_s for note in notes]
    step_s = 60 / (tempo or estimate_tempo(onsets)) / STEPS_PER_QUARTER
    starts = [0]
    at = onsets[0]  # where the grid expects the last onset
    steps_s = [step_s]
    for onset in onsets[1:]:
        exact = max(0.5, (onset - at) / step_s)
        near = range(max(1, int(exact) - 1), int(exact) + 3)
        steps = min(near, key=lambda n: ((n - exact) / (0.25 + 0.1 * exact)) ** 2 + _off_beat(starts[-1] + n))
        if steps > 1:
            step_s *= float(np.clip(exact / steps, 0.8, 1.25)) ** _FOLLOWS
        expected = at + steps * step_s
        at = expected + 0.6 * (onset - expected)
        starts.append(starts[-1] + steps)
        steps_s.append(step_s)
    lengths = []
    for number, note in enumerate(notes):
        held = max(1, round((note.end_s - note.start_s) / steps_s[number]))
        if number + 1 == len(notes):
            lengths.append(min((1, 2, 4, 6, 8, 12, 16), key=lambda value: abs(np.log(value / held))))
            continue
        room = starts[number + 1] - starts[number]
        rest = room - (note.end_s - note.start_s) / steps_s[number]
        lengths.append(room if rest < max(1.5, 0.3 * room) else min(room, held))
    found = [Note(start, note.pitch, length) for start, note, length in zip(starts, notes, lengths, strict=True)]
    final = tempo or round(60 / STEPS_PER_QUARTER / float(np.median(steps_s)))
    return Piece.of(found, STEPS_PER_QUARTER, float(final), name)


def _off_beat(position: int) -> float:
    return _OFF_BEAT.get(position % STEPS_PER_QUARTER, 0.0)


LONGEST_PHRASE_S = 30.0
_FRAME_S = 0.01
_QUIETEST_DB = -50.0  # below full scale: what is quieter is silence in any room
_ABOVE_NOISE_DB = 8.0
_BELOW_PEAK_DB = 12.0  # a level that stays within this range of the loudest is a held note, not noise
_NOISE_S, _SMOOTH = 10.0, 30  # the noise is the quietest mean of so many frames in so many seconds
_BEGIN = 3  # loud frames that begin a phrase; a click has fewer
_BEFORE_S, _AFTER_S = 0.1, 0.2  # kept around a phrase
_SHORTEST_PHRASE_S = 0.3


class PhraseDetector:
    """Cuts live audio into phrases. Memory is bounded by ``longest_s``.

    A phrase ends with ``silence_s`` of silence, or after ``longest_s``. Silence is at most 8 dB above the noise, which
    is measured all the time, and 12 dB below the loudest frame of the phrase. A hum that goes on for ``longest_s`` is
    noise. How the samples are chunked does not matter. sample_rate: Hz
    """

    def __init__(self, sample_rate: int, silence_s: float = 0.8, longest_s: float = LONGEST_PHRASE_S) -> None:
        self._hop = max(1, round(_FRAME_S * sample_rate))
        self._silence, self._longest = round(silence_s / _FRAME_S), round(longest_s / _FRAME_S)
        self._rest: Samples = np.zeros(0, np.float32)  # less than a frame
        self._levels: deque[float] = deque(maxlen=round(_NOISE_S / _FRAME_S))  # of the noise, in dB
        self._recent: deque[float] = deque(maxlen=_SMOOTH)  # mean squares of frames
        self._knows_noise = False  # until a pause was heard, or so much that there must have been one
        self.reset()

    def reset(self) -> None:
        """Forget the phrase that has begun, such as when an answer was heard."""
        self._frames: list[Samples] = []
        self._loud = self._quiet = 0  # frames since the phrase began, and since the last loud one
        self._peak_db = -np.inf

    def accept(self, samples: Samples) -> list[Samples]:
        """The phrases (S,) that end in these samples (S,)."""
        found = []
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // self._hop * self._hop
        self._rest = samples[whole:]
        for frame in samples[:whole].reshape(-1, self._hop):
            phrase = self._step(frame)
            if phrase is not None:
                found.append(phrase)
        return found

    def finish(self) -> list[Samples]:
        """The phrase that has begun, if any; the audio has ended."""
        phrase = self._ended()
        return [] if phrase is None else [phrase]

    def _step(self, frame: Samples) -> Samples | None:
        self._recent.append(float(np.mean(np.square(frame, dtype=np.float64))))
        level_db = 10 * np.log10(self._recent[-1] + 1e-12)
        if len(self._recent) == _SMOOTH:
            self._levels.append(10 * np.log10(np.mean(self._recent) + 1e-12))
        self._knows_noise |= len(self._levels) == self._levels.maxlen
        noise_db = min(self._levels, default=-np.inf)
        begun = self._loud >= _BEGIN
        if begun:
            self._peak_db = max(self._peak_db, level_db)
            threshold = min(noise_db + _ABOVE_NOISE_DB, self._peak_db - _BELOW_PEAK_DB)
        else:
            threshold = noise_db + _ABOVE_NOISE_DB if self._knows_noise else -np.inf
        loud = level_db > max(_QUIETEST_DB, threshold)
        self._frames.append(frame)
        self._quiet = 0 if loud else self._quiet + 1
        if not begun:
            self._loud = self._loud + 1 if loud else 0
            del self._frames[: -round(_BEFORE_S / _FRAME_S) - self._loud]
        elif self._quiet >= self._silence:
            self._knows_noise = True
            return self._ended()
        elif len(self._frames) >= self._longest:
            if self._peak_db - noise_db < _BELOW_PEAK_DB:
                self.reset()
            return self._ended()
        return None

    def _ended(self) -> Samples | None:
        """The phrase without the silence at its end; None if it is too short."""
        end = len(self._frames) - max(0, self._quiet - round(_AFTER_S / _FRAME_S))
        frames = self._frames[:end] if self._loud >= _BEGIN else []
        self.reset()
        return np.concatenate(frames) if len(frames) * _FRAME_S >= _SHORTEST_PHRASE_S else None
