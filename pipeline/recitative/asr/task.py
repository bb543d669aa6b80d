"""The recognition task: CTC training of a recognizer, scored on a dev set by the network alone.

With an attention decoder the loss is that of Kim, Hori & Watanabe 2017, here per label:

    (1 - weight) * CTC / labels + weight * cross entropy / (labels + ends)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor

from recitative.asr.attention_decoder import AttentionDecoder, correct_labels, cross_entropy
from recitative.asr.data import DevSet, RecognitionDataset, TranscribedBatch, load_dev_set
from recitative.asr.decoding import Language
from recitative.asr.distillation import Teacher, heard_labels, load_teacher, read_alternatives
from recitative.asr.fine_tuning import freeze, start_from
from recitative.asr.network import RecognizerModel, new_recognizer, new_transcriber
from recitative.config import RecognizerData, Settings
from recitative.data.directory import DataDirectory
from recitative.decoding.greedy import GreedyDecoder
from recitative.errors import UsageError
from recitative.features.cmvn import CmvnStats
from recitative.nn.ctc_loss import ctc_loss, fits, padded_labels
from recitative.score.wer import ErrorCounts, characters, score
from recitative.stage import Array, Padded
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable
from recitative.train.audio import AudioTask, normalization_of, set_normalization
from recitative.train.distributed import DistributedContext
from recitative.train.run import TrainingRun

RATES = ("dev_wer", "dev_cer", "dev_per")  # error rates of words, characters and phones, 0..1


class RecognitionTask(AudioTask[TranscribedBatch]):
    """Models are chosen by dev WER, of phones by the phone error rate; ties by dev CER, and those by the dev loss."""

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

    def loss(self, batch: TranscribedBatch) -> tuple[Tensor, int]:
        encoded = self.recognizer.encode(self.to_device(batch.features))
        labels = self.to_device(batch.labels)
        log_probs = self.recognizer.log_probs(encoded)
        if self.teacher is not None and batch.unmasked is not None:
            return self._taught_loss(self.teacher, batch, log_probs, labels)
        ctc_sum, count = ctc_loss(log_probs, labels, batch.names)
        if self.recognizer.decoder is None:
            return ctc_sum, count
        settings = self.recognizer.settings.model.attention
        said = self.recognizer.decoder(encoded, labels)
        attention_sum, symbols = cross_entropy(said, labels, settings.label_smoothing)
        attention_sum = attention_sum * (count / symbols)  # it has the ends as well; the sums share one divisor
        return (1 - settings.weight) * ctc_sum + settings.weight * attention_sum, count

    def _taught_loss(
        self, teacher: Teacher, batch: TranscribedBatch, log_probs: Padded[Tensor], labels: Padded[Tensor]
    ) -> tuple[Tensor, int]:
        """CTC of the transcripts, or where there is none of the teacher's text, and the loss of its frames."""
        assert batch.unmasked is not None
        taught = teacher.log_probs(self.to_device(batch.unmasked))
        weight = self.recognizer.settings.distill.weight
        written = _label_rows(labels)
        rows = [mine or heard for mine, heard in zip(written, heard_labels(taught), strict=True)]
        usable = [i for i, row in enumerate(rows) if row and (written[i] or fits(row, int(log_probs.lengths[i])))]
        chosen = torch.tensor(usable, dtype=torch.int64, device=self.device)
        said = self.to_device(padded_labels([rows[i] for i in usable]))
        ctc_sum, count = ctc_loss(_rows_of(log_probs, chosen), said, [batch.names[i] for i in usable])
        return (1 - weight) * ctc_sum + weight * teacher.loss(log_probs, taught), count

    def evaluate(self) -> Mapping[str, float]:
        return dev_scores(self.recognizer, self.dev_set, self.device)

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
    if frozen := freeze(recognizer.trained, settings.train.frozen):
        run.note(f"{frozen} of {sum(p.numel() for p in recognizer.trained.parameters())} weights are frozen")
    recognizer.core.recompute = settings.train.recompute
    teacher = load_teacher(data.teacher, recognizer, run.device) if data.teacher else None
    if data.unlabelled and not teacher:
        raise UsageError(f"--unlabelled {data.unlabelled}: needs a --teacher, who says what is in it")
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
        unlabelled=DataDirectory.read(data.unlabelled) if data.unlabelled else None,
        alternatives=alternatives,
    )
    dev_set = load_dev_set(DataDirectory.read(data.dev), settings, spelling, data.dev)
    return RecognitionTask(recognizer, dataset, dev_set, run.device, teacher, run.context)


def new_recognizer_of(settings: Settings, data: RecognizerData) -> RecognizerModel:
    """A recognizer of a run's tokens and lexicon, with random weights."""
    tokens = TokenTable.read(data.tokens)
    if data.lexicon is None:
        return new_recognizer(settings, tokens)
    return new_recognizer(settings, tokens, Language(Lexicon.read(data.lexicon, tokens)))


def dev_scores(recognizer: RecognizerModel, dev_set: DevSet, device: torch.device) -> dict[str, float]:
    """CTC loss per label, error rates of the likeliest tokens, and ``score``, by which models are chosen.

    Error rates are WER and CER; where tokens are phones PER, since words of phones need a language model. Of words with
    several pronunciations the first is taken for the true one.
    With a decoder also ``dev_att_loss``, nats per label or end, and ``dev_att_accuracy``, the fraction of them that is
    the likeliest when the true ones before are given.
    """
    hyps: dict[str, str] = {}
    loss_sum, count = 0.0, 0
    attention = _AttentionScores()
    phones = recognizer.tokens.unit == "phone"
    refs = {} if phones else dict(dev_set.texts)
    for batch in dev_set.batches:
        encoded, labels = recognizer.encode(_to(batch.features, device)), _to(batch.labels, device)
        log_probs = recognizer.log_probs(encoded)
        batch_loss, batch_count = ctc_loss(log_probs, labels, batch.names)
        loss_sum, count = loss_sum + float(batch_loss), count + batch_count
        hyps |= zip(batch.names, _greedy_texts(_arrays(log_probs), recognizer.tokens), strict=True)
        if phones:
            refs |= zip(batch.names, map(recognizer.tokens.decode, _label_rows(labels)), strict=True)
        if recognizer.decoder is not None:
            attention.add(recognizer.decoder, encoded, labels)
    wer, cer = error_rates(refs, hyps)
    loss = loss_sum / max(count, 1)
    rates = {"dev_per": wer.rate} if phones else {"dev_wer": wer.rate, "dev_cer": cer.rate}
    choice = wer.rate + (0 if phones else 1e-3 * cer.rate) + 1e-9 * loss
    return {"dev_loss": loss, **rates, **attention.to_scores(), "score": choice}


@dataclass
class _AttentionScores:
    """Sums over a dev set; without a decoder there are none."""

    loss_sum: float = 0.0
    correct: int = 0
    symbols: int = 0

    def add(self, decoder: AttentionDecoder, encoded: Padded[Tensor], labels: Padded[Tensor]) -> None:
        log_probs = decoder(encoded, labels)
        loss_sum, symbols = cross_entropy(log_probs, labels)
        self.loss_sum += float(loss_sum)
        self.correct += correct_labels(log_probs, labels)
        self.symbols += symbols

    def to_scores(self) -> dict[str, float]:
        if not self.symbols:
            return {}
        return {"dev_att_loss": self.loss_sum / self.symbols, "dev_att_accuracy": self.correct / self.symbols}


def _greedy_texts(log_probs: Padded[Array], tokens: TokenTable) -> list[str]:
    decoder = GreedyDecoder()
    labels, _ = decoder.step(log_probs, decoder.initial_state(len(log_probs.lengths)), last=True)
    return [tokens.decode(row[row > 0].tolist()) for row in _rows(labels)]


def _arrays(x: Padded[Tensor]) -> Padded[Array]:
    return Padded(x.data.float().cpu().numpy(), x.lengths.cpu().numpy())


def _rows(x: Padded[Array]) -> list[Array]:
    """Each row at its own length."""
    return [row[:length] for row, length in zip(x.data, x.lengths, strict=True)]


def _label_rows(labels: Padded[Tensor]) -> list[list[int]]:
    return [row[:length] for row, length in zip(labels.data.tolist(), labels.lengths.tolist(), strict=True)]


def error_rates(refs: Mapping[str, str], hyps: Mapping[str, str]) -> tuple[ErrorCounts, ErrorCounts]:
    """Words and characters."""
    return score(refs, hyps).total, score(refs, hyps, symbols=characters).total


def _rows_of(x: Padded[Tensor], chosen: Tensor) -> Padded[Tensor]:
    return x if len(chosen) == len(x.lengths) else Padded(x.data[chosen], x.lengths[chosen])


def _to(x: Padded[Tensor], device: torch.device) -> Padded[Tensor]:
    return Padded(x.data.to(device, non_blocking=True), x.lengths.to(device, non_blocking=True))
