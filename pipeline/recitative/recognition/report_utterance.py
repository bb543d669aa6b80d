"""One utterance of the report: aligned words, a spectrogram with the token times over it, and its sound."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from recitative.audio.files import read_audio
from recitative.data.directory import Utterance
from recitative.errors import DataError
from recitative.page.sound import Recording, encode_mp3, player
from recitative.page.spectrogram import PICTURE_HEIGHT, spectrogram, width_of
from recitative.recognition.report_inputs import DecodedSet, Token
from recitative.score.wer import Alignment

LABELS_HEIGHT = 34  # two rows of tokens above the picture


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
    return picture(recording, tokens, alignment) + player(recording, "audio/mpeg", encode_mp3)


def picture(recording: Recording, tokens: Sequence[Token], alignment: Alignment) -> str:
    """The mel spectrogram with frequencies, times, and every token where the model said it."""
    width = width_of(recording)
    return spectrogram(recording, _token_labels(tokens, alignment, recording.duration_s, width), LABELS_HEIGHT)


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


def worst_utterances(decoded: DecodedSet, count: int) -> list[str]:
    """utt_ids with errors: most errors first, then the higher rate, then by id."""
    counted: list[tuple[Any, str]] = [
        ((-counts.errors, -counts.rate, utt_id), utt_id)
        for utt_id, counts in decoded.words.by_utterance.items()
        if counts.errors
    ]
    return [utt_id for _, utt_id in sorted(counted)[:count]]
