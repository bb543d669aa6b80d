"""The models and schedules that are suggested: sensible at the recipes' corpora, and monotone everywhere."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from command_line import run
from recitative.asr.network import build_recognizer
from recitative.asr.presets import (
    ROWS,
    SIZES,
    Corpus,
    Hardware,
    Suggestion,
    audio_per_second,
    default_hours,
    memory_gb,
    num_parameters,
    suggest,
)
from recitative.config import load_settings
from small_corpus import RATE, make_corpus, noise, write_audio

TWO_CORES = Hardware(2)
GPU = Hardware(16, 80.0)
AN4 = Corpus(0.64, 66)
CORPORA = st.builds(Corpus, st.floats(0.01, 3000), st.integers(1, 5000))
MACHINES = st.builds(Hardware, st.integers(1, 64), st.sampled_from([0.0, 4.0, 24.0, 80.0]))
FEW = settings(max_examples=20, deadline=None)  # each builds up to eight networks, without memory


def size(suggestion: Suggestion) -> tuple[int, int]:
    core = suggestion.settings.model.recurrent
    return core.layers, core.hidden


def test_each_row_of_the_table_asks_for_more_of_what_more_speech_can_teach() -> None:
    for row, next_row in itertools.pairwise(ROWS):
        assert row.hours < next_row.hours
        assert row.size <= next_row.size
        assert row.epochs > next_row.epochs > next_row.fewest
        assert row.fewest > next_row.fewest
        assert row.dropout >= next_row.dropout
        assert row.batch_s <= next_row.batch_s


@pytest.mark.parametrize("offline", [False, True])
def test_each_size_is_larger_than_the_one_before_and_learns_in_smaller_steps(offline: bool) -> None:
    shapes = [one.offline if offline else one.forward for one in SIZES]
    weights = [layers * hidden**2 for layers, hidden in shapes]
    assert weights == sorted(set(weights))
    assert [one.learning_rate for one in SIZES] == sorted((one.learning_rate for one in SIZES), reverse=True)


@pytest.mark.parametrize(("offline", "expected"), [(True, (3, 320)), (False, (3, 512))])
def test_an4_gets_the_model_and_the_schedule_of_its_recipe(offline: bool, expected: tuple[int, int]) -> None:
    found = suggest(AN4, TWO_CORES, offline=offline)
    assert size(found) == expected
    recipe = Path(__file__).parents[2] / "recipes" / "an4" / "conf" / ("blstm.yaml" if offline else "lstm.yaml")
    measured = load_settings(recipe)
    assert found.settings.augment == measured.augment
    assert found.settings.features == measured.features
    assert found.settings.model.front_end == measured.model.front_end
    assert found.settings.train.learning_rate == measured.train.learning_rate
    assert abs(found.settings.train.epochs - measured.train.epochs) < 20
    assert 0.5 < found.train_hours <= 1.0


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize(("frames", "step_ms"), [(100, "30 ms"), (32, "20 ms"), (16, "10 ms"), (8, "10 ms")])
def test_the_step_of_the_network_leaves_every_letter_one(offline: bool, frames: int, step_ms: str) -> None:
    letters = 10
    found = suggest(Corpus(0.2, 10, lengths=((frames, letters),)), TWO_CORES, offline=offline)
    front_end, fastest = found.settings.model.front_end, max(found.settings.augment.speeds)
    steps = 1 + (int(frames / fastest) - front_end.window) // front_end.stride
    assert (steps >= letters) == (frames > letters)
    assert any("--unit word" in warning for warning in found.warnings) == (frames < letters)
    assert any((choice.what, choice.value) == ("frame step", step_ms) for choice in found.choices)


def test_one_word_recordings_get_a_step_that_their_letters_fit_in(tmp_path: Path) -> None:
    """Ten letters in a quarter of a second have 25 ms each; steps of 30 ms, or a window of 180 ms, leave too few."""
    for number in range(4):
        for place, word in enumerate(("nevermore", "lighthouse")):
            write_audio(tmp_path / "in" / f"s{number}" / f"{word}.wav", noise(0.25, seed=2 * number + place))
            (tmp_path / "in" / f"s{number}" / f"{word}.txt").write_text(word)
    run("data", "import", tmp_path / "in", tmp_path / "data")
    run("suggest", tmp_path / "data", "--output", tmp_path / "conf.yaml")
    run("tokens", tmp_path / "data", "--output", tmp_path / "tokens.txt")
    conf, tokens = tmp_path / "conf.yaml", tmp_path / "tokens.txt"
    assert load_settings(conf).model.front_end.stride < 3
    run("check", tmp_path / "data", "--conf", conf, "--tokens", tokens)


def test_the_time_of_the_anchor_is_that_which_was_measured() -> None:
    """0.64 h at 130 s a second, 130 times: by hand, 0.64 h * 130 / 130 = 0.64 h for 6.0 M parameters."""
    found = suggest(AN4, TWO_CORES, offline=True)
    assert found.settings.train.epochs == 130
    assert found.train_hours == pytest.approx(0.64 * found.parameters / 6e6, rel=0.01)


def test_parameters_are_those_of_the_network_that_is_trained() -> None:
    found = suggest(AN4, TWO_CORES).settings
    network = build_recognizer(found.model, found.features.dim, 29)
    assert num_parameters(found.model, found.features, 29) == sum(w.numel() for w in network.parameters())


@FEW
@given(CORPORA, MACHINES, st.booleans())
def test_training_ends_in_about_the_hours_that_there_are(corpus: Corpus, machine: Hardware, offline: bool) -> None:
    found = suggest(corpus, machine, offline=offline)
    train = found.settings.train
    hours = corpus.hours * train.epochs / audio_per_second(found.parameters, machine)
    assert found.train_hours == pytest.approx(hours)
    slower = any("longer than" in warning for warning in found.warnings)
    assert slower or found.train_hours <= 1.05 * default_hours(corpus, machine)
    assert train.warmup_steps <= 2000


@FEW
@given(CORPORA, MACHINES, st.floats(0.1, 100), st.floats(0.1, 100))
def test_more_time_never_gives_a_smaller_model(corpus: Corpus, machine: Hardware, hours: float, more: float) -> None:
    less, greater = (suggest(corpus, machine, hours=time) for time in sorted((hours, more)))
    assert less.parameters <= greater.parameters
    if less.parameters == greater.parameters:
        assert less.settings.train.epochs <= greater.settings.train.epochs


@FEW
@given(CORPORA, st.integers(1, 64), st.integers(1, 64))
def test_more_cores_never_give_a_smaller_model(corpus: Corpus, cores: int, more: int) -> None:
    few, many = (suggest(corpus, Hardware(number), hours=1.0) for number in sorted((cores, more)))
    assert few.parameters <= many.parameters


@FEW
@given(st.floats(0.01, 1000), st.floats(0.01, 1000), st.integers(1, 5000), st.integers(1, 5000))
def test_less_speech_and_fewer_speakers_are_varied_more(hours: float, more: float, few: int, many: int) -> None:
    (hours, more), (few, many) = sorted((hours, more)), sorted((few, many))
    small, large = (suggest(Corpus(*corpus), GPU).settings for corpus in ((hours, few), (more, many)))
    assert small.augment.vtlp[0] <= large.augment.vtlp[0]
    assert small.augment.vtlp[1] >= large.augment.vtlp[1]
    assert small.augment.speeds[0] <= large.augment.speeds[0]
    assert small.model.recurrent.dropout >= large.model.recurrent.dropout
    assert small.train.epochs >= large.train.epochs or small.train.epochs == ROWS[0].epochs


def test_a_gpu_gets_larger_models_for_large_corpora() -> None:
    for hours in (10.0, 100.0, 1000.0):
        corpus = Corpus(hours, 500)
        assert suggest(corpus, GPU).parameters >= suggest(corpus, TWO_CORES).parameters
    assert suggest(Corpus(10.0, 500), GPU).parameters > 1.5 * suggest(Corpus(10.0, 500), TWO_CORES).parameters


def test_a_small_gpu_gets_smaller_batches() -> None:
    corpus = Corpus(2000.0, 5000)
    large, small = (suggest(corpus, Hardware(16, memory)).settings for memory in (80.0, 2.0))
    assert small.train.batch_s < large.train.batch_s == 240
    parameters = num_parameters(small.model, small.features)
    assert memory_gb(parameters, small.model, small.train.batch_s) < 2.0


@pytest.mark.parametrize(
    ("corpus", "hours", "warning"),
    [
        (Corpus(0.05, 1), None, "only words and voices that it was trained on will be recognized"),
        (Corpus(2.0, 50), 0.1, "epochs are few for 2.0 h of speech; --hours"),
        (Corpus(50.0, 50), 0.1, "training takes longer than the 0.1 h asked for: 5 epochs at least"),
        (Corpus(1.0, 50, longest_s=90.0), None, "an utterance lasts 90 s; cut those of more than 60 s in parts"),
    ],
)
def test_what_cannot_go_well_is_told(corpus: Corpus, hours: float | None, warning: str) -> None:
    assert any(warning in told for told in suggest(corpus, TWO_CORES, hours=hours).warnings)
    assert suggest(AN4, TWO_CORES).warnings == ()


def test_the_hours_that_a_warning_names_are_enough() -> None:
    (warning,) = suggest(Corpus(2.0, 50), TWO_CORES, hours=0.1).warnings
    hours = float(warning.split("--hours ")[1].split()[0])
    assert suggest(Corpus(2.0, 50), TWO_CORES, hours=hours).warnings == ()


def test_utterances_that_are_a_little_long_are_allowed_for() -> None:
    assert suggest(Corpus(1.0, 50, longest_s=41.3), TWO_CORES).settings.train.max_duration_s == 42
    assert suggest(AN4, TWO_CORES).settings.train.max_duration_s == 30


def test_the_file_stands_alone_and_says_why(tmp_path: Path) -> None:
    train, path = make_corpus(tmp_path), tmp_path / "conf" / "own.yaml"
    told = run("suggest", train, "--output", path, "--offline")
    assert "include" not in yaml.safe_load(path.read_text())
    assert "# network: 2 x 96 LSTM; bidirectional, hears whole recordings" in path.read_text().splitlines()
    written = load_settings(path)
    assert written.model.recurrent.hidden == 96
    assert written.features.sample_rate == RATE
    assert "expected training time: " in told.out
    assert "warning: with so little speech only words and voices" in told.err


def test_recordings_of_two_rates_are_refused(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    write_audio(tmp_path / "audio" / "bert-2.wav", noise(), 8000)
    told = run("suggest", train, "--output", tmp_path / "conf.yaml", status=1).err
    assert "utterance 'bert-2': 8000 Hz; 16000 Hz" in told
    assert not (tmp_path / "conf.yaml").exists()
