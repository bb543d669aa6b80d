"""The file of a model of events writes what its folder does, keeps the contract, needs no torch, and knows its kind."""

import pytest
import torch

import small_events
import small_music
from contract import AsTorch, verify_contract
from recitative.errors import DataError, UsageError
from recitative.kinds import MUSIC_KINDS, SOUND_KINDS, kind_of, load_settings_of
from recitative.lm.recurrent import Sampling
from recitative.model.export import build_file
from recitative.model.folder import run_model, save_model
from recitative.model.onnx_stage import open_file
from recitative.music.composer import event_likelihood
from recitative.music.composition import compose_events
from recitative.music.generation import Span
from recitative.music.midi import midi_bytes
from recitative.music.settings import EVENTS, MUSIC, EventConstraints, blank_events

CELLS = [{}, {"model.recurrent.cell": "gru"}, {"model.recurrent.layers": 2, "model.tied": "false"}]


def model(changes=None, **more):
    return small_events.model(*(f"{key}={value}" for key, value in ((changes or {}) | more).items()))


def content(made, *, int8=False):
    return build_file(made, notes="from a test", int8=int8).SerializeToString()


@pytest.mark.parametrize("changes", CELLS, ids=str)
def test_the_file_writes_the_same_bytes_as_the_folder(changes):
    made = model(changes)
    given = small_events.pieces([6])[0].at_resolution(48)
    for start in (given, blank_events(made.settings.events, "new", 100.0)):
        folder, file = (
            [
                midi_bytes(piece)
                for piece in compose_events(
                    scorer, start, EventConstraints(), Span(48, 16), Sampling(top_p=0.9), count=4, seed=7
                )
            ]
            for scorer in (run_model(made), open_file(content(made), EVENTS))
        )
        assert folder == file
        assert len(set(file)) == 4


@pytest.mark.parametrize("changes", CELLS, ids=str)
def test_the_graph_keeps_the_contract(changes):
    made = model(changes)
    verify_contract(
        AsTorch(open_file(content(made), EVENTS).network),
        lambda shape, g: torch.randint(0, len(made.vocabulary), shape, generator=g),
        gradients=False,
        cuttings=3,
        atol=1e-4,  # of logarithms down to -30
    )


def test_the_file_scores_as_the_folder_does_and_int8_nearly_so():
    made = model({"model.recurrent.hidden": 64, "model.embedding": 64})
    pieces = small_events.pieces([5, 9])
    folder, file, small = (
        event_likelihood(scorer.network, made.vocabulary, pieces).per_note
        for scorer in (run_model(made), open_file(content(made), EVENTS), open_file(content(made, int8=True), EVENTS))
    )
    assert file == pytest.approx(folder, rel=1e-5)
    assert small == pytest.approx(folder, rel=0.02)
    assert small != file
    assert len(content(made, int8=True)) < 0.45 * len(content(made))


def test_the_kind_of_a_folder_and_of_a_file(tmp_path):
    save_model(model(), tmp_path / "model")
    (tmp_path / "events.onnx").write_bytes(content(model()))
    (tmp_path / "music.onnx").write_bytes(build_file(small_music.model()).SerializeToString())
    found = [kind_of(tmp_path / name, MUSIC_KINDS) for name in ("model", "events.onnx", "music.onnx")]
    assert found == [EVENTS, EVENTS, MUSIC]
    with pytest.raises(DataError, match=r"is a music model; a sound model's or a spectrogram model's file"):
        kind_of(tmp_path / "music.onnx", SOUND_KINDS)
    (tmp_path / "model" / "settings.yaml").write_text("kind: language_model\n")
    with pytest.raises(DataError, match=r"is a language model's; 'kind: music' or 'kind: events'"):
        kind_of(tmp_path / "model", MUSIC_KINDS)
    with pytest.raises(DataError, match=r"none: does not exist"):
        kind_of(tmp_path / "none", MUSIC_KINDS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: has no settings.yaml; a music model's or a music event model's"):
        kind_of(tmp_path / "empty", MUSIC_KINDS)


def test_the_kind_of_settings_decides_and_another_is_one_clear_error(tmp_path):
    path = tmp_path / "conf.yaml"
    path.write_text("kind: events\nevents:\n  voices: 3\n")
    assert load_settings_of(path, [], MUSIC_KINDS).events.voices == 3
    assert load_settings_of(None, ["frames.voices=2"], MUSIC_KINDS).frames.voices == 2
    path.write_text("kind: piano\n")
    with pytest.raises(UsageError, match=r"conf.yaml: kind='piano': must be one of 'music' .*, 'events'"):
        load_settings_of(path, [], MUSIC_KINDS)
    path.write_text("kind: [events]\n")
    with pytest.raises(UsageError, match=r"conf.yaml: kind="):
        load_settings_of(path, [], MUSIC_KINDS)
