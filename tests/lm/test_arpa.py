"""ARPA files: what is written reads back, what another toolkit wrote reads, and damage is named by its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from recitative.errors import DataError
from recitative.lm.arpa import LN_10, arpa_text, read_arpa, write_arpa
from recitative.lm.estimate import estimate

SMALL = r"""\data\
ngram 1=4
ngram 2=3

\1-grams:
0	<s>	-0.3
-0.5	</s>
-0.4	b	-0.2
-0.6	a	-0.1

\2-grams:
-0.2	b a
-0.3	<s> b
-0.1	a </s>

\end\
"""


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "lm.arpa"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def listed(path: Path) -> dict[str, tuple[float, float]]:
    """N-gram -> log10 probability and backoff."""
    table = read_arpa(path)
    return {
        " ".join(table.words[number] for number in ids): (log_prob / LN_10, log_backoff / LN_10)
        for order, grams in zip(table.orders, table.grams, strict=True)
        for ids, log_prob, log_backoff in zip(grams, order.log_prob, order.log_backoff, strict=True)
    }


def test_a_file_of_another_toolkit_is_read_line_by_line(tmp_path: Path) -> None:
    found = listed(written(tmp_path, SMALL))
    expected = {
        "<s>": (-99, -0.3),
        "</s>": (-0.5, 0),
        "b": (-0.4, -0.2),
        "a": (-0.6, -0.1),
        "<unk>": (-100, 0),
        "b a": (-0.2, 0),
        "<s> b": (-0.3, 0),
        "a </s>": (-0.1, 0),
    }
    assert found.keys() == expected.keys()
    for gram, numbers in expected.items():
        assert found[gram] == pytest.approx(numbers, abs=1e-12)


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
def test_a_model_survives_the_way_there_and_back(tmp_path: Path, name: str) -> None:
    table = estimate(["a b a", "b über a b", "a"], 3, extra_words=["never"]).table
    write_arpa(tmp_path / name, table)
    back = read_arpa(tmp_path / name)
    assert back.words == table.words
    for order, other in zip(table.orders, back.orders, strict=True):
        assert_array_equal(other.context, order.context)
        assert_array_equal(other.word, order.word)
        assert_allclose(other.log_prob, order.log_prob, rtol=1e-6)  # seven digits are written
        assert_allclose(other.log_backoff, order.log_backoff, rtol=1e-6, atol=1e-12)
    content = (tmp_path / name).read_bytes()
    assert (gzip.decompress(content) if name.endswith(".gz") else content).decode() == arpa_text(table)


def test_the_same_model_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.gz", "two.gz"):
        write_arpa(tmp_path / name, estimate(["b a", "a"], 2).table)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_the_rows_of_a_file_may_stand_in_any_order(tmp_path: Path) -> None:
    shuffled = SMALL.replace("-0.2	b a\n", "").replace("-0.1	a </s>\n", "-0.1	a </s>\n-0.2	b a\n")
    assert shuffled != SMALL
    assert listed(written(tmp_path, shuffled)) == listed(written(tmp_path, SMALL))


def test_a_model_is_read_with_windows_line_ends_and_blanks_for_tabs(tmp_path: Path) -> None:
    expected = listed(written(tmp_path, SMALL))
    assert listed(written(tmp_path, SMALL.replace("\t", "  ").replace("\n", "\r\n"))) == expected


FIELD_CASES = Path(__file__).resolve().parents[1] / "field_cases"


def test_files_of_other_tools_are_read_with_a_mark_text_before_them_or_without_empty_lines() -> None:
    models = [read_arpa(path) for path in sorted(FIELD_CASES.glob("21_*.arpa"))]
    assert len(models) == 3
    assert [arpa_text(model) for model in models] == [arpa_text(models[0])] * 3
    assert {"go", "stop", "enter"} < set(models[0].words)


def test_a_logarithm_of_zero_is_read_as_never(tmp_path: Path) -> None:
    infinite = SMALL.replace("-0.4\tb\t-0.2", "-inf\tb\t-inf")
    assert listed(written(tmp_path, infinite)) == listed(written(tmp_path, infinite.replace("-inf", "-99")))


def test_reading_tells_how_far_it_is(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    read_arpa(written(tmp_path, SMALL), lambda done, total: seen.append((done, total)))
    assert seen == [(0, 7), (4, 7)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\", "data", r"lm.arpa:1: 'data'; an ARPA file, which has the line '\data\'; restore it"),
        ("ngram 2=3", "ngram 3=3", "lm.arpa:3: 'ngram 3=3'; 'ngram 2=COUNT'"),
        ("ngram 1=4\nngram 2=3\n", "", "lm.arpa:2: the header names no n-grams; 'ngram 1=COUNT'"),
        ("ngram 1=4", "ngram 1=5", "lm.arpa:10: the section ends after 4 1-grams; 5, as the header says"),
        ("ngram 2=3", "ngram 2=2", r"lm.arpa:14: '-0.1	a </s>' after 2 2-grams; an empty line"),
        ("ngram 2=3\n", "", "lm.arpa:5: '0	<s>	-0.3'; a log10 probability, word; restore"),
        ("\\2-grams:", "\\3-grams:", r"lm.arpa:11: '\3-grams:'; '\2-grams:'"),
        ("-0.4	b	-0.2", "-0.4", "lm.arpa:8: '-0.4'; a log10 probability, word, and perhaps a log10 backoff"),
        ("-0.2	b a", "-0.2	b", "lm.arpa:12: '-0.2	b'; a log10 probability, 2 words; restore"),
        ("-0.2	b a", "-0.2	b a	0", "lm.arpa:12: '-0.2	b a	0'; a log10 probability, 2 words; restore"),
        ("-0.4	b	", "x.4	b	", "lm.arpa:8: 'x.4	b	-0.2'; a log10 probability"),
        ("b	-0.2", "b	-0,2", "lm.arpa:8: '-0.4	b	-0,2'; a log10 probability"),
        ("-0.4	b", "0.4	b", "lm.arpa:8: 'b' has a log10 probability above 0; at most 0"),
        ("-0.4	b", "nan	b", "lm.arpa:8: 'b' has a log10 probability above 0"),
        ("-0.4	b", "-inf	b	inf", "lm.arpa:8: '-inf	b	inf	-0.2'; a log10 probability"),
        ("b	-0.2", "b	inf", "lm.arpa:8: 'b' has no finite logarithms; numbers"),
        ("b	-0.2", "b	nan", "lm.arpa:8: 'b' has no finite logarithms"),
        ("-0.2	b a", "-0.2	b c", "lm.arpa:12: 'c' is not among the 1-grams"),
        ("-0.6	a", "-0.6	b", "lm.arpa:9: 'b' is listed twice; every n-gram once"),
        ("-0.1	a </s>", "-0.1	<s> b", "lm.arpa:14: '<s> b' is listed twice; every n-gram once"),
        ("\\end\\\n", "", r"lm.arpa:15: the file ends here; '\end\' in the last line"),
        ("\n-0.1	a </s>\n\n\\end\\\n", "", r"lm.arpa:13: the file ends here; '\end\' in the last line"),
        ("\\end\\", "\\3-grams:", r"lm.arpa:16: '\3-grams:'; '\end\' after the 2 sections"),
    ],
)
def test_damage_is_named_by_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SMALL
    with pytest.raises(DataError) as caught:
        read_arpa(written(tmp_path, SMALL.replace(old, new, 1)))
    assert message.replace("\t", "\\t") in str(caught.value)  # a message is one line of visible signs
    assert "make it again with 'recitative lm train'" in str(caught.value)


@pytest.mark.parametrize("mark", ["<s>", "</s>"])
def test_a_model_without_sentences_is_refused(tmp_path: Path, mark: str) -> None:
    content = "\\data\\\nngram 1=2\n\n\\1-grams:\n-0.3 a\n-0.3 MARK\n\n\\end\\\n"
    with pytest.raises(DataError, match=f"lm.arpa: has no '{mark}' among its 1-grams; a model of sentences"):
        read_arpa(written(tmp_path, content.replace("MARK", "</s>" if mark == "<s>" else "<s>")))


def test_a_context_that_is_not_listed_is_named(tmp_path: Path) -> None:
    longer = SMALL.replace("ngram 2=3\n", "ngram 2=3\nngram 3=1\n")
    longer = longer.replace("\\end\\", "\\3-grams:\n-1 a b a\n\n\\end\\")
    with pytest.raises(DataError, match=r"lm.arpa:18: 'a b a' has a context that is not among the 2-grams"):
        read_arpa(written(tmp_path, longer))


def test_a_word_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lm.arpa:9: '�' is not UTF-8"):
        read_arpa(written(tmp_path, SMALL.encode().replace(b"-0.6\ta", b"-0.6\t\xfc")))


def test_a_packed_file_that_is_cut_short_or_damaged_is_an_error(tmp_path: Path) -> None:
    packed = gzip.compress(SMALL.encode())
    for bad in (packed[:60], packed[:-8] + bytes(8), packed[:20] + b"\xff" * 20 + packed[40:]):
        with pytest.raises(DataError, match=r"lm.arpa:\d+: what is packed after this line is damaged"):
            read_arpa(written(tmp_path, bad))


def test_a_file_that_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no.arpa: does not exist; an ARPA file; .* with 'recitative lm train'"):
        read_arpa(tmp_path / "no.arpa")


def test_an_order_may_be_empty(tmp_path: Path) -> None:
    table = estimate(["a", "b"], 4).table
    assert [len(order) for order in table.orders] == [5, 4, 2, 0]
    write_arpa(tmp_path / "lm.arpa", table)
    assert [len(order) for order in read_arpa(tmp_path / "lm.arpa").orders] == [5, 4, 2, 0]
    assert np.isfinite(read_arpa(tmp_path / "lm.arpa").log_probs(np.array([[3, 4, 3, 4]]))).all()
