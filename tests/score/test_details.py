"""The files a scoring leaves."""

import pytest

from recitative.errors import DataError
from recitative.score.details import format_utterance, read_utterances, summary, write_details
from recitative.score.wer import align, characters, score, words

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


def test_a_damaged_alignment_file_is_named_with_its_line(tmp_path):
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
