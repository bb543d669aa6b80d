"""What a model knows beside its network: written and read back, in a folder and in a file's card."""

import dataclasses
import json

import pytest
import tiny

from recitative.asr.folder import load_recogniser, save_recogniser
from recitative.asr.language import NO_LANGUAGE, Language
from recitative.asr.metadata import ModelCard
from recitative.decoding.confidence import FEATURES
from recitative.errors import DataError
from recitative.lm.arpa import parse_arpa
from recitative.lm.ngram import parse_lm
from recitative.score.calibration import Calibrator
from recitative.text.lexicon import Lexicon

LEXICON = Lexicon({"ab": (("a", "b"),), "c": (("c",), ("c", "c"))})
CALIBRATOR = Calibrator(FEATURES, (0.1, -1 / 3, 2.5e-7, 0.0), -0.5)
ARPA = r"""\data\
ngram 1=5

\1-grams:
0	<s>
-0.5	</s>
-0.4	ab
-0.6	c
-1.5	<unk>

\end\
"""


@pytest.fixture
def lm(tmp_path):
    (tmp_path / "own.arpa").write_text(ARPA)
    return tmp_path / "own.arpa"


@pytest.fixture
def everything(lm):
    return Language(LEXICON, calibrator=CALIBRATOR).with_lm(lm)


def parts(whole):
    """With each part alone, with none, and with all."""
    fields = [field.name for field in dataclasses.fields(Language)]
    return [NO_LANGUAGE, whole, *(Language(**{name: getattr(whole, name)}) for name in fields)]


def card(language):
    return ModelCard(tiny.settings(), tiny.TOKENS, 4, None, {}, 7, "float32", language=language)


def test_a_folder_gives_back_what_was_written(everything, tmp_path):
    for number, language in enumerate(parts(everything)):
        folder = tmp_path / str(number)
        folder.mkdir()
        language.write(folder)
        assert Language.read(folder, tiny.TOKENS) == language
    assert [path.name for path in (tmp_path / "0").iterdir()] == []
    assert sorted(path.name for path in (tmp_path / "1").iterdir()) == ["confidence.json", "lexicon.txt", "lm.ngram"]


def test_a_card_gives_back_what_was_written(everything):
    for language in parts(everything):
        assert ModelCard.from_metadata(card(language).to_metadata(), "m.onnx") == card(language)


def test_a_card_of_before_there_was_language_has_none(everything):
    metadata = card(everything).to_metadata()
    facts = json.loads(metadata["recitative.card"])
    del facts["language"]
    metadata["recitative.card"] = json.dumps(facts)
    assert ModelCard.from_metadata(metadata, "m.onnx").language == NO_LANGUAGE


def test_a_saved_model_has_its_language(everything, tmp_path):
    made = dataclasses.replace(tiny.recogniser(), language=everything)
    save_recogniser(made, tmp_path / "model")
    assert load_recogniser(tmp_path / "model").language == everything
    save_recogniser(tiny.recogniser(), tmp_path / "model")  # and a model without one leaves nothing of it
    assert load_recogniser(tmp_path / "model").language == NO_LANGUAGE


def test_the_language_model_scores_as_its_file_says(everything):
    log_prob, _ = everything.lm.score(everything.lm.start(), "ab")
    assert log_prob == pytest.approx(-0.4 * 2.302585, abs=1e-5)
    assert NO_LANGUAGE.lm is None
    assert sorted(parse_lm(everything.ngram, "again").words) == sorted(parse_arpa(ARPA, "given").words)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("lexicon.txt", b"ab a b\nc\n", "lexicon.txt:2: 'c' has no pronunciation"),
        ("lexicon.txt", b"ab a d\n", "lexicon.txt:1: 'ab' has 'd', not in the token table"),
        ("lexicon.txt", b"\xff", "lexicon.txt:1: byte 0xff in column 1 is not UTF-8"),
        ("lexicon.txt", b"", "lexicon.txt: has no words"),
        ("lm.ngram", ARPA.replace("=5", "=6").encode(), "lm.ngram:"),
        ("lm.ngram", b"", "lm.ngram"),
        ("lm.ngram", b"recitative n-gram model 1\n{}\n\n", "lm.ngram: is damaged"),
        ("confidence.json", b"{", "confidence.json: is not JSON"),
        ("confidence.json", b"\xff", "confidence.json:1: byte 0xff in column 1 is not UTF-8"),
        ("confidence.json", b"[1]", "confidence.json: has no calibrator"),
        ("confidence.json", b'{"features": ["x"], "weights": [], "bias": 0}', "confidence.json: has no calibrator"),
        ("confidence.json", b'{"features": [], "weights": [], "bias": NaN}', "confidence.json: has no calibrator"),
    ],
)
def test_a_damaged_file_is_named(everything, tmp_path, name, content, message):
    everything.write(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        Language.read(tmp_path, tiny.TOKENS)
    assert f"{tmp_path}/{message}" in str(caught.value)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"lexicon": "ab a d\n"}, "m.onnx, lexicon:1: 'ab' has 'd', not in the token table"),
        ({"calibrator": {"features": []}}, "m.onnx: has no calibrator"),
        ({"lexicon": 3}, "m.onnx: is damaged: its card cannot be read"),
    ],
)
def test_a_damaged_card_is_named(everything, facts, message):
    metadata = card(everything).to_metadata()
    whole = json.loads(metadata["recitative.card"])
    whole["language"] |= facts
    metadata["recitative.card"] = json.dumps(whole)
    with pytest.raises(DataError) as caught:
        ModelCard.from_metadata(metadata, "m.onnx")
    assert str(caught.value).startswith(message)


def test_what_is_no_language_model_is_not_taken(tmp_path):
    (tmp_path / "text").write_text("ab c\n")
    with pytest.raises(DataError, match=r"text:1: 'ab c'; an ARPA file"):
        NO_LANGUAGE.with_lm(tmp_path / "text")
    with pytest.raises(DataError, match=r"none\.arpa"):
        NO_LANGUAGE.with_lm(tmp_path / "none.arpa")


def test_a_folder_of_before_models_were_packed_is_read(tmp_path):
    (tmp_path / "lm.arpa").write_text(ARPA)
    old = Language.read(tmp_path, tiny.TOKENS)
    assert old.lm.score(old.lm.start(), "ab")[0] == pytest.approx(-0.4 * 2.302585, abs=1e-5)
    assert old == NO_LANGUAGE.with_lm(tmp_path / "lm.arpa")
