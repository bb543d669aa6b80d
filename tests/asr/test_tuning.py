"""Tuning on dev sets whose best weights are known, and the command that stores its choice in the model."""

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from command_line import run
from recitative.asr import tuning
from recitative.asr.decoding import DecodingResult, TimedTable, new_decoder
from recitative.asr.kind import RECOGNIZER, Language
from recitative.asr.network import new_transcriber
from recitative.asr.tuning import (
    LM_WEIGHTS,
    RAREST,
    WORD_BONUSES,
    DevOutputs,
    calibrate,
    network_outputs,
    non_speech,
    priors_of,
    tune,
)
from recitative.data.directory import DataDirectory
from recitative.decoding.hypotheses import WordEvidence
from recitative.decoding.lexicon_tree import LexiconTree
from recitative.errors import DataError
from recitative.features.extraction import read_utterance
from recitative.model.folder import load_model, save_model
from recitative.score.classification import expected_calibration_error
from recitative.text.tokens import Lexicon, Word

ARPA = r"""\data\
ngram 1=5

\1-grams:
0	<s>
-0.5	</s>
-1.3	a
-0.3	b
-1.3	c

\end\
"""
D = np.log(10)  # by which the language model likes b more than a, in nats a unit of weight
LETTERS = Lexicon.of_spelling("abc", tiny.TOKENS)


@pytest.fixture
def transcriber():
    """All that tuning asks of one."""
    return SimpleNamespace(settings=tiny.settings(), timed=TimedTable(tiny.TOKENS, 0.01))


@pytest.fixture
def lm(tmp_path):
    (tmp_path / "lm.arpa").write_text(ARPA)
    return Language(LETTERS).with_lm(tmp_path / "lm.arpa")


def frame(**odds):
    """One frame: the logarithms of what tokens get, up to a constant; the rest gets next to nothing."""
    logits = np.full(len(tiny.TOKENS), -30.0)
    for token, value in odds.items():
        logits[{"blank": 0}.get(token) or tiny.TOKENS.ids.get(token, 0)] = value
    return (logits - np.logaddexp.reduce(logits))[None]


def dev_set(*kinds):
    """(how many, reference, log probabilities) ..."""
    rows = [(ref, log_probs) for count, ref, log_probs in kinds for _ in range(count)]
    names = [f"u{number:02d}" for number in range(len(rows))]
    return DevOutputs(
        {name: log_probs for name, (_, log_probs) in zip(names, rows, strict=True)},
        {name: ref for name, (ref, _) in zip(names, rows, strict=True)},
    )


def needs_between_035_and_070():
    """b is said, but a heard, until the weight is above 0.35; a is said, and heard until it is above 0.7."""
    return dev_set((4, "b", frame(a=0.35 * D, b=0.0)), (4, "a", frame(a=0.7 * D, b=0.0)), (2, "c", frame(b=0.0)))


def test_the_weight_with_the_fewest_errors_is_found_away_from_the_edges(transcriber, lm):
    tuned = tune(transcriber, lm, needs_between_035_and_070())
    for (weight, bonus), errors in tuned.trials.items():  # one word of one frame: no bonus changes anything
        assert errors.errors == 2 + 4 * (weight < 0.35) + 4 * (weight > 0.7), (weight, bonus)
    # 0.4, 0.5 and 0.6 have the same errors; only 0.5 has neighbors that have them too
    assert (tuned.settings.lm_weight, tuned.settings.word_bonus) == (0.5, 0.0)
    assert tuned.settings.kind == "beam"
    assert tuned.chosen.errors == 2
    assert tuned.without_lm.errors == 6
    assert set(tuned.trials) == set(itertools.product(LM_WEIGHTS, WORD_BONUSES))
    assert tuned.language.ngram == lm.ngram
    assert tuned.language.calibrator is not None


def test_the_tree_of_the_lexicon_is_built_once(transcriber, lm, monkeypatch):
    built = []
    build = LexiconTree.__init__
    monkeypatch.setattr(LexiconTree, "__init__", lambda tree, *inputs: (built.append(tree), build(tree, *inputs))[1])
    tune(transcriber, lm, needs_between_035_and_070())
    assert len(built) == 1


def test_one_lucky_pair_loses_against_a_good_neighborhood(transcriber, lm, monkeypatch):
    monkeypatch.setattr(tuning, "PRIOR_WEIGHTS", (0.0, 1e-6))
    # at 0.2 one error less than anywhere, and many next to it; from 0.6 to 1.3 one error
    lucky = dev_set(
        (1, "a", frame(a=0.25 * D, b=0.0)),  # right below 0.25
        (5, "b", frame(a=0.55 * D, b=0.0)),  # right above 0.55
        (6, "a", frame(a=5 * D, b=0.0)),
    )
    tuned = tune(transcriber, lm, lucky)
    assert [tuned.trials[weight, 0.0].errors for weight in LM_WEIGHTS] == [5, 6, 6, 6, 1, 1, 1, 1]
    assert tuned.settings.lm_weight == 0.8  # the smallest with good neighbors only


def test_without_a_language_model_only_the_bonus_is_tried(transcriber):
    calls = []
    dev = dev_set((3, "a", frame(blank=0.5, a=0.0)), (1, "b", frame(b=0.0)))  # "a" needs a bonus above 0.5
    tuned = tune(transcriber, Language(LETTERS), dev, lambda done, total: calls.append((done, total)))
    assert {pair: errors.errors for pair, errors in tuned.trials.items()} == {
        (0.0, -2.0): 3,
        (0.0, -1.0): 3,
        (0.0, 0.0): 3,
        (0.0, 1.0): 0,
        (0.0, 2.0): 0,
        (0.0, 3.0): 0,
    }
    assert (tuned.settings.lm_weight, tuned.settings.word_bonus) == (0.0, 2.0)  # 3 is as good, and further from 0
    assert calls == [(n, 10) for n in range(1, 11)]  # six bonuses, four prior weights


def test_priors_are_mean_probabilities_of_all_frames():
    first, second = np.array([[0.5, 0.25, 0.25]]), np.array([[0.8, 0.2, 0.0], [0.2, 0.8, 0.0]])
    with np.errstate(divide="ignore"):
        priors = priors_of([np.log(first), np.log(second)])
    assert np.exp(priors) == pytest.approx([0.5, 1.25 / 3, 0.25 / 3], rel=1e-4)
    with np.errstate(divide="ignore"):
        assert np.exp(priors_of([np.log(second)])) == pytest.approx([0.5, 0.5, RAREST], rel=1e-4)  # never quite 0


def test_a_rare_token_that_frequent_ones_hide_is_heard_with_a_prior_weight(transcriber):
    # b is said in 12 of 14 utterances; where it is c, the network still finds b a little likelier
    dev = dev_set((12, "b", frame(b=4.0)), (2, "c", frame(b=0.2, c=0.0)))
    tuned = tune(transcriber, Language(LETTERS), dev)
    assert [errors.errors for errors in tuned.prior_trials.values()] == [2, 0, 0, 0]
    assert tuned.settings.prior_weight == 0.4  # 0.2 is as good, but next to 0
    assert tuned.chosen.errors == 0
    decoder = new_decoder(tuned.settings, transcriber.timed, tuned.language)
    rows = dev.log_probs["u13"]
    assert decoder.finish(decoder.step(rows, decoder.start())).text == "c"
    unscaled = new_decoder(tuned.settings, transcriber.timed, replace(tuned.language, priors=None))
    assert unscaled.finish(unscaled.step(rows, unscaled.start())).text == "b"


def said(*marks):
    """Utterances of one word each: (posterior, right or wrong)."""
    found, refs = {}, {}
    for number, (posterior, right) in enumerate(marks):
        name = f"u{number:03d}"
        evidence = (WordEvidence(posterior, 0.5, 0.5, 2),)
        found[name] = DecodingResult((), (Word("yes", 0.0, 0.1, posterior),), evidence=evidence)
        refs[name] = "yes" if right else "no"
    return found, refs


def test_a_boast_is_taken_back():
    marks = [(0.95, number // 4 % 2 == 0) for number in range(40)]  # half are right, in every fold
    calibrator, before, after = calibrate(*said(*marks))
    assert before == pytest.approx(0.45)
    assert after == pytest.approx(0.0, abs=1e-9)
    assert calibrator.apply(np.array([WordEvidence(0.95, 0.5, 0.5, 2).features()]))[0] == pytest.approx(0.5)


def test_the_error_before_is_that_of_the_posteriors_and_the_one_after_is_smaller():
    rng = np.random.default_rng(1)
    p = rng.beta(2, 1, 400)
    boastful = p**2 / (p**2 + (1 - p) ** 2)
    right = rng.random(400) < p
    _, before, after = calibrate(*said(*zip(boastful, right, strict=True)))
    assert before == pytest.approx(expected_calibration_error(boastful, right), abs=1e-6)
    assert after < 0.6 * before


def test_what_is_heard_in_noise_gets_little_confidence(transcriber, lm):
    clear, vague = frame(b=6.0, blank=0.0), frame(b=1.0, a=0.6, blank=0.5)
    noises = {f"noise {number}": vague for number in range(8)}
    tuned = tune(transcriber, lm, replace(dev_set((20, "b", clear)), non_speech=noises))
    decoder = new_decoder(tuned.settings, transcriber.timed, tuned.language)
    speech, noise = (decoder.finish(decoder.step(rows, decoder.start())).words for rows in (clear, vague))
    assert [word.confidence > 0.9 for word in speech] == [True]
    assert [word.confidence < 0.3 for word in noise] == [True]


def test_noises_for_the_calibration_are_of_the_models_rate_and_as_loud_as_they_say(transcriber):
    for name, samples in non_speech(8000, seconds=2.0).items():
        level_db = 20 * np.log10(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
        assert (len(samples), samples.dtype) == (16000, np.float32), name
        assert f" {level_db:.0f} dB" in name
        assert np.abs(samples).max() < 1


def test_where_no_word_is_recognized_there_is_nothing_to_calibrate(transcriber):
    with pytest.raises(DataError, match="dev set: no word was recognized; at least one; train the model further"):
        tune(transcriber, Language(LETTERS), dev_set((2, "a", frame(blank=0.0))))


@pytest.fixture
def place(tmp_path):
    """A model that says something or other, its dev set, and language to store in it."""
    save_model(tiny.talker(), tmp_path / "model")
    tiny.write_corpus(tmp_path, 5, 1)
    (tmp_path / "lm.arpa").write_text(ARPA)
    LETTERS.with_entries(Lexicon.of_spelling(["ab", "ca", "bb"], tiny.TOKENS)).write(tmp_path / "lexicon.txt")
    return tmp_path


def test_the_command_stores_its_choice_and_decoding_uses_it(place):
    model = place / "model"
    run("decode", model, place / "data", "--output", place / "before")
    assert not (place / "before" / "nbest.jsonl").exists()  # greedy
    lines = run("tune", model, place / "data", "--lm", place / "lm.arpa", "--lexicon", place / "lexicon.txt").lines
    stored = load_model(model, RECOGNIZER)
    decode = stored.settings.decode
    assert decode.kind == "beam"
    assert stored.language.lexicon == Lexicon.read(place / "lexicon.txt")
    assert stored.language.calibrator is not None
    assert stored.language.lm.knows("b")
    assert lines[0].split() == ["dev", "WER", "%", "word", "bonus", *(f"{bonus:g}" for bonus in WORD_BONUSES)]
    assert [line.split()[2] for line in lines[1:9]] == [f"{weight:g}" for weight in LM_WEIGHTS]
    assert sum(line.count("*") for line in lines[1:9]) == 1
    weights = f"lm_weight {decode.lm_weight:g}, word_bonus {decode.word_bonus:g}, prior_weight {decode.prior_weight:g}"
    assert lines[-1] == f"{model}: {weights} stored"
    assert lines[9].startswith("prior weight ")
    assert lines[9].count("*") == 1
    run("decode", model, place / "data", "--output", place / "after")
    decoder = new_decoder(decode, new_transcriber(stored).timed, stored.language)
    outputs = network_outputs(new_transcriber(stored), place / "data")
    expected = {n: decoder.finish(decoder.step(rows, decoder.start())) for n, rows in outputs.log_probs.items()}
    decoded = [json.loads(line) for line in (place / "after" / "words.jsonl").read_text().splitlines()]
    assert {row["utt_id"]: [w["word"] for w in row["words"]] for row in decoded} == {
        name: [w.word for w in spoken.words] for name, spoken in expected.items()
    }
    text = (place / "after" / "text").read_text()
    assert set(" ".join(line.partition(" ")[2] for line in text.splitlines()).split()) <= {
        "a",
        "b",
        "c",
        "ab",
        "ca",
        "bb",
    }
    assert (place / "after" / "nbest.jsonl").exists()
    chosen = float(lines[-3].split("chosen (*) ")[1].split()[0])
    scored = run("score", place / "data", place / "after" / "text", "--output", place / "score").out
    assert f"%WER {chosen:.2f}" in scored


def test_tuning_again_takes_the_language_that_is_stored(place):
    run("tune", place / "model", place / "data", "--lm", place / "lm.arpa", "--lexicon", place / "lexicon.txt")
    first = load_model(place / "model", RECOGNIZER)
    run("tune", place / "model", place / "data")
    again = load_model(place / "model", RECOGNIZER)
    assert (again.settings, again.language) == (first.settings, first.language)


def test_the_network_is_heard_once_for_every_utterance(place):
    transcriber = new_transcriber(load_model(place / "model", RECOGNIZER))
    outputs = network_outputs(transcriber, place / "data")
    utterances = DataDirectory.read(place / "data").utterances
    assert outputs.refs == {u.utt_id: u.text for u in utterances}
    for u in utterances:
        [alone] = transcriber.log_probs([read_utterance(u)])
        np.testing.assert_allclose(outputs.log_probs[u.utt_id], alone, atol=1e-4)  # float32, summed in another order


def test_utterances_without_text_cannot_be_tuned_on(place):
    (place / "data" / "text").unlink()
    with pytest.raises(DataError, match=r"data/text: 's0-000': has no text; a transcript; add it"):
        network_outputs(new_transcriber(load_model(place / "model", RECOGNIZER)), place / "data")
