"""``recitative decode``: transcribe a data directory into a text table that can be scored."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recitative.cli import decoding
from recitative.cli.engine import AddressOption, EngineOption, new_engine
from recitative.cli.models import MODEL_HELP, find_model, open_transcriber
from recitative.cli.progress import progress_bar

if TYPE_CHECKING:
    from recitative.asr.transcriber import Transcriber


def decode(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    data_dir: Annotated[Path, typer.Argument(help="Data directory to decode.")],
    output: Annotated[Path, typer.Option(help="Output folder.")],
    chunk_ms: Annotated[
        float | None, typer.Option(min=1, help="Process audio in chunks of this length, as in live use.")
    ] = None,
    lm: decoding.LmOption = "",
    hotwords: decoding.HotWordsOption = "",
    grammar: decoding.GrammarOption = None,
    lexicon: decoding.LexiconOption = None,
    nbest: decoding.NbestOption = 1,
    beam: decoding.BeamOption = 0,
    greedy: decoding.GreedyOption = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=0, help="Number of processes. 0: one per core. Default: 1; on a cluster 0."),
    ] = None,
    engine: EngineOption = "local",
    address: AddressOption = "",
) -> None:
    """Decode a data directory, to score the text.

    --output gets text, words.jsonl (times and confidences), tokens.jsonl and, with --nbest, nbest.jsonl.

    \b
    recitative decode exp/lstm/model data/test --output exp/lstm/decode_test
    """
    from recitative.asr.decoding import decode_directory

    options = decoding.DecodingOptions(lm, hotwords, grammar, lexicon, nbest, beam, greedy)
    workers = new_engine((0 if engine == "ray" else 1) if jobs is None else jobs, engine, address)
    path = find_model(model)
    transcriber = _open(path, options)
    with progress_bar("decode") as show:
        summary = decode_directory(
            transcriber,
            data_dir,
            output,
            chunk_ms=chunk_ms,
            engine=workers,
            open_again=partial(_open, path, options, warns=False),
            advance=show,
        )
    speed = summary.audio_s / max(summary.seconds, 1e-9)
    print(
        f"{output}: {summary.utterances} utterances, {summary.audio_s:.0f} s of audio in {summary.seconds:.1f} s, "
        f"{speed:.0f} x real time"
    )


def _open(model: Path, options: decoding.DecodingOptions, warns: bool = True) -> Transcriber:
    """On one thread, in every process: threads and their number change the order of sums, and so last digits."""
    if model.is_dir():
        import torch

        torch.set_num_threads(1)
    return open_transcriber(model, options, warns=warns)
