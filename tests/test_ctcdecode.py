"""ctcdecode's interface: hypotheses, scores and frames against all paths of small problems, and against pyctcdecode."""

import itertools
import math

import numpy as np
import pytest
import torch

from recitative.ctcdecode import CTCBeamDecoder, DecoderState, OnlineCTCBeamDecoder
from recitative.errors import DataError, UsageError
from recitative.lm.arpa import read_arpa

LABELS = ["a", " ", "_", "b"]
BLANK = LABELS.index("_")
FRAMES = 5
WIDE = 400  # more than there are labelings
WORD_MODEL = r"""\data\
ngram 1=7
ngram 2=3

\1-grams:
-99	<s>	-0.3
-1	</s>
-0.5	a	-0.2
-0.8	ab	-0.1
-1.2	bb
-0.9	abc
-2	<unk>

\2-grams:
-0.2	<s> a
-0.4	a ab
-0.7	ab a

\end\
"""
CHARACTER_MODEL = WORD_MODEL.replace("\tabc", "\tc").replace("ab", "b").replace("\tbb", "\td")


def problem(seed, rows=1, frames=FRAMES):
    """Probabilities (rows, frames, 4)."""
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.full(4, 0.5), (rows, frames)))


def labelings(probs):
    """Every labeling of (T, V) as a text, with the sum of its paths."""
    found = {}
    for path in itertools.product(range(len(LABELS)), repeat=len(probs)):
        collapsed = [label for label, _ in itertools.groupby(path) if label != BLANK]
        text = "".join(LABELS[label] for label in collapsed)
        found[text] = found.get(text, 0.0) + math.prod(
            float(row[label]) for row, label in zip(probs, path, strict=True)
        )
    return found


def scored(words, grams):
    """ln P of words behind <s>, without </s>, as Katz's recursion has it. grams: n-gram -> (ln p, ln b)."""
    total, before = 0.0, "<s>"
    for word in words:
        if (before, word) in grams:
            total += grams[before, word][0]
        else:
            total += grams[before,][1] + grams[word,][0]
        before = word
    return total


def grams_of(path):
    table = read_arpa(path)
    return {
        tuple(table.words[i] for i in ids): (log_prob, log_backoff)
        for order, grams in zip(table.orders, table.grams, strict=True)
        for ids, log_prob, log_backoff in zip(
            grams.tolist(), order.log_prob.tolist(), order.log_backoff.tolist(), strict=True
        )
    }


def hypotheses(result, row=0):
    """(text, score) of all that were found, in order."""
    labels, scores, _, lengths = result
    found = int(torch.isfinite(scores[row]).sum())
    texts = ["".join(LABELS[n] for n in labels[row, b, : lengths[row, b]].tolist()) for b in range(found)]
    return list(zip(texts, scores[row, :found].tolist(), strict=True))


def expected(sums, rank):
    """Labelings with -ln P, ordered by ln P and what ``rank`` adds; None leaves one out."""
    ranked = [(math.log(p) + rank(text), text) for text, p in sums.items() if p > 0 and rank(text) is not None]
    return [(text, -math.log(sums[text])) for _, text in sorted(ranked, reverse=True)]


def assert_same(found, wanted):
    assert [text for text, _ in found] == [text for text, _ in wanted]
    np.testing.assert_allclose([score for _, score in found], [score for _, score in wanted], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("is_log", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_every_labeling_has_the_sum_of_its_paths(seed, is_log):
    probs = problem(seed)
    decoder = CTCBeamDecoder(LABELS, beam_width=WIDE, blank_id=BLANK, log_probs_input=is_log)
    result = decoder.decode(probs.log() if is_log else probs)
    assert_same(hypotheses(result), expected(labelings(probs[0]), lambda text: 0.0))


@pytest.mark.parametrize("seed", range(4))
def test_a_model_of_words_scores_whole_words_and_writes_no_others(tmp_path, seed):
    (tmp_path / "lm.arpa").write_text(WORD_MODEL)
    grams, probs = grams_of(tmp_path / "lm.arpa"), problem(seed, frames=6)
    decoder = CTCBeamDecoder(LABELS, str(tmp_path / "lm.arpa"), 0.8, 0.6, beam_width=4 * WIDE, blank_id=BLANK)

    def rank(text):
        words = text.removesuffix(" ").split(" ") if text else []
        return 0.8 * scored(words, grams) + 0.6 * len(words) if {"a", "ab", "bb"} >= set(words) else None

    assert_same(hypotheses(decoder.decode(probs)), expected(labelings(probs[0]), rank))
    assert (decoder.character_based(), decoder.max_order(), decoder.dict_size()) == (False, 2, 3)
    decoder.reset_params(0.0, -5.0)
    few_words = expected(labelings(probs[0]), lambda text: None if rank(text) is None else -5.0 * len(text.split()))
    assert_same(hypotheses(decoder.decode(probs)), few_words)


@pytest.mark.parametrize("seed", range(4))
def test_a_model_of_characters_scores_every_label(tmp_path, seed):
    (tmp_path / "lm.arpa").write_text(CHARACTER_MODEL)
    grams, probs = grams_of(tmp_path / "lm.arpa"), problem(seed)
    decoder = CTCBeamDecoder(LABELS, str(tmp_path / "lm.arpa"), 0.8, 0.6, beam_width=WIDE, blank_id=BLANK)

    def rank(text):  # the model does not know the space
        return None if " " in text else 0.8 * scored(text, grams) + 0.6 * len(text)

    assert_same(hypotheses(decoder.decode(probs)), expected(labelings(probs[0]), rank))
    assert (decoder.character_based(), decoder.max_order(), decoder.dict_size()) == (True, 2, 0)


@pytest.mark.parametrize(("top_n", "cutoff_prob"), [(2, 1.0), (40, 0.8), (1, 0.9)])
def test_labels_behind_the_cutoff_are_not_tried(top_n, cutoff_prob):
    probs = problem(7)
    tried = torch.zeros(FRAMES, len(LABELS))
    for row, frame in zip(tried, probs[0], strict=True):
        for label in frame.argsort(descending=True)[:top_n].tolist():
            if float(row.sum()) < cutoff_prob:
                row[label] = frame[label]
    decoder = CTCBeamDecoder(LABELS, beam_width=WIDE, blank_id=BLANK, cutoff_top_n=top_n, cutoff_prob=cutoff_prob)
    assert_same(hypotheses(decoder.decode(probs)), expected(labelings(tried), lambda text: 0.0))


def test_shapes_types_and_lengths_are_those_of_ctcdecode():
    probs = problem(3, rows=3, frames=6)
    decoder = CTCBeamDecoder(LABELS, beam_width=20, blank_id=BLANK)
    labels, scores, timesteps, lengths = decoder.decode(probs, torch.tensor([6, 4, 0]))
    assert labels.shape == timesteps.shape == (3, 20, 6)
    assert scores.shape == lengths.shape == (3, 20)
    assert {t.dtype for t in (labels, timesteps, lengths)} == {torch.int32}
    assert scores.dtype == torch.float32
    assert (scores.diff(dim=1)[:2] >= 0).all()
    alone = decoder.decode(probs[1:2, :4])
    assert hypotheses((labels, scores, timesteps, lengths), 1) == hypotheses(alone)
    assert hypotheses((labels, scores, timesteps, lengths), 2) == [("", 0.0)]


def test_a_narrow_beam_finds_the_best_of_a_clear_problem():
    probs = torch.full((1, 8, 4), 0.02)
    for frame, label in enumerate("a_ab b_b"):
        probs[0, frame, LABELS.index(label)] = 0.94
    result = CTCBeamDecoder(LABELS, beam_width=5, blank_id=BLANK).decode(probs)
    assert hypotheses(result)[0][0] == "aab bb"
    assert result[2][0, 0, :6].tolist() == [0, 2, 3, 4, 5, 7]


def test_a_label_stands_at_its_most_probable_frame_of_the_best_path():
    functional = pytest.importorskip("torchaudio.functional")
    probs = problem(11, frames=30).float()
    labels, _, timesteps, lengths = CTCBeamDecoder(LABELS, beam_width=30, blank_id=BLANK).decode(probs)
    for row, places, length in zip(labels[0], timesteps[0], lengths[0].tolist(), strict=True):
        path = functional.forced_align(probs.log(), row[None, :length], blank=BLANK)[0][0].tolist()
        wanted, frame = [], 0
        for label, group in itertools.groupby(path):
            run = range(frame, frame := frame + len(list(group)))
            if label != BLANK:
                wanted.append(max(run, key=lambda t, label=label: float(probs[0, t, label])))
        assert places[:length].tolist() == wanted


@pytest.mark.parametrize("cut", [0, 1, 4, 9])
def test_pieces_give_the_results_of_the_whole(tmp_path, cut):
    (tmp_path / "lm.arpa").write_text(WORD_MODEL)
    probs = problem(5, rows=2, frames=9).log()
    arguments = {"labels": LABELS, "model_path": str(tmp_path / "lm.arpa"), "alpha": 0.5, "beta": 1.0, "beam_width": 20,
                 "blank_id": BLANK, "log_probs_input": True}  # fmt: skip
    decoder = OnlineCTCBeamDecoder(**arguments)
    states = [DecoderState(decoder), DecoderState(decoder)]
    nothing = decoder.decode(probs[:, :cut], states, [False, False])
    assert nothing[0].shape == nothing[2].shape == (2, 0, 0)
    assert nothing[3].tolist() == [[0] * 20] * 2
    labels, scores, timesteps, lengths = decoder.decode(probs[:, cut:], states, [True, True])
    assert labels.shape[2] == lengths.max()
    whole = CTCBeamDecoder(**arguments).decode(probs)
    for row in range(2):
        assert hypotheses((labels, scores, timesteps, lengths), row) == hypotheses(whole, row)
        for beam, length in enumerate(lengths[row].tolist()):
            if length:
                assert timesteps[row, beam, :length].tolist() == whole[2][row, beam, :length].tolist()


def test_rankings_and_scores_are_those_of_pyctcdecode():
    pyctcdecode = pytest.importorskip("pyctcdecode", reason="it asks for numpy < 2; 'pip install --no-deps' it")
    probs = torch.from_numpy(np.random.default_rng(0).dirichlet(np.full(3, 0.5), (1, 9)))
    names = ["", "a", "b"]
    labels, scores, _, lengths = CTCBeamDecoder(names, beam_width=1000).decode(probs)
    ours = ["".join(names[n] for n in labels[0, beam, : lengths[0, beam]]) for beam in range(20)]
    peer = pyctcdecode.build_ctcdecoder(names)
    beams = peer.decode_beams(probs[0].log().numpy(), beam_width=2000, beam_prune_logp=-1e3, token_min_logp=-1e3)[:20]
    assert ours == [beam[0] for beam in beams]
    np.testing.assert_allclose(scores[0, :20], [-beam[-2] for beam in beams], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blank_id": 4}, "blank_id 4: there are 4 labels, numbered from 0"),
        ({"beam_width": 0}, "at least 1"),
        ({"cutoff_prob": 1.5}, "at most 1"),
    ],
)
def test_impossible_arguments_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        CTCBeamDecoder(**{"labels": LABELS} | change)


@pytest.mark.parametrize(
    ("is_log", "probs", "message"),
    [
        (False, torch.zeros(1, 3, 5), r"the shape \(1, 3, 5\); \(batch, frames, 4 labels\)"),
        (False, torch.full((1, 3, 4), -1.4), "log_probs_input=True"),
        (False, torch.full((1, 3, 4), 2.0), "softmax"),
        (True, torch.full((1, 3, 4), 2.0), "log_softmax"),
        (True, torch.full((1, 3, 4), torch.nan), "NaN"),
    ],
)
def test_what_is_not_probabilities_is_refused(is_log, probs, message):
    with pytest.raises(UsageError, match=message):
        CTCBeamDecoder(LABELS, blank_id=BLANK, log_probs_input=is_log).decode(probs)


def test_language_models_that_cannot_be_used_are_refused(tmp_path):
    (tmp_path / "lm.arpa").write_text(WORD_MODEL)
    with pytest.raises(UsageError, match="needs the label ' ' between words"):
        CTCBeamDecoder(["_", "a", "b"], str(tmp_path / "lm.arpa"))
    with pytest.raises(UsageError, match="no word of the language model"):
        CTCBeamDecoder(["_", "x", " "], str(tmp_path / "lm.arpa"))
    (tmp_path / "lm.binary").write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0\0")
    with pytest.raises(DataError, match="is a binary file of KenLM; an ARPA file"):
        CTCBeamDecoder(LABELS, str(tmp_path / "lm.binary"))
