"""What a model knows beside its network: written and read back, in a folder and in a file's card."""

import dataclasses
import json

import pytest
import tiny

from every_kind import ARPA, CALIBRATOR, LEXICON
from recitative.asr.kind import NO_LANGUAGE, RECOGNIZER, Language
from recitative.asr.stream import load_transcriber
from recitative.errors import DataError
from recitative.lm.arpa import parse_arpa
from recitative.model.export import build_file
from recitative.model.folder import load_model, save_model
from recitative.model.kind import read_entries


@pytest.fixture
def lm(tmp_path):
    (tmp_path / "own.arpa").write_text(ARPA)
    return tmp_path / "own.arpa"


@pytest.fixture
def everything(lm):
    return Language(LEXICON, calibrator=CALIBRATOR, priors=(-0.5, -1.5, -2.0, -2.5, -3.0)).with_lm(lm)


def parts(whole):
    """With each part alone, with none, and with all."""
    fields = [field.name for field in dataclasses.fields(Language)]
    return [NO_LANGUAGE, whole, *(Language(**{name: getattr(whole, name)}) for name in fields)]


def with_language(language):
    return dataclasses.replace(tiny.recognizer(), language=language)


def test_a_saved_model_has_its_language(everything, tmp_path):
    for language in parts(everything):
        save_model(with_language(language), tmp_path / "model")  # and leaves nothing of the one before
        assert load_model(tmp_path / "model", RECOGNIZER).language == language
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "SHA256SUMS", "priors.json", "settings.yaml", "tokens.txt", "weights.safetensors",
    ]  # fmt: skip


def test_a_file_has_the_model_s_language(everything):
    for language in parts(everything):
        content = build_file(with_language(language)).SerializeToString()
        assert load_transcriber(content).language == language


def test_the_language_model_scores_as_its_file_says(everything):
    log_prob, _ = everything.lm.score(everything.lm.start(), "ab")
    assert log_prob == pytest.approx(-0.4 * 2.302585, abs=1e-5)
    assert NO_LANGUAGE.lm is None
    assert sorted(everything.ngram.model.words) == sorted(parse_arpa(ARPA, "given").words)


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
        (
            "priors.json",
            b"[-1.0]",
            "priors.json: has 1 prior; 5, one for each token; make them with 'recitative tune'",
        ),
        ("priors.json", b"[-1.0, null, 0, 0, 0]", "priors.json: '1': input should be a valid number"),
        ("confidence.json", b"\xff", "confidence.json:1: byte 0xff in column 1 is not UTF-8"),
        ("confidence.json", b"[1]", "confidence.json: has no calibrator"),
        ("confidence.json", b'{"features": ["x"], "weights": [], "bias": 0}', "confidence.json: has no calibrator"),
        ("confidence.json", b'{"features": [], "weights": [], "bias": NaN}', "confidence.json: has no calibrator"),
    ],
)
def test_a_damaged_file_is_named(everything, tmp_path, name, content, message):
    save_model(with_language(everything), tmp_path)
    (tmp_path / "SHA256SUMS").unlink()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_model(tmp_path, RECOGNIZER)
    assert f"{tmp_path}/{message}" in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"lexicon.txt": "ab a d\n"}, "m.onnx, lexicon.txt:1: 'ab' has 'd', not in the token table"),
        ({"confidence.json": '{"features": []}'}, "m.onnx, confidence.json: has no calibrator"),
    ],
)
def test_a_damaged_part_of_a_file_is_named(everything, texts, message):
    entries = {entry.key: entry.value for entry in build_file(with_language(everything)).metadata_props}
    model = json.loads(entries["recitative.model"])
    model["extras"] |= texts
    with pytest.raises(DataError) as caught:
        read_entries(entries | {"recitative.model": json.dumps(model)}, "m.onnx", RECOGNIZER)
    assert str(caught.value).startswith(message)


def test_what_is_no_language_model_is_not_taken(tmp_path):
    (tmp_path / "text").write_text("ab c\n")
    with pytest.raises(DataError, match=r"text:1: 'ab c'; an ARPA file"):
        NO_LANGUAGE.with_lm(tmp_path / "text")
    with pytest.raises(DataError, match=r"none\.arpa"):
        NO_LANGUAGE.with_lm(tmp_path / "none.arpa")


def test_a_folder_of_before_models_were_packed_is_read(tmp_path):
    save_model(tiny.recognizer(), tmp_path / "model")
    (tmp_path / "model" / "lm.arpa").write_text(ARPA)
    old = load_model(tmp_path / "model", RECOGNIZER).language
    assert old.lm.score(old.lm.start(), "ab")[0] == pytest.approx(-0.4 * 2.302585, abs=1e-5)
    assert old == NO_LANGUAGE.with_lm(tmp_path / "model" / "lm.arpa")
