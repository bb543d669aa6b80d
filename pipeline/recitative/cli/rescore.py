"""``recitative rescore``: choose anew among the n best of a beam search, with attention or a recurrent model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.atomic import write_text
from recitative.cli.models import open_lm
from recitative.cli.progress import progress_bar
from recitative.errors import UsageError


def rescore(
    data_dir: Annotated[Path, typer.Argument(help="Data directory that was decoded.")],
    nbest: Annotated[Path, typer.Argument(help="nbest.jsonl from 'recitative decode --nbest 20'.")],
    output: Annotated[Path, typer.Option(help="Output folder.")],
    dev: Annotated[Path, typer.Option(help="Data directory of the dev set, which selects the weights.")],
    dev_nbest: Annotated[Path, typer.Option(help="nbest.jsonl of the dev set.")],
    model: Annotated[Path | None, typer.Option(help="Model folder with an attention decoder.")] = None,
    lm: Annotated[Path | None, typer.Option(help="Recurrent language model.")] = None,
) -> None:
    """Rescore n-best lists with an attention decoder or a recurrent language model.

    \b
    recitative rescore data/test exp/lstm/decode_test/nbest.jsonl --lm exp/rnnlm/model \\
      --dev data/dev --dev-nbest exp/lstm/decode_dev/nbest.jsonl --output exp/lstm/rescored
    """
    from recitative.asr import rescoring as lists
    from recitative.asr.recognizer_kind import RECOGNIZER
    from recitative.model.folder import load_model

    if not (model or lm):
        raise UsageError("nothing to rescore with: give --model (attention), --lm, or both")
    recognizer = load_model(model, RECOGNIZER) if model else None
    scorer = open_lm(lm) if lm else None
    if scorer is not None and not isinstance(scorer, lists.TextScorer):
        raise UsageError(f"--lm {lm}: is an n-gram model; it takes part in decoding itself, with 'decode --lm'")
    scored = []
    for name, folder, path in (("dev", dev, dev_nbest), (data_dir.name, data_dir, nbest)):
        with progress_bar(f"rescore {name}") as show:
            scored.append(lists.add_scores(lists.read_nbest(path), folder, recognizer, scorer, show))
    on_dev, wanted = scored
    refs = lists.refs_of(dev)
    weights, trials = lists.tune_weights(on_dev, refs, attention=model is not None, lm=lm is not None)
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "text", lists.to_text(lists.best_texts(wanted, weights)))
    before, oracle = trials[lists.Weights()], lists.oracle_errors(on_dev, refs)
    print(f"dev WER: {100 * before.rate:.2f} % before, {100 * trials[weights].rate:.2f} % after, ", end="")
    print(f"{100 * oracle.rate:.2f} % with the best choice from every list")
    print(f"{output}/text: weight of attention {weights.attention:g}, of the language model {weights.language:g}")
