"""Training of a recognizer: the task with its loss and dev scores, initial weights, freezing, averaging of epochs.

With an attention decoder the loss is that of Kim, Hori & Watanabe 2017, here per label:

    (1 - weight) * CTC / labels + weight * cross entropy / (labels + ends)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn

from recitative import pretrained
from recitative.asr.data import (
    DevSet,
    RecognitionDataset,
    Teacher,
    TranscribedBatch,
    greedy_labels,
    labels_of,
    load_dev_set,
    load_teacher,
    read_alternatives,
)
from recitative.asr.kind import NO_LANGUAGE, RECOGNIZER, Language
from recitative.asr.network import RecognizerModel, new_recognizer, new_transcriber
from recitative.atomic import writes
from recitative.config import RecognizerData, Settings, load_settings
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, UsageError, counted
from recitative.features.extraction import CmvnStats
from recitative.model.export import open_for_training
from recitative.model.folder import save_model
from recitative.nn.heads import MAX_TOKENS, LabelTrigram, correct_labels, cross_entropy, ctc_loss, fits, padded_labels
from recitative.nn.ragged import to_device
from recitative.score.wer import characters, score
from recitative.stage import Padded
from recitative.text.tokens import BLANK, Lexicon, TokenTable
from recitative.train.audio import AudioTask, normalization_of, set_normalization
from recitative.train.checkpoint import Checkpoints, Progress, average_weights, read_progress
from recitative.train.distributed import DistributedContext
from recitative.train.run import TrainingRun, read_inputs, run_digest

RATES = ("dev_wer", "dev_cer", "dev_per", "dev_crf_loss")  # of words, characters and phones, 0..1; nats


class RecognitionTask(AudioTask[TranscribedBatch]):
    """Models are chosen by dev WER, of phones by the phone error rate; ties by dev CER, and those by the dev loss.

    With a CRF they are chosen by its loss: without a language model, its likeliest tokens say little.
    """

    def __init__(
        self,
        recognizer: RecognizerModel,
        dataset: RecognitionDataset,
        dev_set: DevSet,
        device: torch.device,
        teacher: Teacher | None = None,
        context: DistributedContext = DistributedContext(),
    ) -> None:
        super().__init__(recognizer.trained, dataset, device, context)
        self.model = self.recognizer = recognizer
        self.dev_set, self.teacher = dev_set, teacher
        self.crf_weight = recognizer.settings.crf.weight
        self.trigram = LabelTrigram(dataset.labels, len(recognizer.tokens)).to(device) if self.crf_weight else None

    def loss(self, batch: TranscribedBatch) -> tuple[Tensor, int]:
        encoded = self.recognizer.encode(self.to_device(batch.features))
        labels = self.to_device(batch.labels)
        log_probs = self.recognizer.log_probs(encoded)
        if self.teacher is not None and batch.unmasked is not None:
            return self._distillation_loss(self.teacher, batch.unmasked, batch.names, log_probs, labels)
        ctc_sum, count = ctc_loss(log_probs, labels, batch.names)
        if self.trigram is not None:
            ctc_sum = ctc_sum + self.crf_weight * self.trigram(log_probs, labels)
        if self.recognizer.decoder is None:
            return ctc_sum, count
        settings = self.recognizer.settings.model.attention
        attention = self.recognizer.decoder(encoded, labels)
        attention_sum, symbols = cross_entropy(attention, labels, settings.label_smoothing)
        attention_sum = attention_sum * (count / symbols)  # it counts the ends too; both sums have one divisor
        return (1 - settings.weight) * ctc_sum + settings.weight * attention_sum, count

    def _distillation_loss(
        self,
        teacher: Teacher,
        features: Padded[Tensor],
        names: Sequence[str],
        log_probs: Padded[Tensor],
        labels: Padded[Tensor],
    ) -> tuple[Tensor, int]:
        """CTC of the transcripts, or where there is none of the teacher's text, and the distillation of all frames.

        features: before SpecAugment; log_probs: of the student
        """
        teacher_log_probs = teacher.log_probs(self.to_device(features))
        weight = self.recognizer.settings.distill.weight
        transcripts = _label_rows(labels)
        rows = [own or found for own, found in zip(transcripts, greedy_labels(teacher_log_probs), strict=True)]
        usable = [i for i, row in enumerate(rows) if row and (transcripts[i] or fits(row, int(log_probs.lengths[i])))]
        targets = self.to_device(padded_labels([rows[i] for i in usable]))
        chosen = log_probs
        if len(usable) < len(rows):
            index = torch.tensor(usable, dtype=torch.int64, device=self.device)
            chosen = Padded(log_probs.data[index], log_probs.lengths[index])
        ctc_sum, count = ctc_loss(chosen, targets, [names[i] for i in usable])
        return (1 - weight) * ctc_sum + weight * teacher.loss(log_probs, teacher_log_probs), count

    def evaluate(self) -> Mapping[str, float]:
        return dev_scores(self.recognizer, self.dev_set, self.device, self.trigram)

    def identity(self) -> Mapping[str, object]:
        ids = "\n".join(u.utt_id for u in self.dataset.utterances)
        texts = {"utterance ids": ids, "tokens": self.recognizer.tokens.to_text()}
        return {
            "utterances": len(self.dataset.utterances),
            "seconds of audio": round(float(self.dataset.seconds.sum()), 3),
            **{f"{name} (SHA-256)": sha256(text.encode()).hexdigest()[:12] for name, text in texts.items()},
        }

    def environment(self) -> Mapping[str, object]:
        return {"latency_ms": new_transcriber(self.recognizer).latency_ms}


def prepare(settings: Settings, data: RecognizerData, run: TrainingRun) -> RecognitionTask:
    """The task of a run; see ``train.run``. Raises what reading the data does."""
    run.start(settings, TokenTable.read(data.tokens).to_text())
    recognizer = new_recognizer_of(settings, data)
    if data.init:
        run.note(f"begins with {data.init}: {start_from(recognizer, data.init)}")
    if data.cmvn:
        set_normalization(recognizer.network, CmvnStats.read(data.cmvn), str(data.cmvn))
    elif not data.init:
        raise UsageError("--cmvn: is needed without --init; make the statistics with 'recitative cmvn'")
    if frozen := freeze(recognizer.trained, settings.train.freeze):
        run.note(f"{frozen} of {sum(p.numel() for p in recognizer.trained.parameters())} weights are frozen")
    recognizer.core.recompute = settings.train.recompute
    if settings.crf.weight and data.teacher:
        raise UsageError("crf.weight: is for transcripts, without --teacher; distill first, then train with a CRF")
    if settings.crf.weight and len(recognizer.tokens) > MAX_TOKENS:
        found = f"crf.weight: {data.tokens} has {len(recognizer.tokens)} tokens"
        raise UsageError(f"{found}, and the CRF sums over all trigrams of at most {MAX_TOKENS}; use phones or letters")
    teacher = load_teacher(data.teacher, recognizer, run.device) if data.teacher else None
    if data.unlabeled and not teacher:
        raise UsageError(f"--unlabeled {data.unlabeled}: needs a --teacher, who says what is in it")
    train, spelling = DataDirectory.read(data.train), recognizer.spelling
    alternatives = (
        read_alternatives(data.alternatives, train.utterances, spelling, settings.distill.nbest)
        if data.alternatives
        else None
    )
    dataset = RecognitionDataset(
        train,
        settings,
        spelling,
        normalization_of(recognizer.network).mean.numpy().copy(),
        data.train,
        teach=teacher is not None,
        unlabeled=DataDirectory.read(data.unlabeled) if data.unlabeled else None,
        alternatives=alternatives,
    )
    dev_set = load_dev_set(DataDirectory.read(data.dev), settings, spelling, data.dev)
    return RecognitionTask(recognizer, dataset, dev_set, run.device, teacher, run.context)


def new_recognizer_of(settings: Settings, data: RecognizerData) -> RecognizerModel:
    """A recognizer of a run's tokens and lexicon, with random weights."""
    tokens = TokenTable.read(data.tokens)
    language = Language(Lexicon.read(data.lexicon, tokens)) if data.lexicon else NO_LANGUAGE
    return new_recognizer(settings, tokens, language)


def dev_scores(
    recognizer: RecognizerModel, dev_set: DevSet, device: torch.device, trigram: LabelTrigram | None = None
) -> dict[str, float]:
    """CTC loss per label, error rates of greedy decoding, and ``score``, by which models are chosen.

    Error rates are WER and CER; for phones PER, since words of phones need a language model. The reference has the
    first pronunciation of each word.
    With an attention decoder also ``dev_att_loss``, nats per label or end, and ``dev_att_accuracy``, the fraction of
    them that is the likeliest, given the true ones before. With a trigram ``dev_crf_loss``, nats per label.
    """
    hyps: dict[str, str] = {}
    loss_sum, count, log_sum = 0.0, 0, 0.0
    attention_loss, correct, symbols = 0.0, 0, 0
    phones = recognizer.tokens.unit == "phone"
    refs = {} if phones else dict(dev_set.texts)
    for batch in dev_set.batches:
        encoded, labels = recognizer.encode(to_device(batch.features, device)), to_device(batch.labels, device)
        log_probs = recognizer.log_probs(encoded)
        batch_loss, batch_count = ctc_loss(log_probs, labels, batch.names)
        loss_sum, count = loss_sum + float(batch_loss), count + batch_count
        if trigram is not None:
            log_sum += float(trigram(log_probs, labels))
        hyps |= zip(batch.names, map(recognizer.tokens.decode, greedy_labels(log_probs)), strict=True)
        if phones:
            refs |= zip(batch.names, map(recognizer.tokens.decode, _label_rows(labels)), strict=True)
        if recognizer.decoder is not None:
            attention = recognizer.decoder(encoded, labels)
            batch_loss, batch_count = cross_entropy(attention, labels)
            attention_loss, symbols = attention_loss + float(batch_loss), symbols + batch_count
            correct += correct_labels(attention, labels)
    wer, cer = score(refs, hyps).total, score(refs, hyps, symbols=characters).total
    loss = loss_sum / max(count, 1)
    rates = {"dev_per": wer.rate} if phones else {"dev_wer": wer.rate, "dev_cer": cer.rate}
    choice = wer.rate + (0 if phones else 1e-3 * cer.rate) + 1e-9 * loss
    if trigram is not None:
        choice = rates["dev_crf_loss"] = (loss_sum + log_sum) / max(count, 1)
    if symbols:
        rates |= {"dev_att_loss": attention_loss / symbols, "dev_att_accuracy": correct / symbols}
    return {"dev_loss": loss, **rates, "score": choice}


def _label_rows(labels: Padded[Tensor]) -> list[list[int]]:
    return [row[:length] for row, length in zip(labels.data.tolist(), labels.lengths.tolist(), strict=True)]


# Initial weights from another model (fine-tuning), and weights that stay as they are (freezing).

OUTPUT = "stages.head.linear."  # the output layer: one row for each token
DECODER = "decoder."  # the attention decoder, all of which depends on the tokens


@dataclass(frozen=True)
class Inherited:
    """Tokens whose output rows are those of the old model, and tokens whose rows begin at random."""

    known: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self) -> str:
        """One line for the user."""
        if not self.new:
            return f"outputs of all {counted(len(self.known), 'token')} taken over"
        shown = " ".join(self.new[:10]) + (" ..." if len(self.new) > 10 else "")
        return f"outputs of {counted(len(self.known), 'token')} taken over, {len(self.new)} begin at random: {shown}"


@torch.no_grad()
def start_from(recognizer: RecognizerModel, path: Path) -> Inherited:
    """Copy the weights and the normalization of another recognizer: a folder, an exported file or a pretrained name.

    The tokens may differ: the output rows of common symbols and of the blank are copied; the others stay as they are.
    An attention decoder is copied only if all tokens are the same. A bidirectional core with a projection may begin
    with a forward one of the projection's width, whose function it has at first.
    Raises UsageError for other features or another network.
    """
    path = pretrained.find(path)
    old = open_for_training(path, RECOGNIZER)
    if old.settings.features != recognizer.settings.features:
        raise UsageError(f"--init {path}: hears other features; use the settings features of {_settings_of(path)}")
    ours, theirs = recognizer.trained.state_dict(), dict(old.trained.state_dict())
    if old.tokens != recognizer.tokens:
        old_ids = old.tokens.ids | {BLANK: 0}
        rows = [(i, old_ids[symbol]) for i, symbol in enumerate(recognizer.tokens.symbols) if symbol in old_ids]
        theirs = {name: value for name, value in theirs.items() if not name.startswith(DECODER)}
        for name in (f"{OUTPUT}weight", f"{OUTPUT}bias"):
            merged = ours[name].clone()
            for target, source in rows:
                merged[target] = theirs[name][source]
            theirs[name] = merged
    if recognizer.settings.model.recurrent.direction != "forward" == old.settings.model.recurrent.direction:
        theirs |= _backward_beside_forward(ours, theirs)
    _require_same_shapes(path, ours, theirs)
    for name, value in theirs.items():
        if name in ours:
            ours[name].copy_(value)
    symbols = recognizer.tokens.symbols[1:]
    known = tuple(symbol for symbol in symbols if symbol in old.tokens.ids)
    return Inherited(known, tuple(symbol for symbol in symbols if symbol not in old.tokens.ids))


def _backward_beside_forward(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a bidirectional core has besides the weights of a forward one: its backward cells begin as copies of the
    forward ones, and its projections see only the forward ones, so that both compute the same before training."""
    copies = {name.replace(".forward_cell.", ".backward_cell."): value for name, value in theirs.items()}
    weights = {name: torch.eye(*value.shape) for name, value in ours.items() if name.endswith(".project.weight")}
    biases = {name: torch.zeros_like(value) for name, value in ours.items() if name.endswith(".project.bias")}
    inside = {name for name in ours if ".layers." in name}
    return {name: value for name, value in (copies | weights | biases).items() if name in inside and name not in theirs}


def freeze(network: nn.Module, prefixes: Sequence[str]) -> int:
    """Exclude the parameters with these name prefixes from training; returns how many numbers stay as they are.

    Raises UsageError for a prefix without parameters, and if nothing is left to train.
    """
    parameters = dict(network.named_parameters())
    for prefix in prefixes:
        chosen = [p for name, p in parameters.items() if name.startswith(prefix)]
        if not chosen:
            known = sorted({name.rpartition(".")[0] for name in parameters})
            raise UsageError(f"train.freeze: no weight's name starts with '{prefix}'; there are {', '.join(known)}")
        for parameter in chosen:
            parameter.requires_grad_(False)
    if not any(p.requires_grad for p in parameters.values()):
        raise UsageError("train.freeze: leaves nothing to train; leave something out")
    return sum(p.numel() for p in parameters.values() if not p.requires_grad)


def _require_same_shapes(path: Path, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    for name, value in ours.items():
        if name.startswith(DECODER) and name not in theirs:
            continue
        found = tuple(theirs[name].shape) if name in theirs else "nothing"
        if name not in theirs or theirs[name].shape != value.shape:
            wanted = tuple(value.shape)
            raise UsageError(
                f"--init {path}: has {found} for {name}, not {wanted}; use the settings model of {_settings_of(path)}"
            )


def _settings_of(path: Path) -> str:
    """The place or command that shows a model's settings."""
    return f"{path}/settings.yaml" if path.is_dir() else f"'recitative info {path} --settings'"


# The model to decode with: the mean of a run's best epochs.


@dataclass(frozen=True)
class Average:
    """tried: number of best epochs averaged -> dev error rates by name; chosen: the number that was written."""

    tried: dict[int, dict[str, float]]
    chosen: int


@writes("folder")
def average_best(folder: Path, advance: Callable[[int, int], None] = lambda done, total: None) -> Average:
    """Average the weights of the best 1, 2, ... kept epochs, choose by the dev score, write ``folder/model``.

    ``advance(done, total)`` counts averages.
    """
    recognizer, progress, paths = _trained(folder)
    dev_set = load_dev_set(DataDirectory.read(paths.dev), recognizer.settings, recognizer.spelling, paths.dev)
    files = [Checkpoints(folder).epoch_path(int(epoch)) for _, epoch in progress.best]
    if not files:
        raise DataError(str(folder), "has no finished epoch yet", "at least one", "train on")
    trigram, scores = None, {}
    if recognizer.settings.crf.weight:
        labels = labels_of(DataDirectory.read(paths.train).utterances, recognizer.spelling, paths.train)
        trigram = LabelTrigram(labels, len(recognizer.tokens))
    for n in range(1, len(files) + 1):
        recognizer.trained.load_state_dict(average_weights(files[:n]))
        recognizer.trained.eval()
        with torch.inference_mode():
            scores[n] = dev_scores(recognizer, dev_set, torch.device("cpu"), trigram)
        advance(n, len(files))
    # The larger of equal averages is the smoother model.
    chosen = min(scores, key=lambda n: (scores[n]["score"], -n))
    recognizer.trained.load_state_dict(average_weights(files[:chosen]))
    save_model(recognizer, folder / "model")
    return Average({n: {name: s[name] for name in RATES if name in s} for n, s in scores.items()}, chosen)


@writes("folder")
def take_last(folder: Path) -> int:
    """Write the weights of the last step, averaged if there is ``train.ema``, as ``folder/model``; returns the step."""
    recognizer, progress, _ = _trained(folder)
    recognizer.trained.load_state_dict(Checkpoints(folder).weights())
    save_model(recognizer, folder / "model")
    return progress.step


@torch.no_grad()
def average_with(recognizer: RecognizerModel, other: RecognizerModel) -> None:
    """Replace the weights by the mean of both models' (WiSE-FT, Wortsman et al. 2022): a model that was fine-tuned on
    little keeps more of what it knew."""
    theirs = other.trained.state_dict()
    for name, weight in recognizer.trained.state_dict().items():
        if weight.is_floating_point():
            weight.lerp_(theirs[name], 0.5)


def _trained(folder: Path) -> tuple[RecognizerModel, Progress, RecognizerData]:
    """A recognizer with the settings of a run, the progress of the run, and its inputs."""
    paths = read_inputs(folder, RECOGNIZER)
    assert isinstance(paths, RecognizerData)
    settings = load_settings(folder / "settings.yaml")
    recognizer = new_recognizer_of(settings, paths)
    return recognizer, read_progress(folder, run_digest(settings, recognizer.tokens.to_text())), paths
