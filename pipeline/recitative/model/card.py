"""Model cards: what an exported file says about itself as Markdown, with the metadata block of Hugging Face's hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from recitative import __version__
from recitative.config import dump_settings
from recitative.model.file import ModelMetadata
from recitative.score.results import ResultRow

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
    lines = ["---", *head, "---", f"# {name}", f"A {metadata.kind.title} of Recitative {__version__}.", ""]
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
