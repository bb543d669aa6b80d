"""SpeechBrain's CRDNN with CTC, from the package ``speechbrain``, for comparison.

Network, features, normalization, loss, optimizer and step are the package's, with the settings of its recipe
TIMIT/ASR/CTC and 80 mel bins: Fbank and global normalization in the training process, two blocks of two convolutions
(128 and 256 channels), pooling by 2 in time, four bidirectional LSTM layers, two dense blocks, Adadelta. A batch is
a fixed number of utterances in ascending order of length, as in the recipe. The dense blocks are as wide as the LSTM
(512 in the recipe).

Unlike the recipe, there is no augmentation, and an LSTM replaces the Li-GRU, which loops in Python and is slower.
"""

from __future__ import annotations

from typing import Any

import speechbrain as sb
import torch
from bench_material import FlopCount, Material, Turn, timed_steps
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.CRDNN import CRDNN
from speechbrain.nnet.activations import Softmax
from speechbrain.nnet.linear import Linear
from speechbrain.nnet.losses import ctc_loss
from speechbrain.nnet.RNN import LSTM
from speechbrain.processing.features import InputNormalization
from torch import Tensor, nn

MEL_BINS = 80
CHANNELS = (128, 256)  # of the two convolution blocks


class CrdnnTraining:
    """Trains for one epoch per turn; see ``bench_material.Contestant``."""

    def __init__(
        self, material: Material, hidden: int, *, batch_s: float, workers: int, bf16: bool, device: torch.device
    ) -> None:
        self.name = "SpeechBrain CRDNN"
        self.material = material
        self.rows = material.rows(batch_s)
        self.workers = workers
        torch.manual_seed(0)
        self.brain = CtcBrain(
            modules={**crdnn(hidden, len(material.tokens)), "normalize": InputNormalization(norm_type="global")},
            opt_class=lambda parameters: torch.optim.Adadelta(parameters, rho=0.95, lr=1.0, eps=1e-8),
            hparams={"compute_features": Fbank(sample_rate=material.sample_rate, n_fft=400, n_mels=MEL_BINS)},
            run_opts={"device": str(device), "precision": "bf16" if bf16 else "fp32"},
        )
        self.brain.on_fit_start()  # creates the optimizer
        self.brain.modules.train()

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.brain.modules.parameters())

    def train(self) -> Turn:
        loader = self.brain.make_dataloader(
            dataset_of(self.material),
            sb.Stage.TRAIN,
            batch_size=self.rows,
            num_workers=self.workers,
            shuffle=False,
        )
        with FlopCount() as count:
            steps = timed_steps(loader, self._step, self._facts)
        return Turn.of(steps, count.flops)

    def _step(self, batch: PaddedBatch) -> None:
        self.brain.step += 1
        float(self.brain.fit_batch(batch))  # the original shows the loss of every step

    def _facts(self, batch: PaddedBatch) -> tuple[float, float]:
        return sum(self.material.seconds[number] for number in batch.number), 1 - float(batch.sig.lengths.mean())


class CtcBrain(sb.Brain):  # type: ignore[misc]
    """Forward pass and loss, as in SpeechBrain's CTC recipes."""

    def compute_forward(self, batch: Any, stage: sb.Stage) -> tuple[Tensor, Tensor]:
        batch = batch.to(self.device)
        samples, lengths = batch.sig
        features = self.modules.normalize(self.hparams.compute_features(samples), lengths)
        return self.modules.log_softmax(self.modules.output(self.modules.model(features))), lengths

    def compute_objectives(self, predictions: tuple[Tensor, Tensor], batch: Any, stage: sb.Stage) -> Tensor:
        log_probs, lengths = predictions
        labels, label_lengths = batch.labels
        loss: Tensor = ctc_loss(log_probs, labels, lengths, label_lengths, blank_index=0)
        return loss


def crdnn(hidden: int, tokens: int) -> dict[str, nn.Module]:
    """features (N, T, 80) -> log probabilities (N, T / 2, V), in three parts."""
    return {
        "model": CRDNN(
            input_shape=(1, 8, MEL_BINS),  # given input_size instead, it runs a trial on 256 x 256 frames
            dropout=0.15,
            cnn_blocks=2,
            cnn_channels=CHANNELS,
            cnn_kernelsize=(3, 3),
            time_pooling=True,
            rnn_class=LSTM,
            rnn_layers=4,
            rnn_neurons=hidden,
            rnn_bidirectional=True,
            dnn_blocks=2,
            dnn_neurons=hidden,
        ),
        "output": Linear(input_size=hidden, n_neurons=tokens),
        "log_softmax": Softmax(apply_log=True),
    }


def dataset_of(material: Material) -> DynamicItemDataset:
    entries = {
        utterance.utt_id: {"number": number, "duration": material.seconds[number]}
        for number, utterance in enumerate(material.utterances)
    }
    dataset = DynamicItemDataset(entries)
    dataset.add_dynamic_item(lambda number: torch.from_numpy(material.samples(number)), takes="number", provides="sig")
    dataset.add_dynamic_item(lambda number: torch.tensor(material.labels(number)), takes="number", provides="labels")
    dataset.set_output_keys(["id", "number", "sig", "labels"])
    return dataset.filtered_sorted(sort_key="duration")
