"""What every recipe's run.sh has in common."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(ROOT.glob("recipes/*/run.sh"))
# The numbers mean the same in every recognition recipe; one may leave out what it has no use for.
STAGES = {0: "fetch", 1: "prepare", 2: "check", 3: "features", 4: "language model", 5: "train", 6: "average"}
STAGES |= {7: "decode", 8: "score", 9: "stream", 10: "export", 11: "report"}
# Those that write music have other work in the middle.
MUSIC = {"chorales", "folk"}
MUSIC_STAGES = {1: "prepare", 2: "check", 5: "train", 7: "sample", 8: "score", 10: "export", 11: "report", 12: "speed"}
# So have those that draw sound.
SOUND = {"vocoder", "digits_voice"}
# And those that give whole recordings one label.
CLASSIFIERS = {"spoken_digits", "esc10", "speech_commands"}
CLASSIFIER_STAGES = {0: "fetch", 1: "prepare", 2: "check", 5: "train", 7: "decode", 8: "score", 9: "folds"}
CLASSIFIER_STAGES |= {10: "export", 11: "report", 12: "speed"}
# And those that look for keywords, of which one trains nothing.
UNTRAINED = {"keywords"}
KEYWORDS = UNTRAINED | {"spoken_keywords"}
KEYWORD_STAGES = {1: "prepare", 2: "check", 5: "train", 6: "tune", 8: "score", 12: "speed"}
# And those that say what is unusual.
WATCHERS = {"watch"}
WATCH_STAGES = {1: "prepare", 2: "check", 5: "train", 8: "score", 10: "export"}
# And those whose material is text.
TEXT = {"punctuation"}
# And those that need no corpus.
EXPERIMENTS = {"memory"}
# What a folder must have to be taken for the corpus of a recipe that can't fetch it.
CORPORA = {"english": (), "commonvoice": ("clips", "train.tsv", "dev.tsv", "test.tsv")}
CORPORA |= {"chorales": ("Jsb16thSeparated.json", "jsb-chorales-quarter.json"), "folk": ()}
CORPORA |= {
    "keywords": ("etc",),
    "digits_voice": ("recordings",),
    "spoken_digits": ("recordings",),
    "spoken_keywords": ("recordings",),
    "watch": (),
    "punctuation": (),
    "esc10": (),
}


def _recipe(path: Path) -> str:
    return path.parent.name


def _run(script: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(script), *options], capture_output=True, text=True, check=False)


def _stages_of(recipe: str) -> tuple[dict[int, str], set[str]]:
    """What its numbers mean, and those that it must have."""
    if recipe in MUSIC | SOUND:
        return MUSIC_STAGES, {"1", "2", "5", "7", "8", "10"}
    if recipe in CLASSIFIERS:
        return CLASSIFIER_STAGES, {*"125"}
    if recipe in KEYWORDS:
        return KEYWORD_STAGES, {*"168"}
    if recipe in WATCHERS:
        return WATCH_STAGES, {"1", "2", "5", "8", "10"}
    if recipe in TEXT:
        return STAGES, {"1", "5", "8", "10"}
    if recipe in EXPERIMENTS:
        return STAGES, {"5", "8"}
    return STAGES, {*"12356789"}


@pytest.mark.parametrize("script", SCRIPTS, ids=_recipe)
def test_the_stages_have_the_numbers_they_have_everywhere(script: Path) -> None:
    done = _run(script, "--list")
    assert done.returncode == 0, done.stderr
    stages = [line.split(maxsplit=2)[1:] for line in done.stdout.splitlines() if line.startswith("stage")]
    assert [number for number, _ in stages] == sorted((number for number, _ in stages), key=int)
    everywhere, needed = _stages_of(_recipe(script))
    assert all(everywhere[int(number)] == title for number, title in stages)
    assert needed <= {number for number, _ in stages}


@pytest.mark.parametrize("script", SCRIPTS, ids=_recipe)
def test_a_dry_run_of_a_whole_recipe_lacks_nothing(script: Path, tmp_path: Path) -> None:
    for file in CORPORA.get(_recipe(script), ()):
        (tmp_path / file).touch()
    # Some recipes' corpora can't be downloaded. Folders of a run in this checkout must not matter: what a run makes, a
    # dry run has to know of.
    option = "--text" if _recipe(script) in TEXT else "--corpus"
    corpus = (option, str(tmp_path)) if _recipe(script) in CORPORA else ()
    folders = ("exp",) if _recipe(script) in EXPERIMENTS else ("data", "exp")
    places = [word for name in folders for word in (f"--{name}", str(tmp_path / name))]
    done = _run(script, "--dry-run", *places, *corpus)
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = ("music", "sound", "classifier", "forecaster")
    verbs = ("recitative", "on_workers", *(f"recitative {kind}" for kind in kinds))
    trains = any(f"{verb} train" in done.stdout for verb in verbs)
    assert trains or _recipe(script) in UNTRAINED | EXPERIMENTS


def test_a_recipe_without_a_download_says_where_its_corpus_belongs(tmp_path: Path) -> None:
    done = _run(ROOT / "recipes" / "english" / "run.sh", "--corpus", str(tmp_path / "here"), "--stage", "1")
    assert done.returncode == 1
    assert f"stage 1 needs {tmp_path}/here, which no stage makes; see" in done.stderr


@pytest.mark.parametrize(("size", "pieces"), [("mini", "256"), ("100", "512"), ("960", "1024")])
def test_librispeech_has_settings_for_each_size_and_machine(size: str, pieces: str) -> None:
    folder = ROOT / "recipes" / "librispeech"
    assert _run(folder / "run.sh", "--dry-run", "--size", size).returncode == 0
    assert f"| `{size}` |" in (folder / "README.md").read_text()
    assert f"| {pieces} |" in (folder / "README.md").read_text()
    for conf_set in ("cpu", "gpu", "gpu8"):
        assert {path.stem for path in (folder / "conf" / conf_set).iterdir()} == {"blstm", "lstm"}


@pytest.mark.parametrize("script", SCRIPTS, ids=_recipe)
def test_help_names_every_variable(script: Path) -> None:
    done = _run(script, "--help")
    assert done.returncode == 0
    needed = ["models", "exp", "results"]
    if _recipe(script) not in EXPERIMENTS:
        needed += ["data", *(["train-args"] if _recipe(script) not in UNTRAINED else [])]
    assert all(f"--{name} VALUE" in done.stdout for name in needed)


@pytest.mark.parametrize("script", [one for one in SCRIPTS if "asr_stages.sh" in one.read_text()], ids=_recipe)
def test_a_recipe_for_several_workers_lets_their_number_be_chosen(script: Path) -> None:
    done = _run(script, "--help")
    assert all(f"--{name} VALUE" in done.stdout for name in ("num-gpus", "num-nodes"))


@pytest.mark.parametrize("script", SCRIPTS, ids=_recipe)
def test_a_recipe_is_short_and_says_what_it_is(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert len(lines) <= 115
    assert (script.parent / "README.md").exists()


def test_a_relative_corpus_is_relative_to_the_folder_it_is_named_in(tmp_path: Path) -> None:
    (tmp_path / "copy" / "etc").mkdir(parents=True)
    script = ROOT / "recipes" / "an4" / "run.sh"
    done = subprocess.run(
        [str(script), "--dry-run", "--stop-stage", "1", "--corpus", "copy"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert f"needs {tmp_path}/copy/etc\n" in done.stdout
    assert "fetch" not in done.stdout, "with a copy at hand nothing is downloaded"


def test_a_dry_run_prints_the_commands_of_the_recipe_and_of_the_shared_stages_wherever_it_is_called_from() -> None:
    done = subprocess.run(
        ["recipes/digits/run.sh", "--dry-run", "--stop-stage=2"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert '    recitative tokens "$data/train" --unit word --output "$data/tokens.txt"\n' in done.stdout
    assert '      recitative check "$set" --conf "$conf/${models%% *}.yaml" --tokens "$tokens"' in done.stdout
