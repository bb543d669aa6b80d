"""Greedy and beam decoders: streams of log probabilities to words with times, confidences and alternatives."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.asr.decoding import DecodingOptions, GreedySearch, LanguageSearch, TimedTable, new_decoder
from recitative.asr.kind import Language
from recitative.config import DecodeSettings
from recitative.decoding.hotwords import Grammar, HotWord
from recitative.decoding.hypotheses import FEATURES, Calibrator
from recitative.errors import DataError, UsageError
from recitative.lm.ngram import StoredNgram
from recitative.text.tokens import Lexicon, TokenTable

LETTERS = TokenTable(("<blank>", " ", "a", "b", "c"))
PHONES = TokenTable(("<blank>", "AA", "B", "K", "T"))
WORDS = TokenTable(("<blank>", " off", " on", " light"))
SPELLED = Lexicon.of_spelling(["a", "ab", "b", "cab", "ca"], LETTERS)
SOUNDS = Lexicon({"bah": (("B", "AA"),), "ba": (("B", "AA"), ("B",)), "k": (("K",),), "bat": (("B", "AA", "T"),)})
FRAME_S = 0.04
BEAM = DecodeSettings(kind="beam", lm_weight=1.0)
GREEDY = DecodeSettings()

ARPA = r"""\data\
ngram 1=6
ngram 2=1

\1-grams:
-99	<s>	0
-1	</s>
-3	a	0
-1	ab	0
-1	b	0
-1	cab	0

\2-grams:
-0.1	a b

\end\
"""


def decoder_of(tokens, language=None, decode=BEAM, **options):
    return new_decoder(decode, TimedTable(tokens, FRAME_S), language or Language(), DecodingOptions(**options))


def said(path, tokens, certainty=0.9):
    """Log probabilities (T, V) of a model that is so sure of each frame; the other tokens are alike."""
    probs = np.full((len(path), len(tokens)), (1 - certainty) / (len(tokens) - 1))
    probs[np.arange(len(path)), path] = certainty
    return np.log(probs)


def finish(decoder, log_probs):
    return decoder.finish(decoder.step(log_probs, decoder.start()))


def times(spoken):
    return [(word.word, word.start_s, word.end_s) for word in spoken.words]


def random_log_probs(frames, tokens, seed):
    """As a network gives them, float32, with stretches of nothing but blank."""
    rng = np.random.default_rng(seed)
    logits = 3.0 * rng.standard_normal((frames, tokens))
    logits[rng.random(frames) < 0.4, 0] += 12.0
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


CALIBRATOR = Calibrator(FEATURES, (0.7, 0.1, -0.2, 0.3), -0.1)
DECODERS = {
    "greedy letters": decoder_of(LETTERS, decode=GREEDY),
    "greedy words": decoder_of(WORDS, decode=GREEDY),
    "greedy phones": decoder_of(PHONES, decode=GREEDY),
    "open letters": decoder_of(LETTERS, count=3),
    "lexicon and language model": decoder_of(LETTERS, Language(SPELLED, StoredNgram(ARPA), CALIBRATOR), count=4),
    "pronunciations": decoder_of(PHONES, Language(SOUNDS), count=2),
    "phones alone": decoder_of(PHONES, count=2),
    "words": decoder_of(WORDS, count=2),
    "hot words": decoder_of(LETTERS, hot_words=(HotWord("cab a", 3.0), HotWord("b", 1.0)), count=2),
    "hot words and lexicon": decoder_of(LETTERS, Language(SPELLED), hot_words=(HotWord("cc a", 3.0),)),
    "grammar": decoder_of(PHONES, Language(SOUNDS), grammar=Grammar("bah (k | bat)")),
}


@pytest.mark.parametrize("name", DECODERS)
@given(seed=st.integers(0, 10**6), cuts=st.lists(st.integers(0, 25), max_size=5))
@settings(max_examples=25, deadline=None)
def test_any_cutting_says_the_very_same_and_partial_results_never_fail(name, seed, cuts):
    decoder = DECODERS[name]
    log_probs = random_log_probs(25, len(WORDS if "words" in name and "hot" not in name else LETTERS), seed)
    state, stable = decoder.start(), []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 25], strict=True):
        state = decoder.step(log_probs[start:end], state)
        so_far = decoder.partial(state)
        assert all(0 <= word.start_s < word.end_s <= end * FRAME_S + 1e-9 for word in so_far.words)
        stable.append([word.word for word in so_far.words[: so_far.stable]])
    assert decoder.num_frames(state) == 25
    assert decoder.finish(state) == finish(decoder, log_probs)
    words = [word.word for word in decoder.finish(state).words]
    assert all(words[: len(before)] == before for before in stable)


@pytest.mark.parametrize("name", DECODERS)
def test_nothing_heard_is_nothing_said(name):
    decoder = DECODERS[name]
    for spoken in (decoder.partial(decoder.start()), decoder.finish(decoder.start())):
        assert (spoken.text, spoken.words, spoken.tokens) == ("", (), ())
        assert spoken.whole
    assert decoder.num_frames(decoder.start()) == 0
    assert times(finish(decoder, np.zeros((0, 5), np.float32))) == []


@pytest.mark.parametrize("name", DECODERS)
def test_a_state_is_a_value_from_which_a_stream_may_go_on_in_two_ways(name):
    decoder = DECODERS[name]
    common, one, other = (
        random_log_probs(12, 4 if name in ("words", "greedy words") else 5, seed) for seed in range(3)
    )
    fork = decoder.step(common, decoder.start())
    before = decoder.finish(fork), decoder.partial(fork)
    first = decoder.finish(decoder.step(one, fork))
    second = decoder.finish(decoder.step(other, fork))
    assert (decoder.finish(fork), decoder.partial(fork)) == before
    assert first == finish(decoder, np.concatenate([common, one]))
    assert second == finish(decoder, np.concatenate([common, other]))
    assert decoder.num_frames(fork) == 12


AB_C = [0, 2, 2, 0, 3, 0, 1, 0, 4, 4, 0]  # "ab c"
AB_C_TIMES = [("ab", 0.04, 0.2), ("c", 0.32, 0.4)]


@pytest.mark.parametrize("decode", [GREEDY, BEAM], ids=["greedy", "beam"])
def test_words_begin_with_their_first_letter_and_end_with_their_last(decode):
    spoken = finish(decoder_of(LETTERS, decode=decode), said(AB_C, LETTERS))
    assert times(spoken) == AB_C_TIMES
    assert [(t.token, t.start_s, t.end_s) for t in spoken.tokens] == [
        ("a", 0.04, 0.12),
        ("b", 0.16, 0.2),
        (" ", 0.24, 0.28),
        ("c", 0.32, 0.4),
    ]
    assert [token.confidence for token in spoken.tokens] == [0.9] * 4
    assert spoken.text == "ab c"


def test_partial_results_have_the_words_at_the_frames_on_which_they_came_up():
    decoder = decoder_of(LETTERS)
    texts = []
    state = decoder.start()
    for row in said(AB_C, LETTERS, 0.9999):
        state = decoder.step(row[None], state)
        texts.append(decoder.partial(state).text)
    assert texts == ["", "a", "a", "a", "ab", "ab", "ab", "ab", "ab c", "ab c", "ab c"]
    assert times(decoder.partial(state)) == [("ab", 0.04, 0.2), ("c", 0.32, 0.36)]  # the first frame of each letter


@pytest.mark.parametrize(
    ("name", "stable"),
    [
        ("greedy letters", [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]),  # a word ends with its space,
        ("open letters", [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]),
        ("lexicon and language model", [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1]),  # or with its last letter: "c" is none here
    ],
)
def test_words_are_stable_that_every_hypothesis_of_the_beam_has(name, stable):
    decoder = DECODERS[name]
    for certainty in (0.999999, 0.9):  # then others stay in the beam
        state, found = decoder.start(), []
        for row in said(AB_C, LETTERS, certainty):
            state = decoder.step(row[None], state)
            found.append(decoder.partial(state).stable)
        assert found == (stable if certainty > 0.9 or name == "greedy letters" else [0] * len(AB_C))


def test_a_word_so_far_is_as_sure_as_the_part_of_the_beam_that_has_it():
    decoder = decoder_of(LETTERS)
    state = decoder.step(np.concatenate([said([2, 0, 0, 1, 0], LETTERS, 0.999), ONE_FRAME]), decoder.start())
    first, second = decoder.partial(state).words
    assert (first.word, second.word) == ("a", "a")
    assert first.confidence == pytest.approx(0.998, abs=5e-3)
    assert second.confidence == pytest.approx(0.5, abs=5e-3)


def test_greedy_confidence_is_the_models_own_and_there_are_no_alternatives():
    spoken = finish(
        decoder_of(LETTERS, decode=GREEDY), np.log([[0.2, 0.1, 0.6, 0.05, 0.05], [0.1, 0.05, 0.03, 0.8, 0.02]])
    )
    assert [(w.word, w.confidence) for w in spoken.words] == [("ab", 0.6)]  # its least sure letter
    assert (spoken.alternatives, spoken.evidence) == ((), ())


ONE_FRAME = np.log([[0.2, 1e-9, 0.5, 0.3 - 2e-9, 1e-9]])  # nothing, "a" or "b"


def test_without_a_calibrator_a_confidence_is_the_posterior_of_the_word():
    spoken = finish(decoder_of(LETTERS, count=3), ONE_FRAME)
    assert [(w.word, w.confidence) for w in spoken.words] == [("a", 0.5)]
    assert [(one.text, one.posterior) for one in spoken.alternatives] == [("a", 0.5), ("b", 0.3), ("", 0.2)]
    assert [one.score for one in spoken.alternatives] == pytest.approx(np.log([0.5, 0.3, 0.2]), abs=1e-4)
    assert [one.acoustic for one in spoken.alternatives] == [one.score for one in spoken.alternatives]


def test_a_word_that_several_hypotheses_share_adds_up_their_posteriors():
    log_probs = np.concatenate([said([2, 0, 0, 1, 0], LETTERS, 0.999), ONE_FRAME])  # "a ", then the doubt
    first, second = finish(decoder_of(LETTERS), log_probs).words
    assert (first.word, second.word) == ("a", "a")
    assert first.confidence == pytest.approx(0.998, abs=5e-3)  # it is in "a", "a a" and "a b"
    assert second.confidence == pytest.approx(0.5, abs=5e-3)


def test_the_calibrator_makes_confidences_of_the_evidence():
    calibrator = Calibrator(FEATURES, (1.0, 0.0, 0.0, 0.0), 1.0)  # logit(0.5) + 1
    spoken = finish(decoder_of(LETTERS, Language(calibrator=calibrator)), ONE_FRAME)
    assert spoken.words[0].confidence == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-4)
    assert spoken.evidence[0].posterior == pytest.approx(0.5)
    assert (spoken.evidence[0].least, spoken.evidence[0].mean, spoken.evidence[0].labels) == pytest.approx(
        (0.5, 0.5, 1)
    )


def test_the_language_model_moves_posteriors_by_its_weight():
    lexicon = Lexicon.of_spelling(["a", "b"], LETTERS)
    arpa = ARPA.replace("-3\ta", "-1.60206\ta")  # P(b) = 4 P(a)
    posteriors = {
        weight: finish(
            decoder_of(
                LETTERS, Language(lexicon, StoredNgram(arpa)), DecodeSettings(kind="beam", lm_weight=weight), count=3
            ),
            ONE_FRAME,
        ).alternatives
        for weight in (1.0, 0.0)
    }
    # of one word P(w) P(</s>), of none P(</s>) alone; "a </s>" backs off with weight 1
    masses = {"a": 0.5 * 0.025, "b": 0.3 * 0.1, "": 0.2}
    expected = {text: mass / sum(masses.values()) for text, mass in masses.items()}
    assert {one.text: one.posterior for one in posteriors[1.0]} == pytest.approx(expected, abs=1e-4)
    assert [one.text for one in posteriors[0.0]] == ["a", "b", ""]


def test_the_word_bonus_is_added_for_every_word():
    decode = DecodeSettings(kind="beam", word_bonus=1.5)
    spoken = finish(decoder_of(LETTERS, decode=decode, count=2), said(AB_C, LETTERS, 0.999))
    assert spoken.alternatives[0].score - spoken.alternatives[0].acoustic == pytest.approx(3.0, abs=1e-3)


def test_without_a_lexicon_phones_are_words_of_their_own():
    path = [2, 1, 0, 1, 4]
    expected = [("B", 0.0, 0.04), ("AA", 0.04, 0.08), ("AA", 0.12, 0.16), ("T", 0.16, 0.2)]
    for decode in (GREEDY, BEAM):
        spoken = finish(decoder_of(PHONES, decode=decode), said(path, PHONES))
        assert times(spoken) == expected
        assert spoken.text == "B AA AA T"


def test_a_pronunciation_dictionary_makes_words_of_phones():
    spoken = finish(decoder_of(PHONES, Language(SOUNDS), count=2), said([3, 0, 2, 1, 4, 0, 3], PHONES))
    assert times(spoken) == [("k", 0.0, 0.04), ("bat", 0.08, 0.2), ("k", 0.24, 0.28)]
    assert spoken.alternatives[0].tokens == "K B AA T K"
    assert [token.token for token in spoken.tokens] == ["K", "B", "AA", "T", "K"]


def test_a_lexicon_alone_makes_a_greedy_model_search():
    assert isinstance(decoder_of(PHONES, decode=GREEDY), GreedySearch)
    for asked in ({"count": 2}, {"lexicon": SOUNDS}, {"no_lm": True, "lexicon": SOUNDS}):
        assert isinstance(decoder_of(PHONES, decode=GREEDY, **asked), LanguageSearch)
    assert isinstance(decoder_of(PHONES, Language(SOUNDS), GREEDY), LanguageSearch)
    assert isinstance(decoder_of(LETTERS, Language(ngram=StoredNgram(ARPA)), GREEDY), LanguageSearch)
    assert isinstance(decoder_of(LETTERS, Language(ngram=StoredNgram(ARPA)), GREEDY, no_lm=True), GreedySearch)


@pytest.mark.parametrize("decode", [GREEDY, BEAM], ids=["greedy", "beam"])
def test_a_table_of_words_writes_a_word_a_token(decode):
    spoken = finish(decoder_of(WORDS, decode=decode), said([3, 3, 0, 2, 0, 0, 2, 1], WORDS))
    assert times(spoken) == [("light", 0.0, 0.08), ("on", 0.12, 0.16), ("on", 0.24, 0.28), ("off", 0.28, 0.32)]
    assert spoken.text == "light on on off"


def test_the_lexicon_that_is_wished_for_takes_the_models_place():
    log_probs = said([4, 2, 3], LETTERS)  # "cab"
    assert finish(decoder_of(LETTERS, Language(SPELLED)), log_probs).text == "cab"
    wished = Lexicon.of_spelling(["ca", "b"], LETTERS)
    assert finish(decoder_of(LETTERS, Language(SPELLED), lexicon=wished), log_probs).text == "ca"


def test_hot_words_that_the_lexicon_lacks_join_it():
    log_probs = said([4, 4, 0, 4, 1, 2, 3], LETTERS)  # "cc ab"
    plain = finish(decoder_of(LETTERS, Language(SPELLED)), log_probs)
    assert "cc" not in plain.text
    assert finish(decoder_of(LETTERS, Language(SPELLED), hot_words=(HotWord("cc", 0.0),)), log_probs).text == "cc ab"
    sounds = finish(
        decoder_of(PHONES, Language(SOUNDS), hot_words=(HotWord("tok", 2.0, ("T", "AA", "K")),)),
        said([3, 4, 1, 0, 3], PHONES),
    )
    assert sounds.text == "k tok"


def test_a_hot_word_earns_its_weight_in_the_score():
    log_probs = said([4, 2, 3], LETTERS)
    score = {w: finish(decoder_of(LETTERS, hot_words=(HotWord("cab", w),)), log_probs) for w in (0.0, 5.0)}
    difference = score[5.0].alternatives[0].score - score[0.0].alternatives[0].score
    assert difference == pytest.approx(5.0, abs=1e-3)
    assert score[5.0].alternatives[0].acoustic == pytest.approx(score[0.0].alternatives[0].acoustic, abs=1e-3)


def test_greedy_if_asked_for_leaves_lexicon_and_language_model_out():
    for language in (Language(SOUNDS), Language(SOUNDS, ngram=StoredNgram(ARPA))):
        decoder = decoder_of(PHONES, language, BEAM, greedy=True)
        assert isinstance(decoder, GreedySearch)
        assert finish(decoder, said([3, 0, 2, 1, 4], PHONES)).text == "K B AA T"


def test_hot_words_of_a_model_of_phones_need_a_lexicon_to_stand_in():
    with pytest.raises(UsageError, match=r"hot words: .* phones and no lexicon; give a lexicon"):
        decoder_of(PHONES, hot_words=(HotWord("tok", 2.0, ("T", "AA", "K")),))


def test_a_grammar_writes_its_sentences_only():
    grammar = Grammar("k (bah | bat)\nbah k")
    decoder = decoder_of(PHONES, Language(SOUNDS), grammar=grammar, count=20)
    spoken = finish(decoder, said([3, 2, 1, 0, 0], PHONES, 0.6))  # "K B AA"
    assert spoken.text == "k bah"
    whole = {"", "k bah", "k bat", "bah k"}
    sentences = {one.text for one in spoken.alternatives}
    assert {"k bah", "k bat"} <= sentences
    allowed = whole | {f"{a} {b}" for a in whole for b in whole if a and b}
    assert sentences <= allowed


def test_a_grammar_over_spelling_needs_no_lexicon():
    decoder = decoder_of(LETTERS, decode=GREEDY, grammar=Grammar("cab (a | b)"))
    assert finish(decoder, said([4, 2, 3, 1, 4], LETTERS)).text in ("cab a", "cab b")  # "cab c"


def test_where_nothing_fits_the_grammar_the_rest_is_missing_and_that_is_said():
    decoder = decoder_of(PHONES, Language(SOUNDS), grammar=Grammar("k bah k"))
    spoken = finish(decoder, said([3, 0, 2, 1, 0], PHONES, 1 - 1e-6))  # "K B AA", and no other thought of
    assert spoken.text == "k bah"
    assert not spoken.whole
    assert spoken.alternatives[0].posterior == pytest.approx(1.0, abs=1e-3)  # of all that was thought of
    assert finish(decoder, said([3, 0, 2, 1, 0, 3], PHONES, 1 - 1e-6)).whole


def test_within_a_word_of_the_lexicon_the_end_is_missing():
    spoken = finish(
        decoder_of(LETTERS, Language(Lexicon.of_spelling(["cab", "b"], LETTERS))), said([3, 1, 4], LETTERS, 1 - 1e-6)
    )
    assert (spoken.text, spoken.whole) == ("b", False)  # "b c"
    assert [token.token for token in spoken.tokens] == ["b", " ", "c"]


def test_a_broken_hypothesis_is_no_surer_than_its_part_of_the_beam():
    lexicon = Lexicon.of_spelling(["ab", "cb"], LETTERS)
    log_probs = np.log([[1e-9, 1e-9, 0.6 - 2e-9, 1e-9, 0.4 - 2e-9]])  # "a" or "c", each the beginning of a word
    spoken = finish(decoder_of(LETTERS, Language(lexicon)), log_probs)
    assert (spoken.text, spoken.whole) == ("", False)
    assert spoken.alternatives[0].posterior == pytest.approx(0.6, abs=1e-4)


def test_grammar_words_that_cannot_be_written_are_all_named():
    with pytest.raises(DataError, match="grammar: 'cow', 'dog' not in the model's lexicon"):
        decoder_of(PHONES, Language(SOUNDS), grammar=Grammar("bah (dog | cow)"))
    with pytest.raises(DataError, match="word 'dog': 'd', 'g', 'o' not known"):
        decoder_of(LETTERS, grammar=Grammar("dog"))
    with pytest.raises(UsageError, match="cannot be spelled in phones"):
        decoder_of(PHONES, grammar=Grammar("dog"))


def test_without_its_language_model_the_sound_alone_decides():
    log_probs = np.log([[0.1, 1e-9, 0.5, 0.4, 1e-9]])
    language = Language(Lexicon.of_spelling(["a", "b"], LETTERS), StoredNgram(ARPA))
    decode = DecodeSettings(kind="beam", lm_weight=1.0, word_bonus=7.0)
    with_lm = finish(decoder_of(LETTERS, language, decode), log_probs)
    without = finish(decoder_of(LETTERS, language, decode, no_lm=True), log_probs)
    assert (with_lm.text, without.text) == ("b", "a")
    assert without.alternatives[0].score == without.alternatives[0].acoustic  # no bonus either: it went with the model


class Prefers:
    """A language model that likes one word."""

    def __init__(self, word):
        self.word = word

    def start(self):
        return None

    def score(self, state, word):
        return (-0.1 if word == self.word else -3.0), None

    def finish(self, state):
        return 0.0

    def knows(self, word):
        return True


def test_another_language_model_takes_the_place_of_the_models_own():
    language = Language(Lexicon.of_spelling(["a", "b"], LETTERS), StoredNgram(ARPA))
    assert finish(decoder_of(LETTERS, language, lm=Prefers("a")), ONE_FRAME).text == "a"
    assert finish(decoder_of(LETTERS, language, lm=Prefers("b")), ONE_FRAME).text == "b"


@pytest.mark.parametrize("count", [1, 2, 5, 1000])
def test_as_many_alternatives_as_wished_the_best_first(count):
    spoken = finish(decoder_of(LETTERS, count=count), random_log_probs(8, 5, 3))
    scores = [one.score for one in spoken.alternatives]
    assert len(scores) == min(
        count, len(finish(decoder_of(LETTERS, count=10**6), random_log_probs(8, 5, 3)).alternatives)
    )
    assert scores == sorted(scores, reverse=True)
    assert len({one.text for one in spoken.alternatives}) == len(scores)
    assert spoken.alternatives[0].text == spoken.text
    assert sum(one.posterior for one in spoken.alternatives) <= 1 + 1e-3


def test_the_beam_that_is_wished_for_is_the_searchs():
    log_probs = random_log_probs(10, 5, 1)
    assert len(finish(decoder_of(LETTERS, beam=1, count=99), log_probs).alternatives) == 1
    assert len(finish(decoder_of(LETTERS, beam=64, count=99), log_probs).alternatives) > 16
