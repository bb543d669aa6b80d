"""``recitative tune``: language model weight, word bonus and calibration of a model, on a dev set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recitative.cli.decoding import warn_of_unknown
from recitative.cli.progress import progress_bar
from recitative.lock import one_writer_of_model, writes

if TYPE_CHECKING:
    from recitative.asr.tuning import Tuned


@writes("model", one_writer_of_model)
def tune(
    model: Annotated[Path, typer.Argument(help="Model folder such as exp/lstm/model.")],
    dev: Annotated[Path, typer.Argument(help="Data directory of the dev set, never the test set.")],
    lm: Annotated[
        Path | None,
        typer.Option(help="n-gram model, ARPA or packed, to store in the model. Default: the one it has."),
    ] = None,
    lexicon: Annotated[
        Path | None, typer.Option(help="Lexicon to store in the model; only its words are recognized.")
    ] = None,
) -> None:
    """Select language model weight and word bonus on a dev set, and calibrate the confidences.

    All is stored in the model and exported with it.

    \b
    recitative tune exp/lstm/model data/dev --lm data/lm.arpa
    """
    import dataclasses

    from recitative.asr.network import new_transcriber
    from recitative.asr.recognizer_kind import RECOGNIZER
    from recitative.asr.tuning import hear
    from recitative.asr.tuning import tune as tune_decoding
    from recitative.model.folder import load_model, save_model
    from recitative.text.lexicon import Lexicon

    recognizer = load_model(model, RECOGNIZER)
    language = recognizer.language
    if lexicon:
        language = dataclasses.replace(language, lexicon=Lexicon.read(lexicon, recognizer.tokens))
    if lm:
        language = language.with_lm(lm)
        assert language.lm, "it has just been read"
        warn_of_unknown(language.lm, language.lexicon, str(lm))
    transcriber = new_transcriber(recognizer)
    with progress_bar("listen to dev") as show:
        heard = hear(transcriber, dev, show)
    with progress_bar("try weights") as show:
        tuned = tune_decoding(transcriber, language, heard, show)
    settings = recognizer.settings.model_copy(update={"decode": tuned.settings})
    save_model(dataclasses.replace(recognizer, settings=settings, language=tuned.language), model)
    _print(tuned, model)


def _print(tuned: Tuned, model: Path) -> None:
    """The table of error rates: a row for each weight, a column for each word bonus."""
    weights = sorted({weight for weight, _ in tuned.trials})
    bonuses = sorted({bonus for _, bonus in tuned.trials})
    print("dev WER %   word bonus " + "".join(f"{bonus:>8g}" for bonus in bonuses))
    for weight in weights:
        cells = ""
        for bonus in bonuses:
            mark = "*" if (weight, bonus) == (tuned.settings.lm_weight, tuned.settings.word_bonus) else " "
            cells += f"{100 * tuned.trials[weight, bonus].rate:7.2f}{mark}"
        print(f"lm weight {weight:>5g}         {cells}")
    print(f"without language model {100 * tuned.without_lm.rate:.2f} %, chosen (*) {100 * tuned.chosen.rate:.2f} %")
    print(f"expected calibration error of confidences: {tuned.ece_before:.3f} before, {tuned.ece_after:.3f} after")
    print(f"{model}: lm_weight {tuned.settings.lm_weight:g}, word_bonus {tuned.settings.word_bonus:g} stored")
