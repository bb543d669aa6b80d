"""The models that come with the package, by name: gzipped files of an ``export``; README.md tells of them."""

from __future__ import annotations

from pathlib import Path

from recitative.atomic import recover_folder

FOLDER = Path(__file__).parent
SUFFIX = ".onnx.gz"

STREAMING = "en"  # what 'transcribe' and 'listen' use if no model is named
MUSIC = "chorales"  # what 'generate music' continues with,
FILLING = "chorales-fill"  # and what it harmonizes and rewrites with
G2P = "en-g2p"  # what 'add-words' pronounces with
PUNCTUATION = "en-punctuation"  # what makes the text of English recognizers readable

KINDS = {
    "an4-bidirectional": "recognizer",
    "an4-streaming": "recognizer",
    MUSIC: "music",
    FILLING: "music",
    STREAMING: "recognizer",
    G2P: "g2p",
    PUNCTUATION: "punctuation",
}
FOR = {
    "an4-bidirectional": "recognizer of spelled names, numbers and dates in English, for whole recordings",
    "an4-streaming": "the same, streaming with 195 ms of look-ahead",
    "chorales": "new music in four voices, and continuations: generate music",
    "chorales-fill": "harmonizes melodies and rewrites voices: generate music --harmonize, --rewrite",
    "en": "recognizer of ordinary English, streaming with 285 ms of look-ahead: transcribe, listen, serve",
    "en-g2p": "pronounces English words: add-words, adapt, hot words",
    "en-punctuation": "punctuation, capitals and figures for the text of en",
}

LICENSE = "Apache-2.0"  # of all; their descriptions name the corpora and the licenses of these

SCORES = {
    "an4-bidirectional": "WER 6.08 % on AN4's test set",
    "an4-streaming": "WER 6.86 % on AN4's test set",
    "chorales": "0.363 nats per token on the test set of JSB Chorales",
    "chorales-fill": "keeps all given notes",
    "en": "WER 19.6 % on LibriSpeech's test-clean",
    "en-g2p": "33.2 % of 12,592 held-out words of CMU's dictionary wrong",
    "en-punctuation": "F1 on novels: commas 66.8 %, periods 76.8 %, questions 63.8 %, capitals 84.4 %",
}
"""From the recipes' RESULTS.md (tools/quotes.txt has the rows), that of en-g2p from the README of recipes/english."""


def names(*kinds: str) -> list[str]:
    """Those of these kinds; of all without one."""
    found = sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))
    return [name for name in found if not kinds or KINDS.get(name) in kinds]


def path_of(name: str) -> Path | None:
    """The file of a pretrained model; None for any other name."""
    return FOLDER / f"{name}{SUFFIX}" if name in names() else None


def find(model: str | Path) -> Path:
    """The file or model folder at this path, or else the pretrained model of this name; the path itself if there is
    neither.

    A folder of something else, such as recordings in ``en``, does not hide the pretrained model.
    """
    path = Path(model)
    if (found := path_of(str(model))) and (not path.exists() or _is_no_model(path)):
        return found
    recover_folder(path)
    return path


def _is_no_model(folder: Path) -> bool:
    return folder.is_dir() and not (folder / "settings.yaml").exists()


def name_of(model: str | Path) -> str:
    """What results call a model: a pretrained one by its name, a file by its own, a folder such as exp/lstm/model by
    the last two of its path."""
    path = Path(model)
    if path.is_dir() and not (path_of(str(model)) and _is_no_model(path)):
        return "/".join(path.absolute().parts[-2:])
    return path.name if path.is_file() and path.parent != FOLDER else path.name.removesuffix(SUFFIX)
