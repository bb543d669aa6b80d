"""``recitative info``: what a model file is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recitative.cli.models import find_model

if TYPE_CHECKING:
    from recitative.asr.metadata import ModelCard

Rows = dict[str, str]


def info(
    model: Annotated[str, typer.Argument(help="A file made by an 'export', or a pretrained model's name.")],
    settings: Annotated[bool, typer.Option("--settings", help="Print all settings of its training too.")] = False,
) -> None:
    """Print what a model file is: size, parameters, what goes in and comes out, and its notes.

    Of a recogniser, a classifier, a forecaster, a language model, or a model of music or sound.
    """
    from recitative.asr.metadata import ModelCard
    from recitative.config import dump_settings
    from recitative.runtime.cards import read_card

    path = find_model(model)
    card = read_card(path)
    core = card.settings.model.recurrent
    weights = f"{getattr(card, 'weights', '')}, ".removeprefix(", ")
    rows = {
        "file": f"{path}, {path.stat().st_size / 1e6:.1f} MB, {weights}{card.parameters / 1e6:.2f} M parameters",
        "core": f"{core.cell}, {core.direction}, {core.layers} x {core.hidden}",
    }
    about = _recogniser(card, path) if isinstance(card, ModelCard) else card.kind.describe(card)
    for name, value in (rows | about).items():
        print(f"{name:<8} {value}")
    if card.notes:
        print(f"\n{card.notes.rstrip()}")
    if settings:
        print(f"\n{dump_settings(card.settings)}", end="")


def _recogniser(card: ModelCard, path: Path) -> Rows:
    from recitative.asr.onnx import load_transcriber

    transcriber = load_transcriber(path)
    latency = transcriber.latency_ms
    kind = f"{card.settings.features.num_mel_bins} {card.settings.features.kind}"
    return {
        "input": f"{transcriber.sample_rate} Hz, {kind} channels",
        "output": f"{len(card.tokens) - 1} {card.tokens.unit}s, one frame every {1000 * transcriber.frame_s:g} ms",
        "latency": "the whole recording" if latency is None else f"{latency:g} ms (algorithmic)",
        "streams": "no" if latency is None else "yes",
        "tokens": " ".join(repr(symbol)[1:-1] if symbol != " " else "<space>" for symbol in card.tokens.symbols[1:]),
        "decoding": _decoding(card),
    }


def _decoding(card: ModelCard) -> str:
    """What it knows of language, and how much that weighs."""
    language, settings = card.language, card.settings.decode
    parts = []
    if language.lexicon:
        parts.append(f"lexicon of {len(language.lexicon)} words")
    if language.lm:
        parts.append(f"{language.lm.order}-gram, weight {settings.lm_weight:g}, word bonus {settings.word_bonus:g}")
    if language.calibrator:
        parts.append("calibrated confidences")
    return f"beam of {settings.beam}: {', '.join(parts)}" if parts else settings.kind
