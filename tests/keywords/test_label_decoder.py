"""A classifier's labels as keywords of a stream: found where they are, however it comes; and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tones
from tiny import ToneNetwork

from recitative.asr.recognizer import Recognizer
from recitative.classification.classifier import Classifier
from recitative.errors import DataError, UsageError
from recitative.features.frontend import FeatureExtractor
from recitative.keywords.search import DetectionDecoder, DetectionRules, LabelSearch, pick
from recitative.keywords.spotter import SMOOTH_S, Spotter, label_decoder, parse_keywords, thresholds_of, with_keywords
from recitative.model.folder import TorchStage

RECENT = ("model.pooling=recent", "model.pooling_frames=4")
FILLER = "_filler_"
LABELS = (FILLER, *tones.TONES_HZ)
SAID = [("low", 0.5), ("high", 1.2), ("low", 1.6), ("middle", 2.5), ("middle", 2.9)]  # at seconds
WORD_S = 0.2


class ToneLabels(ToneNetwork):
    """The same of labels: the filler is silence."""

    def __init__(self, extractor):
        rng = np.random.default_rng(0)
        silence = 0.01 * rng.standard_normal(tones.RATE).astype(np.float32)
        sounds = [silence, *(tones.tone(label, 1.0, rng) for label in tones.TONES_HZ)]
        self.means = np.stack([extractor.compute(sound).mean(0) for sound in sounds])  # (K, C)


def knowing():
    """A classifier that knows the tones."""
    settings = tones.settings(*RECENT, "model.front_end.window=1", "model.front_end.stride=1")
    return Classifier(ToneLabels(FeatureExtractor(settings.features)), settings, LABELS)


def stream_of(said, seconds=3.5, seed=0):
    rng = np.random.default_rng(seed)
    samples = 0.01 * rng.standard_normal(round(seconds * tones.RATE)).astype(np.float32)
    for label, start_s in said:
        start = round(start_s * tones.RATE)
        samples[start : start + round(WORD_S * tones.RATE)] += tones.tone(label, WORD_S, rng)
    return samples


def spotter_of(classifier, keywords):
    return Recognizer(with_keywords(classifier, label_decoder(classifier, parse_keywords(keywords))))


def test_labels_are_found_where_they_are_spoken_and_other_labels_are_filler() -> None:
    hits = spotter_of(knowing(), "low, middle:0.7").transcribe(stream_of(SAID)).words
    expected = [(label, start_s) for label, start_s in SAID if label != "high"]
    assert [hit.word for hit in hits] == [label for label, _ in expected]
    for hit, (_, start_s) in zip(hits, expected, strict=True):
        assert start_s - 0.05 <= hit.start_s < hit.end_s <= start_s + WORD_S + 0.05
        assert hit.end_s - hit.start_s > SMOOTH_S + 0.01  # the smoothing, and a pooling of 4 frames of 5 ms
        assert 0.7 < hit.confidence <= 1.0


def test_a_stream_has_the_detections_of_the_recording_however_it_is_cut_and_does_not_grow() -> None:
    recognizer, rng = spotter_of(knowing(), "low, high, middle"), np.random.default_rng(1)
    samples = np.concatenate([stream_of(SAID, seed=seed) for seed in range(12)])  # 42 s, uncut
    spotter = Spotter(recognizer)
    whole = spotter.spot(samples)
    assert len(whole) == 12 * len(SAID)
    for sizes in ([333], [4000], [0, 1, 77, 2500]):
        stream, heard, kept, rest = spotter.stream(), [], [], samples
        while len(rest):
            size = int(rng.choice(sizes))
            heard += stream.accept(rest[:size], tones.RATE)
            rest = rest[size:]
            kept.append(len(pickle.dumps((stream._decoded, stream._state, stream._events))))
        assert (*heard, *stream.finish()) == whole
        assert max(kept) < 2000  # bytes; the 60 hits would be more than that


@pytest.mark.parametrize("core", [(), ("model.recurrent.direction=latency_controlled", "model.recurrent.chunk=3")])
def test_a_network_has_the_same_detections_in_a_stream(core) -> None:
    made = tones.classifier(*RECENT, *core)
    recognizer = spotter_of(
        Classifier(TorchStage(made.network), made.settings, made.labels), "high:0.35, low:0.35, middle:0.35"
    )
    samples = stream_of(SAID, seconds=8)
    whole = recognizer.transcribe(samples).words
    assert len(whole) > 5
    stream = Spotter(recognizer).stream()
    heard = [hit for i in range(0, len(samples), 600) for hit in stream.accept(samples[i : i + 600], tones.RATE)]
    said = [(hit.keyword, hit.start_s, hit.end_s) for hit in (*heard, *stream.finish())]
    assert said == [(hit.word, hit.start_s, hit.end_s) for hit in whole]  # confidences feel the order of float32's sums


def test_thresholds_are_those_of_the_list_then_those_of_the_file() -> None:
    assert thresholds_of(parse_keywords("low:0.9, high, middle"), {"low": 0.1, "high": 0.2}) == [0.9, 0.2, 0.8]


@pytest.mark.parametrize(("keywords", "settings", "error", "message"), [
    ("low, yes", RECENT, DataError, "keyword 'yes': is no label of the classifier; one of its labels: high, low"),
    ("low high", RECENT, DataError, "keyword 'low high': is no label of the classifier"),
    ("low=L OW", RECENT, UsageError, "keyword 'low': a classifier hears whole labels and takes no pronunciation"),
    ("low", ("model.pooling=mean",), UsageError, r"names whole recordings \(model.pooling=mean\): in a stream it"),
    ("low", ("model.pooling=last",), UsageError, "train one with model.pooling=recent"),
    ("low", (*RECENT, "model.cmvn=utterance"), UsageError, "this classifier needs the whole recording; keywords need"),
])  # fmt: skip
def test_keywords_and_models_that_do_not_fit_are_refused(keywords, settings, error, message) -> None:
    made = tones.classifier(*settings)
    with pytest.raises(error, match=message):
        label_decoder(Classifier(TorchStage(made.network), made.settings, made.labels), parse_keywords(keywords))


# Keywords from posteriors: smoothing as a loop, one hit a word, thresholds chosen afterwards, and any cutting.

RULES = DetectionRules(hold_frames=4, refractory_frames=2)


def decoder_of(thresholds, rules=RULES):
    """Its frames last a second, so that times are frames."""
    search = LabelSearch(range(len(thresholds)), thresholds, smooth_frames=3, input_frames=4)
    return DetectionDecoder(search, [str(number) for number in range(len(thresholds))], rules, 1.0)


def logs(posteriors):
    with np.errstate(divide="ignore"):
        return np.log(posteriors)


def spot(decoder, pieces):
    """(keyword, begin, end, confidence) of each detection."""
    state = decoder.start()
    for piece in pieces:
        state = decoder.step(logs(piece), state)
    return [(int(one.word), one.start_s, one.end_s, one.confidence) for one in decoder.finish(state).words]


def smoothed_at(posteriors, t, keyword):
    """The paper's first formula, frame by frame."""
    past = [posteriors[k, keyword] for k in range(max(0, t - 2), t + 1)]
    return sum(past) / len(past)


def test_confidences_are_the_smoothed_posteriors() -> None:
    posteriors = np.random.default_rng(1).dirichlet(np.ones(3), 20)
    found = decoder_of([1e-9] * 3).candidates(logs(posteriors))
    expected = [[smoothed_at(posteriors, t, keyword) for keyword in range(3)] for t in range(20)]
    assert np.reshape([candidate.confidence for candidate in found], (20, 3)) == pytest.approx(np.array(expected))
    assert [candidate.seen for candidate in found[::3]] == list(range(1, 21))


def test_a_detection_covers_the_frames_that_it_depends_on_and_a_word_spoken_twice_gives_two() -> None:
    posteriors = np.full((60, 2), 0.05)
    posteriors[10:14, 0] = posteriors[40:44, 0] = 0.96
    # smoothing and a posterior reach 6 frames back
    assert spot(decoder_of([0.6, 0.6]), [posteriors]) == [(0, 7, 14, 0.96), (0, 37, 44, 0.96)]


def test_a_long_word_is_one_detection_until_its_confidence_was_low_for_the_refractory_period() -> None:
    posteriors = np.full((90, 1), 0.9)
    posteriors[40:43] = 0.0  # below the threshold on the frames 40 to 43: smoothing reaches two frames on
    posteriors[70] = 0.0  # smoothed away
    assert [begin < 40 for _, begin, _, _ in spot(decoder_of([0.5]), [posteriors])] == [True, False]
    assert len(spot(decoder_of([0.5], DetectionRules(hold_frames=4, refractory_frames=9)), [posteriors])) == 1


def test_one_frame_alone_is_smoothed_away() -> None:
    posteriors = np.zeros((30, 1))
    posteriors[12] = 1.0
    assert spot(decoder_of([0.5]), [posteriors]) == []


def test_a_threshold_chosen_afterwards_has_the_detections_of_a_search_with_it() -> None:
    posteriors = np.random.default_rng(3).dirichlet(np.full(4, 0.3), 500)[:, :3]
    lowest = decoder_of([0.05] * 3)
    candidates = lowest.candidates(logs(posteriors))
    for thresholds in ([0.3] * 3, [0.6, 0.4, 0.5]):
        expected = spot(decoder_of(thresholds), [posteriors])
        assert len(expected) > 5
        picked = pick(candidates, thresholds, lowest.rules)
        assert [(one.keyword, one.begin, one.end, round(one.confidence, 4)) for one in picked] == expected
