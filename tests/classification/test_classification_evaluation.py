"""The evaluation of a classifier and its page: the numbers are those of the scores, and errors can be played."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import soundfile
import tones

from recitative.audio.files import read_audio
from recitative.classification.classifier import load_classifier
from recitative.classification.evaluation import (
    LabeledSet,
    Report,
    classes,
    classify_directory,
    confusions,
    matrix,
    most_confident_errors,
    write_report,
)
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError
from recitative.model.export import build_file
from recitative.report.charts import Recording
from recitative.report.figure import to_svg
from recitative.report.page import DASH, encode_flac, sound_uri
from recitative.score.classification import Confusions, expected_calibration_error
from whole_page import WholePage

FOUND = Confusions.of(("a", "b", "<c>"), [(0, 0), (0, 0), (0, 1), (1, 1), (1, 1), (0, 0)])
LABELS = tuple(tones.TONES_HZ)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tones.write_corpus(tmp_path_factory.mktemp("set"), each=2)


def labeled(data, probabilities):
    """Of the first recordings of a set, the probabilities (N, K) that a model gave."""
    utterances = DataDirectory.read(data).utterances[: len(probabilities)]
    true = np.array([LABELS.index(u.text) for u in utterances])
    return LabeledSet(LABELS, utterances, true, np.log(np.array(probabilities)).astype(np.float32))


def report(*labeled, title="t", live=False):
    return Report(title, ("one", "two")[: len(labeled)], labeled, tones.settings(), live)


@pytest.fixture(scope="module")
def some(data):
    """Four recordings of high, high, low, low: one correct, one wrong and uncertain, two wrong and more certain."""
    assert [u.text for u in DataDirectory.read(data).utterances[:4]] == ["high", "high", "low", "low"]
    return labeled(data, [[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.9, 0.05, 0.05], [0.1, 0.1, 0.8]])


def test_the_scores_of_a_labeled_set_follow_from_its_probabilities(some):
    assert some.predicted.tolist() == [0, 2, 0, 2]
    assert some.correct.tolist() == [True, False, False, False]
    np.testing.assert_allclose(some.confidences, [0.7, 0.4, 0.9, 0.8], rtol=1e-6)
    assert some.nll == pytest.approx(-np.mean(np.log([0.7, 0.3, 0.05, 0.1])), rel=1e-6)
    assert some.confusions.counts.tolist() == [[1, 0, 1], [1, 0, 1], [0, 0, 0]]


def test_errors_are_shown_by_their_confidence_and_no_more_than_are_wanted(some):
    assert most_confident_errors(some, 9) == [2, 3, 1]
    assert most_confident_errors(some, 1) == [2]


def test_the_page_is_whole_and_has_its_errors_as_sounds_of_the_very_samples(some, data, tmp_path):
    write_report(report(some, title="tones <1>"), tmp_path / "r.html", errors=2)
    text = (tmp_path / "r.html").read_text()
    found = WholePage(text)
    assert all(address.startswith("data:") for address in found.addresses)
    assert "tones <1>" in found.text
    assert "25.00" in found.text
    links = [address for address in found.attributes("a", "href") if address]
    assert links == [f"#{some.utterances[n].utt_id}" for n in (2, 3)]
    sounds = re.findall(r'src="data:audio/flac;base64,([^"]+)"', text)
    assert len(sounds) == 2
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sounds[0])), dtype="float32")
    original, _ = read_audio(some.utterances[2].recording_path)
    assert rate == tones.RATE
    np.testing.assert_array_equal(samples, original)


def test_an_error_shows_the_true_label_even_if_it_is_unlikely():
    utterance = Utterance("u", "ann", "nowhere.wav", text="e")
    names = ("a", "b", "c", "d", "e")
    one = LabeledSet(names, [utterance], np.array([4]), np.log([[0.4, 0.3, 0.2, 0.06, 0.04]]))
    html = report(one).page(1)
    text = WholePage(html).text
    assert re.findall(r'<th scope="row">(?:<b>)?(.)(?:</b>)?</th>\n<td><?', html)[:4] == ["a", "b", "c", "e"]
    assert "<b>e</b>" in html
    assert "0.040" in text
    assert "0.060" not in text, "the fourth"
    assert "No spectrogram: nowhere.wav: does not exist" in text


def test_a_set_without_errors_says_so(data):
    perfect = labeled(data, [[0.9, 0.05, 0.05]])
    text = WholePage(report(perfect).page()).text
    assert "Every recording is classified correctly." in text
    assert "Speakers" not in text, "there is one"


def test_all_recordings_are_listed_with_the_score_of_their_label_and_can_be_opened_where_the_page_is_served(some):
    served = report(some, live=True)
    html = served.page()
    ids = [u.utt_id for u in some.utterances]
    links = [address for address in WholePage(html).attributes("a", "href") if address]
    assert links == [f"#{ids[n]}" for n in (2, 3, 1, 0)], "the most confident errors first"
    scores = dict(served.label_scores("recordings"))
    assert scores == pytest.approx(dict(zip(ids, np.log([1, 3 / 4, 0.05 / 0.9, 0.1 / 0.8]), strict=True)), abs=1e-6)
    assert f'data-sort="{scores[ids[2]]:g}"' in html
    assert "<svg" in served.detail(ids[0])
    with pytest.raises(KeyError):
        served.detail("nobody")


def test_two_classifiers_are_compared(some, data):
    other = labeled(data, [[0.9, 0.05, 0.05]] * 4)
    compared = report(some, other)
    text = WholePage(compared.page(1)).text
    assert "difference+25" in text.replace("\n", "")
    assert [text.count(f"{name} · confidence") for name in ("one", "two")] == [1, 1]


def test_the_matrix_has_counts_shares_and_margins():
    svg = to_svg(matrix(FOUND))
    assert "a, predicted b: 1 of 4 (25.0 %)" in svg
    assert svg.count(">&lt;c&gt;<") == 2
    assert [svg.count(f">{shown}<") for shown in ("75", "67")] == [1, 1], "the recall of a, the precision of b, 2 of 3"
    assert svg.count(f">{DASH}<") == 2, "of c there is no recording"


def test_labels_come_with_the_lowest_recall_first_and_those_without_example_last():
    rows = classes(FOUND)
    assert [[cell.text for cell in row[:2]] for row in rows] == [["a", "4"], ["b", "2"], ["<c>", "0"]]
    assert rows[0][4].text == "0.857", "2 x 3/4 x 1 / (3/4 + 1)"
    assert [cell.text for cell in rows[2][2:]] == [DASH] * 3
    assert confusions(FOUND) == [("a", "b", 1)]


def test_the_page_has_the_calibration_and_what_each_bin_holds(data):
    probabilities = [[0.95, 0.03, 0.02], [0.92, 0.04, 0.04], [0.55, 0.4, 0.05], [0.2, 0.58, 0.22]]
    some = labeled(data, probabilities)
    assert some.correct.tolist() == [True, True, False, True]
    html = report(some).page()
    text = WholePage(html).text
    assert f"ECE {expected_calibration_error(some.confidences, some.correct):.3f}" in text
    assert "mean confidence 0.935, accuracy 1.000, 2 recordings" in text
    assert "<td>-6.5</td>" in html
    assert "<td>+6.5</td>" in html


def test_flac_is_the_samples_and_a_long_recording_is_no_sound():
    samples = (np.round(tones.tone("low", 0.1, np.random.default_rng(0)) * 32768) / 32768).astype(np.float32)
    content = encode_flac(Recording(samples, 4000))
    np.testing.assert_array_equal(soundfile.read(io.BytesIO(content), dtype="float32")[0], samples)
    long = Recording(np.zeros(61 * 8000, np.float32), 8000)
    assert sound_uri(long, encode_flac, "audio/flac") == ""
    assert sound_uri(Recording(samples, 4000), encode_flac, "audio/flac").startswith("data:audio/flac;base64,")


def test_a_directory_is_classified_in_its_own_order_whatever_the_lengths(data, monkeypatch):
    monkeypatch.setattr("recitative.classification.evaluation.BATCH", 5)
    classifier, seen = load_classifier(build_file(tones.classifier()).SerializeToString()), []
    found = classify_directory(classifier, data, lambda done, total: seen.append((done, total)))
    assert seen == [(5, 12), (10, 12), (12, 12)]
    for utterance, log_probs in zip(found.utterances, found.log_probs, strict=True):
        samples, _ = read_audio(utterance.recording_path)
        np.testing.assert_allclose(log_probs, classifier.last_log_probs([samples])[0], atol=1e-4)


def test_all_problems_of_a_directory_are_reported_at_once(data, tmp_path):
    first = DataDirectory.read(data).utterances[0]
    bad = tones.changed(DataDirectory.read(data), first.utt_id, text="dog")
    bad.write(tmp_path / "bad")
    classifier = load_classifier(build_file(tones.classifier()).SerializeToString())
    with pytest.raises(DataError, match="has the label 'dog', which is none of the model's; high, low, middle"):
        classify_directory(classifier, tmp_path / "bad")
