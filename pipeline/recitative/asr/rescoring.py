"""What the attention decoder thinks of texts that another search has found, such as the n best of CTC.

Kim, Hori & Watanabe 2017 add it to CTC's own score of the same text, (1 - weight) * ln P_ctc + weight * ln P_attention;
whoever calls does so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recitative.asr.attention_decoder import AttentionDecoder
from recitative.asr.network import Recogniser
from recitative.errors import UsageError
from recitative.nn.ctc_loss import padded_labels
from recitative.stage import Array, Padded

MOST_AT_ONCE = 64  # hypotheses: bounds the memory


@dataclass(frozen=True)
class EncodedUtterance:
    """One utterance behind the encoder: ``encoded`` (1, T', H) for the decoder, ``log_probs`` (T', V) of CTC."""

    encoded: Padded[Tensor]
    log_probs: Array


def encode_utterance(recogniser: Recogniser, features: Array) -> EncodedUtterance:
    """Features (T, C) float32 -> what CTC's search and the decoder both start from, computed once."""
    device = next(recogniser.network.parameters()).device
    x = Padded(torch.from_numpy(features)[None].to(device), torch.tensor([len(features)], device=device))
    with torch.inference_mode():
        encoded = recogniser.encode(x)
        log_probs = recogniser.log_probs(encoded)
    length = int(log_probs.lengths[0])
    return EncodedUtterance(encoded, log_probs.data[0, :length].float().cpu().numpy())


def attention_scores(recogniser: Recogniser, utterance: EncodedUtterance, hypotheses: Sequence[Sequence[int]]) -> Array:
    """ln P(labels, end | utterance) in nats, (N,) float64, of N label sequences; an empty one may be among them.

    Raises UsageError for a recogniser without a decoder.
    """
    decoder = require_decoder(recogniser)
    scores = np.zeros(len(hypotheses))
    # Alike in length together: little is computed for padding.
    order = np.argsort([len(labels) for labels in hypotheses], kind="stable")
    with torch.inference_mode():
        for start in range(0, len(order), MOST_AT_ONCE):
            chosen = order[start : start + MOST_AT_ONCE]
            labels = padded_labels([hypotheses[i] for i in chosen])
            device = utterance.encoded.data.device
            labels = Padded(labels.data.to(device), labels.lengths.to(device))
            scores[chosen] = decoder.score(utterance.encoded, labels).double().cpu().numpy()
    return scores


def require_decoder(recogniser: Recogniser) -> AttentionDecoder:
    """Raises UsageError without one."""
    if recogniser.decoder is None:
        raise UsageError(
            "this model has no attention decoder to rescore with; train one with model.attention.weight above 0, "
            "or decode without rescoring"
        )
    return recogniser.decoder
