"""A recognizer and a corpus small enough for tests: tones for letters, at 4 kHz."""

import numpy as np
import torch

from recitative.asr.network import new_recognizer
from recitative.asr.stream import Transcriber
from recitative.audio.files import write_wav
from recitative.config import Settings, validate_tree
from recitative.data.directory import DataDirectory, Utterance
from recitative.features.extraction import CmvnStats
from recitative.features.frontend import FeatureExtractor
from recitative.stage import Padded
from recitative.text.tokens import TokenTable

TOKENS = TokenTable(("<blank>", " ", "a", "b", "c"))
RATE = 4000
TONES_HZ = {" ": 180.0, "a": 400.0, "b": 800.0, "c": 1400.0}
LETTER_S = 0.1


def settings(**sections) -> Settings:
    """Tiny features (5 ms windows every 2.5 ms) and a tiny core; sections are merged over them."""
    base = {
        "features": {"sample_rate": RATE, "num_mel_bins": 8, "frame_length_ms": 5.0, "frame_shift_ms": 2.5},
        "model": {"front_end": {"window": 4, "stride": 4}, "recurrent": {"layers": 1, "hidden": 12}},
        "train": {"epochs": 2, "batch_s": 3.0, "workers": 0, "threads": 1, "device": "cpu", "warmup_steps": 2},
    }
    for name, section in sections.items():
        base[name] = base.get(name, {}) | section
    return validate_tree(Settings, base, where="test")


def recognizer(seed=0, **model):
    """Random weights, scaled up so that the best tokens change from frame to frame."""
    torch.manual_seed(seed)
    result = new_recognizer(settings(model={"front_end": {"window": 4, "stride": 4}} | model), TOKENS)
    with torch.no_grad():
        result.network.stages["normalize"].mean.fill_(16.0)  # log energies at 16-bit scale; else every cell saturates
        result.network.stages["normalize"].inverse_stddev.fill_(0.3)
        result.network.stages["head"].linear.weight.mul_(8.0)
        if "ahead" in result.network.stages:
            result.network.stages["ahead"].weight.add_(0.5)  # otherwise it starts close to the identity
    result.network.eval()
    return result


def talker(layers=1):
    """A streaming recognizer that says something or other all the time."""
    return recognizer(seed=2, recurrent={"direction": "forward", "layers": layers, "hidden": 16})


def speak(text, rng):
    """Each letter is a tone and a short pause, with a little noise."""
    t = np.arange(int(LETTER_S * RATE)) / RATE
    tones = [0.3 * np.sin(2 * np.pi * TONES_HZ[letter] * t) * (t < 0.7 * LETTER_S) for letter in text]
    return (np.concatenate(tones) + 0.002 * rng.standard_normal(len(t) * len(text))).astype(np.float32)


def said(rows):
    """Tokens and times of transcribed rows, without the confidences: those feel the order of float32's sums."""
    return [[(token.token, token.start_s, token.end_s) for token in row.tokens] for row in rows]


def write_corpus(folder, count, seed):
    """A data directory of ``count`` recordings by two speakers; returns its path."""
    rng = np.random.default_rng(seed)
    utterances = []
    for number in range(count):
        text = " ".join("".join(rng.choice(list("abc"), rng.integers(1, 4))) for _ in range(rng.integers(1, 3)))
        speaker = f"s{number % 2}"
        path = folder / "wav" / f"{speaker}-{number:03d}.wav"
        write_wav(path, speak(text, rng), RATE)
        utterances.append(Utterance(f"{speaker}-{number:03d}", speaker, str(path), text=text))
    DataDirectory((*sorted(utterances),)).write(folder / "data")
    return folder / "data"


def write_inputs(folder, config, *, train=12, dev=4):
    """Data directories, token table and statistics as the recipes' first stages make them."""
    paths = {"train": write_corpus(folder / "train", train, 1), "dev": write_corpus(folder / "dev", dev, 2)}
    TOKENS.write(folder / "tokens.txt")
    extractor, rng = FeatureExtractor(config.features), np.random.default_rng(3)
    CmvnStats.of(extractor.compute(speak("a b c ab", rng))).write(folder / "cmvn")
    return paths | {"tokens": folder / "tokens.txt", "cmvn": folder / "cmvn"}


class ToneNetwork:
    """Stage: the likelier a token, the nearer the frame is to that token's tone; the blank is silence."""

    stride, lookahead = 1, 0

    def __init__(self, extractor):
        rng = np.random.default_rng(0)
        t = np.arange(RATE) / RATE
        tones = [0.3 * np.sin(2 * np.pi * TONES_HZ[symbol] * t) for symbol in TOKENS.symbols[1:]]
        sounds = [tone + 0.002 * rng.standard_normal(len(t)) for tone in (0 * t, *tones)]
        self.means = np.stack([extractor.compute(sound.astype(np.float32)).mean(0) for sound in sounds])  # (V, C)

    def output_lengths(self, lengths):
        return lengths

    def initial_state(self, n):
        return {}

    def step(self, x, state, *, last):
        nearness = -((x.data[:, :, None] - self.means) ** 2).mean(-1)  # (N, T, V)
        relative = nearness - nearness.max(-1, keepdims=True)
        return Padded(relative - np.log(np.exp(relative).sum(-1, keepdims=True)), x.lengths), {}


def tone_transcriber():
    config = settings()
    return Transcriber(ToneNetwork(FeatureExtractor(config.features)), config, TOKENS)


def write_data(folder, said, texts=None):
    """A data directory in which ``said`` can be heard and ``texts``, if they differ, are written."""
    rng = np.random.default_rng(4)
    utterances = []
    for number, text in enumerate(said):
        path = folder / "wav" / f"s-{number:02d}.wav"
        write_wav(path, speak(text, rng), RATE)
        utterances.append(Utterance(f"s-{number:02d}", "s", str(path), text=(texts or said)[number]))
    DataDirectory(tuple(utterances)).write(folder / "data")
    return folder / "data"


def tone_recognizer():
    """A recognizer that hears the tones without training, as ``ToneNetwork``: its ReLU units are nearnesses."""
    core = {"cell": "rnn_relu", "direction": "forward", "layers": 1, "hidden": len(TOKENS)}
    config = settings(model={"front_end": {"window": 4, "stride": 4}, "recurrent": core})
    means = torch.from_numpy(ToneNetwork(FeatureExtractor(config.features)).means).float()
    torch.manual_seed(0)
    made = new_recognizer(config, TOKENS)
    with torch.no_grad():
        normalize = made.network.stages["normalize"]
        normalize.mean.copy_(means.mean(0))
        normalize.inverse_stddev.fill_(0.3)
        means = (means - means.mean(0)) * 0.3
        cell = made.network.stages["core"].layers[0].forward_cell.rnn
        cell.weight_ih_l0.copy_((2 * means).repeat(1, 4) / 4)
        cell.bias_ih_l0.copy_(5 - (means**2).sum(1))
        for weight in (cell.weight_hh_l0, cell.bias_hh_l0, made.network.stages["head"].linear.bias):
            weight.zero_()
        made.network.stages["head"].linear.weight.copy_(2 * torch.eye(len(TOKENS)))
    made.network.eval()
    return made
