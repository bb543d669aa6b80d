"""The report of an experiment: what it shows, from whatever part of the experiment there is."""

import base64
import io
import json
import math
import re
import shutil
from collections import Counter

import numpy as np
import pytest
import soundfile

from command_line import run
from recitative.asr.experiment import Token, read_experiment
from recitative.asr.report import (
    metric_table,
    symbol_matrix,
    token_marks,
    utterance_table,
    write_report,
)
from recitative.audio.files import write_wav
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, UsageError
from recitative.report.charts import Mark, Recording, mel_levels, spectrogram
from recitative.report.figure import to_svg
from recitative.report.page import encode_mp3
from recitative.score.wer import align, characters, difference_interval, score, write_details
from whole_page import WholePage

RATE = 8000
REFS = {"a-1": "one two", "a-2": "<b> & co", "b-1": "three"}
HYPS = {"a-1": "one too", "a-2": "<b> & co", "b-1": ""}


def tone(seconds, hertz=1000.0):
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def write_log(path, epochs=3, steps=4, tail=""):
    lines = []
    for epoch in range(1, epochs + 1):
        for n in range((epoch - 1) * steps + 1, epoch * steps + 1):
            step = {"event": "step", "step": n, "epoch": epoch - 1, "loss": 4 / n, "lr": 1e-3, "grad_norm": 10 / n}
            lines.append(step | {"clipped": n < 3, "skipped": False, "audio_s": 30.0, "seconds": 1.0})
        end = {
            "event": "epoch",
            "epoch": epoch - 1,
            "step": n,
            "train_loss": 4 / n,
            "dev_loss": 5 / n,
            "best": epoch == 2,
        }
        lines.append(end | {"dev_wer": 0.5 / epoch, "dev_cer": 0.2 / epoch, "seconds": 60.0 * epoch})
    lines[5] |= {"loss": math.nan, "grad_norm": None, "skipped": True}  # step 5
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)


@pytest.fixture
def experiment(tmp_path):
    """A trained and decoded experiment with three utterances of tones."""
    for utt_id in REFS:
        write_wav(tmp_path / f"{utt_id}.wav", tone(0.8), RATE)
    utterances = [Utterance(u, u[0], str(tmp_path / f"{u}.wav"), text=text) for u, text in REFS.items()]
    DataDirectory(tuple(utterances)).write(tmp_path / "data")
    exp = tmp_path / "exp"
    decoded = exp / "decode_test"
    decoded.mkdir(parents=True)
    write_log(exp / "train.jsonl")
    (exp / "settings.yaml").write_text("train:\n  clip_norm: 5.0\n")
    (exp / "environment.json").write_text(json.dumps({"device": "cpu", "parameters": 5_300_000}))
    (decoded / "data_dir").write_text(f"{tmp_path / 'data'}\n")
    (decoded / "text").write_text("".join(f"{utt_id} {text}".rstrip() + "\n" for utt_id, text in HYPS.items()))
    (decoded / "summary.json").write_text(json.dumps({"audio_s": 2.4, "seconds": 0.1}))
    tokens = [{"token": token, "start_s": 0.1 * n} for n, token in enumerate(HYPS["a-1"])]
    (decoded / "tokens.jsonl").write_text(json.dumps({"utt_id": "a-1", "tokens": tokens}) + "\n")
    words = {
        utt_id: [{"word": w, "start_s": 0.1 + 0.3 * n, "end_s": 0.3 + 0.3 * n, "confidence": 0.9 - 0.4 * n}
                 for n, w in enumerate(text.split())]
        for utt_id, text in HYPS.items()
    }  # fmt: skip
    lines = (json.dumps({"utt_id": utt_id, "words": said}) + "\n" for utt_id, said in words.items())
    (decoded / "words.jsonl").write_text("".join(lines))
    return exp


def copied(experiment, hyps):
    """The same experiment with other hypotheses."""
    other = experiment.with_name("other")
    shutil.copytree(experiment, other)
    (other / "decode_test/text").write_text(
        "".join(f"{utt_id} {text}".rstrip() + "\n" for utt_id, text in hyps.items())
    )
    return other


def test_the_whole_report_is_one_page_that_fetches_nothing(experiment):
    path = write_report(experiment)
    assert path == experiment / "report.html"
    html = path.read_text()
    page = WholePage(html)
    assert page.addresses
    assert all(address.startswith("data:") for address in page.addresses)
    assert "url(" not in html.replace("url(#", "")
    assert "@import" not in html
    for shown in (
        "33.33",
        "x real time",
        "5.30 M parameters",
        "Loss (nats per label)",
        "Gradient norm",
        "Speakers",
    ):
        assert shown in page.text.replace("\N{THIN SPACE}", " ")
    assert "1 of 12 steps skipped (NaN or inf): 5" in page.text
    assert "clipped above 5 (16.7 % of steps)" in page.text
    assert "Not in this report" not in page.text
    assert not re.search(r"\bnan\b", html)


def test_sets_are_rows_and_metrics_columns(experiment):
    head, rows = metric_table([[read_experiment(experiment).sets[0]]], ["exp"])
    assert len(rows) == 1
    shown = dict(zip(head, (cell.text.replace("\N{THIN SPACE}", " ") for cell in rows[0]), strict=True))
    assert shown["set"] == "test"
    assert (shown["WER"], shown["errors / words"]) == ("33.33 %", "2 / 6")
    assert (shown["sub"], shown["del"], shown["ins"], shown["SER"]) == ("1", "1", "0", "66.67 %")
    gaps = abs(0.9 * 2 - 2) + abs(0.5 * 2 - 1) + abs(0.1 * 1 - 1)  # confidences 0.9, 0.5, 0.1; 'too' is wrong
    assert shown["ECE"] == f"{gaps / 5:.3f}"
    assert shown["x real time"] == "24"


def test_two_experiments_are_compared_by_set_and_by_utterance(experiment):
    other = copied(experiment, HYPS | {"a-1": "one two", "a-2": "b co"})
    text = WholePage(write_report(experiment, compare=other).read_text()).text.replace("\N{THIN SPACE}", " ")
    low, high = (100 * x for x in difference_interval(*(read_experiment(e).sets[0].words.by_utterance
                                                        for e in (experiment, other))))  # fmt: skip
    assert "exp and other" in text
    assert f"differencetest+16.67{low:+.2f} to {high:+.2f}" in text.replace("\n", "")
    assert "other · 0 errors in 2 words" in text, "of a-1, which the first has wrong"
    rows = utterance_table([read_experiment(e).sets[0] for e in (experiment, other)], live=False)[1]
    assert [(row[0].text, row[3].text, row[5].text) for row in rows] == [
        ("b-1", "1", "0"), ("a-1", "1", "-1"), ("a-2", "0", "+2"),
    ]  # fmt: skip
    one_set = write_report(
        experiment / "decode_test", compare=other / "decode_test", output=other / "r.html"
    ).read_text()
    assert "other · 0 errors" in one_set.replace(f"{other / 'decode_test'}</b>", "other")
    shutil.rmtree(other / "decode_test")
    (other / "decode_more").mkdir()
    assert "only one experiment has decode_test" in WholePage(write_report(experiment, compare=other).read_text()).text


def test_a_word_has_its_time_and_says_what_became_of_it(experiment):
    page = WholePage(write_report(experiment).read_text())
    found = [attrs for tag, attrs in page.tags if tag == "button" and "data-times" in attrs]
    assert [(word["data-times"], word["title"]) for word in found] == [
        ("[0.1, 0.3]", "one: correct, confidence 0.90"),
        ("[0.4, 0.6]", "two: recognized as too, confidence 0.50"),
    ]


def test_without_words_jsonl_there_is_no_calibration_and_it_is_said(experiment):
    assert "Calibration of the words" in WholePage(write_report(experiment).read_text()).text
    (experiment / "decode_test/words.jsonl").unlink()
    text = WholePage(write_report(experiment).read_text()).text
    assert "Calibration of the words" not in text
    assert "decode_test/words.jsonl is not there" in text


def test_scores_on_dev_of_any_kind_of_model_are_drawn(tmp_path):
    lines = [{"event": "epoch", "epoch": n - 1, "step": n, "train_loss": 3 / n, "dev_loss": 4 / n, "best": n == 2,
              "dev_accuracy": 0.5 + 0.1 * n, "dev_nats_per_note": 1 / n} for n in (1, 2)]  # fmt: skip
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "settings.yaml").write_text("kind: music\n")
    row = {"model": tmp_path.name, "set": "test", "decoding": "-", "metric": "nats per frame", "value": 4.16}
    (tmp_path / "results.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"model": "other"}) + "\n")
    text = WholePage(write_report(tmp_path).read_text()).text.replace("\N{THIN SPACE}", " ")
    for shown in ("epoch 2: dev accuracy 70.00 %, best so far", "Dev nats per note", "70.00 %best dev accuracy"):
        assert shown in text
    assert "setdecodingnats per frametest-4.16" in text.replace("\n", "")
    assert "decode_<set>" not in text


def test_what_was_said_is_shown_as_text_and_never_as_markup(experiment):
    (experiment / "decode_test/text").write_text("a-1 <script>alert(1)</script>\na-2 <b>\nb-1 &amp;\n")
    html = write_report(experiment).read_text()
    assert html.count("<script>") == 1
    assert "<script>alert(1)</script>" in WholePage(html).text.replace("\n", "")


def test_a_run_without_decoding_shows_its_curves_and_says_what_is_missing(experiment, tmp_path):
    running = tmp_path / "running"
    running.mkdir()
    write_log(running / "train.jsonl", tail='{"event": "step", "st')
    page = WholePage(write_report(running).read_text())
    assert "Loss (nats per label)" in page.text
    for line in ("settings.yaml is not there", "the last line is unfinished", "no decode_<set> folder yet"):
        assert line in page.text


def test_a_decoding_without_a_training_log_is_reported_too(experiment):
    for name in ("train.jsonl", "settings.yaml", "environment.json"):
        (experiment / name).unlink()
    text = WholePage(write_report(experiment).read_text()).text
    assert "33.33" in text
    assert "Gradient norm" not in text


def test_moved_data_leave_the_alignments_of_an_earlier_scoring(experiment):
    decoded = experiment / "decode_test"
    write_details(decoded / "score", score(REFS, HYPS), score(REFS, HYPS, symbols=characters))
    (decoded / "data_dir").write_text("elsewhere/test\n")
    text = WholePage(write_report(experiment).read_text()).text
    assert "33.33" in text
    assert "the data cannot be read from here" in text
    assert "elsewhere/test" in text


def test_an_unreadable_recording_takes_only_its_own_picture(experiment, tmp_path):
    (tmp_path / "b-1.wav").write_bytes(b"")
    html = write_report(experiment).read_text()
    assert "No spectrogram: " in html
    assert "is empty (0 bytes)" in html
    assert html.count("<audio") == 1  # a-1's; a-2 has no error


def test_a_missing_hypothesis_is_named_and_counted_as_deleted(experiment):
    (experiment / "decode_test/text").write_text("a-1 one two\na-2 <b> & co\n")
    assert "No hypothesis, counted as deleted: b-1" in WholePage(write_report(experiment).read_text()).text


def test_a_step_run_again_after_an_interruption_counts_as_it_was_run_last(experiment):
    with (experiment / "train.jsonl").open("a") as log:
        log.write(json.dumps({"event": "step", "step": 12, "epoch": 3, "loss": 0.25}) + "\n")
    steps = read_experiment(experiment).training.steps
    assert [row.step for row in steps] == list(range(1, 13))
    assert steps[-1].loss == 0.25
    assert math.isnan(steps[4].grad_norm)  # written as null


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.jsonl", "{}\n[1]\n", r"train.jsonl:2: has a list"),
        ("train.jsonl", "{bad\n", r"train.jsonl:1: is not JSON"),
        ("train.jsonl", '{"event": "step", "step": 1}\n', r"train.jsonl:1: has no 'epoch'"),
        ("settings.yaml", "a: [", r"settings.yaml:1: is not YAML"),
        ("environment.json", "nothing", r"environment.json:? is not JSON"),
        ("decode_test/tokens.jsonl", '{"utt_id": "a-1"}\n', r"tokens.jsonl:1: is not a row of tokens"),
        ("decode_test/text", "z-9 hello\n", r"decode_test/text: utterance 'z-9' is not in the references"),
    ],
)
def test_a_damaged_file_is_named_and_no_page_is_left(experiment, name, content, message):
    (experiment / name).write_text(content)
    with pytest.raises(DataError, match=message):
        write_report(experiment)
    assert not (experiment / "report.html").exists()


def test_a_folder_with_nothing_to_report_and_no_folder_are_errors(tmp_path):
    with pytest.raises(DataError, match=r"holds neither train.jsonl nor decode_\*"):
        write_report(tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        write_report(tmp_path / "none")


def test_the_command_prints_only_the_path_on_stdout(experiment):
    assert run("report", experiment, "--worst", "1").out == f"{experiment / 'report.html'}\n"
    assert (experiment / "report.html").read_text().count("<article") == 1


def test_the_spectrogram_of_a_tone_is_brightest_at_its_frequency():
    levels = mel_levels(Recording(tone(0.5, 1000.0), RATE))
    row = int(levels.mean(axis=1).argmax())
    mel = 1127 * np.log1p(np.array([20.0, 1000.0, RATE / 2]) / 700)
    expected = (1 - (mel[1] - mel[0]) / (mel[2] - mel[0])) * levels.shape[0]
    assert abs(row + 0.5 - expected) <= 1  # a bin is one row high


def test_less_than_a_window_of_sound_gives_an_empty_picture():
    picture = spectrogram(Recording(tone(0.01), RATE))
    assert to_svg(picture.figure).startswith("<svg")
    assert picture.systems == [(0.0, 0.01, 0.0, 0.0, 200.0, 140)]


@pytest.mark.parametrize("sample_rate", [8000, 16000, 11025])
def test_the_sound_decodes_to_what_it_was(sample_rate):
    encoded = encode_mp3(Recording(tone(1.0), sample_rate))
    samples, _ = soundfile.read(io.BytesIO(encoded))
    expected = 0.3 / math.sqrt(2)
    assert np.sqrt(np.mean(samples[len(samples) // 4 : len(samples) // 2] ** 2)) == pytest.approx(expected, rel=0.1)


def test_tokens_stand_at_their_times_in_the_color_of_their_word():
    tokens = [Token(letter, 0.2 * n) for n, letter in enumerate("a bc")]
    marks = token_marks(tokens, align(["a", "bd"], ["a", "bc"]))
    assert marks == [Mark(0.0, "a", "ink"), Mark(0.2, "·", "ink"), Mark(0.4, "b", "sub"), Mark(0.2 * 3, "c", "sub")]
    inserted = token_marks(tokens, align(["a"], ["a", "bc"]))
    assert [mark.color for mark in inserted] == ["ink", "ink", "ins", "ins"]
    assert {mark.color for mark in token_marks(tokens, align(["a"], ["other"]))} == {"ink"}


def test_tokens_that_are_words_take_the_color_of_theirs():
    marks = token_marks([Token(" a", 0.2), Token(" bc", 0.6)], align(["a", "bd"], ["a", "bc"]))
    assert marks == [Mark(0.2, "a", "ink"), Mark(0.6, "bc", "sub")]


def test_the_character_matrix_has_the_characters_with_the_most_errors(monkeypatch):
    counts = Counter(align(list("abab x"), list("abb yx")))
    figure, left_out = symbol_matrix(counts, "characters")
    assert left_out == 0
    svg = to_svg(figure)
    for shown in (">␣<", ">∅<", "a → a: 1", "a → ∅: 1", "∅ → y: 1"):
        assert shown in svg
    monkeypatch.setattr("recitative.asr.report.MAX_SYMBOLS", 1)
    assert symbol_matrix(counts, "characters")[1] == 4  # b, x, y and the space


def test_pictures_and_sounds_are_what_their_addresses_say(experiment):
    addresses = WholePage(write_report(experiment).read_text()).addresses
    starts = {address.split(";")[0]: base64.b64decode(address.split(",")[1])[:4] for address in addresses}
    assert starts["data:image/png"] == b"\x89PNG"
    assert starts["data:audio/mpeg"][0] == 0xFF or starts["data:audio/mpeg"][:3] == b"ID3"
