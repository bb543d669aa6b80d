"""recipes/esc10 with made-up sounds: every stage, end to end, and what it refuses."""

import json

import numpy as np
import pytest
import soundfile

import recipe_local
from recitative.classification.classifier import load_classifier
from recitative.data.directory import DataDirectory
from recitative.errors import DataError

RECIPE = recipe_local.RECIPES / "esc10"
RATE = 44100
KINDS = {"001 - Dog bark": 0.05, "002 - Rain": 0.4}
TINY = (
    "train.epochs=1 train.threads=1 train.warmup_steps=1 model.recurrent.hidden=4 model.front_end.channels=[2,2,2,2] "
    "augment.speeds=[1.0] crop_s=0.3"
)


def write_clip(path, radians):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(np.arange(RATE // 2) * radians), RATE, subtype="PCM_16")


def write_corpus(folder):
    """Two kinds in two folds: of each four sources, the first of which gave two clips."""
    for kind, radians in KINDS.items():
        for fold in (1, 2):
            for number in range(4):
                source = f"{fold}{number}{kind[2]}"
                for take in "AB" if number == 0 else "A":
                    write_clip(folder / kind / f"{fold}-{source}-{take}.wav", radians)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, run_recipe):
    folder = tmp_path_factory.mktemp("esc10")
    write_corpus(folder / "corpus")
    return folder, run_recipe("esc10", folder, "--corpus", folder / "corpus", "--train-args", TINY)


def test_every_stage_is_done(run):
    _, done = run
    recipe_local.assert_done(done, "prepare", "check", "train", "folds", "export", "report", "speed")
    assert "(2 folds, " in done.stdout


def test_no_source_is_in_two_sets_of_a_fold(run):
    folder, _ = run
    for fold in "12":
        train, test = (DataDirectory.read(folder / "data" / "folds" / fold / name) for name in ("train", "test"))
        assert not set(train.by_speaker) & set(test.by_speaker)
        assert {source[0] for source in test.by_speaker} == {fold}
        assert sorted(u.text for u in test.utterances) == ["dog_bark"] * 5 + ["rain"] * 5


def test_the_file_for_users_names_a_clip_and_the_report_of_a_fold_is_there(run):
    folder, _ = run
    clip = next((folder / "corpus" / "002 - Rain").iterdir())
    running = load_classifier(folder / "exp" / "crnn" / "model.onnx").classify_file(clip)
    assert {guess.label for guess in running.predictions} == {"dog_bark", "rain"}
    assert "<h1>Sounds: crnn, fold 2</h1>" in (folder / "exp" / "crnn" / "folds" / "2" / "report.html").read_text()


def test_the_table_has_the_mean_of_the_folds(run):
    folder, _ = run
    scores = [json.loads(path.read_text()) for path in (folder / "exp" / "crnn" / "folds").glob("*/score.json")]
    mean = 100 * np.mean([score["accuracy"] for score in scores])
    correct = sum(score["correct"] for score in scores)
    row = f"| crnn | official folds | mean of the folds | % accuracy | {mean:.2f} | 2 folds, {correct} / 20 |"
    assert row in (folder / "RESULTS.md").read_text()


def test_a_source_in_two_folds_is_refused(tmp_path, run_recipe):
    write_corpus(tmp_path / "corpus")
    write_clip(tmp_path / "corpus" / "002 - Rain" / "2-112-C.wav", 0.4)
    done = run_recipe("esc10", tmp_path, "--corpus", tmp_path / "corpus", "--stop-stage", "1")
    assert done.returncode == 1
    assert "fold '1': trains and tests on speaker '112'" in done.stderr


@pytest.fixture
def local(monkeypatch):
    return recipe_local.load("esc10", "prepare", monkeypatch=monkeypatch)[0]


def test_a_clip_with_another_name_is_named(local, tmp_path):
    write_clip(write_corpus(tmp_path) / "001 - Dog bark" / "bark.wav", 0.05)
    with pytest.raises(DataError, match=r"Dog bark/bark\.wav: has another name; \{fold 1 to 5\}-\{source\}-\{take\}"):
        local.prepare(tmp_path, tmp_path / "data")


def test_a_folder_without_clips_is_refused(local, tmp_path):
    with pytest.raises(DataError, match=r"has no clips; '001 - Dog bark' and other kinds, or meta/esc50\.csv"):
        local.prepare(tmp_path, tmp_path / "data")


def write_esc50(folder, rows):
    (folder / "meta").mkdir()
    head = "filename,fold,target,category,esc10,src_file,take"
    (folder / "meta" / "esc50.csv").write_text("\n".join([head, *rows]) + "\n")


def test_esc50_is_read_by_its_table(local, tmp_path):
    write_esc50(tmp_path, ["1-100032-A-0.wav,1,0,dog,True,100032,A", "5-17-B-14.wav,5,14,chirping_birds,False,17,B"])
    for name in ("1-100032-A-0", "5-17-B-14"):
        write_clip(tmp_path / "audio" / f"{name}.wav", 0.1)
    local.prepare(tmp_path, tmp_path / "data")
    found = DataDirectory.read(tmp_path / "data" / "all").utterances
    assert [(u.utt_id, u.speaker, u.text) for u in found] == [
        ("100032-A-dog", "100032", "dog"), ("17-B-chirping_birds", "17", "chirping_birds"),
    ]  # fmt: skip
    assert (tmp_path / "data" / "folds.txt").read_text() == "100032-A-dog 1\n17-B-chirping_birds 5\n"


def test_a_clip_of_the_table_that_is_not_there_is_named(local, tmp_path):
    write_esc50(tmp_path, ["1-100032-A-0.wav,1,0,dog,True,100032,A"])
    with pytest.raises(DataError, match=r"esc50\.csv:2: audio/1-100032-A-0\.wav does not exist; download it again"):
        local.prepare(tmp_path, tmp_path / "data")
