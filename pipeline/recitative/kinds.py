"""All kinds of models: which kind a model is, opening it, its card, and the settings of a training run of any kind.

A model card says in Markdown what an exported file says about itself, with the metadata block of Hugging Face's hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recitative import __version__, pretrained
from recitative.anomaly.detector import FORECASTER
from recitative.asr.kind import G2P, RECOGNIZER
from recitative.atomic import recover_folder
from recitative.classification.classifier import CLASSIFIER
from recitative.config import TrainingData, dump_settings, read_tree, validate_tree
from recitative.errors import DataError, UsageError
from recitative.lm.recurrent import LANGUAGE_MODEL
from recitative.model.kind import ModelKind, ModelMetadata, kind_of_folder, title_of, with_article
from recitative.model.onnx_stage import OnnxStage, open_kind
from recitative.model.onnx_stage import open_model as open_onnx_model
from recitative.music.settings import EVENTS, MUSIC
from recitative.punctuation.punctuator import PUNCTUATION
from recitative.score.results import ResultRow
from recitative.sound.generator import SOUND, SPECTROGRAM

KINDS: tuple[ModelKind, ...] = (
    RECOGNIZER, CLASSIFIER, FORECASTER, LANGUAGE_MODEL, G2P, PUNCTUATION, MUSIC, EVENTS, SOUND, SPECTROGRAM,
)  # fmt: skip
MUSIC_KINDS = (MUSIC, EVENTS)
SOUND_KINDS = (SOUND, SPECTROGRAM)


def kind_of(path: Path, kinds: Sequence[ModelKind] = KINDS) -> ModelKind:
    """The kind of a model folder or an exported file. Raises DataError if it is none of these kinds."""
    path = _found(path, kinds)
    return kind_of_folder(path, kinds) if path.is_dir() else open_kind(path, kinds)[1]


def _found(path: Path, kinds: Sequence[ModelKind]) -> Path:
    """A path, which may be the name of a pretrained model. Raises DataError if that is of another kind."""
    if (found := pretrained.find(path)) == path:
        return path
    name = pretrained.KINDS[str(path)]
    if name not in [kind.name for kind in kinds]:
        wanted = " or ".join(kind.with_article for kind in kinds)
        raise DataError(str(path), f"is {with_article(title_of(name))}", wanted, "correct the model")
    return found


def read_metadata(path: Path) -> ModelMetadata:
    """The metadata of an exported file. Raises DataError for any other file."""
    return open_onnx_model(path, KINDS)[1]


# Opening a model


def load(model: str | Path, *, threads: int = 1) -> Any:
    """A model that is ready to run: a Recognizer, a Classifier, an AnomalyDetector, ...

    model: the name of a pretrained model, a model folder such as EXP/model, or an exported file. Raises DataError for
    anything else.
    """
    return open_model(pretrained.find(model), threads=threads)


def open_model(path: Path, kinds: Sequence[ModelKind] = KINDS, *, threads: int = 1) -> Any:
    """The same for a path and some kinds. threads: for an exported file."""
    kind, stage, settings, extras = open_stage(path, kinds, threads=threads)
    return kind.run(stage, settings, extras)


def open_stage(
    path: Path, kinds: Sequence[ModelKind] = KINDS, *, threads: int = 1
) -> tuple[ModelKind, Any, Any, Mapping[str, Any]]:
    """Kind, network as a stage on arrays, settings and extras. A folder runs on PyTorch, a file on ONNX Runtime."""
    path = _found(path, kinds)
    recover_folder(path)
    content: Path | bytes = path
    if path.is_dir():
        from recitative.model.folder import TorchStage, load_model

        kind = kind_of(path, kinds)
        model = load_model(path, kind)
        if not kind.from_file:
            return kind, TorchStage(model.network), model.settings, kind.values_of(model)
        from recitative.model.export import build_file

        content, kinds = build_file(model).SerializeToString(), [kind]
    stage = OnnxStage(content, *kinds, threads=threads)
    return stage.metadata.kind, stage, stage.metadata.settings, stage.metadata.extras


# Settings of a training run


def load_training(
    path: Path | None, overrides: Sequence[str], options: Mapping[str, Any], kinds: Sequence[ModelKind] = KINDS
) -> tuple[ModelKind, Any, TrainingData]:
    """Kind of model, settings and data of a training run.

    path: a settings file, which may give the data under ``data``; None: the defaults
    overrides: ``section.key=value``
    options: values for ``data``, which take precedence
    kinds: those allowed; the first is the default
    Raises UsageError for another kind, wrong settings, and data that are missing or not used by this kind.
    """
    where = str(path) if path else "settings"
    kind, settings, data = _read(path, overrides, kinds)
    data |= options
    if unused := sorted(data.keys() - kind.data.model_fields.keys()):
        takes = ", ".join(f"--{entry.replace('_', '-')}" for entry in kind.data.model_fields)
        raise UsageError(f"--{unused[0].replace('_', '-')}: is not used to train {kind.with_article}; it takes {takes}")
    for entry, field in kind.data.model_fields.items():
        if field.is_required() and data.get(entry) is None:
            raise UsageError(
                f"--{entry}: is needed to train {kind.with_article}; give it, or set data.{entry} in the settings"
            )
    return kind, settings, validate_tree(kind.data, data, where=f"{where}, data")


def load_settings_of(path: Path | None, overrides: Sequence[str], kinds: Sequence[ModelKind]) -> Any:
    """The settings alone. Raises UsageError for another kind and for wrong settings."""
    return _read(path, overrides, kinds)[1]


def _read(
    path: Path | None, overrides: Sequence[str], kinds: Sequence[ModelKind]
) -> tuple[ModelKind, Any, dict[str, Any]]:
    """Kind, settings, and the values for ``data``, which are not checked."""
    where, values = str(path) if path else "settings", read_tree(path, overrides)
    data, name = values.pop("data", None) or {}, values.get("kind", kinds[0].name)
    kind = next((kind for kind in kinds if kind.name == name), None)
    if kind is None:
        known = ", ".join(f"'{kind.name}' ({kind.title})" for kind in kinds)
        raise UsageError(f"{where}: kind={name!r}: must be one of {known}")
    if not isinstance(data, dict):
        raise UsageError(f"{where}: data={data!r}: must be a section, such as 'data: {{train: data/train}}'")
    return kind, validate_tree(kind.settings, values, where=where), data


# Kind -> the hub's name of the task, and a command; FILE is the model.
TASKS: Mapping[str, tuple[str, str]] = {
    "recognizer": ("automatic-speech-recognition", "recitative transcribe talk.wav --model FILE"),
    "classifier": ("audio-classification", "recitative classify recording.wav --model FILE"),
    "forecaster": ("audio-classification", "recitative detect recording.wav --model FILE"),
    "language_model": ("text-generation", "recitative lm predict 'the cat' --model FILE"),
    "g2p": ("", "recitative g2p pronounce FILE hello world"),
    "punctuation": ("token-classification", "recitative score FILE text.txt"),
    "music": ("", "recitative generate music --model FILE --bars 8 --output pieces"),
    "events": ("", "recitative generate music --model FILE --bars 8 --output pieces"),
    "sound": ("text-to-audio", "recitative generate sound --model FILE --output sounds"),
    "spectrogram": ("text-to-audio", "recitative generate sound --model FILE --vocoder vocoder.onnx --output sounds"),
}


def model_card(
    name: str,
    file: str,
    metadata: ModelMetadata,
    described: Mapping[str, str],
    *,
    results: Sequence[ResultRow] = (),
    license: str = "",
) -> str:
    """The card of a model. described: the lines of 'recitative info'; license: an SPDX name; empty: not stated"""
    task, command = TASKS[metadata.kind.name]
    if metadata.kind.name == "sound" and metadata.settings.sound.condition == "mel":
        command = "recitative vocode talk.wav --model FILE --output vocoded"
    head = [f"license: {license.lower()}"] if license else []
    head += ["library_name: recitative", *([f"pipeline_tag: {task}"] if task else [])]
    head += [
        "tags:",
        f"- {metadata.kind.name.replace('_', '-')}",
        f"- {metadata.settings.model.recurrent.cell}",
        "- onnx",
    ]
    lines = [
        "---",
        *head,
        "---",
        f"# {name}",
        f"{metadata.kind.with_article.capitalize()} of Recitative {__version__}.",
        "",
    ]
    lines += _table(("", ""), described.items())
    lines += ["## Training data and purpose", metadata.notes.strip() or "The file says nothing about them.", ""]
    if results:
        rows = [(one.model, one.set, one.decoding, one.metric, f"{one.value:g}", one.counts) for one in results]
        lines += ["## Results", *_table(("model", "set", "decoding", "metric", "value", "counts"), rows)]
    lines += ["## License", license or "Not stated in the file; see its notes above.", ""]
    lines += ["## Use", "```", command.replace("FILE", file), "```", "or in Python:", "", "```python"]
    lines += ["import recitative", "", f'model = recitative.load("{file}")', "```", ""]
    lines += ["## Settings of the training", "```yaml", dump_settings(metadata.settings).rstrip(), "```"]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [*("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines), ""]
