"""``recitative generate``: text, music, sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.generate_music import MusicCommand, music, parse_sampling
from recitative.cli.options import open_recurrent, read_prompts, warn_of_unknown
from recitative.cli.sound import sound


def text(
    prompts: Annotated[list[str], typer.Argument(help="Beginnings of sentences. '-': one per line on stdin.")],
    model: Annotated[Path, typer.Option(help="Language model: model folder or exported file.")],
    count: Annotated[int, typer.Option(min=1, help="Number of lines per prompt.")] = 1,
    words: Annotated[int, typer.Option(min=1, help="Maximum number of new words.")] = 20,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Nucleus (top-p) sampling threshold.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Random seed. Equal seeds give identical lines.")] = 1,
) -> None:
    """Continue prompts with a recurrent language model, one line each. '' starts a sentence.

    \b
    recitative generate text 'the cat' --model exp/rnnlm/model --count 3
    """
    from recitative.lm.recurrent import continue_text

    sampling = parse_sampling(temperature, top_p, "the likeliest word")
    scorer = open_recurrent(model, "generate text")
    for prompt in read_prompts(prompts):
        warn_of_unknown(scorer, prompt)
        print("\n".join(continue_text(scorer, prompt, sampling, words=words, count=count, seed=seed)))


# ``recitative generate``: music, text, sound.

app = typer.Typer(name="generate", no_args_is_help=True, help="Generate music, text or sound.")
app.command(cls=MusicCommand)(music)
for verb in (text, sound):
    app.command()(verb)
