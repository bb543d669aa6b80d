"""The report of an experiment: what it shows, from whatever part of the experiment there is."""

import base64
import io
import json
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import soundfile
import typer
from PIL import Image
from typer.testing import CliRunner

from recitative.audio.files import write_wav
from recitative.cli.report import report as report_command
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, UsageError
from recitative.page.chart import LINEAR, LOG, Chart, Series, draw, linear_ticks, log_ticks, summarise
from recitative.page.sound import Recording, encode_mp3
from recitative.page.spectrogram import encode_png, mel_spectrogram
from recitative.recognition.report import write_report
from recitative.recognition.report_inputs import Token, read_experiment
from recitative.recognition.report_utterance import picture
from recitative.score.details import write_details
from recitative.score.wer import align, characters, score
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
            step = {"event": "step", "step": n, "epoch": epoch, "loss": 4 / n, "lr": 1e-3, "grad_norm": 10 / n}
            lines.append(step | {"clipped": n < 3, "skipped": False, "audio_s": 30.0, "seconds": 1.0})
        end = {"event": "epoch", "epoch": epoch, "step": n, "train_loss": 4 / n, "dev_loss": 5 / n, "best": epoch == 2}
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
    return exp


def test_the_whole_report_is_one_page_that_fetches_nothing(experiment):
    path = write_report(experiment)
    assert path == experiment / "report.html"
    html = path.read_text()
    page = WholePage(html)
    assert page.addresses
    assert all(address.startswith("data:") for address in page.addresses)
    assert "url(" not in html
    assert "@import" not in html
    for shown in ("33.33", "WER test", "24 x", "5.30 M parameters", "Loss per label", "Gradient norm", "Speakers"):
        assert shown in page.text.replace("\N{THIN SPACE}", " ")
    assert "1 of 12 steps skipped (NaN or inf): 5" in page.text
    assert "clipped above 5 (16.7 % of steps)" in page.text
    assert "Not in this report" not in page.text
    assert not re.search(r"\bnan\b", html)


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
    assert "Loss per label" in page.text
    for line in ("settings.yaml is not there", "the last line is unfinished", "no decode_<set> folder yet"):
        assert line in page.text


def test_a_decoding_without_a_training_log_is_reported_too(experiment):
    for name in ("train.jsonl", "settings.yaml", "environment.json"):
        (experiment / name).unlink()
    text = WholePage(write_report(experiment).read_text()).text
    assert "WER test" in text
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
    assert "No picture: " in html
    assert "is empty (0 bytes)" in html
    assert html.count("<audio") == 1  # a-1's; a-2 has no error


def test_a_missing_hypothesis_is_named_and_counted_as_deleted(experiment):
    (experiment / "decode_test/text").write_text("a-1 one two\na-2 <b> & co\n")
    assert "No hypothesis, counted as all deleted: b-1" in WholePage(write_report(experiment).read_text()).text


def test_a_step_run_again_after_an_interruption_counts_as_it_was_run_last(experiment):
    with (experiment / "train.jsonl").open("a") as log:
        log.write(json.dumps({"event": "step", "step": 12, "epoch": 3, "loss": 0.25}) + "\n")
    steps = read_experiment(experiment).steps
    assert [row.step for row in steps] == list(range(1, 13))
    assert steps[-1].loss == 0.25
    assert math.isnan(steps[4].grad_norm)  # written as null


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.jsonl", "{}\n[1]\n", r"train.jsonl:2: holds a list"),
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
    app = typer.Typer()
    app.command()(report_command)
    outcome = CliRunner().invoke(app, [str(experiment), "--worst", "1"], catch_exceptions=False)
    assert outcome.stdout == f"{experiment / 'report.html'}\n"
    assert (experiment / "report.html").read_text().count("<article") == 1


def test_the_spectrogram_of_a_tone_is_brightest_at_its_frequency():
    levels = mel_spectrogram(Recording(tone(0.5, 1000.0), RATE))
    row = int(levels.mean(axis=1).argmax())
    mel = 1127 * np.log1p(np.array([20.0, 1000.0, RATE / 2]) / 700)
    expected = (1 - (mel[1] - mel[0]) / (mel[2] - mel[0])) * levels.shape[0]
    assert abs(row + 0.5 - expected) <= 1  # a bin is one row high
    with Image.open(io.BytesIO(encode_png(levels))) as image:
        assert image.size == levels.shape[::-1]


def test_less_than_a_window_of_sound_gives_an_empty_picture():
    assert "<svg" in picture(Recording(tone(0.01), RATE), (), [])


@pytest.mark.parametrize("sample_rate", [8000, 16000, 11025])
def test_the_sound_decodes_to_what_it_was(sample_rate):
    encoded = encode_mp3(Recording(tone(1.0), sample_rate))
    samples, _ = soundfile.read(io.BytesIO(encoded))
    expected = 0.3 / math.sqrt(2)
    assert np.sqrt(np.mean(samples[len(samples) // 4 : len(samples) // 2] ** 2)) == pytest.approx(expected, rel=0.1)


def test_tokens_stand_at_their_times_in_the_colour_of_their_word():
    tokens = [Token(letter, 0.2 * n) for n, letter in enumerate("a bc")]
    svg = picture(Recording(tone(1.0), RATE), tokens, align(["a", "bd"], ["a", "bc"]))
    found = re.findall(r'class="token (\w?)" x="([\d.]+)".*?</title>(.*?)</text>', svg)
    assert found == [("C", "0.0", "a"), ("", "40.0", "&#183;"), ("S", "80.0", "b"), ("S", "120.0", "c")]


def test_tokens_that_are_words_take_the_colour_of_theirs():
    tokens = [Token(" a", 0.2), Token(" bc", 0.6)]
    svg = picture(Recording(tone(1.0), RATE), tokens, align(["a", "bd"], ["a", "bc"]))
    found = re.findall(r'class="token (\w?)" x="([\d.]+)".*?</title>(.*?)</text>', svg)
    assert found == [("C", "40.0", "a"), ("S", "120.0", "bc")]


def test_pictures_and_sounds_are_what_their_addresses_say(experiment):
    addresses = WholePage(write_report(experiment).read_text()).addresses
    starts = {address.split(";")[0]: base64.b64decode(address.split(",")[1])[:4] for address in addresses}
    assert starts["data:image/png"] == b"\x89PNG"
    assert starts["data:audio/mpeg"][0] == 0xFF or starts["data:audio/mpeg"][:3] == b"ID3"


def test_a_chart_breaks_its_line_at_nan_and_keeps_zero_on_a_logarithmic_axis():
    y = np.array([1.0, 2.0, np.nan, 0.0, 4.0])
    svg = draw(Chart("t", (Series("s", 1, np.arange(5.0), y),), LOG))
    root = ElementTree.fromstring(re.search(r"<svg.*</svg>", svg).group())
    line = next(path.get("d") for path in root if path.get("class") == "line s1")
    assert line.count("M") == 2
    assert line.count("L") == 2
    assert "nan" not in line
    assert "inf" not in line


def test_a_chart_of_nothing_or_of_one_point_can_be_drawn():
    empty = np.zeros(0)
    assert "nothing yet" in draw(Chart("t", (summarise("s", 1, empty, empty),), LINEAR, level=(5.0, "clip")))
    assert "<svg" in draw(Chart("t", (summarise("s", 1, np.ones(1), np.ones(1)),), LOG))


def test_a_long_line_is_summarised_by_means_within_their_range():
    x = np.arange(10_000.0)
    line = summarise("s", 1, x, np.sin(x))
    assert len(line.x) == 200
    assert line.y[0] == pytest.approx(np.sin(x[:50]).mean())
    assert (line.low <= line.y).all()
    assert (line.y <= line.high).all()


def test_ticks_are_round_numbers_within_the_range():
    assert linear_ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert linear_ticks(0, 1900, 6) == [0, 500, 1000, 1500]
    assert log_ticks(0.02, 3) == pytest.approx([0.02, 0.05, 0.1, 0.2, 0.5, 1, 2])
    assert log_ticks(1e-4, 10) == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1, 10])
