"""``recitative average``: make the model to decode with from a run's best epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def average(exp: Annotated[Path, typer.Argument(help="Experiment folder of 'recitative train'.")]) -> None:
    """Average the weights of the best epochs.

    Averages of the best 1, 2, ... epochs are tried on the dev set; the one with the lowest WER becomes EXP/model.

    \b
    recitative average exp/lstm
    """
    from recitative.asr.averaging import average_best

    result = average_best(exp)
    for n, (wer, cer) in result.tried.items():
        mark = "  <- chosen" if n == result.chosen else ""
        print(f"best {n:2d} epochs: dev WER {100 * wer:.2f} %, CER {100 * cer:.2f} %{mark}")
    print(f"{exp / 'model'}: written")
