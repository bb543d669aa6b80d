"""Words added to an exported recognizer: heard then, and nothing else in the file is different."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny
import tones

from command_line import run
from recitative.asr.kind import Language
from recitative.asr.network import new_recognizer
from recitative.asr.pronunciation import LetterToSound, add_words, read_word_list
from recitative.asr.stream import Transcriber, load_transcriber
from recitative.errors import DataError, UsageError
from recitative.lm.ngram import StoredNgram, parse_lm
from recitative.model.export import export_model
from recitative.model.kind import metadata_of, verify_checksum
from recitative.text.tokens import Lexicon, TokenTable

PHONES = TokenTable(("<blank>", "AA", "B", "K", "T", "AE0"))
SOUNDS = Lexicon({"bah": (("B", "AA"),), "cat": (("K", "AA", "T"),), "k": (("K",),)})
SPELLED = Lexicon.of_spelling(["ab", "c"], tiny.TOKENS)
ARPA = r"""\data\
ngram 1=6
ngram 2=2

\1-grams:
-99	<s>	-0.3
-1	</s>
-0.5	bah	-0.2
-0.8	cat
-2	k
-3	<unk>

\2-grams:
-0.2	<s> bah
-0.4	bah cat

\end\
"""


class Speller:
    """Stands for a letter-to-sound model: the phones of letters, of lower case only."""

    letters = TokenTable(("<blank>", *"abkmqt'"))
    sounds = {"a": "AA", "b": "B", "k": "K", "m": "M", "q": "K", "t": "T"}  # noqa: RUF012

    def pronounce(self, words):
        return {w: said for w in words if (said := tuple(self.sounds[c] for c in w if c in self.sounds))}


G2P = LetterToSound("speller", Speller)


def write_model(path: Path, tokens: TokenTable, lexicon: Lexicon | None, arpa: str = ARPA) -> Path:
    language = Language(lexicon, StoredNgram(parse_lm(arpa, "test").to_text()) if arpa else None)
    recognizer = new_recognizer(tiny.settings(decode={"kind": "beam", "lm_weight": 0.5}), tokens, language)
    export_model(recognizer, path, notes="größer")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.onnx", PHONES, SOUNDS)


def added(model: Path, lines: str, **options: object) -> Path:
    """The file with the words of these lines."""
    words, output = model.with_name("names.txt"), model.with_name("new.onnx")
    words.write_text(lines, encoding="utf-8")
    add_words(model, words, output, **{"g2p": G2P, **options})
    return output


def heard(model: Path | Transcriber, *symbols: str) -> str:
    """What is decoded from log probabilities that say these symbols, each in two frames and a blank."""
    transcriber = load_transcriber(model) if isinstance(model, Path) else model
    path = [frame for symbol in symbols for frame in (*[transcriber.tokens.ids[symbol]] * 2, 0)]
    probs = np.full((len(path), len(transcriber.tokens)), 0.01)
    probs[np.arange(len(path)), path] = 0.9
    decoder = transcriber.decoder
    return decoder.finish(decoder.step(np.log(probs), decoder.start())).text


def test_an_added_word_is_recognized_and_was_not_before(model: Path) -> None:
    assert heard(model, "B", "AA", "T") != "bat"
    new = load_transcriber(added(model, "bat B AA T\nAttack  AE0 T AA1 K\n"))
    assert heard(new, "B", "AA", "T") == "bat"
    assert heard(new, "B", "AA", "AE0", "T", "AA", "K", "K", "AA", "T") == "bah Attack cat"


def test_a_word_without_a_pronunciation_gets_that_of_its_letters(model: Path) -> None:
    new = added(model, "tab\nBaq\n")
    assert load_transcriber(new).language.lexicon.entries["Baq"] == (("B", "AA", "K"),)
    assert heard(new, "T", "AA", "B") == "tab"


def test_a_model_of_letters_spells_added_words(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", tiny.TOKENS, SPELLED, arpa="")
    assert heard(model, "c", "a", "b") != "cab"
    assert heard(added(model, "cab\n", g2p=None), "c", "a", "b", " ", "c") == "cab c"


def test_only_the_lexicon_and_the_language_model_change(model: Path) -> None:
    new = added(model, "bat B AA T\nbah B AA K\n")
    before, after = onnx.load(model), onnx.load(new)
    entries, changed = ({one.key: one.value for one in file.metadata_props} for file in (before, after))
    assert list(entries) == list(changed)
    old_model, new_model = json.loads(entries["recitative.model"]), json.loads(changed["recitative.model"])
    assert new_model["extras"].pop("lexicon.txt") == "bah B AA\nbah B AA K\nbat B AA T\ncat K AA T\nk K\n"
    assert parse_lm(new_model["extras"].pop("lm.ngram"), "new").knows("bat")
    for name in ("lexicon.txt", "lm.ngram"):
        del old_model["extras"][name]
    assert json.dumps(old_model) == json.dumps(new_model)
    for file in (before, after):
        del file.metadata_props[:]
    assert before.SerializeToString() == after.SerializeToString() == new.read_bytes()[: before.ByteSize()]
    assert verify_checksum(new.read_bytes(), str(new), "model file")


def test_a_list_of_known_words_leaves_every_byte(model: Path) -> None:
    assert added(model, "cat\nk K\nk\n").read_bytes() == model.read_bytes()


def test_an_added_word_is_preferred_to_an_unknown_one_and_other_scores_stay(model: Path) -> None:
    old, new = (load_transcriber(path) for path in (model, added(model, "bat B AA T\n")))
    lm, score = new.language.lm, new.settings.decode.unknown_score
    for words in ([], ["bah"], ["bah", "cat"], ["bat"]):
        state = lm.start()
        for word in words:
            _, state = lm.score(state, word)
        assert lm.score(state, "bat")[0] > score
    start = old.language.lm.start()
    assert [new.language.lm.score(start, word) for word in ("bah", "k", "nobody")] == [
        (log_prob, state if state < 7 else state + 1)
        for log_prob, state in (old.language.lm.score(start, word) for word in ("bah", "k", "nobody"))
    ]


@pytest.mark.parametrize(("count", "log_prob", "expected"), [
    (1, None, math.log(0.001)), (400, None, math.log(0.001)), (900, None, math.log(0.5 / 900)), (900, -5.0, -5.0),
])  # fmt: skip
def test_the_more_words_the_less_each_is_expected(
    model: Path, count: int, log_prob: float | None, expected: float
) -> None:
    new = added(model, "".join(f"w{number} B\n" for number in range(count)) + "cat\n", log_prob=log_prob)
    lm = load_transcriber(new).language.lm
    assert lm.score(0, "w0")[0] == pytest.approx(expected)
    assert lm.score(0, "cat")[0] == pytest.approx(-0.8 * math.log(10))


def test_a_word_of_the_lexicon_that_the_language_model_lacks_gets_a_score(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", PHONES, SOUNDS.with_entries(Lexicon({"tab": (("T", "AA", "B"),)})))
    new = load_transcriber(added(model, "tab\n"))
    assert new.language.lm.knows("tab")
    assert new.language.lexicon == load_transcriber(model).language.lexicon


@pytest.mark.parametrize(("lines", "message"), [
    ("bat\nzoo\n", "names.txt:2: speller cannot pronounce 'zoo' with 'o', 'z'; write its pronunciation behind it"),
    ("''\n", "names.txt:1: speller cannot pronounce '''';"),
    ("mat\n", "names.txt:1: speller pronounces 'mat' M AA T, and M is no phone of the model; a model of the same"),
    ("bat B AA\n\nNew York\n", "names.txt:3: 'New' has 'York', not among the model's phones; one word a line"),
    ("bat B ZZ AA ZZ Q\n", "names.txt:1: 'bat' has 'ZZ', 'Q', not among the model's phones"),
    ("bat B AA1\nk K1\n", "names.txt:2: 'k' has 'K1', not among"),  # a vowel has stress, a consonant has none
    ("b\0t B\n", r"names.txt:1: 'b\x00t' has '\x00'; a word of readable characters"),
    ("b\ufffdt B\n", r"names.txt:1: 'b" "\ufffd" r"t' has '\ufffd'; a word"),
    ("<s> B\n", "names.txt:1: '<s>' is a mark of language models"),
    (" \n\n", "names.txt: has no words; one word a line"),
])  # fmt: skip
def test_a_bad_line_is_named_and_nothing_is_written(model: Path, lines: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        added(model, lines)
    assert str(caught.value).startswith(f"{model.parent}/{message}")
    assert not model.with_name("new.onnx").exists()


def test_all_bad_lines_are_told_at_once(model: Path) -> None:
    for lines in ("zoo\nbat\nmat\n", "a Q\nbat\nb Q\n"):
        with pytest.raises(DataError) as caught:
            added(model, lines)
        assert [problem.where.rpartition(":")[2] for problem in caught.value.problems] == ["1", "3"]


def test_without_a_letter_to_sound_model_pronunciations_must_be_given(model: Path) -> None:
    added(model, "bat B AA T\ncat\n", g2p=None)
    with pytest.raises(UsageError, match=r"names.txt:2: 'tab' has no pronunciation, .* give one with --g2p, or write"):
        added(model, "cat\ntab\n", g2p=None)


def test_a_character_that_a_model_of_letters_never_writes_is_named(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", tiny.TOKENS, SPELLED)
    with pytest.raises(DataError, match=r"names.txt:2: 'cad' has 'd', which the model never writes; the model's char"):
        added(model, "cab\ncad\n")


def test_what_is_no_recognizer_with_a_lexicon_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "classifier.onnx"
    export_model(tones.classifier(labels=("yes", "no")), other)
    damaged = write_model(tmp_path / "damaged.onnx", PHONES, SOUNDS)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:900] + bytes([content[900] ^ 1]) + content[901:])
    (tmp_path / "page.onnx").write_text("# A page\n")
    for model, message in (
        (other, "classifier.onnx: is a classifier; a recognizer's file; make one with 'recitative export'"),
        (write_model(tmp_path / "free.onnx", tiny.TOKENS, None), "free.onnx: has no lexicon; a recognizer that"),
        (damaged, "damaged.onnx: is damaged: its content does not match its checksum"),
        (tmp_path / "page.onnx", "page.onnx: cannot be opened"),
        (tmp_path / "none.onnx", "none.onnx: does not exist; a recognizer's file"),
        (tmp_path, ": is a folder; a recognizer's file; export it first: 'recitative export"),
    ):
        with pytest.raises(DataError) as caught:
            added(model, "bat B AA T\n")
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"--log-prob: .*m.onnx has no language model; leave it out"):
        added(write_model(tmp_path / "m.onnx", PHONES, SOUNDS, arpa=""), "bat B AA T\n", log_prob=-3.0)


def test_a_pretrained_model_of_the_first_format_is_written_in_the_present_one(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("pittsburgh  P IH1 T S B ER0 K\n")
    run("add-words", "an4-streaming", "--words", tmp_path / "names.txt", "--output", tmp_path / "new.onnx.gz")
    entries = metadata_of(gzip.decompress((tmp_path / "new.onnx.gz").read_bytes()))
    assert entries["recitative.format"] == "2"
    assert not {"recitative.card"} & entries.keys()
    old, new = (load_transcriber(Path(path)) for path in (pretrained("an4-streaming"), tmp_path / "new.onnx.gz"))
    assert new.language.lexicon == old.language.lexicon.with_entries(
        Lexicon({"pittsburgh": (("P", "IH", "T", "S", "B", "ER", "K"),)})
    )
    assert (new.settings, new.tokens, new.language.calibrator) == (old.settings, old.tokens, old.language.calibrator)


def pretrained(name: str) -> Path:
    from recitative.pretrained import find

    return find(name)


def test_the_command_prints_what_was_added(model: Path) -> None:
    words, output = model.with_name("names.txt"), model.with_name("new.onnx")
    words.write_text("bat B AA T\ncat K AE0 T\nk\nbah\nbat B AA T\n")
    done = run("add-words", model, "--words", words, "--output", output, "--log-prob", -4)
    assert done.lines == [
        "word  pronunciation  from",
        "bat   B AA T         given",
        "cat   K AE0 T        given",
        f"{output}: 2 words, 2 pronunciations added; 1 new to the language model, ln P -4.00",
    ]
    assert done.err == f"{model}: has 2 of the words already: k, bah\n"
    assert heard(output, "K", "AE0", "T") == "cat"
    words.write_text("cat\n")
    again = run("add-words", output, "--words", words, "--output", output)
    assert again.out == f"{output}: 0 words, 0 pronunciations added\n"
    run("add-words", model, "--words", words, "--output", output, "--log-prob", "nan", status=2)


def test_a_list_is_read_with_lines_as_an_editor_counts_them(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes("\ufeffbat\tB AA\r\n\r\nta\u2028b\n".encode())
    with pytest.raises(DataError, match=r"names.txt:3: 'ta' has 'b', not among"):
        read_word_list(tmp_path / "names.txt", PHONES)
    assert replace(read_word_list(_written(tmp_path, "bat B"), PHONES)[0], where="").pronunciation == ("B",)


def _written(folder: Path, content: str) -> Path:
    (folder / "names.txt").write_text(content)
    return folder / "names.txt"
