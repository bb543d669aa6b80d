"""Error counts against two slow oracles (plain recurrence, Kaldi's tie breaking) and jiwer; the command ``score``."""

from __future__ import annotations

import dataclasses
import math
import random

import jiwer
import kaldialign
import pytest

from command_line import run
from recitative.data.tables import write_table
from recitative.errors import DataError
from recitative.score.results import ResultRow, read_results
from recitative.score.wer import (
    ErrorCounts,
    Pair,
    align,
    characters,
    confidence_interval,
    count_errors,
    difference_interval,
    format_utterance,
    read_utterances,
    score,
    score_directory,
    summary,
    words,
    write_details,
)


def levenshtein(ref: list[str], hyp: list[str]) -> int:
    """The textbook recurrence."""
    if not ref or not hyp:
        return len(ref) + len(hyp)
    table = [list(range(len(hyp) + 1))]
    for i, r in enumerate(ref, start=1):
        table.append([i])
        for j, h in enumerate(hyp, start=1):
            table[i].append(min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (r != h)))
    return table[-1][-1]


def levenshtein_as_kaldi_breaks_ties(ref: list[str], hyp: list[str]) -> ErrorCounts:
    """Counts carried along the recurrence; a diagonal step only if it is strictly best."""
    previous = [ErrorCounts(n, 0, n, 0) for n in range(len(ref) + 1)]
    for h in hyp:
        row = [previous[0] + ErrorCounts(0, 1)]
        for n, r in enumerate(ref, start=1):
            diagonal = previous[n - 1] + ErrorCounts(1, 0, 0, int(r != h))
            deletion = row[n - 1] + ErrorCounts(1, 0, 1)
            insertion = previous[n] + ErrorCounts(0, 1)
            if diagonal.errors < min(insertion.errors, deletion.errors):
                row.append(diagonal)
            else:
                row.append(deletion if deletion.errors < insertion.errors else insertion)
        previous = row
    return previous[-1]


def random_texts(seed: int, count: int) -> list[tuple[str, str]]:
    rng = random.Random(seed)

    def text() -> str:
        return " ".join(rng.choice(("one", "two", "on", "tooth", "e")) for _ in range(rng.randint(0, 8)))

    return [(text(), text()) for _ in range(count)]


@pytest.mark.parametrize("symbols", [words, characters])
def test_the_counts_equal_both_oracles_on_random_texts_with_empty_ones_among_them(symbols):
    texts = random_texts(1, 300)
    assert ("", "") in [(r and "", h and "") for r, h in texts]
    for ref, hyp in texts:
        counts = count_errors(align(symbols(ref), symbols(hyp)))
        assert counts.errors == levenshtein(symbols(ref), symbols(hyp))
        assert counts == levenshtein_as_kaldi_breaks_ties(symbols(ref), symbols(hyp))


def test_word_and_character_rates_equal_jiwer():
    texts = [(ref, hyp) for ref, hyp in random_texts(2, 200) if ref]  # jiwer refuses empty references
    refs, hyps = ({str(n): text for n, text in enumerate(side)} for side in zip(*texts, strict=True))
    assert score(refs, hyps).total.rate == pytest.approx(jiwer.wer(list(refs.values()), list(hyps.values())), abs=1e-12)
    expected = jiwer.cer(list(refs.values()), list(hyps.values()))
    assert score(refs, hyps, symbols=characters).total.rate == pytest.approx(expected, abs=1e-12)


def test_an_alignment_reads_back_as_its_reference_and_hypothesis():
    for ref, hyp in random_texts(3, 100):
        alignment = align(words(ref), words(hyp))
        assert [pair.ref for pair in alignment if pair.op != "I"] == words(ref)
        assert [pair.hyp for pair in alignment if pair.op != "D"] == words(hyp)


def test_an_alignment_a_person_can_check():
    assert align(words("the cat sat down"), words("the bat sat right")) == [
        Pair("C", "the", "the"),
        Pair("S", "cat", "bat"),
        Pair("C", "sat", "sat"),
        Pair("S", "down", "right"),
    ]
    assert align(["a", "b"], ["b", "c"]) == [Pair("D", "a", ""), Pair("C", "b", "b"), Pair("I", "", "c")]


def test_the_line_is_the_one_kaldi_prints():
    counts = ErrorCounts(ref=20138, insertions=358, deletions=330, substitutions=2020)
    assert counts.kaldi_line() == "%WER 13.45 [ 2708 / 20138, 358 ins, 330 del, 2020 sub ]"
    assert counts.kaldi_line("%CER").startswith("%CER 13.45 [ ")
    right = dict.fromkeys("abcd", "yes")
    assert score(right | {"e": "no"}, right | {"e": "yes"}).sentence_line() == "%SER 20.00 [ 1 / 5 ]"


def test_spaces_between_words_are_characters_and_other_white_space_is_not():
    assert characters("  a b\t\tc ") == ["a", " ", "b", " ", "c"]
    assert score({"u": "a b"}, {"u": "ab"}, symbols=characters).total == ErrorCounts(3, 0, 1, 0)


def test_a_missing_hypothesis_counts_as_all_deleted_and_is_listed():
    scores = score({"u1": "one two", "u2": "three"}, {"u1": "one two"})
    assert scores.missing == ("u2",)
    assert scores.total == ErrorCounts(3, 0, 1, 0)
    assert score({"u1": "one"}, {"u1": ""}).missing == ()  # an empty hypothesis is there


def test_an_empty_reference_counts_insertions_and_the_rate_of_no_words_is_infinite():
    assert score({"u1": "", "u2": "a b"}, {"u1": "x", "u2": "a b"}).total == ErrorCounts(2, 1, 0, 0)
    assert score({"u1": ""}, {"u1": "x"}).total.rate == float("inf")
    assert score({"u1": ""}, {"u1": ""}).total.rate == 0.0


def test_speakers_sum_their_utterances():
    refs, hyps = {"a-1": "x y", "a-2": "x", "b-1": "z"}, {"a-1": "x", "a-2": "x", "b-1": "z q"}
    scores = score(refs, hyps, {"a-1": "a", "a-2": "a", "b-1": "b"})
    assert scores.by_speaker == {"a": ErrorCounts(3, 0, 1, 0), "b": ErrorCounts(1, 1, 0, 0)}


def test_an_unknown_utterance_in_the_hypotheses_is_an_error_that_names_it():
    with pytest.raises(DataError, match=r"hyp\.txt: utterance 'u9' is not in the references"):
        score({"u1": "a"}, {"u1": "a", "u9": "b"}, where="hyp.txt")


def test_an_utterance_without_speaker_and_no_references_are_errors():
    with pytest.raises(DataError, match="utt2spk: utterance 'u1' has no speaker"):
        score({"u1": "a"}, {}, {"u2": "s"})
    with pytest.raises(DataError, match="references: have no utterances"):
        score({}, {})


def test_the_confidence_interval_agrees_with_kaldialign_where_errors_are_many():
    rng = random.Random(4)
    refs = [["w"] * 20 for _ in range(200)]
    hyps = [["w" if rng.random() > 0.2 else "x" for _ in ref] for ref in refs]
    counts = [count_errors(align(ref, hyp)) for ref, hyp in zip(refs, hyps, strict=True)]
    expected = kaldialign.bootstrap_wer_ci(refs, hyps)
    low, high = confidence_interval(counts)
    # both are Monte Carlo estimates of nearly normal tails, about 0.012 from the mean: a tenth of that
    assert low == pytest.approx(expected["ci95min"], abs=1.5e-3)
    assert high == pytest.approx(expected["ci95max"], abs=1.5e-3)
    assert confidence_interval(counts) == (low, high)


def test_the_confidence_interval_stays_within_what_was_seen():
    few = [ErrorCounts(10)] * 50 + [ErrorCounts(10, 0, 0, 1)]
    low, high = confidence_interval(few)
    assert low == 0.0
    assert 0.002 < high < 0.02
    assert confidence_interval([ErrorCounts(10)] * 5) == (0.0, 0.0)


REFS = {"a-1": "the cat sat", "a-2": "yes", "b-1": "no *** way", "b-2": ""}
HYPS = {"a-1": "the bat sat down", "b-1": "no *** way", "b-2": ""}
SPEAKERS = {"a-1": "a", "a-2": "a", "b-1": "b", "b-2": "b"}


def both_scores(hyps=HYPS):
    return score(REFS, hyps, SPEAKERS), score(REFS, hyps, SPEAKERS, symbols=characters)


def test_an_utterance_is_shown_in_columns_with_kaldis_counts():
    assert format_utterance("u", align(words("the cat sat"), words("the bat sat down"))).splitlines() == [
        "u ref  the  cat  sat  ***",
        "u hyp  the  bat  sat  down",
        "u op   C    S    C    I",
        "u #csid 2 1 1 0",
    ]


def test_the_alignment_file_reads_back_as_the_texts(tmp_path):
    write_details(tmp_path, *both_scores())
    refs, hyps = read_utterances(tmp_path / "per_utt")
    assert refs == REFS
    assert hyps == HYPS | {"a-2": ""}


def test_a_damaged_alignment_file_is_refused(tmp_path):
    write_details(tmp_path, *both_scores())
    path = tmp_path / "per_utt"
    path.write_text(path.read_text().replace("a-2 op", "a-2 oops"))
    with pytest.raises(DataError, match="per_utt:5: is not an alignment"):
        read_utterances(path)


def test_the_speaker_table_has_counts_per_cent_and_a_sum(tmp_path):
    write_details(tmp_path, *both_scores())
    rows = [line.split() for line in (tmp_path / "per_spk").read_text().splitlines()]
    assert rows[0][:4] == ["SPEAKER", "id", "#SENT", "#WORD"]
    assert rows[1] == ["a", "raw", "2", "4", "2", "1", "1", "1", "3", "2"]
    assert rows[2] == ["a", "sys", "2", "4", "50.00", "25.00", "25.00", "25.00", "75.00", "100.00"]
    assert rows[-2] == ["SUM", "raw", "4", "7", "5", "1", "1", "1", "3", "2"]


def test_confusions_of_words_and_characters_start_with_the_errors(tmp_path):
    write_details(tmp_path, *both_scores())
    rows = [line.split() for line in (tmp_path / "ops_words").read_text().splitlines()]
    assert rows[:3] == [
        ["deletion", "yes", "***", "1"],
        ["insertion", "***", "down", "1"],
        ["substitution", "cat", "bat", "1"],
    ]
    assert rows[3][0] == "correct"
    assert ["insertion", "***", "<space>", "1"] in [
        line.split() for line in (tmp_path / "ops_chars").read_text().splitlines()
    ]


def test_missing_hypotheses_are_listed_and_an_old_list_goes(tmp_path):
    write_details(tmp_path, *both_scores())
    assert (tmp_path / "missing").read_text() == "a-2\n"
    write_details(tmp_path, *both_scores(HYPS | {"a-2": "yes"}))
    assert not (tmp_path / "missing").exists()


def test_the_summary_has_kaldis_lines():
    lines = summary(*both_scores()).splitlines()
    assert lines[0] == "%WER 42.86 [ 3 / 7, 1 ins, 1 del, 1 sub ]"
    assert lines[1].startswith("%CER ")
    assert lines[2] == "%SER 50.00 [ 2 / 4 ]"
    assert lines[3] == "Scored 4 sentences, 1 not present in hyp."
    assert lines[4].startswith("95 % confidence interval of the WER: ")


TEXT = {"a-1": "one two three", "a-2": "four", "b-1": "five six"}


@pytest.fixture
def data(tmp_path):
    write_table(tmp_path / "data/text", TEXT)
    write_table(tmp_path / "data/utt2spk", {utt_id: utt_id[0] for utt_id in TEXT})
    write_table(tmp_path / "hyp", {"a-1": "one too three", "b-1": "five six"})
    return tmp_path


def test_the_three_lines_go_to_stdout_and_the_talk_to_stderr(data):
    outcome = run("score", data / "data", data / "hyp", "--output", data / "score")
    assert outcome.lines == [
        "%WER 33.33 [ 2 / 6, 0 ins, 1 del, 1 sub ]",
        "%CER 20.00 [ 5 / 25, 0 ins, 4 del, 1 sub ]",
        "%SER 66.67 [ 2 / 3 ]",
    ]
    assert "Scored 3 sentences, 1 not present in hyp." in outcome.err
    assert "warning: no hypothesis, counted as all deleted: a-2" in outcome.err
    names = {path.name for path in (data / "score").iterdir()}
    assert names == {"ref.trn", "hyp.trn", "wer", "per_utt", "per_spk", "ops_words", "ops_chars", "missing"}


def test_the_results_hold_one_row_a_metric_and_scoring_again_replaces_them(data):
    (data / "settings.yaml").write_text("train: {epochs: 1}\n")
    command = ["score", data / "data", data / "hyp", "--output", data / "score", "--model", "m", "--set", "test"]
    command += ["--settings", data / "settings.yaml", "--seconds", "1.5", "--command", "recitative decode"]
    command += ["--results", data / "exp/results.jsonl", "--results-md", data / "RESULTS.md"]
    run(*command)
    run(*command)
    rows = read_results(data / "exp/results.jsonl")
    assert [(row.metric, row.value) for row in rows] == [("%WER", 33.3333), ("%CER", 20.0), ("%SER", 66.6667)]
    assert rows[0].counts == "2 / 6, 0 ins, 1 del, 1 sub"
    assert rows[0].seconds == 1.5
    assert len(rows[0].settings) == 8
    table = [line for line in (data / "RESULTS.md").read_text().splitlines() if line.startswith("| m |")]
    assert len(table) == 3


def test_the_time_of_training_is_a_row_of_its_own(data):
    command = ["score", data / "data", data / "hyp", "--output", data / "score", "--model", "m", "--set", "test"]
    run(*command, "--train-seconds", "90", "--results", data / "results.jsonl")
    row = read_results(data / "results.jsonl")[-1]
    assert (row.set, row.metric, row.value, row.seconds) == ("train", "minutes", 1.5, 90.0)


def test_an_unknown_utterance_is_refused_with_the_file_of_the_hypotheses(data):
    write_table(data / "hyp", {"c-9": "x"})
    with pytest.raises(DataError, match=r"hyp: utterance 'c-9' is not in the references"):
        score_directory(data / "data", data / "hyp", data / "score")
    assert not (data / "score").exists()


def test_results_without_a_name_are_bad_usage(data):
    common = (data / "data", data / "hyp", "--output", data / "score")
    for more in (("--results", data / "r"), ("--results-md", data / "R.md"), ("--settings", data / "none.yaml")):
        run("score", *common, *more, status=2)
    assert not (data / "score").exists()


def test_rows_keep_the_fields_of_their_origin(data):
    scores = score_directory(data / "data", data / "hyp", data / "score")
    origin = ResultRow("m", "s", "greedy", "", 0.0, seconds=3.0)
    assert scores.rows(origin)[2] == dataclasses.replace(origin, metric="%SER", value=66.6667, counts="2 / 3")


def test_tokens_are_counted_where_the_hypotheses_are_tokens(tmp_path):
    """'bat k' is B AA T K, of which the T is missing; 'k' is K."""
    write_table(tmp_path / "data" / "text", {"a-1": "bat k", "a-2": "k"})
    write_table(tmp_path / "data" / "utt2spk", {"a-1": "a", "a-2": "a"})
    write_table(tmp_path / "hyp", {"a-1": "B AA K", "a-2": "K"})
    (tmp_path / "tokens").write_text("<blank> 0\nAA 1\nB 2\nK 3\nT 4\n")
    (tmp_path / "lexicon").write_text("bat B AA T\nk K\n")
    common = (tmp_path / "data", tmp_path / "hyp", "--output", tmp_path / "score")
    spelled = ("--tokens", tmp_path / "tokens", "--lexicon", tmp_path / "lexicon")
    named = ("--model", "m", "--set", "test", "--results", tmp_path / "results.jsonl")
    assert run("score", *common, *spelled, *named).out.startswith("%PER 20.00 [ 1 / 5, 0 ins, 1 del, 0 sub ]")
    rows = read_results(tmp_path / "results.jsonl")
    assert [(row.metric, row.value) for row in rows] == [("%PER", 20.0)]
    run("score", *common, "--lexicon", tmp_path / "lexicon", status=2)


def test_the_interval_of_a_difference_is_of_the_utterances_that_both_have():
    first = {str(n): ErrorCounts(10, substitutions=2) for n in range(50)}
    worse = {name: ErrorCounts(10, deletions=3) for name in first} | {"alone": ErrorCounts(10, insertions=90)}
    assert difference_interval(first, first) == (0, 0)
    assert difference_interval(first, worse) == pytest.approx((0.1, 0.1)), "each has one error more in ten words"
    mixed = {name: ErrorCounts(10, substitutions=1 + 2 * (int(name) % 2)) for name in first}  # one less, one more
    low, high = difference_interval(first, mixed)
    sigma = 0.1 / math.sqrt(50)
    assert (low, high) == pytest.approx((-1.96 * sigma, 1.96 * sigma), abs=0.005)
    assert all(map(math.isnan, difference_interval(first, {})))
