"""Calibration errors by hand, calibrators against known probabilities and a slow search, and the quality of words."""

import json
import math

import numpy as np
import pytest

from command_line import refusal, run
from recitative.data.tables import write_table
from recitative.decoding.hypotheses import L2, Calibrator
from recitative.errors import DataError
from recitative.score.classification import (
    ReliabilityBin,
    expected_calibration_error,
    hypothesis_correct,
    measure_words,
    normalized_cross_entropy,
    read_timed_words,
    reliability,
)
from recitative.score.results import read_results
from recitative.score.wer import align, words
from recitative.text.tokens import Word

CONFIDENCE = np.array([0.0, 0.2, 0.5, 0.55, 0.9, 1.0])
CORRECT = np.array([False, True, False, True, True, True])


def known_words(count, seed, *, weights=(1.5, -0.7), bias=0.4):
    """Features, and words that are right with the logistic probability of these weights."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, len(weights))) * [2.0, 0.5] + [1.0, -3.0]
    p = 1 / (1 + np.exp(-(features @ weights + bias)))
    return features, rng.random(count) < p, p


def boastful_words(count, seed):
    """Confidences of a model that thinks the odds are the cube of what they are, as overtrained ones do."""
    p = np.random.default_rng(seed).beta(3, 1, count)
    correct = np.random.default_rng([seed, 1]).random(count) < p
    return p**3 / (p**3 + (1 - p) ** 3), correct


def penalized_loss(calibrator, features, correct):
    """What ``fit`` minimizes, word by word."""
    right, wrong = sum(correct), sum(~correct)
    loss = 0.0
    for row, is_right in zip(features, correct, strict=True):
        z = calibrator.bias + sum(w * f for w, f in zip(calibrator.weights, row, strict=True))
        p = 1 / (1 + math.exp(-z))
        target = (right + 1) / (right + 2) if is_right else 1 / (wrong + 2)
        loss -= target * math.log(p) + (1 - target) * math.log(1 - p)
    return loss + L2 / 2 * sum((w * sd) ** 2 for w, sd in zip(calibrator.weights, features.std(0), strict=True))


def test_inserted_and_substituted_words_are_wrong_and_deleted_ones_are_not_there():
    assert hypothesis_correct(align(words("the cat sat down"), words("the bat sat"))) == [True, False, True]
    assert hypothesis_correct(align(words("a"), words("a b c"))) == [True, False, False]
    assert hypothesis_correct(align(words("a b"), [])) == []


def test_the_table_a_person_can_check():
    low, high = reliability(CONFIDENCE, CORRECT, bins=2)
    assert low == ReliabilityBin(0.0, 0.5, 3, pytest.approx(0.7 / 3), pytest.approx(1 / 3))  # 0.5 belongs below
    assert high == ReliabilityBin(0.5, 1.0, 3, pytest.approx(2.45 / 3), 1.0)
    error = (3 * abs(1 / 3 - 0.7 / 3) + 3 * abs(1 - 2.45 / 3)) / 6
    assert expected_calibration_error(CONFIDENCE, CORRECT, bins=2) == pytest.approx(error)


def test_edges_belong_to_the_bin_below_and_empty_bins_are_there():
    rows = reliability(np.arange(1, 11) / 10, np.ones(10, bool))
    assert [row.count for row in rows] == [1] * 10
    rows = reliability(np.array([0.05]), np.array([True]))
    assert [row.count for row in rows] == [1] + [0] * 9
    assert all(math.isnan(row.accuracy) and math.isnan(row.mean_confidence) for row in rows[1:])
    assert expected_calibration_error(np.array([0.05]), np.array([True])) == pytest.approx(0.95)


def test_the_error_of_the_true_probabilities_is_small_and_of_certainty_is_the_error_rate():
    _, correct, p = known_words(50_000, 1)
    # of 5000 words a bin the fraction that is right strays by at most 0.007 (standard deviation)
    assert expected_calibration_error(p, correct) < 0.01
    certain = np.ones(len(p))
    assert expected_calibration_error(certain, correct) == pytest.approx(1 - correct.mean())


def test_the_normalized_cross_entropy_by_hand():
    right, wrong = 0.75, 0.25  # two of four words are wrong half of the time: in bits, as NIST writes it
    correct, confidence = np.array([True, True, True, False]), np.array([0.9, 0.9, 0.6, 0.3])
    entropy = -3 * math.log2(right) - math.log2(wrong)
    gained = 2 * math.log2(0.9) + math.log2(0.6) + math.log2(0.7)
    assert normalized_cross_entropy(confidence, correct) == pytest.approx((entropy + gained) / entropy)
    assert normalized_cross_entropy(np.full(4, right), correct) == pytest.approx(0.0, abs=1e-12)
    assert normalized_cross_entropy(correct.astype(float), correct) == pytest.approx(1.0, abs=1e-6)


def test_a_wrong_word_of_full_confidence_costs_much_but_not_all():
    assert -30 < normalized_cross_entropy(np.array([1.0, 1.0]), np.array([True, False])) < -5
    assert math.isnan(normalized_cross_entropy(np.array([0.5, 0.5]), np.array([True, True])))


def test_a_known_logistic_is_recovered():
    features, correct, p = known_words(40_000, 2)
    calibrator = Calibrator.fit(features, correct, ["posterior", "length"])
    # the estimates stray by at most 0.04 and 0.13 (standard deviation), from the Fisher information
    assert calibrator.weights == pytest.approx((1.5, -0.7), abs=0.1)
    assert calibrator.bias == pytest.approx(0.4, abs=0.3)
    assert abs(calibrator.apply(features) - p).mean() < 0.01


@pytest.mark.parametrize("count", [5, 60])
def test_no_step_from_the_fit_lowers_the_loss(count):
    features, correct, _ = known_words(count, 3)
    best = Calibrator.fit(features, correct, ["posterior", "length"])
    loss = penalized_loss(best, features, correct)
    for size in (1e-1, 1e-3):
        for change in np.random.default_rng(4).normal(size=(50, 3)) * size:
            moved = Calibrator(best.features, tuple(best.weights + change[:2]), best.bias + change[2])
            assert penalized_loss(moved, features, correct) > loss


def test_held_out_words_are_better_calibrated():
    confidence, correct = boastful_words(5000, 5)

    def odds():
        return np.log(confidence / (1 - confidence))[:, None]

    calibrator = Calibrator.fit(odds(), correct, ["logit"])
    assert calibrator.weights == pytest.approx((1 / 3,), abs=0.03)  # it takes the cube root
    confidence, correct = boastful_words(5000, 6)
    calibrated = calibrator.apply(odds())
    before, after = (expected_calibration_error(c, correct) for c in (confidence, calibrated))
    assert before > 0.1
    assert after < 0.02
    assert normalized_cross_entropy(calibrated, correct) > max(0.1, normalized_cross_entropy(confidence, correct))


def test_words_that_a_threshold_separates_have_finite_weights():
    features = np.array([[-2.0], [-1.0], [1.0], [2.0]] * 50)
    correct = features[:, 0] > 0
    p = Calibrator.fit(features, correct, ["x"]).apply(features)
    assert (p[correct] > 0.95).all()
    assert (p[~correct] < 0.05).all()
    assert ((p > 0) & (p < 1)).all()


@pytest.mark.parametrize(("correct", "expected"), [([True] * 8, 9 / 10), ([False] * 8, 1 / 10), ([True], 2 / 3)])
def test_where_all_are_right_or_wrong_the_probability_is_a_constant(correct, expected):
    features = np.random.default_rng(7).normal(size=(len(correct), 2))
    calibrator = Calibrator.fit(features, np.array(correct), ["a", "b"])
    assert calibrator.weights == pytest.approx((0.0, 0.0), abs=1e-9)
    assert calibrator.apply(10 * features) == pytest.approx(expected)


def test_features_that_say_nothing_or_say_it_twice_are_no_harm():
    features, correct, _ = known_words(2000, 8)
    plain = Calibrator.fit(features, correct, ["a", "b"])
    constant = np.column_stack([features, np.full(2000, 0.1)])
    assert Calibrator.fit(constant, correct, ["a", "b", "c"]).weights == pytest.approx((*plain.weights, 0.0))
    for l2 in (L2, 0.0):
        twice = Calibrator.fit(np.column_stack([features, features]), correct, list("abcd"), l2=l2)
        assert twice.apply(np.column_stack([features, features])) == pytest.approx(plain.apply(features), abs=5e-3)
    large = Calibrator.fit(1e6 * features + 1e9, correct, ["a", "b"])
    assert large.apply(1e6 * features + 1e9) == pytest.approx(plain.apply(features), abs=1e-5)


def test_without_features_the_calibrator_is_the_fraction_that_is_right():
    calibrator = Calibrator.fit(np.zeros((1000, 0)), np.arange(1000) < 800, [])
    assert calibrator.apply(np.zeros((2, 0))) == pytest.approx(0.8, abs=2e-3)


def test_a_calibrator_reads_back_from_json():
    calibrator = Calibrator(("logit", "length"), (0.5, -0.25), 1.0)
    assert Calibrator.from_dict(json.loads(json.dumps(calibrator.to_dict())), "card") == calibrator


@pytest.mark.parametrize(
    "change", [{"weights": [1.0, 2.0]}, {"weights": None}, {"bias": "high"}, {"bias": math.nan}, {"features": 3}]
)
def test_other_data_than_a_calibrator_is_refused(change):
    sound = {"features": ["logit"], "weights": [1.0], "bias": 0.0}
    with pytest.raises(DataError, match=r"m\.onnx: has no calibrator"):
        Calibrator.from_dict(sound | change, "m.onnx")
    with pytest.raises(DataError, match="has no calibrator"):
        Calibrator.from_dict({}, "m.onnx")


def test_no_words_and_what_is_no_confidence_are_errors():
    none, one = np.zeros(0), np.array([True])
    for measure in (expected_calibration_error, normalized_cross_entropy):
        with pytest.raises(DataError, match="confidences: have no words"):
            measure(none, none)
        with pytest.raises(DataError, match=r"confidences: 1\.5 is out of range; 0 to 1"):
            measure(np.array([1.5]), one)
        with pytest.raises(DataError, match="nan is out of range"):
            measure(np.array([math.nan]), one)
        with pytest.raises(DataError, match="2 words, but 1 mark of"):
            measure(np.array([0.5, 0.5]), one)
    with pytest.raises(ValueError, match="bins=0"):
        reliability(np.array([0.5]), one, bins=0)


def test_features_that_cannot_be_fitted_are_errors():
    with pytest.raises(DataError, match="confidences: have no words"):
        Calibrator.fit(np.zeros((0, 1)), np.zeros(0, bool), ["a"])
    with pytest.raises(DataError, match=r"features: shape \(3,\); a column each for a, b"):
        Calibrator.fit(np.zeros(3), np.zeros(3, bool), ["a", "b"])
    with pytest.raises(DataError, match="'b' has NaN or infinity"):
        Calibrator.fit(np.array([[0.0, math.nan]]), np.array([True]), ["a", "b"])
    with pytest.raises(DataError, match="a column each for a"):
        Calibrator(("a",), (1.0,), 0.0).apply(np.zeros((2, 3)))


def timed(*rows):
    """(word, start, end, confidence) ..."""
    return [Word(*row) for row in rows]


REFS = {"u1": "the cat sat", "u2": "down"}
FOUND = {
    "u1": timed(("the", 0.0, 0.2, 0.9), ("bat", 0.3, 0.5, 0.6), ("sat", 0.6, 0.9, 0.8)),
    "u2": timed(("sit", 0.1, 0.2, 0.1), ("down", 0.2, 0.5, 0.7)),
}
TRUE = {
    "u1": timed(("the", 0.01, 0.23, 1.0), ("cat", 0.3, 0.5, 1.0), ("sat", 0.55, 0.97, 1.0)),
    "u2": timed(("down", 0.2, 0.5, 1.0)),
}
# right: the 0.9, sat 0.8, down 0.7; wrong: bat 0.6, sit 0.1; every word is alone in its bin
ECE = (0.1 + 0.2 + 0.3 + 0.6 + 0.1) / 5


def test_the_calibration_error_is_the_mean_gap_between_confidence_and_truth():
    quality = measure_words(REFS, FOUND)
    assert (quality.words, quality.right) == (5, 3)
    assert quality.ece == pytest.approx(ECE)
    entropy = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4))
    cross = -(math.log(0.9) + math.log(0.8) + math.log(0.7) + math.log(0.4) + math.log(0.9)) / 5
    assert quality.nce == pytest.approx((entropy - cross) / entropy)
    assert (quality.timed, quality.time_error_ms) == (0, None)


def test_words_of_one_bin_are_judged_together():
    found = {"u": timed(*(("a", i, i + 0.5, 0.75) for i in range(4)))}
    assert measure_words({"u": "a a a b"}, found).ece == pytest.approx(0.0)  # three of four are right
    assert measure_words({"u": "a a a a"}, found).ece == pytest.approx(0.25)


def test_the_time_error_is_the_median_over_both_ends_of_the_words_that_are_right():
    # the: 10, 30 ms; sat: 50, 70 ms; down, beside an inserted word: 0, 0 ms
    quality = measure_words(REFS, FOUND, TRUE)
    assert quality.timed == 3
    assert quality.time_error_ms == pytest.approx(20.0)
    only = measure_words(REFS, FOUND, {"u1": TRUE["u1"]})  # an utterance that was not aligned
    assert (only.timed, only.time_error_ms) == (2, pytest.approx(40.0))


def test_deleted_words_shift_nothing():
    found = {"u": timed(("sat", 0.6, 0.9, 0.8))}
    true = {"u": timed(("the", 0.0, 0.2, 1.0), ("cat", 0.3, 0.5, 1.0), ("sat", 0.61, 0.91, 1.0))}
    quality = measure_words({"u": "the cat sat"}, found, true)
    assert (quality.words, quality.right, quality.timed) == (1, 1, 1)
    assert quality.time_error_ms == pytest.approx(10.0)


def test_the_table_has_the_bins_that_have_words():
    lines = measure_words({"u": "a a"}, {"u": timed(("a", 0, 1, 0.95), ("b", 1, 2, 0.91))}).table.splitlines()
    assert lines == ["confidence    words   mean  right", "0.9 to 1.0        2  0.930  0.500"]


def test_where_nothing_was_recognized_there_is_nothing_to_measure():
    with pytest.raises(DataError, match="hypotheses: have no words; at least one"):
        measure_words(REFS, {"u1": [], "u2": []})


def test_what_decoding_wrote_is_read(tmp_path):
    words = [{"word": "a", "start_s": 0, "end_s": 0.5, "confidence": 1}]
    (tmp_path / "words.jsonl").write_text(json.dumps({"utt_id": "u", "words": words}) + "\n")
    assert read_timed_words(tmp_path / "words.jsonl") == {"u": timed(("a", 0.0, 0.5, 1.0))}


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"utt_id": "u"}', '{"words": []}', '{"utt_id": "u", "words": [{"word": "a"}]}', '"u"', r'["\ud800"]'],
)
def test_a_malformed_line_is_refused(tmp_path, line):
    (tmp_path / "words.jsonl").write_text('{"utt_id": "t", "words": []}\n' + line + "\n")
    with pytest.raises(DataError, match=r"words\.jsonl:2: .*; .*words\.jsonl"):
        read_timed_words(tmp_path / "words.jsonl")


def test_a_file_that_is_missing_or_not_text_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"words\.jsonl: does not exist"):
        read_timed_words(tmp_path / "words.jsonl")
    (tmp_path / "words.jsonl").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"words\.jsonl:1: byte 0xff in column 1 is not UTF-8"):
        read_timed_words(tmp_path / "words.jsonl")


def as_lines(found):
    return "".join(
        json.dumps({"utt_id": name, "words": [vars(word) for word in words]}) + "\n" for name, words in found.items()
    )


@pytest.fixture
def data(tmp_path):
    write_table(tmp_path / "data/text", REFS)
    write_table(tmp_path / "data/utt2spk", {name: name for name in REFS})
    write_table(tmp_path / "hyp", {name: " ".join(word.word for word in words) for name, words in FOUND.items()})
    (tmp_path / "words.jsonl").write_text(as_lines(FOUND))
    (tmp_path / "alignment.jsonl").write_text(as_lines(TRUE))
    return tmp_path


def test_the_command_prints_and_records_confidences_and_times(data):
    files = (data / "data", data / "hyp", "--output", data / "score", "--words", data / "words.jsonl")
    more = ("--aligned", data / "alignment.jsonl", "--results", data / "r.jsonl", "--model", "m", "--set", "test")
    done = run("score", *files, *more)
    nce = measure_words(REFS, FOUND).nce
    assert done.lines[3:] == [
        f"confidence: ECE {ECE:.4f}, NCE {nce:.3f}, 3 of 5 words right",
        "word times: median error 20 ms over 3 words, both ends",
    ]
    rows = {row.metric: (row.value, row.counts) for row in read_results(data / "r.jsonl")}
    assert rows["ECE"] == (round(ECE, 4), "5 words")
    assert rows["NCE"] == (round(nce, 4), "5 words")
    assert rows["word times, ms"] == (20.0, "3 words")
    assert (data / "score" / "reliability").read_text() == measure_words(REFS, FOUND).table


def test_times_alone_are_refused(data):
    files = (data / "data", data / "hyp", "--output", data / "score", "--aligned", data / "alignment.jsonl")
    assert "--aligned requires --words, whose times are compared with it" in refusal("score", *files)
