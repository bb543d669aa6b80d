"""Make the figures of README.md and of every RESULTS.md again, and print each beside the recorded one.

    tools/reproduce --list
    tools/reproduce                                  all that take minutes
    tools/reproduce an4 chorales --corpus CORPORA    with the corpora in CORPORA/an4 and CORPORA/jsb
    tools/reproduce recipes/esc10 -- --corpus ESC10  all of a RESULTS.md, trainings too; what follows -- is for run.sh

A recipe runs in a clone of the last commit, in --work, with the commands of its RESULTS.md from the first stage on;
what was trained there stays for the recipes that use it.

Exit status: 0; 1 if a document lacks a figure, or quotes another one than RESULTS.md has, or if a command fails; 2 bad
usage. A figure that is made again may differ, since other processors round differently.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from recitative.score.results import COLUMNS

ROOT = Path(__file__).resolve().parent.parent
QUOTES = ROOT / "tools" / "quotes.txt"
WORK = ROOT / "build" / "reproduce"
KEY = ("model", "set", "decoding", "metric")
Key = tuple[str, ...]


@dataclass(frozen=True)
class Experiment:
    """What measures included models again.

    recipe: has the rows in its RESULTS.md. corpus: the folder in --corpus that it needs. commands: for bash, in the
    root of the repository; they write rows to $work/RESULTS.md.
    """

    recipe: str
    corpus: str
    commands: str


RECORD = "--results $work/results.jsonl --results-md $work/RESULTS.md"
DECODE_AND_SCORE = f"""
recitative decode $included $data --output $work/$included
recitative score $data $work/$included/text --words $work/$included/words.jsonl --output $work/$included/score \\
  --model $model --set test --decoding "$decoding" {RECORD}
"""
EXPERIMENTS = {
    "an4": Experiment(
        "an4",
        "an4",
        f"""
        python recipes/an4/local/prepare.py --corpus $corpus --dev-speakers recipes/an4/local/dev_speakers.txt \\
          --output $work/data
        data=$work/data/test decoding="lexicon, 4-gram, model.onnx"
        model=blstm included=an4-bidirectional {DECODE_AND_SCORE}
        model=lstm included=an4-streaming {DECODE_AND_SCORE}""",
    ),
    "chorales": Experiment(
        "chorales",
        "jsb",
        f"""
        python recipes/chorales/local/prepare.py --corpus $corpus --output $work/data
        recitative score chorales $work/data/test --model chorales --set test \\
          --decoding "teacher forcing, model_int8.onnx" {RECORD}""",
    ),
    "en": Experiment(
        "english",
        "test_clean",  # a data directory
        f'data=$corpus decoding="lexicon, 3-gram, model.onnx" model=lstm included=en {DECODE_AND_SCORE}',
    ),
    "keywords": Experiment(
        "keywords",
        "an4",
        "recipes/keywords/run.sh --corpus $corpus --data $work/data --exp $work/exp --results $work/RESULTS.md",
    ),
}


class Figure(NamedTuple):
    what: str
    old: str
    new: str


class ReproductionError(Exception):
    """One line for the user."""


def main(arguments: Sequence[str]) -> int:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    own, for_recipes = arguments[:end], arguments[end + 1 :]
    parser = argparse.ArgumentParser(
        prog="tools/reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to make again; default: all but recipes")
    parser.add_argument("--list", action="store_true", help="list the names, and what each is")
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="folder of corpora: an4/, jsb/, test_clean/")
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help="folder to work in (build/reproduce)")
    given = parser.parse_args(own)
    tables = sorted(path for path in ROOT.glob("recipes/*/RESULTS.md") if "\n|" in path.read_text())
    recipes = [f"recipes/{path.parent.name}" for path in tables]
    names = ["quotes", "readme", *EXPERIMENTS]
    if unknown := [name for name in given.names if name not in [*names, *recipes]]:
        parser.error(f"{unknown[0]}: no such name; {' '.join([*names, *recipes])}")
    if given.list:
        print("\n".join(f"{name:<24} {about(name)}" for name in [*names, *recipes]))
        return 0
    failures, work = 0, given.work.resolve()
    for name in given.names or names:
        if not given.names and name in EXPERIMENTS and not given.corpus:
            print(f"left out: {name}, which {about(name).partition('; ')[2]}", file=sys.stderr)
            continue
        try:
            show(figures_of(name, given.corpus, work, for_recipes))
        except ReproductionError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            failures += 1
    return int(failures > 0)


def about(name: str) -> str:
    if name == "quotes":
        return "what README.md, docs/ and the included models quote, beside RESULTS.md; runs nothing"
    if name == "readme":
        return "the commands of README.md that are shown with their output"
    if experiment := EXPERIMENTS.get(name):
        return f"included models, rows of recipes/{experiment.recipe}; needs {experiment.corpus}/ in --corpus"
    rows = rows_of(ROOT / name / "RESULTS.md")
    minutes = sum(float(value) for key, (value, _) in rows.items() if key[-1] == "minutes")
    return f"{len(rows)} rows" + (f"; {minutes:.0f} minutes of training were recorded" if minutes else "")


def figures_of(name: str, corpus: Path | None, work: Path, for_recipes: Sequence[str]) -> Iterator[Figure]:
    """Raises ReproductionError if a command fails or a document has not the figure."""
    if name == "quotes":
        yield from quotes(ROOT)
    elif name == "readme":
        yield from readme(work / name)
    elif experiment := EXPERIMENTS.get(name):
        if not corpus or not (folder := corpus.resolve() / experiment.corpus).exists():
            raise ReproductionError(f"needs --corpus DIR with DIR/{experiment.corpus}")
        made = work / name / "RESULTS.md"
        for old in (made, made.with_name("results.jsonl")):
            old.unlink(missing_ok=True)
        made.parent.mkdir(parents=True, exist_ok=True)
        run(experiment.commands, ROOT, corpus=str(folder), work=str(work / name))
        yield from side_by_side(rows_of(ROOT / "recipes" / experiment.recipe / "RESULTS.md"), rows_of(made))
    else:
        tree = work / "tree"
        if not tree.exists():
            run(f"git clone --quiet {shlex.quote(str(ROOT))} {shlex.quote(str(tree))}", ROOT)
        recorded = rows_of(ROOT / name / "RESULTS.md")
        for table in ("RESULTS.md", "exp/results.jsonl"):
            (tree / name / table).unlink(missing_ok=True)
        for command in dict.fromkeys(whole(command) for _, command in recorded.values()):
            if command.startswith("recipes/"):
                run(f"{command} {shlex.join(for_recipes)}", tree)
        yield from side_by_side(recorded, rows_of(tree / name / "RESULTS.md"))


def quotes(root: Path, table: str = "") -> Iterator[Figure]:
    """Figures of documents, and those of RESULTS.md at the same precision. Raises ReproductionError if they differ."""
    document = text = ""
    for line in (table or QUOTES.read_text()).splitlines():
        around, arrow, row = line.partition("  <-  ")
        if not arrow:
            if line and not line.startswith("#"):
                document, text = line, (root / line).read_text()
            continue
        recipe, *key = row.split(" | ")
        pattern = (
            re.escape(around).replace(r"\ \.\.\.\ ", ".*?").replace(r"\ ", r"\s+").replace("@", r"(\d+(?:\.\d+)?)")
        )
        found = re.findall(pattern, text)
        if len(found) != 1:
            raise ReproductionError(f"{document} has '{around}' {len(found)} times; mend the document or {QUOTES.name}")
        value = rows_of(root / "recipes" / recipe / "RESULTS.md").get(tuple(key), ("no row", ""))[0]
        if value != "no row":
            value = f"{float(value):.{len(found[0].partition('.')[2])}f}"
        yield Figure(f"{document}: {around}", found[0], value)
        if value != found[0]:
            raise ReproductionError(f"{document} has {found[0]} in '{around}', recipes/{recipe}/RESULTS.md has {value}")


def readme(work: Path) -> Iterator[Figure]:
    """The lines that commands of recitative print, beside those that README.md shows."""
    work.mkdir(parents=True, exist_ok=True)
    for name in ("docs", "recipes"):  # the commands write into the folder where they run
        if not (work / name).exists():
            (work / name).symlink_to(ROOT / name)
    shown = re.findall(r"^\$ (recitative .*)\n((?:(?!\$|```).*\n)+)", (ROOT / "README.md").read_text(), re.M)
    if not shown:
        raise ReproductionError("README.md shows no command with its output")
    for command, output in shown:
        made = run(f"{command} 2>&1", work).splitlines()
        for old in output.splitlines():
            yield Figure(command, old, next(iter(difflib.get_close_matches(old, made, n=1)), "-"))


def rows_of(results: Path) -> dict[Key, tuple[str, str]]:
    """The table of a RESULTS.md: key -> value and command as written. Raises ReproductionError if there is none."""
    lines = results.read_text().splitlines() if results.exists() else []
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("|")]
    if len(cells) < 3:
        raise ReproductionError(f"{results} has no rows")
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in cells[2:]]
    return {tuple(row[name] for name in KEY): (row["value"], row["command"].strip("`")) for row in rows}


def side_by_side(recorded: dict[Key, tuple[str, str]], made: dict[Key, tuple[str, str]]) -> Iterator[Figure]:
    """Raises ReproductionError if no row is in both."""
    if not made.keys() & recorded.keys():
        raise ReproductionError(f"RESULTS.md has none of the rows, such as {' | '.join(next(iter(made)))}")
    for key, (value, _) in made.items():
        yield Figure(" | ".join(key), recorded.get(key, ("-", ""))[0], value)


def whole(command: str) -> str:
    """A recipe's command from the first stage to the last."""
    return re.sub(r" --(stop-)?stage \d+", "", command)


def run(command: str, folder: Path, **variables: str) -> str:
    """The output of a bash command, which is run with this library. Raises ReproductionError if it fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euc", command],
        cwd=folder,
        env=os.environ | variables | {"PATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ReproductionError(f"exit status {done.returncode}: {' '.join(command.split())}")
    return done.stdout


def show(figures: Iterable[Figure]) -> None:
    for what, old, new in figures:
        difference = "same"
        if new != old:
            try:
                difference = f"{float(new) - float(old):+.4g}"
            except ValueError:
                difference = "other"
        print(f"{what:<75} | {old} | {new} | {difference}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
